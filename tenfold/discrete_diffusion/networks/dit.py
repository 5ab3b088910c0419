"""The published network of MDLM and SEDD, under their names: a transformer whose norms are set by the noise level.

(Peebles, Xie, arXiv 2212.09748, for tokens: Lou et al., arXiv 2310.16834; Sahoo et al., arXiv 2406.07524.)
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from tenfold.discrete_diffusion.config import DiffusionConfig
from tenfold.discrete_diffusion.networks.blocks import LevelEmbedding, own_turns, require_length, zeroed
from tenfold.nn.rotary import rotate


class ScaleNorm(nn.Module):
    """Layer normalisation without a bias, in float32 at least."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Float[Tensor, "*b d"]) -> Float[Tensor, "*b d"]:
        """Same shape and dtype."""
        wide = x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
        return F.layer_norm(wide, self.weight.shape, self.weight.to(wide.dtype)).to(x.dtype)


class ModulatedBlock(nn.Module):
    """Attention and perceptron, their inputs shifted and scaled and their outputs gated by the condition."""

    def __init__(self, config: DiffusionConfig) -> None:
        super().__init__()
        width, hidden = config.width, config.intermediate or 4 * config.width
        self.heads, self.dropout = config.heads, config.dropout
        self.norm1, self.norm2 = ScaleNorm(width), ScaleNorm(width)
        self.attn_qkv = nn.Linear(width, 3 * width, bias=False)
        self.attn_out = nn.Linear(width, width, bias=False)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(approximate="tanh"), nn.Linear(hidden, width))
        self.adaLN_modulation = zeroed(config.condition_width, 6 * width)

    def forward(
        self, x: Float[Tensor, "b n d"], condition: Float[Tensor, "b c"], rotary: Float[Tensor, "2 n half"]
    ) -> Float[Tensor, "b n d"]:
        """(b, n, d) -> (b, n, d)."""
        parts = self.adaLN_modulation(condition)[:, None].chunk(6, dim=-1)
        shift, scale, gate, shift_mlp, scale_mlp, gate_mlp = parts
        packed = self.attn_qkv(self.norm1(x) * (1 + scale) + shift)
        query, key, value = packed.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(rotate(query, rotary, "half"), rotate(key, rotary, "half"), value)
        x = x + gate * self._dropped(self.attn_out(seen.transpose(1, 2).flatten(2)))
        return x + gate_mlp * self._dropped(self.mlp(self.norm2(x) * (1 + scale_mlp) + shift_mlp))

    def _dropped(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training)


class DiT(nn.Module):
    """Hidden states of tokens at noise level σ, and ``head``, which gives numbers for all S states of rows of them.

    Attributes: ``vocab_embed.embedding`` (S, d), ``sigma_map``, ``blocks``, ``output_layer``: the published names.
    """

    def __init__(self, config: DiffusionConfig, states: int) -> None:
        super().__init__()
        self.config = config
        self.vocab_embed = _Embedding(states, config.width)
        self.sigma_map = LevelEmbedding(config.condition_width, config.condition_width)
        self.blocks = nn.ModuleList(ModulatedBlock(config) for _ in range(config.layers))
        self.output_layer = _ScaledHead(config, states)

    def forward(self, tokens: Int[Tensor, "b n"], sigma: Float[Tensor, " b"]) -> tuple[Tensor, Tensor]:
        """Hidden states (b, n, d), not yet normalised, and the condition (b, c)."""
        require_length(tokens, self.config.length)
        x, condition = self.vocab_embed.embedding[tokens], F.silu(self.sigma_map(sigma))
        rotary, _ = own_turns(tokens.shape[1], self.config, x)
        for block in self.blocks:
            x = block(x, condition, rotary)
        return x, condition


class _Embedding(nn.Module):
    def __init__(self, states: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.Parameter(torch.empty(states, width))
        nn.init.kaiming_uniform_(self.embedding, a=5**0.5)


class _ScaledHead(nn.Module):
    """Numbers for every state, from rows of hidden states and the condition of each row's sequence."""

    def __init__(self, config: DiffusionConfig, states: int) -> None:
        super().__init__()
        self.norm_final = ScaleNorm(config.width)
        self.linear = zeroed(config.width, states)
        self.adaLN_modulation = zeroed(config.condition_width, 2 * config.width)

    def forward(self, rows: Float[Tensor, "k d"], condition: Float[Tensor, "k c"]) -> Float[Tensor, "k s"]:
        shift, scale = self.adaLN_modulation(condition).chunk(2, dim=-1)
        numbers: Tensor = self.linear(self.norm_final(rows) * (1 + scale) + shift)
        return numbers
