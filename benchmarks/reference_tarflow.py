"""The published TarFlow algorithm, written anew for comparison, with the costs of the published program.

What it keeps from the published design (arXiv 2412.06329 and its repository): layers on (batch, tokens,
width) tensors, normalisation through a cast to float32 and back, keys and values of each token in a Python
list that is concatenated at every step, one list and one network call per guidance branch, no inference mode.
Weights come from a ``tenfold`` flow. ``tests/benchmarks`` holds it to the recorded outputs of the published program.
"""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from tenfold.tarflow.model import TarFlow


@dataclass
class Memory:
    """Keys and values of one layer and one branch, a list entry per token."""

    keys: list[Tensor] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)


class ReferenceTarFlow:
    """The forward pass, the training loss and the sampler of the published program, on the weights of ``flow``."""

    def __init__(self, flow: TarFlow) -> None:
        self.flow, self.config = flow, flow.config

    def attention(
        self, layer: torch.nn.Module, h: Tensor, mask: Tensor | None, tau: float, memory: Memory | None
    ) -> Tensor:
        """Self-attention of all tokens under ``mask``, or of one new token behind those in ``memory``."""
        batch, tokens, width = h.shape
        part = layer.attention
        normed = F.layer_norm(h.float(), (width,), part.norm.weight, part.norm.bias).type(h.dtype)
        packed = part.qkv(normed).reshape(batch, tokens, 3 * part.heads, part.head_size).transpose(1, 2)
        queries, keys, values = packed.chunk(3, dim=1)
        if memory is not None:
            memory.keys.append(keys)
            memory.values.append(values)
            keys, values = torch.cat(memory.keys, dim=2), torch.cat(memory.values, dim=2)
        scale = part.head_size**-0.5 / tau
        out = F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask, scale=scale)
        return part.proj(out.transpose(1, 2).reshape(batch, tokens, width))

    def network(
        self,
        k: int,
        tokens: Tensor,
        positions: Tensor,
        labels: Tensor | None,
        mask: Tensor | None = None,
        tau: float = 1.0,
        memories: list[Memory] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """(a, m) of the successors of ``tokens``."""
        block = self.flow.blocks[k]
        h = block.proj_in(tokens) + positions
        if block.class_embed is not None:
            if labels is None:
                h = h + block.class_embed.mean(dim=0)
            else:
                chosen = block.class_embed[labels.clamp(min=0)]
                if bool((labels < 0).any()):
                    dropped = (labels < 0).float().view(-1, 1, 1)
                    chosen = dropped * block.class_embed.mean(dim=0) + (1 - dropped) * chosen
                h = h + chosen
        for number, layer in enumerate(block.layers):
            h = h + self.attention(layer, h, mask, tau, None if memories is None else memories[number])
            normed = F.layer_norm(h.float(), (h.shape[-1],), layer.mlp.norm.weight, layer.mlp.norm.bias)
            h = h + layer.mlp.down(F.gelu(layer.mlp.up(normed.type(h.dtype))))
        out = block.proj_out(h)
        if self.config.volume_preserving:
            return torch.zeros_like(out), out
        scale, shift = out.chunk(2, dim=-1)
        return scale, shift

    def forward(self, x: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Noise (b, T, D) and the mean log-determinant (b,)."""
        tokens, logdet = self.flow.patchify(x), torch.zeros((), device=x.device)
        mask = torch.ones(self.config.tokens, self.config.tokens, device=x.device).tril()
        for k in range(self.config.blocks):
            u = tokens.flip(1) if k % 2 else tokens
            table = self.flow.blocks[k].pos_embed
            scale, shift = self.network(k, u, table.flip(0) if k % 2 else table, labels, mask.bool())
            scale = torch.cat([torch.zeros_like(scale[:, :1]), scale[:, :-1]], dim=1)
            shift = torch.cat([torch.zeros_like(shift[:, :1]), shift[:, :-1]], dim=1)
            v = (u - shift) * (-scale.float()).exp().type(scale.dtype)
            tokens = v.flip(1) if k % 2 else v
            logdet = logdet - scale.mean(dim=[1, 2])
        return tokens, logdet

    def loss(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """The training objective."""
        z, logdet = self.forward(x, labels)
        return 0.5 * z.pow(2).mean() - logdet.mean()

    def log_prob(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """log p(x) in nats, summed over dimensions, at unit prior variance."""
        z, logdet = self.forward(x, labels)
        half_log_2pi = 0.5 * math.log(2.0 * math.pi)
        return self.config.dimensions * (logdet - half_log_2pi - 0.5 * z.pow(2).mean(dim=[1, 2]))

    @torch.no_grad()
    def sample(
        self,
        noise: Tensor,
        labels: Tensor | None = None,
        guidance: float = 0.0,
        what: str = "ab",
        tau: float = 1.0,
        linear: bool = False,
    ) -> Tensor:
        """Noise (b, T, D) to images, token by token."""
        x = noise * self.flow.var.sqrt()
        for k in reversed(range(self.config.blocks)):
            x = x.flip(1) if k % 2 else x.clone()
            table = self.flow.blocks[k].pos_embed
            positions = table.flip(0) if k % 2 else table
            with_label = [Memory() for _ in range(self.config.layers)]
            without = [Memory() for _ in range(self.config.layers)]
            steps = self.config.tokens - 1
            for i in range(steps):
                token, position = x[:, i : i + 1], positions[i : i + 1]
                scale, shift = self.network(k, token, position, labels, memories=with_label)
                if guidance > 0:
                    scale_u, shift_u = self.network(k, token, position, None, tau=tau, memories=without)
                    weight = guidance * (i + 1) / steps if linear else guidance
                    if "a" in what:
                        scale = scale + weight * (scale - scale_u)
                    if "b" in what:
                        shift = shift + weight * (shift - shift_u)
                x[:, i + 1] = x[:, i + 1] * scale[:, 0].float().exp().type(scale.dtype) + shift[:, 0]
            x = x.flip(1) if k % 2 else x
        return self.flow.unpatchify(x)
