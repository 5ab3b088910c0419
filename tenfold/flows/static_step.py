"""One token at a time with static shapes, for GPUs: compiled once, replayed as a CUDA graph.

A step there is bound by kernel launches, so nothing may depend on how many tokens are cached: the position
is a tensor, attention reads the whole cache under a mask, and the caches are buffers whose addresses never
change.
"""

from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from tenfold.flows.block import FlowBlock
from tenfold.flows.chain import ChainNetwork
from tenfold.flows.stepping import Step, plain_layers, stepper
from tenfold.nn import TransformerLayer


class StaticStep(nn.Module):
    """out (rows, 2 D) = step(slot (rows, D), position (1,), offset (rows, width), heat (rows,)).

    ``offset`` is the condition of each row (zeros for none), ``heat`` the reciprocal attention
    temperature."""

    def __init__(self, block: FlowBlock, layers: list[TransformerLayer], rows: int) -> None:
        super().__init__()
        self.block, self.layers = block, layers
        weight = block.proj_in.weight
        attention = layers[0].attention
        shape = (rows, attention.heads, max(block.steps, 1), attention.head_size)
        for number in range(len(layers)):
            # Zeros, not garbage: slots ahead are masked, but 0 · NaN is NaN.
            self.register_buffer(f"keys{number}", torch.zeros(shape, dtype=weight.dtype, device=weight.device))
            self.register_buffer(f"values{number}", torch.zeros(shape, dtype=weight.dtype, device=weight.device))
        self.register_buffer("reach", torch.arange(max(block.steps, 1), device=weight.device))

    def forward(self, slot: Tensor, position: Tensor, offset: Tensor, heat: Tensor) -> Float[Tensor, "b out"]:
        """Reads the token at ``position`` and caches its keys and values."""
        block = self.block
        place = block.tokens - 1 - position if block.reverse else position
        h = block.proj_in(slot) + block.pos_embed.index_select(0, place) + offset
        mask = (self.get_buffer("reach") <= position).view(1, 1, 1, -1)
        for number, layer in enumerate(self.layers):
            keys, values = self.get_buffer(f"keys{number}"), self.get_buffer(f"values{number}")
            part = layer.attention
            qkv = part.qkv(part.norm(h)).view(h.shape[0], 3, part.heads, 1, part.head_size)
            queries, new_keys, new_values = qkv.unbind(1)
            keys.index_copy_(2, position, new_keys)
            values.index_copy_(2, position, new_values)
            queries = queries * heat.view(-1, 1, 1, 1)
            out = F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
            h = h + part.proj(out.reshape(h.shape))
            h = h + layer.mlp(h)
        return block.proj_out(h)


# Compiling takes far longer than sampling, so that compiled steps are kept, those of a few flows at most.
@lru_cache(maxsize=64)
def _static_step(block: FlowBlock, rows: int, compile: bool) -> StaticStep:
    # Normal tensors, also within inference mode: the buffers outlive this sampling run.
    with torch.inference_mode(False):
        static = StaticStep(block, plain_layers(block), rows)
        if compile:
            static.compile(mode="reduce-overhead", fullgraph=True)
    return static


def compiled_stepper(net: ChainNetwork, compile: bool = True) -> Step:
    """``tenfold.flows.stepping.stepper`` by a compiled static step; other blocks than plain ones get the
    former.

    ``compile`` False runs the same computation uncompiled (tests)."""
    block, rows = net.block, net.branch_rows
    if net.committed or not plain_layers(block):
        return stepper(net)
    like = block.proj_in.weight
    static = _static_step(block, rows, compile)
    offset = like.new_zeros(rows, like.shape[0]) if net.condition is None else net.condition[:, 0].to(like.dtype)
    heat = like.new_ones(rows)
    if isinstance(net.temperature, Tensor):
        heat = net.temperature.to(like.dtype).reciprocal()
    index = torch.zeros(1, dtype=torch.int64, device=like.device)

    def step(slot: Tensor, j: int) -> tuple[Tensor | None, Tensor]:
        if net.guidance is not None:
            slot = torch.cat((slot, slot))
        index.fill_(j)
        net.count(1)
        return net.guide(block.split(static(slot, index, offset, heat)), j, 1)

    return step
