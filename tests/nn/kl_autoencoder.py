"""The KL autoencoder of Stable Diffusion written a second time, from its published tensors' names: plain functions
of a state dict, one image at a time, with loops where the network has modules."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

State = dict[str, Tensor]


def norm(state: State, name: str, x: Tensor, groups: int) -> Tensor:
    """Group normalisation, by hand: mean and biased variance over a group of channels and all positions."""
    b, c, h, w = x.shape
    parts = x.reshape(b, groups, -1)
    center = parts.mean(dim=2, keepdim=True)
    spread = ((parts - center) ** 2).mean(dim=2, keepdim=True)
    x = ((parts - center) / (spread + 1e-6).sqrt()).reshape(b, c, h, w)
    return x * state[f"{name}.weight"].view(1, -1, 1, 1) + state[f"{name}.bias"].view(1, -1, 1, 1)


def conv(state: State, name: str, x: Tensor, stride: int = 1, padding: int = 1) -> Tensor:
    weight = state[f"{name}.weight"]
    return F.conv2d(x, weight, state[f"{name}.bias"], stride, padding if weight.shape[-1] == 3 else 0)


def silu(x: Tensor) -> Tensor:
    return x * torch.sigmoid(x)


def residual(state: State, name: str, x: Tensor, groups: int) -> Tensor:
    h = conv(state, f"{name}.conv1", silu(norm(state, f"{name}.norm1", x, groups)))
    h = conv(state, f"{name}.conv2", silu(norm(state, f"{name}.norm2", h, groups)))
    if f"{name}.conv_shortcut.weight" in state:
        x = conv(state, f"{name}.conv_shortcut", x)
    return x + h


def attention(state: State, name: str, x: Tensor, groups: int) -> Tensor:
    b, c, h, w = x.shape
    tokens = norm(state, f"{name}.group_norm", x, groups).reshape(b, c, h * w).transpose(1, 2)
    q, k, v = (tokens @ state[f"{name}.to_{n}.weight"].T + state[f"{name}.to_{n}.bias"] for n in "qkv")
    mixed = torch.softmax(q @ k.transpose(1, 2) / math.sqrt(c), dim=-1) @ v
    mixed = mixed @ state[f"{name}.to_out.0.weight"].T + state[f"{name}.to_out.0.bias"]
    return x + mixed.transpose(1, 2).reshape(b, c, h, w)


def middle(state: State, name: str, x: Tensor, groups: int) -> Tensor:
    x = residual(state, f"{name}.resnets.0", x, groups)
    if f"{name}.attentions.0.to_q.weight" in state:
        x = attention(state, f"{name}.attentions.0", x, groups)
    return residual(state, f"{name}.resnets.1", x, groups)


def level(state: State, name: str, x: Tensor, groups: int) -> Tensor:
    layer = 0
    while f"{name}.resnets.{layer}.norm1.weight" in state:
        x = residual(state, f"{name}.resnets.{layer}", x, groups)
        layer += 1
    return x


def moments(state: State, x: Tensor, levels: int, groups: int) -> Tensor:
    """Images (b, c, h, w) to (mean | log variance)."""
    x = conv(state, "encoder.conv_in", x)
    for i in range(levels):
        x = level(state, f"encoder.down_blocks.{i}", x, groups)
        if i < levels - 1:
            below = torch.zeros(*x.shape[:2], 1, x.shape[3], dtype=x.dtype)
            x = torch.cat([x, below], dim=2)
            x = torch.cat([x, torch.zeros(*x.shape[:3], 1, dtype=x.dtype)], dim=3)
            x = conv(state, f"encoder.down_blocks.{i}.downsamplers.0.conv", x, stride=2, padding=0)
    x = middle(state, "encoder.mid_block", x, groups)
    x = conv(state, "encoder.conv_out", silu(norm(state, "encoder.conv_norm_out", x, groups)))
    return conv(state, "quant_conv", x) if "quant_conv.weight" in state else x


def decoded(state: State, z: Tensor, levels: int, groups: int) -> Tensor:
    """Unscaled latents to images."""
    x = conv(state, "post_quant_conv", z) if "post_quant_conv.weight" in state else z
    x = middle(state, "decoder.mid_block", conv(state, "decoder.conv_in", x), groups)
    for i in range(levels):
        x = level(state, f"decoder.up_blocks.{i}", x, groups)
        if i < levels - 1:
            x = x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
            x = conv(state, f"decoder.up_blocks.{i}.upsamplers.0.conv", x)
    return conv(state, "decoder.conv_out", silu(norm(state, "decoder.conv_norm_out", x, groups)))
