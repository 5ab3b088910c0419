"""Image data sets of the Hugging Face hub, or in their formats on disk, map-style or streamed."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tenfold.data.images.config import ImageDataConfig
from tenfold.data.images.decode import Encoded, ImageDecoder, LazyImages, good_images
from tenfold.data.images.splits import (
    ArrayImages,
    ImageSplits,
    held_out_sizes,
    stratified_order,
)
from tenfold.errors import TenfoldError, UsageError, suggest
from tenfold.files import sha256
from tenfold.training.task import MapSource, StreamSource

_IMAGE_NAMES = ("image", "img", "images", "pixel_values", "png", "jpg", "jpeg", "webp", "picture")
_LABEL_NAMES = ("label", "labels", "class", "classes", "fine_label", "cls", "target", "category")
_MOST_LANES = 16
Dataset = Any
"""A ``datasets.Dataset`` or ``IterableDataset``: the library is an extra."""
Record = dict[str, Any]
"""A row of a data set by column, its image undecoded."""
# Exception names of the HTTP libraries under the hub's client, which are no types of ours to import.
_UNREACHABLE = (
    "ConnectError",
    "ConnectTimeout",
    "LocalEntryNotFoundError",
    "OfflineModeIsEnabled",
    "ProxyError",
    "ReadTimeout",
)


def load_huggingface(config: ImageDataConfig) -> ImageSplits:
    """Splits of a Hugging Face image data set: a name on the hub, a folder written by ``save_to_disk``, or a
    local folder of parquet files or images.

    Raises UsageError for an unknown data set, split or column, and TenfoldError when the hub cannot be
    reached."""
    splits = read_splits(config)
    splits = splits if config.streaming else readable(splits, config)
    columns = Columns(splits[config.train], config)
    decoder = ImageDecoder(config.height, config.width, config.channels, config.levels)
    undecoded = {name: columns.undecoded(split) for name, split in splits.items()}
    first = next(iter(undecoded[config.train]), None)
    if first is None:
        raise TenfoldError(f"split {config.train!r} of {config.path!r} is empty; set --data.train")
    decoder(first[columns.image], "0 of split " + config.train)
    encoded = first[columns.image]
    raw = (
        encoded.get("bytes") or str(encoded.get("path"))
        if isinstance(encoded, dict)
        else str(np.asarray(encoded).tolist())
    )
    base = sha256(listing(config, splits[config.train]), raw, str(decoder.shape), str(config.levels))
    found = _streamed if config.streaming else _mapped
    train, validation, test = found(config, undecoded, columns, decoder, base)
    assert decoder.shape is not None
    mark = sha256(train.fingerprint, validation.fingerprint, test.fingerprint)
    names = columns.names
    return ImageSplits(train, validation, test, len(names), names, decoder.shape, config.levels, mark)


class ImageRecords:
    """A streamed training split (a ``StreamSource``): ``lanes`` groups of files, each read in order for
    ever, after the ``held_out`` records that each lane gives to validation and test."""

    def __init__(
        self,
        dataset: Dataset,
        lanes: int,
        block: int,
        held_out: int,
        columns: "Columns",
        decoder: ImageDecoder,
        base: str,
    ) -> None:
        self.lanes, self.block = lanes, block
        self.fingerprint = sha256(base, f"stream {lanes} {held_out}")
        self._parts = [dataset.shard(num_shards=lanes, index=i) for i in range(lanes)]
        self._held_out, self._columns, self._decoder = held_out, columns, decoder
        self._lengths: dict[int, int] = {}

    def read(self, lane: int, start: int) -> Iterator[Record]:
        """Undecoded records of ``lane`` from position ``start`` on; starts over at the lane's end.

        Raises TenfoldError for a lane without training records."""
        if lane in self._lengths:
            start %= self._lengths[lane]
        while True:
            count = 0
            for record in self._parts[lane].skip(self._held_out + start):
                yield record
                count += 1
            if start == 0:
                self._lengths[lane] = count
            if count == 0:
                # Past the end, or empty: count the lane once to know which.
                length = sum(1 for _ in self._parts[lane]) - self._held_out
                if length <= 0:
                    raise TenfoldError(
                        f"lane {lane} of the stream has no training record; lower --data.lanes or the held-out sizes"
                    )
                self._lengths[lane] = length
                start %= length
            else:
                start = 0

    def collate(self, records: list[Record]) -> dict[str, Tensor]:
        """Decode and stack records: "image" uint8 (B, C, H, W), "label" int64 (B,)."""
        names = [self._columns.name_of(record) for record in records]
        pixels = self._decoder.many([record[self._columns.image] for record in records], names)
        labels = [self._columns.label_of(record) for record in records]
        return {"image": torch.from_numpy(pixels), "label": torch.tensor(labels, dtype=torch.int64)}

    def heads(self, count: int) -> list[Record]:
        """The first ``count`` records of the lanes, taken in turns: what is held out."""
        per_lane = [list(part.take(math.ceil(count / self.lanes))) for part in self._parts]
        return [lane[i] for i in range(math.ceil(count / self.lanes)) for lane in per_lane if i < len(lane)][:count]


class StreamedSplit:
    """A held-out split of a stream: read and decoded into memory on first use (a ``MapSource``)."""

    def __init__(
        self,
        records: Callable[[], Iterable[Record]],
        collate: Callable[[list[Record]], dict[str, Tensor]],
        fingerprint: str,
    ) -> None:
        self.fingerprint = fingerprint
        self._records, self._collate = records, collate

    @cached_property
    def _images(self) -> ArrayImages:
        records = iter(self._records())
        chunks = iter(lambda: list(islice(records, 512)), [])
        parts = [self._collate(chunk) for chunk in chunks] or [self._collate([])]
        return ArrayImages(*(torch.cat([part[name] for part in parts]) for name in ("image", "label")))

    def __len__(self) -> int:
        return len(self._images)

    def batch(self, indices: np.ndarray) -> dict[str, Tensor]:
        """The images ``indices`` (B,) int64."""
        return self._images.batch(indices)


class Columns:
    """Which columns hold image and label, and what the labels are called."""

    def __init__(self, dataset: Dataset, config: ImageDataConfig) -> None:
        from datasets import ClassLabel, Image

        features = dataset.features
        # Data without declared features (some streams) show what they are in their first record.
        kinds = dict(features) if features is not None else dict(next(iter(dataset), {}))
        images = [name for name, kind in kinds.items() if isinstance(kind, Image)]
        self.image = _choose(config.image_column, "image", kinds, [*images, *(n for n in _IMAGE_NAMES if n in kinds)])
        if not self.image:
            raise UsageError(
                f"no column of {config.path!r} holds images (it has {', '.join(kinds)}); set --data.image_column"
            )
        self._cast = self.image in images
        self.label = ""
        self.names: tuple[str, ...] = ()
        if config.label_column != "none":
            marked = [name for name, kind in kinds.items() if isinstance(kind, ClassLabel)]
            self.label = _choose(
                config.label_column, "label", kinds, [*marked, *(n for n in _LABEL_NAMES if n in kinds)]
            )
        self._number: dict[Any, int] = {}
        if self.label:
            kind = kinds[self.label]
            if isinstance(kind, ClassLabel):
                self.names = tuple(kind.names)
            elif config.streaming:
                raise UsageError(
                    f"label column {self.label!r} of a stream must be a ClassLabel to number the classes; "
                    "set --data.label_column=none, or --data.streaming=false"
                )
            else:
                values = sorted(
                    {value for value in dataset[:][self.label] if value is not None and value == value},
                    key=lambda value: (0, value) if isinstance(value, (int, float)) else (1, str(value)),
                )
                self.names = tuple(str(value) for value in values)
                self._number = {value: i for i, value in enumerate(values)}

    def undecoded(self, dataset: Dataset) -> Dataset:
        """The image and label columns alone, images as {"bytes", "path"}."""
        from datasets import Image

        if dataset.features is None or self.image not in dataset.features:
            return dataset
        dataset = dataset.select_columns([name for name in (self.image, self.label) if name in dataset.features])
        return dataset.cast_column(self.image, Image(decode=False)) if self._cast else dataset

    def label_of(self, record: Record) -> int:
        """Class number of a record, −1 for none."""
        value = record.get(self.label) if self.label else None
        if value is None or value != value:  # NaN is what tables write for nothing
            return -1
        if isinstance(value, float) and not value.is_integer() and not self._number:
            raise UsageError(f"label {value!r} in column {self.label!r} is no class number; correct the data")
        if self._number and value not in self._number:
            raise UsageError(
                f"label {value!r} in column {self.label!r} does not occur in the training split, so that it has no "
                "number; set --data.label_column=none, or correct the data"
            )
        return self._number[value] if self._number else int(value)

    def name_of(self, record: Record) -> str:
        """What a message calls a record."""
        image = record[self.image]
        return str(image.get("path") or "without a file name") if isinstance(image, dict) else "of the stream"


def _choose(wanted: str, what: str, columns: dict[str, Any], candidates: list[str]) -> str:
    if wanted and wanted not in columns:
        raise UsageError(f"there is no {what} column {wanted!r}{suggest(wanted, columns)}")
    return wanted or (candidates[0] if candidates else "")


def read_splits(config: ImageDataConfig) -> dict[str, Dataset]:
    """The undecoded splits of ``config.path`` by name.

    Raises UsageError for an unknown data set or split, TenfoldError when the hub is out of reach."""
    splits = _load(config)
    if config.train not in splits:
        raise UsageError(
            f"{config.path!r} has no split {config.train!r}{suggest(config.train, splits)}, with --data.train"
        )
    for option in ("validation", "test"):
        name = getattr(config, option)
        if isinstance(name, str) and name not in splits:
            raise UsageError(f"{config.path!r} has no split {name!r}{suggest(name, splits)}, with --data.{option}")
    return splits


def readable(splits: dict[str, Dataset], config: ImageDataConfig) -> dict[str, Dataset]:
    """The splits, those that are used with the records whose images can be read; see ``good_images``."""
    columns, splits = Columns(splits[config.train], replace(config, label_column="none")), dict(splits)
    for name in {config.train, *(n for n in (config.validation, config.test) if isinstance(n, str))}:
        undecoded = columns.undecoded(splits[name])

        def read(indices: np.ndarray, undecoded: Dataset = undecoded, name: str = name) -> tuple[list[Any], list[str]]:
            return undecoded[indices.tolist()][columns.image], [f"{i} of split {name}" for i in indices]

        good = good_images(read, len(undecoded), config.channels, config.skip_bad)
        if not good.all():
            splits[name] = splits[name].select(np.flatnonzero(good))
    return splits


def _load(config: ImageDataConfig) -> dict[str, Dataset]:
    try:
        import datasets
    except ImportError as error:
        raise UsageError(
            "data source 'huggingface' reads the datasets package, which is missing; run: pip install 'tenfold[data]'"
        ) from error
    path = Path(config.path)
    try:
        if (path / "dataset_dict.json").is_file() or (path / "state.json").is_file():
            loaded = datasets.load_from_disk(str(path))
            if isinstance(loaded, datasets.Dataset):
                loaded = datasets.DatasetDict({config.train: loaded})
            if config.streaming:
                return {k: v.to_iterable_dataset(max(1, len(v.cache_files))) for k, v in loaded.items()}
            return dict(loaded)
        return dict(
            datasets.load_dataset(
                str(path) if path.exists() else config.path,
                name=config.subset or None,
                revision=config.revision or None,
                streaming=config.streaming,
            )
        )
    except Exception as error:  # the library raises dozens of types, from requests' to its own
        raise _load_error(config, error) from error


def _load_error(config: ImageDataConfig, error: Exception) -> TenfoldError:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if Path(config.path).exists():
        return UsageError(f"local data set {config.path!r} cannot be read ({reason})")
    chain: BaseException | None = error
    while chain is not None:
        if isinstance(chain, (ConnectionError, TimeoutError)) or type(chain).__name__ in _UNREACHABLE:
            return TenfoldError(
                f"data set {config.path!r} is not on this machine and the Hugging Face hub is out of reach; "
                "connect, or set --data.path to a local folder"
            )
        chain = chain.__cause__ or chain.__context__
    return UsageError(
        f"data set {config.path!r} cannot be loaded ({reason}); "
        "check --data.path, a local folder or a name on the Hugging Face hub"
    )


def listing(config: ImageDataConfig, dataset: Dataset) -> str:
    """What identifies the data without reading them all: names and sizes of local files, or the hub's
    checksums."""
    path = Path(config.path)
    if path.exists():
        files = sorted(p for p in path.rglob("*") if p.is_file() and not p.name.startswith((".", "cache-")))
        return "\n".join(f"{p.relative_to(path).as_posix()} {p.stat().st_size}" for p in files)
    info = dataset.info
    parts = (config.path, config.subset, config.revision, info.version, info.download_checksums, info.splits)
    return " ".join(str(part) for part in parts)


def _mapped(
    config: ImageDataConfig, splits: dict[str, Dataset], columns: Columns, decoder: ImageDecoder, base: str
) -> tuple[MapSource, MapSource, MapSource]:
    def source(name: str, rows: np.ndarray | None = None) -> LazyImages:
        dataset, labels = splits[name], _labels(splits[name], columns)
        rows = np.arange(len(labels)) if rows is None else rows

        def read(indices: np.ndarray) -> tuple[list[Encoded], list[str]]:
            chosen = rows[indices]
            return dataset[chosen.tolist()][columns.image], [f"{i} of split {name}" for i in chosen]

        fingerprint = sha256(base, name, rows.astype(np.int64).tobytes(), labels[rows].tobytes())
        return LazyImages(read, labels[rows], decoder, fingerprint, config.memory_mb << 20)

    n_test, n_validation = held_out_sizes(config, len(splits[config.train]))
    order = stratified_order(_labels(splits[config.train], columns), config.split_seed)
    first, second, rest = np.split(order, [n_test, n_test + n_validation])
    test = source(config.test) if isinstance(config.test, str) else source(config.train, first)
    validation = source(config.validation) if isinstance(config.validation, str) else source(config.train, second)
    return source(config.train, rest), validation, test


def _streamed(
    config: ImageDataConfig, splits: dict[str, Dataset], columns: Columns, decoder: ImageDecoder, base: str
) -> tuple[StreamSource, MapSource, MapSource]:
    test = config.test if isinstance(config.test, int) else 0
    validation = config.validation if isinstance(config.validation, int) else 0
    dataset = splits[config.train]
    if config.lanes > dataset.num_shards:
        raise UsageError(
            f"lanes is {config.lanes}, but the stream has {dataset.num_shards} files; set --data.lanes to at most that"
        )
    lanes = config.lanes or min(dataset.num_shards, _MOST_LANES)
    held_out = math.ceil((test + validation) / lanes)
    train = ImageRecords(dataset, lanes, config.block, held_out, columns, decoder, base)

    def split(name: int | str, first: int) -> StreamedSplit:
        mark = sha256(base, f"held out {name} {first} {lanes}")
        if isinstance(name, str):
            return StreamedSplit(lambda: iter(splits[name]), train.collate, mark)
        return StreamedSplit(lambda: train.heads(first + name)[first:], train.collate, mark)

    return train, split(config.validation, test), split(config.test, 0)


def _labels(dataset: Dataset, columns: Columns) -> np.ndarray:
    if not columns.label or columns.label not in dataset.features:
        return np.full(len(dataset), -1, dtype=np.int64)
    values = dataset.select_columns([columns.label])[:][columns.label]
    return np.array([columns.label_of({columns.label: value}) for value in values], dtype=np.int64)
