"""One token at a time, with as few kernels as possible: the inner loop of sequential sampling.

A step of a small batch is bound by the number of kernels, by the layout of the weights and by reading the
key-value cache, not by arithmetic. So the weights are transposed once, the queries' scale is folded into
their weights, keys and values are written in one copy, and every view is made before the loop.
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from tenfold.flows.block import FlowBlock, images_before
from tenfold.flows.chain import ChainNetwork
from tenfold.nn.attention import KeyValueCache
from tenfold.nn.norm import LayerNorm
from tenfold.nn.transformer import TransformerLayer

Step = Callable[[Tensor, int], tuple[Tensor | None, Tensor]]


def stepper(net: ChainNetwork) -> Step:
    """step(slot (b, d), j) -> (a, m), each (b, d): reads slot j behind the committed ones and commits it.

    The quick form serves plain transformer layers in full precision; others go through ``evaluate``."""
    weight = net.block.proj_in.weight
    layers = plain_layers(net.block)
    full = weight.dtype in (torch.float32, torch.float64)
    if layers and full and not torch.is_autocast_enabled(weight.device.type):
        return _quick_stepper(net, layers)
    return _generic_stepper(net)


def plain_layers(block: FlowBlock) -> list[TransformerLayer]:
    """The block's layers if all are plain transformer layers, else none."""
    layers = [layer for layer in block.layers if type(layer) is TransformerLayer and layer.config.plain]
    if block.layer.rotary == "half":
        return []
    return layers if len(layers) == len(block.layers) else []


def constants(block: FlowBlock) -> Float[Tensor, "n width"]:
    """What the block adds to the linear part of each slot's embedding, but for a condition: bias and positions."""
    weight = block.proj_in.weight
    return block.embed(weight.new_zeros(1, max(block.steps, 1), weight.shape[1]), 0, None)[0]


def _generic_stepper(net: ChainNetwork) -> Step:
    def step(slot: Tensor, _: int) -> tuple[Tensor | None, Tensor]:
        log_scale, shift = net.evaluate(slot.unsqueeze(1))
        net.commit(1)
        return None if log_scale is None else log_scale[:, 0], shift[:, 0]

    return step


def _quick_stepper(net: ChainNetwork, plain: list[TransformerLayer]) -> Step:
    block, rows, guided = net.block, net.branch_rows, net.guidance is not None
    weight_in = block.proj_in.weight.t().contiguous()
    added = constants(block).unbind(0)
    condition = net.condition[:, 0] if isinstance(net.condition, Tensor) else None
    rotary = block.rotary(0, max(net.steps, 1), images_before(net.condition))
    turned = None if rotary is None else torch.complex(rotary[0], rotary[1]).unbind(0)
    layers = [_layer_step(layer, cache, rows, net.temperature) for layer, cache in zip(plain, net.caches, strict=True)]

    def step(slot: Tensor, j: int) -> tuple[Tensor | None, Tensor]:
        if guided:
            slot = torch.cat((slot, slot))
        h = torch.addmm(added[j], slot, weight_in)
        if condition is not None:
            h.add_(condition)
        turn = None if turned is None else turned[j]
        for layer in layers:
            layer(h, turn)
        net.committed += 1
        net.count(1)
        # A guidance weight per output broadcasts over (b, d) as it does over (b, n, d).
        return net.guide(block.head(h), j, 1)

    return step


def _layer_step(
    layer: TransformerLayer, cache: KeyValueCache, rows: int, temperature: float | Tensor
) -> Callable[[Tensor, Tensor | None], None]:
    """(h (rows, width), turn (head size / 2,) complex) -> None: one transformer layer in place on one new token,
    committed to the cache."""
    attention, mlp = layer.attention, layer.mlp
    heads, size, width = attention.heads, attention.head_size, attention.heads * attention.head_size
    like = attention.qkv.weight
    fold = like.new_ones(3 * width)
    fold[:width] = 1.0 / math.sqrt(size)
    weight_qkv = (attention.qkv.weight * fold.unsqueeze(1)).t().contiguous()
    bias_qkv = attention.qkv.bias * fold
    weight_proj, bias_proj = attention.proj.weight.t().contiguous(), attention.proj.bias
    weight_up, bias_up = mlp.up.weight.t().contiguous(), mlp.up.bias
    weight_down, bias_down = mlp.down.weight.t().contiguous(), mlp.down.bias

    qkv = like.new_empty(rows, 3 * width)
    by_head = qkv.view(rows, 3, heads, size)
    queries, pair = by_head[:, 0], by_head[:, 1:].transpose(0, 1)
    # The rows' queries lie 3·width apart, which no batched product takes as one stride: bmm would copy them
    # anyway, so they are gathered into their own tensor.
    gathered = like.new_empty(rows * heads, 1, size)
    gathered_by_row = gathered.view(rows, heads, size)
    heat = None if not isinstance(temperature, Tensor) else temperature.to(like).reciprocal().view(rows, 1, 1)
    keys = cache.keys.view(rows * heads, -1, size).transpose(1, 2)
    values = cache.values.view(rows * heads, -1, size)
    slots = cache.pair.unbind(3)
    mixed = like.new_empty(rows * heads, 1, size)
    mixed_by_row = mixed.view(rows, width)

    # Queries and keys as complex numbers, which a rotary position turns by one product in place.
    pairs = torch.view_as_complex(by_head[:, :2].unflatten(3, (-1, 2))) if attention.layout == "interleaved" else None

    def step(h: Tensor, turn: Tensor | None) -> None:
        torch.addmm(bias_qkv, _normalise(attention.norm, h), weight_qkv, out=qkv)
        if pairs is not None and turn is not None:
            pairs.mul_(turn)
        slots[cache.length].copy_(pair)
        cache.length = length = cache.length + 1
        if heat is None:
            gathered_by_row.copy_(queries)
        else:
            torch.mul(queries, heat, out=gathered_by_row)
        weights = torch.bmm(gathered, keys.narrow(2, 0, length)).softmax(-1)
        torch.bmm(weights, values.narrow(1, 0, length), out=mixed)
        h.addmm_(mixed_by_row, weight_proj).add_(bias_proj)
        inner = F.gelu(torch.addmm(bias_up, _normalise(mlp.norm, h), weight_up))
        h.addmm_(inner, weight_down).add_(bias_down)

    return step


def _normalise(norm: nn.Module, h: Tensor) -> Tensor:
    assert isinstance(norm, LayerNorm)
    return torch.layer_norm(h, norm.normalized_shape, norm.weight, norm.bias, norm.eps)
