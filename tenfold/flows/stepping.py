"""One token at a time, with as few kernels as possible: the inner loop of sequential sampling.

A step of a small batch is bound by the number of kernels, by the layout of the weights and by reading the
key-value cache, not by arithmetic. So the weights are transposed once, the queries' scale is folded into
their weights, keys and values are written in one copy, and every view is made before the loop.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from tenfold.flows.block import FlowBlock
from tenfold.flows.chain import ChainNetwork
from tenfold.nn import KeyValueCache, LayerNorm, TransformerLayer

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
    layers = [layer for layer in block.layers if type(layer) is TransformerLayer]
    return layers if len(layers) == len(block.layers) else []


def _generic_stepper(net: ChainNetwork) -> Step:
    def step(slot: Tensor, _: int) -> tuple[Tensor | None, Tensor]:
        log_scale, shift = net.evaluate(slot.unsqueeze(1))
        net.commit(1)
        return None if log_scale is None else log_scale[:, 0], shift[:, 0]

    return step


def _quick_stepper(net: ChainNetwork, plain: list[TransformerLayer]) -> Step:
    block, rows, guided = net.block, net.branch_rows, net.guidance is not None
    weight_in = block.proj_in.weight.t().contiguous()
    positions = block.positions(0, net.steps).unbind(0)
    offset = block.proj_in.bias if net.condition is None else block.proj_in.bias + net.condition[:, 0]
    weight_out, bias_out = block.proj_out.weight.t().contiguous(), block.proj_out.bias
    layers = [_layer_step(layer, cache, rows, net.temperature) for layer, cache in zip(plain, net.caches, strict=True)]

    def step(slot: Tensor, j: int) -> tuple[Tensor | None, Tensor]:
        if guided:
            slot = torch.cat((slot, slot))
        h = torch.addmm(offset, slot, weight_in).add_(positions[j])
        for layer in layers:
            layer(h)
        net.committed += 1
        net.count(1)
        parameters = block.split(torch.addmm(bias_out, h, weight_out))
        # A guidance weight per output broadcasts over (b, d) as it does over (b, n, d).
        return net.guide(parameters, j, 1)

    return step


def _layer_step(
    layer: TransformerLayer, cache: KeyValueCache, rows: int, temperature: float | Tensor
) -> Callable[[Tensor], None]:
    """h (rows, width) -> None: one transformer layer in place on one new token, committed to the cache."""
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

    def step(h: Tensor) -> None:
        torch.addmm(bias_qkv, _normalise(attention.norm, h), weight_qkv, out=qkv)
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


def _normalise(norm: LayerNorm, h: Tensor) -> Tensor:
    return torch.layer_norm(h, norm.normalized_shape, norm.weight, norm.bias, norm.eps)
