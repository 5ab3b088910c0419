"""Reading checkpoints of MDLM, SEDD and UDLM, whose networks have the same names."""

import pickle
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from tenfold import hub
from tenfold.discrete_diffusion.config import DiffusionConfig
from tenfold.discrete_diffusion.networks.model import DiscreteDiffusion
from tenfold.errors import UsageError
from tenfold.hub.tensors import differences, listed, unwrapped
from tenfold.text.tokenizer import find_tokenizer

Kind = Literal["mdlm", "sedd", "udlm"]
_TURNS = "rotary_emb.inv_freq"
_FIRST = "vocab_embed.embedding"


def read_published(
    path: str | Path,
    kind: Kind = "mdlm",
    source: Literal["mask", "uniform"] = "mask",
    time: bool | None = None,
    ema: bool = True,
    heads: int = 0,
    length: int = 1024,
    tokenizer: str = "",
) -> DiscreteDiffusion:
    """A model from a checkpoint of MDLM, SEDD or UDLM: the file, a folder with ``model.safetensors``, or a hub id.

    Sizes are those of the tensors. Nothing is unpickled but tensors; a checkpoint that holds other objects must be
    saved again as its tensors.

    Args:
        path: the checkpoint.
        kind: whose it is; they share names but not what comes out of the network: probabilities given masks (mdlm),
            scores (sedd), leave-one-out probabilities given uniform noise (udlm).
        source: of the noise, of sedd.
        time: whether the network is told the noise level; as published by default (not for mdlm).
        ema: take the averaged weights where the file has them.
        heads: attention heads, where the file does not tell; 0 for width / 64.
        length: the longest sequence.
        tokenizer: folder or hub id of the tokenizer that it was trained with (openai-community/gpt2 of the published
            ones); it is copied into the model folder, and samples are then text.
    """
    tensors, averaged = _read(path)
    names = [name for name in tensors if name != _TURNS]
    turns = tensors.pop(_TURNS, None)
    config = geometry(tensors, turns, kind, source, time, heads, length)
    found = find_tokenizer(tokenizer, config.vocabulary) if tokenizer else None
    if ema and averaged is not None:
        tensors = _averaged(names, tensors, averaged, str(path))
    with torch.device("meta"):
        model = DiscreteDiffusion(config)
    expected = {name.removeprefix("network."): tensor for name, tensor in model.state_dict().items()}
    if wrong := differences(tensors, expected):
        which = " (averaged weights)" if ema and averaged is not None else ""
        raise UsageError(f"the tensors of {path}{which} do not fit a network of {kind}: {wrong}")
    model = DiscreteDiffusion(config)
    hub.check_finite(tensors, str(path))
    model.load_state_dict({f"network.{name}": tensor for name, tensor in tensors.items()})
    model.tokenizer = found
    return model.eval()


def _read(path: str | Path) -> tuple[dict[str, Tensor], Sequence[Tensor] | None]:
    """The network's tensors under their published names, in the file's order, and the averaged ones as a list."""
    file = Path(path)
    if not file.is_file():
        file = hub.resolve(path) / hub.WEIGHTS
    # Whatever is wrong with the file is said here, before it is looked into for averages.
    named = unwrapped(hub.read_state_dict(file), r"(?:vocab_embed|sigma_map|rotary_emb|blocks|output_layer)\.")
    averaged = None if file.suffix == ".safetensors" else _shadow(file)
    # "noise." is an empty parameter of the schedule.
    found = {name: tensor for name, tensor in named.items() if not name.startswith("noise.")}
    if _FIRST not in found:
        raise UsageError(
            f"{path} is no checkpoint of MDLM, SEDD or UDLM: it has no {_FIRST}; it has {listed(list(found))}"
        )
    return found, averaged


def _shadow(file: Path) -> Sequence[Tensor] | None:
    """``ema.shadow_params`` of a training checkpoint, if the file is one."""
    try:
        whole: Any = torch.load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError):  # no pickle, so that there is nothing besides the weights
        return None
    average = whole.get("ema") if isinstance(whole, dict) else None
    shadow = average.get("shadow_params") if isinstance(average, dict) else None
    return shadow if isinstance(shadow, list) else None


def _averaged(
    names: Sequence[str], tensors: Mapping[str, Tensor], averaged: Sequence[Tensor], path: str
) -> dict[str, Tensor]:
    """The averaged weights, which are stored without names, in the order of the parameters."""
    rest = averaged[len(names) :]
    shapes = all(a.shape == tensors[name].shape for name, a in zip(names, averaged, strict=False))
    if len(averaged) < len(names) or not shapes or any(a.numel() > 1 for a in rest):
        raise UsageError(
            f"the {len(averaged)} averaged weights of {path} do not match its {len(names)} parameters; read the others "
            "with --ema false"
        )
    return dict(zip(names, averaged, strict=False))


def geometry(
    tensors: Mapping[str, Tensor],
    turns: Tensor | None,
    kind: Kind,
    source: Literal["mask", "uniform"],
    time: bool | None,
    heads: int,
    length: int,
) -> DiffusionConfig:
    """The configuration that tensors under the published names have.

    Raises UsageError for tensors of another network, and for heads that do not divide its width."""
    if kind not in ("mdlm", "sedd", "udlm"):
        raise UsageError(f"kind is {kind!r}; choose mdlm, sedd or udlm")
    needed = ("blocks.0.mlp.0.weight", "sigma_map.mlp.2.weight")
    if missing := [name for name in needed if name not in tensors]:
        raise UsageError(f"this is no network of {kind}: it lacks {', '.join(missing)}")
    states, width = tensors[_FIRST].shape
    blocks = {int(found[1]) for name in tensors if (found := re.match(r"blocks\.(\d+)\.", name))}
    if turns is not None:
        heads = width // (2 * len(turns))
        standard = 1e4 ** -(torch.arange(len(turns), dtype=torch.float64) / len(turns))
        if not torch.allclose(turns.double(), standard, rtol=1e-4):
            raise UsageError("the checkpoint's rotary frequencies are not powers of 10000; it is another network")
    noise: Literal["mask", "uniform"] = "uniform" if kind == "udlm" else "mask" if kind == "mdlm" else source
    return DiffusionConfig(
        vocabulary=states - (noise == "mask"),
        source=noise,
        view="posterior" if noise == "mask" else "leave_one_out",
        output="scores" if kind == "sedd" else "probabilities",
        network="dit",
        width=width,
        layers=len(blocks),
        heads=heads or max(1, width // 64),
        intermediate=tensors["blocks.0.mlp.0.weight"].shape[0],
        length=length,
        time=kind != "mdlm" if time is None else time,
        condition_width=tensors["sigma_map.mlp.2.weight"].shape[0],
        schedule="geometric" if kind == "sedd" and noise == "uniform" else "linear",
        epsilon=1e-3,
    )
