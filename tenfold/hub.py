"""Model folders in the Hugging Face layout, saved whole and loaded strictly; and foreign checkpoints.

A model class has ``model_type``, ``config_class`` (a dataclass), and ``config`` on its instances, and is
built by ``cls(config)``. Its folder holds ``config.json`` and ``model.safetensors``. A missing, extra or
mis-shaped tensor is an error that lists it.
"""

import os
import pickle
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, fields, is_dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from tenfold import __version__
from tenfold.errors import TenfoldError, UsageError
from tenfold.files import disk_errors, plain, read_json, write_atomic, write_json
from tenfold.tensors import differences, listed

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
OURS = "tenfold"
"""Key of ``config.json`` for what is ours in the folder of a network that ``transformers`` loads too."""
_WRAPPERS = ("state_dict", "model")


def save_pretrained(model: nn.Module, folder: str | os.PathLike[str], extra: Mapping[str, Any] | None = None) -> None:
    """Write ``config.json`` and ``model.safetensors``, each whole or not at all.

    Args:
        model: an instance of a model class as the module's docstring says.
        folder: made if it does not exist.
        extra: further JSON values for the top level of ``config.json`` (what the model was trained on, say).
    """
    config = {
        "model_type": _type_of(type(model)),
        "tenfold_version": __version__,
        "config": plain(asdict(typing.cast(Any, model).config)),
        **plain(dict(extra or {})),
    }
    seen: set[int] = set()
    tensors = {}
    for name, tensor in model.state_dict().items():
        pointer = tensor.untyped_storage().data_ptr()
        tensors[name] = tensor.detach().clone() if pointer in seen else tensor.detach().contiguous()
        seen.add(pointer)  # tied weights: the format refuses tensors that share storage
    path = Path(folder)
    with disk_errors(str(path)):
        path.mkdir(parents=True, exist_ok=True)
        write_atomic(path / WEIGHTS, save(tensors, metadata={"format": "pt"}))
        write_json(path / CONFIG, config)


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
    expected = _type_of(cls)
    if file["model_type"] != expected:
        raise UsageError(f"{folder / CONFIG} is of a {file['model_type']!r} model, expected {expected!r}")
    config = _build(typing.cast(Any, cls).config_class, file["config"], folder / CONFIG)
    try:
        model = cls(config)
    except (TypeError, AssertionError) as error:
        raise UsageError(f"{folder / CONFIG} does not describe a {expected}: {error}") from None
    load_strict(model, _folder_tensors(folder), str(folder))
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
    return file


def load_strict(model: nn.Module, tensors: Mapping[str, Tensor], source: str) -> None:
    """Copy ``tensors`` into ``model`` by name; UsageError that lists every missing, extra or mis-shaped one.

    Where the file is more precise than the model, the model takes the file's type: nothing is rounded.
    """
    own = model.state_dict()
    if wrong := differences(tensors, own):
        raise UsageError(f"the tensors of {source} do not fit {type(model).__name__}: {wrong}")
    for name, tensor in tensors.items():
        if own[name].is_floating_point() and torch.promote_types(tensor.dtype, own[name].dtype) != own[name].dtype:
            model.to(tensor.dtype)
            break
    model.load_state_dict(dict(tensors))


def read_state_dict(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """The tensors of a foreign checkpoint: ``.safetensors``, or a ``.pth`` of tensors and nothing else.

    Nothing is unpickled beyond what ``weights_only`` allows. A dictionary under "state_dict" or "model" is
    taken out of its wrapper.

    Raises:
        UsageError: the file is missing, truncated, not a checkpoint, or would run code when unpickled.
    """
    file = Path(path)
    if not file.is_file():
        raise UsageError(f"{file} does not exist or is not a file")
    if file.suffix == ".safetensors":
        return _safetensors(file)
    try:
        value = _load_pickled_tensors(file)
    except pickle.UnpicklingError as error:
        raise UsageError(_refusal(file, error)) from None
    except (RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        raise UsageError(f"{file} is truncated or not a PyTorch checkpoint: {_first_line(error)}") from None
    for wrapper in _WRAPPERS:
        if isinstance(value, dict) and isinstance(value.get(wrapper), dict):
            value = value[wrapper]
            break
    wrong = not isinstance(value, dict) or next(
        (f"{key!r} is {type(item).__name__}" for key, item in value.items() if not _is_entry(key, item)), ""
    )
    if wrong or not value:
        found = wrong if isinstance(wrong, str) and wrong else f"it holds {type(value).__name__}"
        raise UsageError(f"{file} is not a state dict of tensors by name: {found}")
    return dict(value)


def _is_entry(key: Any, item: Any) -> bool:
    return isinstance(key, str) and isinstance(item, Tensor)


def _load_pickled_tensors(file: Path) -> Any:
    try:
        return torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except RuntimeError as error:
        if "mmap" not in str(error):
            raise
        return torch.load(file, map_location="cpu", weights_only=True)  # the format before PyTorch 1.6


def _refusal(file: Path, error: Exception) -> str:
    text = str(error)
    if "Unsupported global" in text or "Unsupported class" in text or "GLOBAL" in text:
        culprit = text.split("GLOBAL ")[-1].split(" ")[0] if "GLOBAL " in text else "objects"
        return (
            f"{file} holds pickled {culprit}, not tensors alone, and reading it could run code; "
            "save its state_dict() again and convert that"
        )
    return f"{file} is truncated or not a PyTorch checkpoint: {_first_line(error)}"


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(". ")


def _safetensors(file: Path) -> dict[str, Tensor]:
    try:
        return load_file(file)
    except (SafetensorError, OSError) as error:
        raise UsageError(f"{file} is truncated or not a safetensors file: {_first_line(error)}") from None


def _folder_tensors(folder: Path) -> dict[str, Tensor]:
    """The tensors of ``model.safetensors``, or of the shards that its index lists."""
    if (folder / WEIGHTS).is_file():
        return _safetensors(folder / WEIGHTS)
    if not (folder / INDEX).is_file():
        raise UsageError(f"{folder} holds no weights: neither {WEIGHTS} nor {INDEX}")
    index = read_json(folder / INDEX).get("weight_map")
    if not isinstance(index, dict):
        raise UsageError(f"{folder / INDEX} has no 'weight_map'")
    tensors: dict[str, Tensor] = {}
    for shard in sorted(set(index.values())):
        if not (folder / shard).is_file() or Path(shard).name != shard:
            raise UsageError(f"{folder / INDEX} lists {shard}, which is not in the folder")
        tensors.update(_safetensors(folder / shard))
    if different := sorted(set(tensors) ^ set(index)):
        raise UsageError(f"{folder / INDEX} and its shards hold different tensors: {listed(different)}")
    return tensors


def _build(config_class: type, values: Mapping[str, Any], file: Path) -> Any:
    """A dataclass from JSON, nested ones and tuples included; unknown and missing fields are refused."""
    known = {field.name: field for field in fields(typing.cast(Any, config_class))}
    if unknown := sorted(set(values) - set(known)):
        raise UsageError(
            f"{file} has unknown field(s) {', '.join(unknown)}; {config_class.__name__} has {', '.join(known)}"
        )
    required = {n for n, f in known.items() if f.default is MISSING and f.default_factory is MISSING and f.init}
    if absent := sorted(required - set(values)):
        raise UsageError(f"{file} lacks the field(s) {', '.join(absent)} of {config_class.__name__}")
    hints = typing.get_type_hints(config_class)
    try:
        return config_class(**{name: _value(hints[name], value, file) for name, value in values.items()})
    except UsageError as error:
        raise UsageError(f"{file}: {error}") from None
    except (TypeError, ValueError) as error:
        raise UsageError(f"{file} does not fit {config_class.__name__}: {error}") from None


def _value(hint: Any, value: Any, file: Path) -> Any:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        hints = [kind for kind in typing.get_args(hint) if kind is not type(None)]
        return value if value is None or len(hints) != 1 else _value(hints[0], value, file)
    if is_dataclass(hint) and isinstance(value, dict):
        return _build(typing.cast(type, hint), value, file)
    if isinstance(value, list) and (typing.get_origin(hint) or hint) is tuple:
        inner = typing.get_args(hint)
        kinds = inner[:1] * len(value) if inner[1:] == (...,) else inner
        if len(kinds) != len(value):
            return tuple(value)
        return tuple(_value(kind, item, file) for kind, item in zip(kinds, value, strict=True))
    return value


def resolve(
    source: str | os.PathLike[str],
    revision: str | None = None,
    wanted: Sequence[str] = (CONFIG, INDEX, "*.safetensors", "tokenizer/*"),
) -> Path:
    """A local folder, or the local copy of those files of a hub repository that match a pattern of ``wanted``.

    Raises UsageError for what is neither, TenfoldError where the hub cannot be reached."""
    folder = Path(source)
    if folder.is_dir():
        return folder
    name = str(source)
    if folder.is_absolute() or name.startswith(".") or name.count("/") != 1 or folder.parent.is_dir():
        raise UsageError(f"{name} is neither a model folder nor a hub id (owner/name)")
    return download(name, revision, wanted)


def download(name: str, revision: str | None, patterns: Sequence[str]) -> Path:
    """The local copy of the files that match ``patterns`` in a hub repository (owner/name).

    Raises UsageError for a repository that does not exist, TenfoldError when the hub cannot be reached."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=list(patterns)))
    except HFValidationError:
        raise UsageError(f"{name} is neither a model folder nor a hub id (owner/name)") from None
    except HfHubHTTPError as error:
        if getattr(error.response, "status_code", None) in (401, 403, 404):
            raise UsageError(f"the hub has no model {name!r} that this account may read") from None
        raise TenfoldError(f"{name} could not be fetched from the hub: {_first_line(error)}") from None
    except (LocalEntryNotFoundError, OSError) as error:
        raise TenfoldError(
            f"{name} is no local folder and could not be fetched from the hub ({_first_line(error)}); "
            "check the name and the connection, or give a folder"
        ) from None


def _type_of(cls: type) -> str:
    return str(typing.cast(Any, cls).model_type)
