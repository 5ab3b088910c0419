"""A transformer of which no output sees its own token: leave-one-out conditionals in one pass.

Two causal streams read the tokens from the left and from the right. Position i takes what the first knows of tokens
before i and the second of tokens behind i, and looks once more at both streams' states of that kind (the hollow
transformer of Sun et al., arXiv 2211.16750).

Given the clean tokens at the other sites, the noisy sequence tells of token i only through x_t^i. So a joint model's
conditional is p(x_0^i | x_0 without i, x_t) ∝ Q_i(· | x_0 without i) p(x_t^i | ·): the same network run on clean
tokens, then ``posterior_from_leave_one_out``.
"""

from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tenfold.discrete_diffusion.config import DiffusionConfig
from tenfold.discrete_diffusion.networks.blocks import Layer, Stack, own_turns
from tenfold.nn.norm import LayerNorm


class HollowTransformer(nn.Module):
    """Hidden states (b, n, d) of tokens (b, n), of which state i does not depend on token i.

    >>> network = HollowTransformer(DiffusionConfig(network="hollow", width=32, layers=1, heads=2), states=28)
    >>> network(torch.zeros(1, 6, dtype=torch.long)).shape
    torch.Size([1, 6, 32])
    """

    def __init__(self, config: DiffusionConfig, states: int) -> None:
        super().__init__()
        self.config, self.begin = config, states
        self.left = Stack(config, states + 1, causal=True)
        self.right = Stack(config, states + 1, causal=True)
        self.join = nn.Linear(2 * config.width, config.width)
        self.top = _Top(config)

    def forward(self, tokens: Int[Tensor, "b n"], sigma: Float[Tensor, " b"] | None = None) -> Float[Tensor, "b n d"]:
        """Hidden states; the noise level is not looked at."""
        start = torch.full_like(tokens[:, :1], self.begin)
        left = self.left(torch.cat([start, tokens[:, :-1]], dim=1))
        right = self.right(torch.cat([start, tokens.flip(1)[:, :-1]], dim=1)).flip(1)
        return self.top(self.join(torch.cat([left, right], dim=-1)), left, right)


class _Top(nn.Module):
    def __init__(self, config: DiffusionConfig) -> None:
        super().__init__()
        self.config = config
        self.layer = Layer(replace(config, local_mixing=0), causal=False)  # neighbours would be seen
        self.norm = LayerNorm(config.width)

    def forward(self, x: Tensor, left: Tensor, right: Tensor) -> Tensor:
        n = x.shape[1]
        whole = torch.ones(n, n, dtype=torch.bool, device=x.device)
        allowed = torch.cat(
            [whole.tril(), whole.triu()], dim=1
        )  # states j ≤ i know tokens < i, states j ≥ i tokens > i
        table, _ = own_turns(n, self.config, x)
        rotary = (table, torch.cat([table, table], dim=1))
        return self.norm(self.layer(x, torch.cat([left, right], dim=1), rotary, allowed))
