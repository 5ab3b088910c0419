"""Safetensors files of a folder: one, or the shards that an index lists."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from tenfold.errors import UsageError
from tenfold.files import read_json
from tenfold.hub.fetch import INDEX, WEIGHTS, first_line
from tenfold.hub.tensors import listed


def tensor_index(folder: Path) -> dict[str, tuple[Path, tuple[int, ...]]]:
    """File and shape of every tensor of a folder, from the headers alone, checked against the index of the shards.

    Raises UsageError for missing files, a damaged file, an index that differs from its shards, and pickled weights."""
    if (folder / WEIGHTS).is_file():
        return _headers([folder / WEIGHTS])
    if not (folder / INDEX).is_file():
        pickled = sorted(path.name for pattern in ("*.bin", "*.pth", "*.pt") for path in folder.glob(pattern))
        if pickled:
            raise UsageError(
                f"{folder} holds pickled weights ({listed(pickled)}), which could run code when read; "
                "save them as safetensors"
            )
        raise UsageError(f"{folder} holds no weights: neither {WEIGHTS} nor {INDEX}")
    listing = read_json(folder / INDEX).get("weight_map")
    if not isinstance(listing, dict) or not all(isinstance(shard, str) for shard in listing.values()):
        raise UsageError(f"{folder / INDEX} has no 'weight_map'")
    shards = sorted(set(listing.values()))
    for shard in shards:
        if Path(shard).name != shard or not (folder / shard).is_file():
            raise UsageError(f"{folder / INDEX} lists {shard}, which is not in the folder")
    found = _headers([folder / shard for shard in shards])
    different = {n for n in set(found) | set(listing) if n not in found or found[n][0].name != listing.get(n)}
    if different:
        raise UsageError(f"{folder / INDEX} and its shards hold different tensors: {listed(sorted(different))}")
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
