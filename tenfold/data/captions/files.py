"""Captioned image files and Hugging Face data sets, sorted into canvases by aspect ratio.

An image goes to the nearest of the chosen ratios and is resized and cropped at the centre to its canvas.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tenfold import progress
from tenfold.data.captions.aspect import nearest_ratio, with_ratio
from tenfold.data.captions.captioned import CaptionedSplits, captioned_splits, numbered, one_group
from tenfold.data.captions.config import CaptionDataConfig
from tenfold.data.images.decode import Encoded, ImageDecoder, LazyImages, Read, image_size
from tenfold.data.images.folder import named_splits, readable_files, reader_of
from tenfold.data.images.huggingface import Columns, Dataset, listing, read_splits, readable
from tenfold.data.images.splits import held_out_sizes, stratified_order
from tenfold.data.text.reading import lines_of
from tenfold.errors import TenfoldError, UsageError, suggest
from tenfold.files import sha256

_TEXT_NAMES = ("text", "caption", "captions", "prompt", "description", "sentence", "title")
_LINES = ("metadata.jsonl", "captions.jsonl")


class CaptionedImages:
    """Captioned images that are decoded on first use (a ``CaptionedSource``).

    Args:
        read: undecoded images and their names for messages.
        captions: one for each image.
        groups: int64 (N,), each image's canvas.
        base: identifies the undecoded images and their order.
    """

    def __init__(
        self, read: Read, captions: Sequence[str], groups: np.ndarray, base: str, config: CaptionDataConfig
    ) -> None:
        if config.say_ratio:
            captions = [with_ratio(text, config.ratio_names[g]) for text, g in zip(captions, groups, strict=True)]
        self.groups, self.shapes = groups, config.shapes
        self.texts, self._captions = numbered(captions)
        self.fingerprint = sha256(base, str(config.shapes), groups.tobytes(), *captions)
        self._place = np.zeros(len(groups), dtype=np.int64)
        self._parts = []
        for group, (channels, height, width) in enumerate(config.shapes):
            rows = np.flatnonzero(groups == group)
            self._place[rows] = np.arange(len(rows))
            memory = (config.memory_mb << 20) * len(rows) // max(1, len(groups))
            decoder = ImageDecoder(height, width, channels, 256)
            self._parts.append(LazyImages(_within(read, rows), np.full(len(rows), -1), decoder, "", memory))

    def __len__(self) -> int:
        return len(self.groups)

    def captions(self, indices: np.ndarray) -> list[str]:
        """The captions of the records ``indices`` (B,), of any groups."""
        return [self.texts[i] for i in self._captions[np.asarray(indices, dtype=np.int64)]]

    def batch(self, indices: np.ndarray) -> dict[str, Tensor]:
        """The records ``indices`` (B,) of one group: "image" uint8 (B, C, H, W), "caption" int64 (B,) into
        ``texts``, and "label" −1.

        Raises UsageError for records of several canvas shapes, TenfoldError for an image that cannot be
        decoded."""
        indices = np.asarray(indices, dtype=np.int64)
        part = self._parts[one_group(self.groups, indices)]
        return {**part.batch(self._place[indices]), "caption": torch.from_numpy(self._captions[indices])}


def _within(read: Read, rows: np.ndarray) -> Read:
    return lambda positions: read(rows[positions])


def load_captioned_images(config: CaptionDataConfig) -> CaptionedSplits:
    """The splits of a folder or a Hugging Face data set of captioned images.

    Raises UsageError for missing folders, splits, columns and captions, and TenfoldError for unreadable
    images, each in one sentence."""
    named, base, total = _folder(config) if config.source == "folder" else _huggingface(config)
    n_test, n_validation = held_out_sizes(config.images(), total)
    order = stratified_order(np.zeros(total, dtype=np.int64), config.seed)
    first, second, rest = np.split(order, [n_test, n_test + n_validation])
    train = named("train", rest)
    validation = named("validation", None if isinstance(config.validation, str) else second)
    test = named("test", None if isinstance(config.test, str) else first)
    return captioned_splits(config, train, validation, test, base)


Named = Callable[[str, np.ndarray | None], CaptionedImages]
"""(split, rows of the training records or None for the split's own records) to a source."""


def _folder(config: CaptionDataConfig) -> tuple[Named, str, int]:
    root, files = Path(config.path), readable_files(config.images())
    splits = dict(zip(("train", "validation", "test"), named_splits(config.images(), root, files), strict=True))
    captions = _Beside(root, config.text_column)
    base = sha256(*(f"{path.relative_to(root).as_posix()} {path.stat().st_size}" for path in files))

    def named(split: str, rows: np.ndarray | None) -> CaptionedImages:
        paths = splits[split][1] if rows is None else [splits["train"][1][i] for i in rows]
        texts = captions.of_all(paths)
        read, listed = reader_of(paths), sha256(base, *(path.relative_to(root).as_posix() for path in paths))
        return CaptionedImages(read, texts, _groups(read, len(paths), config), listed, config)

    return named, base, len(splits["train"][1])


class _Beside:
    """Captions of image files: ``NAME.txt``, or else a line of a metadata file in the image's folder or one
    above it, up to ``root``."""

    def __init__(self, root: Path, column: str) -> None:
        self._root, self._column = root, column
        self._lines: dict[Path, dict[str, str]] = {}

    def of_all(self, images: Sequence[Path]) -> list[str]:
        """The caption of each; raises one error for all that have none."""
        found, wrong = [], []
        for image in images:
            try:
                found.append(self.of(image))
            except TenfoldError as error:
                wrong.append(error)
        if len(wrong) > 1:
            raise UsageError(f"{len(wrong)} of {len(images)} images have no caption; the first: {wrong[0]}")
        if wrong:
            raise wrong[0]
        return found

    def of(self, image: Path) -> str:
        sidecar = image.with_suffix(".txt")
        if sidecar.is_file():
            try:
                return sidecar.read_text(encoding="utf-8-sig").strip()
            except UnicodeDecodeError:
                raise TenfoldError(f"caption {sidecar} is not UTF-8 text; save it as such") from None
        for folder in image.parents:
            lines = self._lines_in(folder)
            if (caption := lines.get(image.relative_to(folder).as_posix())) is not None:
                return caption
            if folder == self._root:
                break
        raise UsageError(
            f"image {image} has no caption: there is neither {sidecar.name} beside it nor a line for it in "
            f"{' or '.join(_LINES)}"
        )

    def _lines_in(self, folder: Path) -> dict[str, str]:
        if folder not in self._lines:
            self._lines[folder] = {}
            for name in _LINES:
                if (folder / name).is_file():
                    self._lines[folder] |= self._read(folder / name)
        return self._lines[folder]

    def _read(self, file: Path) -> dict[str, str]:
        found = {}
        for number, line in enumerate(lines_of(file), 1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
                image = record["file_name"]
                column = self._column or next(name for name in _TEXT_NAMES if name in record)
                caption = record[column]
            except (ValueError, KeyError, TypeError, StopIteration, RecursionError):
                wanted = self._column or "text"
                raise UsageError(
                    f'line {number} of {file} is not like {{"file_name": "1.png", "{wanted}": "a caption"}}; '
                    "correct it, or set --data.text_column"
                ) from None
            if not isinstance(caption, str):
                raise UsageError(f"line {number} of {file} has a caption that is no text but {caption!r}")
            found[str(image)] = caption.removeprefix("\ufeff").strip()
        return found


def _huggingface(config: CaptionDataConfig) -> tuple[Named, str, int]:
    images = config.images()
    splits = read_splits(images)
    column = _text_column(splits[config.train], config)
    splits = readable(splits, images)
    columns = Columns(splits[config.train], replace(images, label_column="none"))
    base = sha256(listing(images, splits[config.train]))

    def named(split: str, rows: np.ndarray | None) -> CaptionedImages:
        name = getattr(config, split) if rows is None else config.train
        if column not in splits[name].features:
            raise UsageError(f"split {name!r} of {config.path!r} has no text column {column!r}")
        records = columns.undecoded(splits[name])
        texts = splits[name].select_columns([column])[:][column]
        rows = np.arange(len(texts)) if rows is None else rows
        texts = [texts[i] for i in rows]
        if None in texts:
            raise UsageError(f"record {rows[texts.index(None)]} of split {name} has no caption; remove it")
        texts = [text.removeprefix("\ufeff") for text in texts]  # the mark of files that became records

        def read(positions: np.ndarray) -> tuple[list[Encoded], list[str]]:
            chosen = rows[positions]
            return records[chosen.tolist()][columns.image], [f"{i} of split {name}" for i in chosen]

        listed = sha256(base, name, rows.astype(np.int64).tobytes())
        return CaptionedImages(read, texts, _groups(read, len(rows), config), listed, config)

    return named, base, len(splits[config.train])


def _text_column(dataset: Dataset, config: CaptionDataConfig) -> str:
    texts = [name for name, kind in dataset.features.items() if "string" in str(getattr(kind, "dtype", ""))]
    if config.text_column:
        if config.text_column not in dataset.features:
            raise UsageError(f"there is no text column {config.text_column!r}{suggest(config.text_column, texts)}")
        if config.text_column not in texts:
            raise UsageError(
                f"column {config.text_column!r} of {config.path!r} does not hold one text a record; "
                "make it one, or set another --data.text_column"
            )
        return config.text_column
    known = [name for name in _TEXT_NAMES if name in texts] or texts
    if not known:
        raise UsageError(
            f"no column of {config.path!r} holds text (it has {', '.join(dataset.features)}); set --data.text_column"
        )
    return known[0]


def _groups(read: Read, count: int, config: CaptionDataConfig) -> np.ndarray:
    # Each image's canvas, from the size in its header.
    ratios = config.ratio_names
    if len(ratios) == 1:
        return np.zeros(count, dtype=np.int64)
    groups = []
    with progress.task("reading image sizes", count, "images") as advance:
        for start in range(0, count, 256):
            values, names = read(np.arange(start, min(start + 256, count)))
            sizes = [image_size(value, name) for value, name in zip(values, names, strict=True)]
            groups += [ratios.index(nearest_ratio(height, width, ratios)) for height, width in sizes]
            advance(len(sizes))
    return np.array(groups, dtype=np.int64)
