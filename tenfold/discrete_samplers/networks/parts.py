"""What the networks share: times as features, tables of tokens, and the readout that makes hollow features G."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

FREQUENCIES = 256


def time_features(t: Float[Tensor, " b"]) -> Float[Tensor, "b f"]:
    """[cos(t f_j), sin(t f_j)] with f_j = 10000^{−j/128}, j < 128; t itself, in [0, 1]."""
    half = FREQUENCIES // 2
    frequency = torch.exp(-math.log(10000.0) * torch.arange(half, device=t.device, dtype=torch.float32) / half)
    angle = t.float()[:, None] * frequency
    return torch.cat([angle.cos(), angle.sin()], -1)


class TimeEmbedding(nn.Module):
    """``time_features`` through two linear layers."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(FREQUENCIES, hidden), nn.SiLU(), nn.Linear(hidden, hidden))

    def forward(self, t: Float[Tensor, " b"]) -> Float[Tensor, "b h"]:
        """In the layers' own precision."""
        return self.mlp(time_features(t).to(next(self.parameters()).dtype))


class TokenTable(nn.Module):
    """A vector for each token."""

    def __init__(self, states: int, hidden: int) -> None:
        super().__init__()
        self.embedding = nn.Parameter(torch.randn(states, hidden) / math.sqrt(hidden))

    def forward(self, x: Int[Tensor, "*b"]) -> Float[Tensor, "*b h"]:
        """Rows."""
        return self.embedding[x]


class PointwiseBlock(nn.Module):
    """LayerNorm, and a two-layer network of width 4 h."""

    def __init__(self, hidden: int, ratio: int = 4) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(hidden)
        self.main = nn.Sequential(nn.Linear(hidden, ratio * hidden), nn.GELU(), nn.Linear(ratio * hidden, hidden))

    def forward(self, u: Float[Tensor, "b n h"]) -> Float[Tensor, "b n h"]:
        """Without the residual."""
        return self.main(self.norm(u))


class EquivariantOutput(nn.Module):
    """G(τ, i) = (ω_τ − ω_{x_i}) · h_i of h = LayerNorm(H) + c; names as the reference spells them."""

    def __init__(self, states: int, hidden: int) -> None:
        super().__init__()
        self.norm_final = nn.LayerNorm(hidden)
        self.ommega_embedder = TokenTable(states, hidden)

    def forward(
        self, hollow: Float[Tensor, "b d h"], c: Float[Tensor, "b h"], x: Int[Tensor, "b d"]
    ) -> Float[Tensor, "b d s"]:
        """The table is multiplied once, then differences are taken: (b, d, S) numbers and no more."""
        scores = (self.norm_final(hollow) + c[:, None]) @ self.ommega_embedder.embedding.T
        return scores - scores.gather(-1, x[..., None])
