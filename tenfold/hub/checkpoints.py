"""Files of tensors by name, nothing unpickled: foreign checkpoints, and the safetensors files of a folder, one or the
shards that an index lists."""

import json
import os
import pickle
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from tenfold.errors import UsageError
from tenfold.files import read_json, written
from tenfold.hub.fetch import INDEX, LAYOUTS, WEIGHTS, first_line
from tenfold.hub.tensors import listed, require_finite
from tenfold.runs.machine import require_weights

_DTYPES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16",
    torch.float8_e4m3fn: "F8_E4M3", torch.float8_e5m2: "F8_E5M2", torch.bool: "BOOL", torch.uint8: "U8",
    torch.int8: "I8", torch.int16: "I16", torch.int32: "I32", torch.int64: "I64",
}  # fmt: skip
"""What the format calls a type of numbers."""
# What training programs keep a model under; averages last, for files that hold nothing else.
_WRAPPERS = ("state_dict", "model_state_dict", "model", "module", "net", "network", "weights", "params", "flow",
             "ema_state_dict", "model_ema", "ema_model", "ema", "params_ema", "shadow", "shadow_params")  # fmt: skip


def read_state_dict(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """The tensors of a foreign checkpoint: ``.safetensors``, or a ``.pth`` of tensors and nothing else.

    Nothing is unpickled beyond what ``weights_only`` allows. A dictionary under "state_dict", "model_state_dict",
    "model", an average's name and the like is taken out of its wrappers; the model's own before an average.

    Raises:
        UsageError: the file is missing, truncated, not a checkpoint, or would run code when unpickled.
    """
    file = Path(path)
    if not file.is_file():
        raise UsageError(f"{file} does not exist or is not a file")
    require_weights([file], file)
    if file.suffix == ".safetensors":
        return read_safetensors(file)
    if _is_plain_pickle(file):
        raise UsageError(
            f"{file} is a plain pickle, which can run any code when it is read, and no checkpoint of PyTorch; ask "
            "whoever made it for safetensors, or for a file of torch.save(model.state_dict())"
        )
    try:
        value = _load_pickled_tensors(file)
    except pickle.UnpicklingError as error:
        raise UsageError(_refusal(file, error)) from None
    except (RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        raise UsageError(f"{file} is truncated or not a PyTorch checkpoint: {first_line(error)}") from None
    while isinstance(value, dict) and (inner := [w for w in _WRAPPERS if isinstance(value.get(w), dict) and value[w]]):
        value = value[inner[0]]
    wrong = [f"it holds {type(value).__name__}"]
    if isinstance(value, dict) and value:
        strange = ((k, v) for k, v in value.items() if not (isinstance(k, str) and isinstance(v, Tensor)))
        wrong = [f"{key!r} is {type(item).__name__}" for key, item in strange]
    if wrong:
        raise UsageError(f"{file} is not a state dict of tensors by name: {wrong[0]}")
    return dict(value)


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
    said = "" if "weights_only" in text else f": {first_line(error)}"  # PyTorch's advice is to run the file
    return f"{file} is truncated or not a PyTorch checkpoint{said}"


def _is_plain_pickle(file: Path) -> bool:
    """Whether a file begins as a pickle of Python's own, and is neither a zip archive nor PyTorch's older format, which
    opens with a number of its own."""
    with open(file, "rb") as content:
        start = content.read(32)
        content.seek(max(0, file.stat().st_size - 1))
        end = content.read(1)
    magic = bytes.fromhex("6cfc9c46f9206aa85019")  # torch.serialization.MAGIC_NUMBER as a pickle writes it
    newer = len(start) > 1 and start[:1] == b"\x80" and 2 <= start[1] <= 5
    return magic not in start and (newer or (start[:1] in (b"(", b"}", b"]", b"c") and end == b"."))


def read_safetensors(file: Path) -> dict[str, Tensor]:
    """The tensors of a file; raises UsageError where it is truncated or of another format."""
    with opened(file) as tensors:
        return {name: tensors.get_tensor(name) for name in tensors.keys()}  # noqa: SIM118 (no mapping)


def write_safetensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write tensors to a file, whole or not at all, one after the other, so that no second copy of them is in memory.
    Tied tensors are written each by itself.

    Raises UsageError for a type of numbers that the format does not have."""
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    end = 0
    # The largest numbers first, so that each tensor begins at a multiple of its own.
    ordered = sorted(tensors.items(), key=lambda item: (-item[1].element_size(), item[0]))
    for name, tensor in ordered:
        if tensor.dtype not in _DTYPES:
            raise UsageError(f"{name} is of {tensor.dtype}, which safetensors files do not hold; save it as float32")
        size = tensor.numel() * tensor.element_size()
        header[name] = {"dtype": _DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with written(path) as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _, tensor in ordered:
            file.write(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)


def check_finite(tensors: Mapping[str, Tensor], source: str) -> None:
    """Raises UsageError, naming the tensor, where weights hold NaN or an infinity: whatever such a model says is
    nonsense. One pass over the weights."""
    for name, tensor in tensors.items():
        if not tensor.is_meta:
            require_finite(name, tensor, source)


def tensor_index(folder: Path) -> dict[str, tuple[Path, tuple[int, ...]]]:
    """File and shape of every tensor of a folder, from the headers alone, checked against the index of the shards.

    Raises UsageError for missing files, a damaged file, an index that differs from its shards, and pickled weights."""
    for weights, _ in LAYOUTS:
        if (folder / weights).is_file():
            return _headers([folder / weights])
    index = next((folder / name for _, name in LAYOUTS if (folder / name).is_file()), None)
    if index is None:
        pickled = sorted(path.name for pattern in ("*.bin", "*.pth", "*.pt") for path in folder.glob(pattern))
        if pickled:
            raise UsageError(
                f"{folder} holds pickled weights ({listed(pickled)}), which could run code when read; "
                "save them as safetensors"
            )
        raise UsageError(f"{folder} holds no weights: neither {WEIGHTS} nor {INDEX}")
    listing = read_json(index).get("weight_map")
    if not isinstance(listing, dict) or not all(isinstance(shard, str) for shard in listing.values()):
        raise UsageError(f"{index} has no 'weight_map'")
    shards = sorted(set(listing.values()))
    for shard in shards:
        if Path(shard).name != shard or not (folder / shard).is_file():
            raise UsageError(f"{index} lists {shard}, which is not in the folder")
    found = _headers([folder / shard for shard in shards])
    different = {n for n in set(found) | set(listing) if n not in found or found[n][0].name != listing.get(n)}
    if different:
        raise UsageError(f"{index} and its shards hold different tensors: {listed(sorted(different))}")
    return found


def _headers(files: list[Path]) -> dict[str, tuple[Path, tuple[int, ...]]]:
    found = {}
    for file in files:
        with opened(file) as tensors:
            for name in tensors.keys():  # noqa: SIM118 (no mapping)
                found[name] = (file, tuple(tensors.get_slice(name).get_shape()))
    return found


@contextmanager
def opened(file: Path) -> Iterator[Any]:
    """An open safetensors file. Raises UsageError where it is damaged or of another format."""
    try:
        with safe_open(file, framework="pt") as tensors:
            yield tensors
    except (SafetensorError, OSError) as error:
        raise UsageError(f"{file} is truncated or not a safetensors file: {first_line(error)}") from None
