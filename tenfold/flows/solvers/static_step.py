"""One token at a time with static shapes, for GPUs: compiled once, replayed as a CUDA graph.

A step there is bound by kernel launches, so nothing may depend on how many tokens are cached: the position
is a tensor, attention reads the whole cache under a mask, and the caches are buffers whose addresses never
change.
"""

from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tenfold.flows.block import Context, FlowBlock, images_before
from tenfold.flows.chain import ChainNetwork
from tenfold.flows.solvers.stepping import Step, constants, plain_layers, stepper
from tenfold.nn.attention import KeyValueCache
from tenfold.nn.rotary import rotate
from tenfold.nn.transformer import TransformerLayer


class StaticStep(nn.Module):
    """(a, m) of the block = step(slot (rows, D), position (1,), offset (rows, width), heat (rows,)).

    ``offset`` is what is added for each row's condition (zeros for none), ``heat`` the reciprocal attention
    temperature; ``before`` counts the tokens of a context, whose keys and values ``take`` copies in, and ``images``
    the images in it."""

    def __init__(
        self, block: FlowBlock, layers: list[TransformerLayer], rows: int, before: int = 0, images: int = 0
    ) -> None:
        super().__init__()
        self.block, self.layers, self.before = block, layers, before
        weight = block.proj_in.weight
        attention = layers[0].attention
        steps = max(block.steps, 1)
        shape = (rows, attention.heads, before + steps, attention.head_size)
        for number in range(len(layers)):
            # Zeros, not garbage: slots ahead are masked, but 0 · NaN is NaN.
            self.register_buffer(f"keys{number}", torch.zeros(shape, dtype=weight.dtype, device=weight.device))
            self.register_buffer(f"values{number}", torch.zeros(shape, dtype=weight.dtype, device=weight.device))
        self.register_buffer("reach", torch.arange(before + steps, device=weight.device))
        rotary = block.rotary(0, steps, images)
        self.register_buffer("rotary", weight.new_zeros(0) if rotary is None else rotary)

    def take(self, caches: list[KeyValueCache]) -> None:
        """Copy the committed context of the block's caches."""
        for number, cache in enumerate(caches):
            self.get_buffer(f"keys{number}")[:, :, : self.before] = cache.keys[:, :, : self.before]
            self.get_buffer(f"values{number}")[:, :, : self.before] = cache.values[:, :, : self.before]

    def forward(
        self, slot: Tensor, position: Tensor, added: Tensor, offset: Tensor, heat: Tensor
    ) -> tuple[Tensor | None, Tensor]:
        """Reads the slot at ``position`` and caches its keys and values."""
        block, place = self.block, self.before + position
        h = F.linear(slot, block.proj_in.weight) + added.index_select(0, position) + offset
        mask = (self.get_buffer("reach") <= place).view(1, 1, 1, -1)
        table = self.get_buffer("rotary")
        rotary = table.index_select(1, position) if table.numel() else None
        for number, layer in enumerate(self.layers):
            keys, values = self.get_buffer(f"keys{number}"), self.get_buffer(f"values{number}")
            part = layer.attention
            qkv = part.qkv(part.norm(h)).view(h.shape[0], 3, part.heads, 1, part.head_size)
            queries, new_keys, new_values = qkv.unbind(1)
            if rotary is not None and part.layout != "none":
                queries, new_keys = rotate(queries, rotary, part.layout), rotate(new_keys, rotary, part.layout)
            keys.index_copy_(2, place, new_keys)
            values.index_copy_(2, place, new_values)
            queries = queries * heat.view(-1, 1, 1, 1)
            out = F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
            h = h + part.proj(out.reshape(h.shape))
            h = h + layer.mlp(h)
        return block.head(h)


# Compiling takes far longer than sampling, so that compiled steps are kept, those of a few flows at most.
@lru_cache(maxsize=64)
def _static_step(block: FlowBlock, rows: int, before: int, images: int, compile: bool) -> StaticStep:
    # Normal tensors, also within inference mode: the buffers outlive this sampling run.
    with torch.inference_mode(False), torch.no_grad():
        static = StaticStep(block, plain_layers(block), rows, before, images)
        if compile:
            static.compile(mode="reduce-overhead", fullgraph=True)
    return static


def compiled_stepper(net: ChainNetwork, compile: bool = True) -> Step:
    """``tenfold.flows.solvers.stepping.stepper`` by a compiled static step; other blocks than plain ones get the
    former.

    ``compile`` False runs the same computation uncompiled (tests)."""
    block, rows = net.block, net.branch_rows
    if net.committed or not plain_layers(block):
        return stepper(net)
    like = block.proj_in.weight
    context = net.condition.vectors.shape[1] if isinstance(net.condition, Context) else 0
    static = _static_step(block, rows, context, images_before(net.condition), compile)
    static.take(net.caches)
    added = constants(block)
    offset = like.new_zeros(rows, like.shape[0])
    if isinstance(net.condition, Tensor):
        offset = net.condition[:, 0].to(like.dtype)
    heat = like.new_ones(rows)
    if isinstance(net.temperature, Tensor):
        heat = net.temperature.to(like.dtype).reciprocal()
    index = torch.zeros(1, dtype=torch.int64, device=like.device)

    def step(slot: Tensor, j: int) -> tuple[Tensor | None, Tensor]:
        if net.guidance is not None:
            slot = torch.cat((slot, slot))
        index.fill_(j)
        net.count(1)
        return net.guide(static(slot, index, added, offset, heat), j, 1)

    return step
