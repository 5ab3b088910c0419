"""Model folders in the Hugging Face layout, saved whole and loaded strictly.

A model class has ``model_type``, ``config_class`` (a dataclass), and ``config`` on its instances, and is
built by ``cls(config)``. Its folder holds ``config.json`` and ``model.safetensors``. A missing, extra or
mis-shaped tensor is an error that lists it.
"""

import os
import typing
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tenfold.errors import UsageError
from tenfold.files import disk_errors, plain, read_json, write_json
from tenfold.hub.checkpoints import check_finite, read_safetensors, tensor_index, write_safetensors
from tenfold.hub.fetch import CONFIG, WEIGHTS, resolve
from tenfold.hub.tensors import differences
from tenfold.runs.machine import require_weights
from tenfold.settings.checks import check_format
from tenfold.settings.values import build
from tenfold.version import __version__

FORMAT = 1
"""The newest layout of model folders, "format" in ``config.json``; one without it is of the first."""
OURS = "tenfold"
"""Key of ``config.json`` for what is ours in the folder of a network that ``transformers`` loads too."""


def save_pretrained(
    model: nn.Module,
    folder: str | os.PathLike[str],
    extra: Mapping[str, Any] | None = None,
    *,
    foreign: Mapping[str, Any] | None = None,
    weights: str = WEIGHTS,
) -> None:
    """Write ``config.json`` and ``model.safetensors``, each whole or not at all.

    Args:
        model: an instance of a model class as the module's docstring says.
        folder: made if it does not exist.
        extra: further JSON values about the model (what it was trained on, say).
        foreign: what another library reads at the top level of ``config.json``; what is ours then lies under "tenfold".
        weights: how that library calls the file of weights.
    """
    config = header(type(model), typing.cast(Any, model).config, extra)
    path = Path(folder)
    with disk_errors(str(path)):
        path.mkdir(parents=True, exist_ok=True)
        write_safetensors(path / weights, model.state_dict(), {"format": "pt"})
        write_json(path / CONFIG, config if foreign is None else {**foreign, OURS: config})


def header(kind: type, config: Any, extra: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What ``config.json`` says of a model of a class ``kind`` with the dataclass ``config``, and ``extra`` values."""
    name = typing.cast(Any, kind).model_type
    about = {"format": FORMAT, "model_type": name, "tenfold_version": __version__, "config": asdict(config)}
    return typing.cast(dict[str, Any], plain({**about, **(extra or {})}))


def from_pretrained(
    cls: type[nn.Module],
    source: str | os.PathLike[str],
    *,
    revision: str | None = None,
    device: str | torch.device = "cpu",
) -> Any:
    """The model in a local folder or in a Hugging Face hub repository, in evaluation mode. A model's own
    ``read_extras(folder)``, if it has one, may read further files there.

    Raises:
        UsageError: no such folder, another kind of model, unknown or missing configuration fields, and
            missing, extra or mis-shaped tensors (listed).
        TenfoldError: the hub cannot be reached.
    """
    folder = resolve(source, revision)
    file = read_config(folder)
    expected = typing.cast(Any, cls).model_type
    if file["model_type"] != expected:
        raise UsageError(f"{folder / CONFIG} is of a {file['model_type']!r} model, expected {expected!r}")
    config = build(typing.cast(Any, cls).config_class, file["config"], str(folder / CONFIG))
    files = sorted({file for file, _ in tensor_index(folder).values()})
    require_weights(files, folder)
    try:
        model = cls(config)
    except (TypeError, AssertionError) as error:
        raise UsageError(f"{folder / CONFIG} does not describe a {expected}: {error}") from None
    tensors = {name: tensor for file in files for name, tensor in read_safetensors(file).items()}
    load_strict(model, tensors, str(folder))
    extras = getattr(model, "read_extras", None)
    if extras is not None:
        extras(folder)
    return model.to(device).eval()


def read_config(source: str | os.PathLike[str], revision: str | None = None) -> dict[str, Any]:
    """``config.json`` of a model folder or hub repository: "model_type", "config" and what was saved too."""
    folder = resolve(source, revision)
    if not (folder / CONFIG).is_file():
        raise UsageError(f"{folder} is no model folder: it has no {CONFIG}")
    file = read_json(folder / CONFIG)
    if isinstance(file, dict) and isinstance(file.get(OURS), dict):
        file = file[OURS]  # the rest of the file is for transformers
    if not isinstance(file, dict) or not isinstance(file.get("config"), dict) or "model_type" not in file:
        raise UsageError(f"{folder / CONFIG} is not from tenfold: it lacks 'model_type' or 'config'")
    check_format(file.get("format", 1), FORMAT, str(folder / CONFIG))
    return file


def load_strict(model: nn.Module, tensors: Mapping[str, Tensor], source: str) -> None:
    """Copy ``tensors`` into ``model`` by name; UsageError that lists every missing, extra or mis-shaped one, and for
    numbers that are not finite.

    Where the file is more precise than the model, the model takes the file's type: nothing is rounded.
    """
    own = model.state_dict()
    if wrong := differences(tensors, own):
        raise UsageError(f"the tensors of {source} do not fit {type(model).__name__}: {wrong}")
    # A buffer that is NaN until it is set may be so in the file.
    floats = ((name, buffer) for name, buffer in model.named_buffers() if buffer.is_floating_point())
    unset = {name for name, buffer in floats if bool(buffer.isnan().all())}
    check_finite({name: tensor for name, tensor in tensors.items() if name not in unset}, source)
    for name, tensor in tensors.items():
        if own[name].is_floating_point() and torch.promote_types(tensor.dtype, own[name].dtype) != own[name].dtype:
            model.to(tensor.dtype)
            break
    model.load_state_dict(dict(tensors))
