"""Safetensors files larger than memory: written in place through memory maps, and read the same way.

A file appears under its name when it is whole. The format: the length of a JSON header as a little-endian
64-bit number, the header, the tensors' bytes.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tenfold.errors import TenfoldError, UsageError
from tenfold.files import fsync

_DTYPES: dict[str, type[np.generic]] = {"F32": np.float32, "I64": np.int64}
_NAMES: dict[np.dtype[Any], str] = {np.dtype(dtype): name for name, dtype in _DTYPES.items()}
Shapes = Mapping[str, tuple[type[Any], tuple[int, ...]]]
"""Name to (dtype, shape); float32 and int64."""


class TensorFile:
    """A file being written: ``arrays`` by name are maps of its tensors, zero at first. ``finish`` gives it
    its name. ``resume`` takes up the unfinished file of the same tensors.

    Raises TenfoldError where there is none to resume."""

    def __init__(self, path: Path, tensors: Shapes, metadata: Mapping[str, str], resume: bool = False) -> None:
        self.path, self._unfinished = path, unfinished(path)
        header: dict[str, Any] = {"__metadata__": dict(metadata)}
        end = 0
        for name, (dtype, shape) in tensors.items():
            size = int(np.prod(shape)) * np.dtype(dtype).itemsize
            header[name] = {
                "dtype": _NAMES[np.dtype(dtype)],
                "shape": list(shape),
                "data_offsets": [end, end + size],
            }
            end += size
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        start = len(text).to_bytes(8, "little") + text
        if resume:
            if not self._unfinished.is_file() or self._unfinished.stat().st_size != len(start) + end:
                raise TenfoldError(
                    f"{self._unfinished} is not what was being written; remove its folder and start anew"
                )
        else:
            with open(self._unfinished, "wb") as file:
                file.write(start)
                file.truncate(len(start) + end)
                # Takes the space now: a full disk is met here, not as a crash inside a memory map.
                if end and hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(file.fileno(), 0, len(start) + end)
        self.arrays = _maps(self._unfinished, header, len(start), "r+")

    def flush(self) -> None:
        """Bring what was written so far to the disk."""
        for array in self.arrays.values():
            if isinstance(array, np.memmap):
                array.flush()

    def finish(self) -> None:
        """The whole file under its name; the maps are closed."""
        self.flush()
        self.arrays = {}
        fsync(self._unfinished)
        os.replace(self._unfinished, self.path)
        fsync(self.path.parent)

    def discard(self) -> None:
        """Remove the unfinished file."""
        self.arrays = {}
        self._unfinished.unlink(missing_ok=True)


def unfinished(path: Path) -> Path:
    """Where a file is written until it is whole."""
    return path.with_name(f".{path.name}.writing")


def read_tensor_file(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Read-only memory maps of the tensors by name, and the file's metadata.

    Raises UsageError for a missing file and TenfoldError for a truncated or foreign one."""
    if not path.is_file():
        raise UsageError(f"{path} does not exist")
    size = path.stat().st_size
    try:
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > size:
                raise ValueError("its header is longer than the file")
            header = json.loads(file.read(length))
        metadata = header.pop("__metadata__", {})
        end = max((int(entry["data_offsets"][1]) for entry in header.values()), default=0)
        if 8 + length + end != size:
            raise ValueError(f"it has {size} bytes instead of {8 + length + end}")
        return _maps(path, header, 8 + length, "r"), metadata
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise TenfoldError(f"{path} is truncated or no safetensors file ({error}); remove it to make it anew") from None


def _maps(path: Path, header: Mapping[str, Any], start: int, mode: Literal["r", "r+"]) -> dict[str, np.ndarray]:
    arrays: dict[str, np.ndarray] = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        dtype, shape = _DTYPES[entry["dtype"]], tuple(entry["shape"])
        if 0 in shape:  # an empty map is refused by the system
            arrays[name] = np.zeros(shape, dtype)
        else:
            offset = start + entry["data_offsets"][0]
            arrays[name] = np.memmap(path, dtype=dtype, mode=mode, offset=offset, shape=shape)
    return arrays
