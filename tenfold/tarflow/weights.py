"""Reading published TarFlow checkpoints (apple/ml-tarflow and retrains under the same names)."""

import math
import re
from pathlib import Path

import torch
from torch import Tensor

from tenfold.errors import UsageError
from tenfold.hub.checkpoints import check_finite, read_state_dict
from tenfold.hub.tensors import differences, renamed
from tenfold.tarflow.config import TarFlowConfig
from tenfold.tarflow.model import TarFlow

# published name -> ours; everything else is named alike
_RENAMES = (
    ("attn_blocks.", "layers."),
    (".mlp.main.0.", ".mlp.up."),
    (".mlp.main.2.", ".mlp.down."),
)
_IGNORED = re.compile(r"blocks\.\d+\.attn_mask")


def rename(published: dict[str, Tensor]) -> dict[str, Tensor]:
    """A published state dict under our names, without the attention-mask buffers and wrapper prefixes."""
    return renamed(published, _RENAMES, _IGNORED, r"blocks\.\d+\.")


def infer_config(
    state: dict[str, Tensor], channels: int | None = None, height: int | None = None, head_size: int = 64
) -> TarFlowConfig:
    """The geometry of a renamed state dict.

    Token size and number come from ``var``. The patch side is the largest p with channels·p² = D; channels are
    taken as 3, else 1, unless given. The image is square unless ``height`` (pixels) is given. Raises
    UsageError when the tensors do not belong to a TarFlow or the sizes do not fit."""
    for name, value in (("channels", channels), ("height", height), ("head_size", head_size)):
        if value is not None and value < 1:
            raise UsageError(f"{name} is {value}; give at least 1, or leave it out")
    blocks = {int(n.split(".")[1]) for n in state if n.startswith("blocks.") and n.split(".")[1].isdigit()}
    needed = [f"blocks.{k}.{n}" for k in sorted(blocks) for n in ("pos_embed", "proj_in.weight", "proj_out.weight")]
    missing = [n for n in needed if n not in state]
    if not blocks or "blocks.0.layers.0.attention.qkv.weight" not in state or missing:
        family = " (it looks like a STARFlow)" if any("sos_embed" in n for n in state) else ""
        shown = ", ".join(sorted(state)[:3])
        raise UsageError(
            f"this is no TarFlow checkpoint{family}: expected blocks.0.pos_embed, blocks.0.proj_in.weight, ...; "
            f"{'missing ' + missing[0] if missing else 'found ' + shown}"
        )
    width, dim = state["blocks.0.proj_in.weight"].shape
    tokens = state["blocks.0.pos_embed"].shape[0]
    out = state["blocks.0.proj_out.weight"].shape[0]
    layers = 1 + max(int(n.split(".")[3]) for n in state if n.startswith("blocks.0.layers."))
    class_table = state.get("blocks.0.class_embed")
    options = [channels] if channels is not None else [3, 1]
    fitting = [c for c in options if dim % c == 0 and math.isqrt(dim // c) ** 2 == dim // c]
    if not fitting:
        raise UsageError(
            f"tokens of {dim} numbers are no square patch of {' or '.join(map(str, options))} channels; "
            "give the number of channels"
        )
    patch = math.isqrt(dim // fitting[0])
    rows = math.isqrt(tokens) if height is None else height // patch
    if height is not None and height % patch:
        raise UsageError(f"height {height} is no multiple of the patch side {patch}; give the image's height in pixels")
    if rows < 1 or tokens % rows or (height is None and rows * rows != tokens):
        raise UsageError(f"{tokens} tokens of {patch}x{patch} pixels are no square image; give its height")
    return TarFlowConfig(
        shape=(fitting[0], rows * patch, tokens // rows * patch),
        patch=patch,
        width=width,
        blocks=len(blocks),
        layers=layers,
        head_size=head_size,
        expansion=state["blocks.0.layers.0.mlp.up.weight"].shape[0] // width,
        volume_preserving=out == dim,
        classes=0 if class_table is None else class_table.shape[0],
    )


def load_published(
    published: dict[str, Tensor], channels: int | None = None, height: int | None = None, head_size: int = 64
) -> TarFlow:
    """A TarFlow with the weights of a published state dict; the geometry is inferred (see ``infer_config``).

    Strict: raises UsageError that lists missing, extra or mis-shaped tensors and the inferred geometry."""
    state = rename(published)
    config = infer_config(state, channels, height, head_size)
    with torch.device("meta"):
        expected = TarFlow(config).state_dict()
    state.setdefault("var", torch.ones(config.tokens, config.token_dim))
    if wrong := differences(state, expected):
        raise UsageError(f"the checkpoint does not fit the inferred {config}: {wrong}")
    check_finite(state, "the checkpoint")
    flow = TarFlow(config)
    flow.load_state_dict(state)
    return flow


def read_published(
    path: str | Path, channels: int | None = None, height: int | None = None, head_size: int = 64
) -> TarFlow:
    """``load_published`` of a ``.pth`` or ``.safetensors`` file; pickled objects other than tensors are
    refused.

    Args:
        path: the file.
        channels: colour channels; 3, or 1, whichever fits, by default.
        height: image height in pixels; the image is square by default.
        head_size: width of an attention head, which no tensor tells."""
    return load_published(read_state_dict(path), channels, height, head_size)
