"""Reading published STARFlow checkpoints (apple/ml-starflow's names)."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from tenfold.errors import UsageError
from tenfold.hub.checkpoints import check_finite, read_state_dict
from tenfold.hub.tensors import differences, renamed
from tenfold.nn.config import LayerConfig
from tenfold.starflow.config import StarFlowConfig
from tenfold.starflow.model import StarFlow

# published name -> ours; everything else is named alike
_RENAMES = (
    ("attn_blocks.", "layers."),
    (".sos_embed", ".start"),
    (".proj_txt.", ".text_in."),
    (".mlp.main.0.", ".mlp.up."),
    (".mlp.main.2.", ".mlp.down."),
    (".mlp.gate_proj.", ".mlp.gate."),
    (".mlp.up_proj.", ".mlp.up."),
    (".mlp.down_proj.", ".mlp.down."),
)
# Buffers that the published program calls deprecated, and a denoiser of video models that is no part of the flow.
_IGNORED = re.compile(r"(blocks\.\d+\.attn_mask|var|feat_rope(_gen)?\..*|learnable_self_denoiser\..*)")


def rename(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A published state dict under our names, without ignorable buffers and wrapper prefixes."""
    return renamed(published, _RENAMES, _IGNORED, r"blocks\.\d+\.")


@dataclass(frozen=True)
class PublishedGeometry:
    """What the tensors of a published checkpoint do not tell; the defaults are the published 256-pixel models'.

    Attributes:
        channels: channels of a latent.
        side: tokens along a side of the training grid; None takes it from the checkpoint's buffers, else 32.
        head_size: width of an attention head.
        text_tokens: most tokens of a text; None takes it from the checkpoint's buffers, else 128.
        order: "L2R" reverses the blocks with even indices, "R2L" those with odd ones.
        soft_clip: bound of the network's outputs; 0 for none.
        scale: map from outputs to scales.
        rotary: layout of the rotary pairs.
        positions: of the deep block, on the grid or on a line.
    """

    channels: int = 4
    side: int | None = None
    head_size: int = 64
    text_tokens: int | None = None
    order: Literal["L2R", "R2L"] = "L2R"
    soft_clip: float = 4.0
    scale: Literal["softplus", "exp"] = "softplus"
    rotary: Literal["interleaved", "half"] = "interleaved"
    positions: Literal["grid", "line"] = "grid"


def infer_config(published: Mapping[str, Tensor], given: PublishedGeometry) -> StarFlowConfig:
    """The geometry of a published state dict.

    From the tensors: token size, blocks, layers, widths, feed-forward kind, norms, biases, numbers of heads,
    start token, final norm, text width, which blocks see the text; the rest is ``given``.

    Raises UsageError when the tensors do not belong to a STARFlow or do not fit what is given."""
    channels, side, text_tokens = given.channels, given.side, given.text_tokens
    state = rename(published)
    numbers = sorted({int(n.split(".")[1]) for n in state if re.match(r"blocks\.\d+\.", n)})
    needed = [f"blocks.{k}.{n}" for k in numbers for n in ("proj_in.weight", "proj_out.weight")]
    needed += [f"blocks.{k}.layers.0.attention.qkv.weight" for k in numbers]
    missing = [n for n in needed if n not in state]
    if not numbers or missing:
        shown = ", ".join(sorted(state)[:3]) or "nothing"
        raise UsageError(
            "this is no STARFlow checkpoint: expected blocks.0.proj_in.weight, blocks.0.attn_blocks..., "
            f"{'missing ' + missing[0] if missing else 'found ' + shown}"
        )
    if any(n.endswith(".pos_embed") for n in state):
        raise UsageError(
            "this checkpoint has learned position tables (pos_embed), as TarFlows have; convert it with "
            "'tenfold convert tarflow'"
        )
    last = numbers[-1]
    dim = state["blocks.0.proj_in.weight"].shape[1]
    patch = math.isqrt(dim // channels) if dim % channels == 0 else 0
    if patch < 1 or channels * patch**2 != dim:
        raise UsageError(
            f"tokens of {dim} numbers are no square patch of {channels} channels; give the number of latent channels"
        )
    text = state.get(f"blocks.{last}.text_in.weight")
    if side is None:
        stored = next((t for n, t in published.items() if n == "var" or n.endswith(".var")), None)
        side = math.isqrt(stored.shape[0]) if stored is not None else 32
    if text_tokens is None:
        table = next((t for n, t in published.items() if n.endswith("feat_rope.freqs_cos")), None)
        text_tokens = int(table.shape[0]) - side**2 if table is not None else 128
    return StarFlowConfig(
        shape=(channels, side * patch, side * patch),
        patch=patch,
        layers=tuple(
            1 + max(int(n.split(".")[3]) for n in state if n.startswith(f"blocks.{k}.layers.")) for k in numbers
        ),
        shallow=_layer(state, 0, given.head_size, given.rotary),
        deep=_layer(state, last, given.head_size, given.rotary),
        order=given.order,
        start_token="blocks.0.start" in state,
        scale=given.scale,
        soft_clip=given.soft_clip,
        final_norm="blocks.0.final_norm.weight" in state,
        text_tokens=text_tokens if text is not None else 0,
        text_dim=text.shape[1] if text is not None else 0,
        condition="all" if last and "blocks.0.text_in.weight" in state else "top",
        deep_positions=given.positions,
    )


def _layer(state: Mapping[str, Tensor], block: int, head_size: int, rotary: str) -> LayerConfig:
    first = f"blocks.{block}.layers.0."
    queries = state[f"{first}attention.proj.weight"].shape[1]
    width = state[f"blocks.{block}.proj_in.weight"].shape[0]
    if f"{first}attention.query_norm.weight" in state:
        head_size = state[f"{first}attention.query_norm.weight"].shape[0]
    both = state[f"{first}attention.qkv.weight"].shape[0] - queries
    if queries % head_size or both % (2 * head_size):
        raise UsageError(
            f"block {block} has {queries} query and {both // 2} key coordinates, no multiples of head_size "
            f"{head_size}; give the right one"
        )
    heads, kv_heads = queries // head_size, both // (2 * head_size)
    return LayerConfig(
        width=width,
        head_size=head_size,
        heads=0 if heads * head_size == width else heads,
        kv_heads=0 if kv_heads == heads else kv_heads,
        expansion=state[f"{first}mlp.up.weight"].shape[0] / width,
        norm="layer" if f"{first}attention.norm.bias" in state else "rms",
        feed_forward="swiglu" if f"{first}mlp.gate.weight" in state else "gelu",
        bias=f"{first}attention.qkv.bias" in state,
        qk_norm=f"{first}attention.query_norm.weight" in state,
        post_norm=f"{first}attention.post_norm.weight" in state,
        rotary=rotary,  # type: ignore[arg-type]
    )


def load_published(published: Mapping[str, Tensor], **geometry: Any) -> StarFlow:
    """A STARFlow with the weights of a published state dict; ``geometry`` are fields of ``PublishedGeometry``.

    The null text of a text model is not in a checkpoint: give the encoding of the empty text to
    ``set_null_text``. Strict: raises UsageError that lists missing, unknown or mis-shaped tensors and the inferred
    geometry."""
    config = infer_config(published, PublishedGeometry(**geometry))
    state = rename(published)
    with torch.device("meta"):
        flow = StarFlow(config)
    if config.text_tokens:
        state.setdefault("null_text", torch.full((config.text_tokens, config.text_dim), torch.nan))
    if problems := differences(state, flow.state_dict()):
        raise UsageError(f"the checkpoint does not fit the inferred {config}: {problems}")
    check_finite({name: tensor for name, tensor in state.items() if name != "null_text"}, "the checkpoint")
    flow = StarFlow(config)
    flow.load_state_dict(state)
    return flow


def read_published(path: str | Path, geometry: PublishedGeometry | None = None) -> StarFlow:
    """``load_published`` of a ``.pth`` or ``.safetensors`` file; pickled objects other than tensors are refused, and
    so is a folder of torch's distributed checkpoint, whose index is a pickle.

    Args:
        path: the file.
        geometry: what the tensors do not tell."""
    if (Path(path) / ".metadata").exists():
        raise UsageError(
            f"{path} is a distributed checkpoint, whose index is a pickle that could run code; make one file of it "
            f"with 'python -m torch.distributed.checkpoint.format_utils dcp_to_torch {path} FILE.pth' and convert that"
        )
    given = PublishedGeometry() if geometry is None else geometry
    return load_published(read_state_dict(path), **vars(given))
