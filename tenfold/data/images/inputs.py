"""What a user hands to a trained model: images as files, in a folder, or in an array."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tenfold import progress
from tenfold.data.images.decode import attempts, check_levels, open_image, to_pixels, told_together
from tenfold.data.images.folder import SUFFIXES, image_files
from tenfold.errors import TenfoldError, UsageError, suggest
from tenfold.nn.memory import require

_NPY, _ZIP = b"\x93NUMPY", b"PK"
InputSource = str | os.PathLike[str] | Tensor | np.ndarray | Sequence[Any]
"""Where a user's inputs are: a file or folder, or the values themselves."""


@dataclass(frozen=True)
class Inputs:
    """N inputs of a model: their names, and ``array`` (N, *shape), integer levels of pixels or float32 values in the
    model's own scale."""

    names: tuple[str, ...]
    array: np.ndarray

    @property
    def are_pixels(self) -> bool:
        """Whether the values are integer levels."""
        return self.array.dtype.kind in "iu"


def read_inputs(
    source: InputSource, shape: tuple[int, ...], levels: int, key: str = "", resize: bool = False
) -> Inputs:
    """The inputs in ``source``, for a model that reads ``shape``: (channels, height, width), or (tokens, dims).

    Args:
        source: an image file, a folder of them (searched recursively), a .npy or .npz file, or an array itself, of
            one input or of (N, *shape). Image files become grey or RGB as the model has channels, and integers in
            [0, levels), as for training.
        key: which array of an .npz file that holds several.
        resize: scale and crop image files to the shape, as training does; without it another size is refused.

    Raises UsageError for what is not there, is pickled or damaged, has another shape, integers outside the levels,
    or values that are neither integers nor floats; TenfoldError for an image that cannot be decoded."""
    if not isinstance(source, str | os.PathLike):
        plain = np.asarray(source.detach().cpu() if isinstance(source, Tensor) else source)
        return _checked(plain, "the array", shape, levels)
    path = Path(source)
    if not path.exists():
        raise UsageError(f"{path} does not exist; give an image, a folder of images, a .npy or a .npz file")
    if path.suffix.lower() in (".npy", ".npz") and path.is_file():
        if resize:
            raise UsageError(f"arrays are not resized; {path} must hold inputs of shape {shape}")
        return _checked(read_array(path, key), str(path), shape, levels)
    if key:
        raise UsageError(f"{path} is no .npz file and holds no array {key!r}; leave key out")
    if len(shape) != 3:
        raise UsageError(f"this model reads vectors of shape {shape}, no images; give a .npy or .npz file of floats")
    files = image_files(path) if path.is_dir() else [path]
    if path.is_file() and path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"{path} is no image by its name ({', '.join(SUFFIXES)}) and no .npy or .npz file")
    pixels: list[np.ndarray | TenfoldError] = []
    for start in progress.track(range(0, len(files), 64), "reading images", "chunks"):
        part = files[start : start + 64]
        decode = lambda file, name: _decoded(file, shape, levels, resize)  # noqa: E731
        pixels += attempts(decode, part, list(map(str, part)))
    if bad := [error for error in pixels if isinstance(error, TenfoldError)]:
        raise told_together(bad, len(files))
    base = path if path.is_dir() else path.parent
    return Inputs(
        tuple(file.relative_to(base).as_posix() for file in files),
        np.stack([image for image in pixels if isinstance(image, np.ndarray)]),
    )


def read_array(path: Path, key: str = "") -> np.ndarray:
    """The array of a .npy file, or the array ``key`` of an .npz file (its only one without a key).

    Raises UsageError in one sentence; nothing is unpickled."""
    with path.open("rb") as file:
        start = file.read(len(_NPY))
    if not start.startswith((_NPY, _ZIP)):
        raise UsageError(f"{path} is no NumPy file; write one with numpy.save or numpy.savez")
    if key and start == _NPY:
        raise UsageError(f"{path} holds one array without a name; leave key {key!r} out")
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded:
            sizes = {info.filename.removesuffix(".npy"): info.file_size for info in loaded.zip.infolist()}
            names = sorted(loaded.files)
            if key and key not in names:
                raise UsageError(f"{path} holds no array {key!r}{suggest(key, names)}")
            if not key and len(names) != 1:
                raise UsageError(f"{path} holds the arrays {', '.join(names) or 'none'}; choose one by its key")
            name = key or names[0]
            require(2 * sizes.get(name, 0), torch.device("cpu"), f"array {name!r} of {path}", "give a smaller one")
            return np.asarray(loaded[name])
    except UsageError:
        raise
    except Exception as error:  # NumPy passes on what its parsers of headers and archives raise
        if "allow_pickle" in str(error):
            raise UsageError(
                f"{path} holds pickled objects, and reading them could run code; save an array of numbers"
            ) from None
        raise UsageError(f"{path} is truncated or damaged: {' '.join(str(error).split())}") from None


def _checked(array: np.ndarray, name: str, shape: tuple[int, ...], levels: int) -> Inputs:
    if array.dtype.kind not in "iuf":
        raise UsageError(f"{name} holds {array.dtype}; give integers (levels of pixels) or floats")
    array = array[None] if array.shape == shape else array
    if array.shape[1:] != shape or not array.shape[0]:
        meaning = ", as (number, channels, height, width)" if len(shape) == 3 else ", as (number, tokens, dims)"
        raise UsageError(f"{name} has shape {array.shape}; this model reads (N, {', '.join(map(str, shape))}){meaning}")
    if array.dtype.kind == "f":
        array = array.astype(np.float32)
    else:
        check_levels(array, levels, name, f"this model's pixels have the levels 0 to {levels - 1}: rescale them")
    return Inputs(tuple(str(i) for i in range(len(array))), array)


def _decoded(file: Path, shape: tuple[int, ...], levels: int, resize: bool) -> np.ndarray:
    channels, height, width = shape
    size = (height, width) if resize else (0, 0)
    pixels = to_pixels(open_image(file, str(file)), *size, channels, levels, str(file))
    if pixels.shape != shape:
        raise UsageError(
            f"image {file} is {pixels.shape[1]}x{pixels.shape[2]}, but this model reads {height}x{width}; resize it, "
            "or ask for it with --resize"
        )
    return pixels
