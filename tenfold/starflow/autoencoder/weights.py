"""Reading autoencoders: tenfold's own folders, diffusers' AutoencoderKL, and the original latent-diffusion names."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from tenfold import hub
from tenfold.errors import UsageError
from tenfold.files import read_json
from tenfold.hub.checkpoints import tensor_index
from tenfold.hub.fetch import model_folder
from tenfold.hub.tensors import unwrapped
from tenfold.nn.autoencoder import Autoencoder
from tenfold.nn.autoencoder_config import AutoencoderConfig

_STEM = "diffusion_pytorch_model"
_FILES = (f"{_STEM}.safetensors", f"{_STEM}.fp16.safetensors", f"{_STEM}.bin")
_SHARDS = f"{_STEM}.safetensors.index.json"
# What a whole latent-diffusion checkpoint has in front of its autoencoder's names.
_FIRST_STAGE = "first_stage_model."
# What the original training code saved beside the autoencoder: its discriminator and perceptual network.
_TRAINING_ONLY = "loss."

# Earlier diffusers -> diffusers
_LEGACY = (
    (r"(\.attentions\.\d+)\.query\.", r"\1.to_q."),
    (r"(\.attentions\.\d+)\.key\.", r"\1.to_k."),
    (r"(\.attentions\.\d+)\.value\.", r"\1.to_v."),
    (r"(\.attentions\.\d+)\.proj_attn\.", r"\1.to_out.0."),
)
# Original latent diffusion -> diffusers; the levels of the decoder are counted from the image there.
_ORIGINAL = (
    (r"^encoder\.down\.(\d+)\.block\.", r"encoder.down_blocks.\1.resnets."),
    (r"^encoder\.down\.(\d+)\.downsample\.", r"encoder.down_blocks.\1.downsamplers.0."),
    (r"^decoder\.up\.(\d+)\.block\.", r"decoder.up_blocks.\1.resnets."),
    (r"^decoder\.up\.(\d+)\.upsample\.", r"decoder.up_blocks.\1.upsamplers.0."),
    (r"\.mid\.block_1\.", r".mid_block.resnets.0."),
    (r"\.mid\.block_2\.", r".mid_block.resnets.1."),
    (r"\.mid\.attn_1\.norm\.", r".mid_block.attentions.0.group_norm."),
    (r"\.mid\.attn_1\.([qkv])\.", r".mid_block.attentions.0.to_\1."),
    (r"\.mid\.attn_1\.proj_out\.", r".mid_block.attentions.0.to_out.0."),
    (r"\.nin_shortcut\.", r".conv_shortcut."),
    (r"^(encoder|decoder)\.norm_out\.", r"\1.conv_norm_out."),
)
_OTHER_FAMILIES = (
    ("VQModel", r"^quantize\."),
    ("AutoencoderTiny", r"^(encoder|decoder)\.layers\.\d"),
    ("AutoencoderKLTemporalDecoder", r"^decoder\.time_conv_out\."),
    ("AsymmetricAutoencoderKL", r"^decoder\.condition_encoder\."),
    ("AutoencoderDC", r"^encoder\.down_blocks\.\d+\.\d+\."),
)


def load_autoencoder(source: str | os.PathLike[str]) -> Autoencoder:
    """The autoencoder in a model folder, a run folder, a folder or file of ``read_autoencoder``, or a hub
    repository of either kind, in evaluation mode.

    Raises UsageError for anything else."""
    here = Path(source)
    if here.is_file():
        return read_autoencoder(here)
    found = _folder(model_folder(here) if here.is_dir() else source)
    values = read_json(found / hub.CONFIG) if (found / hub.CONFIG).is_file() else {}
    if "model_type" in values or hub.OURS in values:
        return Autoencoder.from_pretrained(found)
    return read_autoencoder(found)


def read_autoencoder(
    source: str | os.PathLike[str],
    scale_factor: float | None = None,
    shift_factor: float | None = None,
    norm_groups: int | None = None,
) -> Autoencoder:
    """The autoencoder of a published checkpoint, strictly, in evaluation mode.

    Args:
        source: a folder or hub repository in the diffusers layout (its ``vae`` sub-folder, if it has one), or a
            file of weights (``.safetensors``, or a pickle of tensors alone) under diffusers' or the original
            latent-diffusion names; a ``config.json`` beside the file is heeded.
        scale_factor: what latents are multiplied by; needed where no ``config.json`` tells it.
        shift_factor: what is subtracted before; 0 where nobody tells.
        norm_groups: groups of the normalisation layers, which no tensor tells; 32, as published, where nobody
            tells.

    Raises:
        UsageError: another kind of model (named), a configuration that is not supported, and missing, extra or
            mis-shaped tensors (listed).
        TenfoldError: the hub cannot be reached.
    """
    path = Path(source)
    if not path.is_file():
        folder = _folder(source)
        path = next((folder / name for name in (*_FILES, _SHARDS) if (folder / name).is_file()), folder)
        if path == folder:
            raise UsageError(f"{folder} holds no weights: none of {', '.join((*_FILES, _SHARDS))}")
    beside = path.parent / hub.CONFIG
    values = read_json(beside) if beside.is_file() else None
    given = {"scale_factor": scale_factor, "shift_factor": shift_factor, "norm_groups": norm_groups}
    settings: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if values is not None:
        settings = {**config_of_diffusers(values, str(beside)), **settings}
    state = rename(_tensors(path))
    refuse_other_families(state, str(path))
    if values is None:
        settings = {"norm_groups": 32, **geometry_of(state, str(path)), **settings}
        if scale_factor is None:
            raise UsageError(
                f"{path} has no {hub.CONFIG} beside it that tells the scale of its latents; give the scale factor "
                "(0.18215 for Stable Diffusion 1 and 2, 0.13025 for XL)"
            )
    try:
        config = AutoencoderConfig(**settings)
    except (UsageError, TypeError) as error:
        raise UsageError(f"{path if values is None else beside}: {error}") from None
    model = Autoencoder(config)
    hub.load_strict(model, state, f"{path}, read as {config},")
    return model.eval()


def _tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file, or of the shards that a list names."""
    if path.name != _SHARDS:
        return hub.read_state_dict(path)
    files = sorted({file for file, _ in tensor_index(path.parent).values()})
    return {name: tensor for file in files for name, tensor in hub.read_state_dict(file).items()}


def rename(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A published state dict under our names (diffusers' present ones), attention weights as matrices, without
    wrapper prefixes and what only training needs."""
    names = unwrapped(published, r"(first_stage_model|encoder|decoder|quantize)\.")
    if any(name.startswith(_FIRST_STAGE) for name in names):  # the rest of the file is other networks
        names = {n.removeprefix(_FIRST_STAGE): t for n, t in names.items() if n.startswith(_FIRST_STAGE)}
    original = any(re.match(r"(encoder\.down|decoder\.up)\.\d", name) for name in names)
    levels = 1 + max((int(m[1]) for n in names if (m := re.match(r"decoder\.up\.(\d+)\.", n))), default=0)
    state = {}
    for name, tensor in names.items():
        if original and name.startswith(_TRAINING_ONLY):
            continue
        for old, new in (*_LEGACY, *(_ORIGINAL if original else ())):
            name = re.sub(old, new, name)
        if original:
            name = re.sub(r"^(decoder\.up_blocks)\.(\d+)", lambda m: f"{m[1]}.{levels - 1 - int(m[2])}", name)
        if re.search(r"\.attentions\.\d+\.to_.*weight$", name) and tensor.ndim == 4:
            tensor = tensor.flatten(1)  # a 1x1 convolution
        state[name] = tensor
    return state


def config_of_diffusers(values: Any, source: str) -> dict[str, Any]:
    """The fields of ``AutoencoderConfig`` in diffusers' ``config.json``.

    Raises UsageError for another class, which it names, and for variants that we do not have."""
    kind = values.get("_class_name") if isinstance(values, dict) else None
    if kind != "AutoencoderKL":
        what = f"is of class {kind}" if kind else "is not from diffusers (it has no '_class_name')"
        raise UsageError(f"{source} {what}; only AutoencoderKL, Stable Diffusion's kind, can be read")
    widths = values.get("block_out_channels", [64])
    expected = {
        "act_fn": ("silu",),
        "down_block_types": (["DownEncoderBlock2D"] * len(widths),),
        "up_block_types": (["UpDecoderBlock2D"] * len(widths),),
        "out_channels": (values.get("in_channels", 3),),
        "use_post_quant_conv": (values.get("use_quant_conv", True),),
        "latents_mean": (None,),
        "latents_std": (None,),
    }
    for name, known in expected.items():
        if name in values and values[name] not in known:
            raise UsageError(f"{source} has {name} {values[name]}; only {known[0]} can be read")
    scale, shift = values.get("scaling_factor", 0.18215), values.get("shift_factor") or 0.0
    for name, value in (("scaling_factor", scale), ("shift_factor", shift)):
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise UsageError(f"{source} has {name} {value!r}; expected a number")
    # Absent fields have the defaults of diffusers' class.
    return {
        "channels": values.get("in_channels", 3),
        "latent_channels": values.get("latent_channels", 4),
        "widths": tuple(widths),
        "layers_per_block": values.get("layers_per_block", 1),
        "norm_groups": values.get("norm_num_groups", 32),
        "mid_attention": values.get("mid_block_add_attention", True),
        "quant_convs": values.get("use_quant_conv", True),
        "scale_factor": float(scale),
        "shift_factor": float(shift),
    }


def geometry_of(state: Mapping[str, Tensor], source: str) -> dict[str, Any]:
    """The geometry of a renamed state dict, as far as shapes tell it: all but the groups of the norms."""
    needed = ("encoder.conv_in.weight", "encoder.conv_out.weight", "encoder.down_blocks.0.resnets.0.conv1.weight")
    if missing := [name for name in needed if name not in state]:
        raise UsageError(f"{source} is no AutoencoderKL: it lacks {missing[0]}; it has {', '.join(sorted(state)[:3])}")
    layers = [m for n in state if (m := re.fullmatch(r"encoder\.down_blocks\.(\d+)\.resnets\.(\d+)\.conv1\.weight", n))]
    levels = 1 + max(int(m[1]) for m in layers)
    first = [f"encoder.down_blocks.{k}.resnets.0.conv1.weight" for k in range(levels)]
    if missing := [name for name in first if name not in state]:
        raise UsageError(f"{source} is no AutoencoderKL: it lacks {missing[0]}")
    return {
        "channels": state["encoder.conv_in.weight"].shape[1],
        "latent_channels": state["encoder.conv_out.weight"].shape[0] // 2,
        "widths": tuple(state[name].shape[0] for name in first),
        "layers_per_block": 1 + max(int(m[2]) for m in layers),
        "mid_attention": any(".mid_block.attentions." in name for name in state),
        "quant_convs": "quant_conv.weight" in state,
    }


def refuse_other_families(state: Mapping[str, Tensor], source: str) -> None:
    """Raise UsageError, naming the family, for tensors that belong to another kind of autoencoder."""
    for family, pattern in _OTHER_FAMILIES:
        if any(re.search(pattern, name) for name in state):
            raise UsageError(
                f"{source} has weights of class {family}; only AutoencoderKL, Stable Diffusion's kind, can be read"
            )
    if any(tensor.ndim == 5 for tensor in state.values()):
        raise UsageError(f"{source} holds 3-D convolutions of a video autoencoder; only AutoencoderKL can be read")


def _folder(source: str | os.PathLike[str]) -> Path:
    """The folder of the autoencoder in a local folder or a hub repository: itself, or its part ``vae``."""
    places = ("", "vae/")
    names = (hub.CONFIG, hub.WEIGHTS, *_FILES[:2], _SHARDS, f"{_STEM}-*-of-*.safetensors")
    wanted = [f"{place}{name}" for place in places for name in names]
    folder = hub.resolve(source, wanted=wanted)
    if not Path(source).is_dir() and not any(
        (folder / p / f).is_file() for p in places for f in (hub.WEIGHTS, *_FILES, _SHARDS)
    ):
        folder = hub.resolve(source, wanted=[*wanted, *(f"{place}{_FILES[2]}" for place in places)])
    own = any((folder / name).is_file() for name in (hub.CONFIG, *_FILES, _SHARDS))
    return folder / "vae" if not own and (folder / "vae").is_dir() else folder
