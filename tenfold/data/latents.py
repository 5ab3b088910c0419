"""Latents of a frozen autoencoder, encoded once and read from disk from then on.

A cache is a folder: ``latents-<h>x<w>.safetensors`` holds the latents of one shape, with the records' numbers
and whatever else came with the images (captions, labels); ``latents.json`` says what was encoded by what. It
is written last, so that a folder with it is whole. An interrupted cache is taken up where it stopped.
"""

import time
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tenfold import files, progress
from tenfold.data.captions.captioned import CaptionedSource, by_group, one_group
from tenfold.data.tensor_file import TensorFile, read_tensor_file, unfinished
from tenfold.errors import TenfoldError, UsageError
from tenfold.training.task import MapSource

INDEX = "latents.json"
_STATE = ".latents.writing.json"
_SECONDS_BETWEEN_SAVES = 10.0
_FORMAT = 1
Encode = Callable[[Tensor], Tensor]
"""Images uint8 (B, C, H, W) to latents float (B, c, h, w)."""
Records = MapSource | CaptionedSource


class LatentSource:
    """A cache of latents, memory-mapped (a ``MapSource`` of the training loop).

    ``mean`` and ``std`` (c,) float32 are each channel's over all latents; ``groups`` (N,) int64 is each
    record's shape, an index into ``shapes``, (c, h, w) each; ``texts`` are the captions, if there were any;
    ``fingerprint`` identifies images and encoder."""

    def __init__(self, folder: Path) -> None:
        if not (folder / INDEX).is_file():
            raise UsageError(f"{folder} holds no finished latents: it has no {INDEX}; cache them with cache_latents")
        index = files.read_json(folder / INDEX)
        try:
            if index["format"] != _FORMAT:
                raise UsageError(f"{folder / INDEX} has format {index['format']}, expected {_FORMAT}; cache anew")
            self.images, self.encoder = str(index["images"]), str(index["encoder"])
            self.mean, self.std = torch.tensor(index["mean"]), torch.tensor(index["std"])
            self.texts = tuple(index["texts"])
            self.groups = np.full(index["count"], -1, dtype=np.int64)
            self._row = np.zeros(index["count"], dtype=np.int64)
            self.shapes, self._shards = [], []
            for number, shard in enumerate(index["shards"]):
                arrays, metadata = read_tensor_file(folder / shard["file"])
                if metadata.get("images") != self.images or metadata.get("encoder") != self.encoder:
                    raise TenfoldError(f"{folder / shard['file']} is not of the cache that {INDEX} describes")
                self.groups[arrays["record"]] = number
                self._row[arrays["record"]] = np.arange(len(arrays["record"]))
                self.shapes.append(tuple(arrays["latent"].shape[1:]))
                self._shards.append(arrays)
        except (KeyError, TypeError, IndexError, ValueError, OverflowError, MemoryError, RuntimeError) as error:
            raise TenfoldError(f"{folder / INDEX} is damaged ({error!r}); remove the folder and cache anew") from None
        if (self.groups < 0).any():
            raise TenfoldError(f"{folder} lacks the latents of some records; remove the folder and cache anew")
        self.folder = folder
        self.fingerprint = files.sha256(self.images, self.encoder)

    def __len__(self) -> int:
        return len(self.groups)

    @property
    def channels(self) -> int:
        """Channels of a latent."""
        return len(self.mean)

    def batch(self, indices: np.ndarray) -> dict[str, Tensor]:
        """The records ``indices`` (B,) of one shape: "latent" float32 (B, c, h, w), and what else the images
        came with ("label", "caption", "attributes"), int64 each.

        Raises UsageError for records of several shapes."""
        indices = np.asarray(indices, dtype=np.int64)
        shard = self._shards[one_group(self.groups, indices)]
        rows = self._row[indices]
        return {name: torch.from_numpy(np.array(shard[name][rows])) for name in shard if name != "record"}

    def require_channels(self, channels: int) -> None:
        """Raises UsageError where a model expects latents of another number of channels."""
        if channels != self.channels:
            raise UsageError(
                f"the latents in {self.folder} have {self.channels} channels, but the flow expects {channels}; "
                "set the flow's channels to the autoencoder's"
            )


def open_latents(folder: Path, images: str = "", encoder: str = "") -> LatentSource:
    """The cache in ``folder``.

    Raises UsageError where there is none, or where it is of other ``images`` or of another ``encoder`` than
    these fingerprints (when given); TenfoldError for a damaged one."""
    source = LatentSource(folder)
    for what, wanted, found in (
        ("are of other images", images, source.images),
        ("come from another autoencoder", encoder, source.encoder),
    ):
        if wanted and wanted != found:
            raise UsageError(
                f"the latents in {folder} {what} (fingerprint {found[:12]}, expected {wanted[:12]}); "
                "rebuild them or choose another folder"
            )
    return source


def cache_latents(
    source: Records,
    encode: Encode,
    encoder: str,
    folder: Path,
    batch: int = 64,
    stale: str = "refuse",
) -> LatentSource:
    """The latents of all images of ``source``, from the cache in ``folder`` or, if there is none, encoded and
    written there.

    Args:
        source: images: ``len``, ``fingerprint``, ``batch(indices)`` with "image" uint8 (B, C, H, W); images of
            several shapes have ``groups``; "caption", "label" and other integers are kept beside the latents.
        encode: images to latents, deterministic; called without gradients on batches of one shape.
        encoder: identifies the encoder's weights.
        folder: made if it does not exist.
        batch: images encoded together.
        stale: what to do with a cache of other images or another encoder: "refuse" or "rebuild" it.

    Raises UsageError for a stale cache that is not to be rebuilt and for an empty source, TenfoldError for an
    encoder that returns something else than finite latents (B, c, h, w)."""
    if len(source) == 0:
        raise UsageError("there are no images to encode")
    if stale not in ("refuse", "rebuild"):
        raise UsageError(f"stale is {stale!r}; choose 'refuse' or 'rebuild'")
    if (folder / INDEX).is_file():
        index = files.read_json(folder / INDEX)
        index = index if isinstance(index, dict) else {}
        if stale == "refuse" or (index.get("images"), index.get("encoder")) == (source.fingerprint, encoder):
            return open_latents(folder, source.fingerprint, encoder)
        (folder / INDEX).unlink()
    with files.disk_errors(str(folder)):
        folder.mkdir(parents=True, exist_ok=True)
        _Writer(source, encode, encoder, folder, batch).run()
    return open_latents(folder, source.fingerprint, encoder)


class _Writer:
    """Encodes group after group; every few seconds what is done is flushed and counted in a state file."""

    def __init__(self, source: Records, encode: Encode, encoder: str, folder: Path, batch: int) -> None:
        self.source, self.encode, self.folder, self.size = source, encode, folder, batch
        self.identity = {"images": source.fingerprint, "encoder": encoder}
        self.rows = by_group(np.asarray(getattr(source, "groups", np.zeros(len(source), dtype=np.int64))))
        self._saved = time.monotonic()

    def run(self) -> None:
        """Encode everything that is not done yet, and write the index."""
        state = self._resumed()
        done: list[int] = state["done"]
        with progress.task("caching latents", len(self.source), "images", done=sum(done)) as advance:
            for number, rows in enumerate(self.rows):
                if number < len(state["shards"]):
                    continue
                if number == len(done):
                    done.append(0)
                shard = self._shard(rows, done, state, advance)
                state["shards"].append(shard)
                files.write_json(self.folder / _STATE, state)
        shards = state["shards"]
        if len({shard["channels"] for shard in shards}) > 1:
            raise TenfoldError("the encoder returns latents of different numbers of channels")
        mean, std = _moments([read_tensor_file(self.folder / shard["file"])[0]["latent"] for shard in shards])
        index = {
            "format": _FORMAT,
            **self.identity,
            "count": len(self.source),
            "mean": mean.tolist(),
            "std": std.tolist(),
            "shards": shards,
            "texts": list(getattr(self.source, "texts", ())),
        }
        files.write_json(self.folder / INDEX, index)
        (self.folder / _STATE).unlink()

    def _resumed(self) -> dict[str, Any]:
        fresh = {**self.identity, "done": [], "shards": [], "current": ""}
        try:
            state = {name: value for name, value in files.read_json(self.folder / _STATE).items() if name in fresh}
            wanted = [self.folder / shard["file"] for shard in state["shards"]]
            if len(state["done"]) > len(wanted):
                wanted.append(unfinished(self.folder / state["current"]))
            same = all(state[name] == value for name, value in self.identity.items())
            if same and all(file.is_file() for file in wanted):
                return state
        except (UsageError, KeyError, TypeError, AttributeError):
            pass
        for old in [*self.folder.glob("latents-*.safetensors"), *self.folder.glob(".latents-*.writing")]:
            old.unlink()
        return fresh

    def _shard(
        self, rows: np.ndarray, done: list[int], state: dict[str, Any], advance: Callable[[float], None]
    ) -> dict[str, Any]:
        chunks = (self._encoded(rows[i : i + self.size]) for i in range(done[-1], len(rows), self.size))
        first = next(chunks)
        channels, height, width = first[0].shape[1:]
        path = self.folder / f"latents-{height}x{width}.safetensors"
        if path.exists():
            raise TenfoldError(
                f"images of two shapes have latents of {height}x{width}; "
                "make the images' sides multiples of the encoder's factor"
            )
        state["current"] = path.name
        tensors = {
            "latent": (np.float32, (len(rows), channels, height, width)),
            "record": (np.int64, (len(rows),)),
            **{name: (np.int64, (len(rows), *values.shape[1:])) for name, values in first[1].items()},
        }
        file = TensorFile(path, tensors, self.identity, resume=done[-1] > 0)
        file.arrays["record"][:] = rows
        for latents, others in chain([first], chunks):
            part = slice(done[-1], done[-1] + len(latents))
            for name, values in {"latent": latents, **others}.items():
                if values.shape[1:] != file.arrays[name].shape[1:]:
                    raise TenfoldError(
                        f"the {name}s of images of one shape have different shapes, {values.shape[1:]} say"
                    )
                file.arrays[name][part] = values
            done[-1] += len(latents)
            advance(len(latents))
            if done[-1] < len(rows) and time.monotonic() - self._saved > _SECONDS_BETWEEN_SAVES:
                file.flush()
                files.write_json(self.folder / _STATE, state)
                self._saved = time.monotonic()
        file.finish()
        return {"file": path.name, "count": len(rows), "channels": channels, "height": height, "width": width}

    @torch.no_grad()
    def _encoded(self, rows: np.ndarray) -> tuple[Float[np.ndarray, "b c h w"], dict[str, np.ndarray]]:
        batch = dict(self.source.batch(rows))
        latents = self.encode(batch.pop("image"))
        if latents.ndim != 4 or len(latents) != len(rows) or not latents.is_floating_point():
            raise TenfoldError(
                f"the encoder turned {len(rows)} images into {latents.dtype} of shape {tuple(latents.shape)}; "
                "expected floating-point latents (images, channels, height, width)"
            )
        if not bool(latents.isfinite().all()):
            bad = int(rows[int((~latents.isfinite()).flatten(1).any(dim=1).nonzero()[0])])
            raise TenfoldError(f"the encoder's latents of image {bad} are not finite")
        return latents.float().cpu().numpy(), {name: tensor.numpy() for name, tensor in batch.items()}


def _moments(arrays: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    # Mean and standard deviation of each channel in float64, two passes a chunk at a time.
    def chunks() -> Iterator[np.ndarray]:
        return (array[i : i + 1024].astype(np.float64) for array in arrays for i in range(0, len(array), 1024))

    count = sum(array[:, 0].size for array in arrays)
    mean = sum(chunk.sum(axis=(0, 2, 3)) for chunk in chunks()) / count
    square = sum(np.square(chunk - mean[:, None, None]).sum(axis=(0, 2, 3)) for chunk in chunks()) / count
    return mean.astype(np.float32), np.sqrt(square).astype(np.float32)
