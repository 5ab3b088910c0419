"""Pictures and their boxes as the training loop reads them: padded to one size, and to one number of objects."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from tenfold import progress
from tenfold.detection.config import PictureData
from tenfold.detection.data.aerotiny.config import AeroTinyConfig
from tenfold.detection.data.aerotiny.scene import AeroTiny
from tenfold.detection.data.layout import find_files, sizes_of
from tenfold.detection.data.reading import read_labels
from tenfold.detection.tables import Labels
from tenfold.errors import UsageError
from tenfold.files import disk_errors, json_text

_RENDERER = 1  # raised where pictures of the same settings come out differently
NOBODY = -1  # the class of a row that only fills


@runtime_checkable
class Pictures(Protocol):
    """Pictures by number."""

    sizes: list[tuple[int, int]]  # width, height

    def __getitem__(self, number: int) -> UInt8[Tensor, "3 h w"]: ...


class LabelledPictures:
    """Pictures with labels, a ``training.task.MapSource`` of "image" (b, 3, h, w) uint8 (black where smaller than the
    largest), "size" (b, 2), width and height, "boxes" (b, m, 5), and "label" (b, m), NOBODY in rows that fill."""

    def __init__(self, pictures: Pictures, labels: Labels) -> None:
        self.pictures, self.labels = pictures, labels
        self.rows = [(labels.image == k).nonzero()[:, 0] for k in range(len(labels.images))]
        self.most = max((len(rows) for rows in self.rows), default=0)
        widths, heights = zip(*pictures.sizes, strict=True) if pictures.sizes else ((1,), (1,))
        self.width, self.height = (32 * -(-max(sides) // 32) for sides in (widths, heights))
        told = hashlib.sha256(repr((labels.images, labels.classes, pictures.sizes)).encode())
        told.update(labels.boxes.double().numpy().tobytes() + labels.label.numpy().tobytes())
        self.fingerprint = told.hexdigest()[:16]

    def __len__(self) -> int:
        return len(self.rows)

    def chosen(self, numbers: Sequence[int]) -> "LabelledPictures":
        """Some of the pictures."""
        place = torch.full((len(self),), -1)
        place[list(numbers)] = torch.arange(len(numbers))
        old = self.labels
        kept = place[old.image] >= 0
        names = tuple(old.images[k] for k in numbers)
        table = Labels(
            names, old.classes, place[old.image[kept]], old.label[kept], old.boxes[kept], old.difficult[kept]
        )
        return LabelledPictures(_Some(self.pictures, numbers), table)

    def batch(self, indices: np.ndarray) -> dict[str, Tensor]:
        """Pictures by number."""
        image = torch.zeros(len(indices), 3, self.height, self.width, dtype=torch.uint8)
        size = torch.zeros(len(indices), 2, dtype=torch.int64)
        boxes = torch.zeros(len(indices), self.most, 5)
        label = torch.full((len(indices), self.most), NOBODY)
        for row, number in enumerate(indices.tolist()):
            picture = self.pictures[number]
            image[row, :, : picture.shape[1], : picture.shape[2]] = picture
            size[row] = torch.tensor([picture.shape[2], picture.shape[1]])
            own = self.rows[number]
            boxes[row, : len(own)], label[row, : len(own)] = self.labels.boxes[own].float(), self.labels.label[own]
        return {"image": image, "size": size, "boxes": boxes, "label": label}


class _Some:
    def __init__(self, pictures: Pictures, numbers: Sequence[int]) -> None:
        self.pictures, self.numbers = pictures, list(numbers)
        self.sizes = [pictures.sizes[k] for k in self.numbers]

    def __getitem__(self, number: int) -> UInt8[Tensor, "3 h w"]:
        return self.pictures[self.numbers[number]]


class _InMemory:
    def __init__(self, pictures: UInt8[Tensor, "n 3 h w"]) -> None:
        self.pictures = pictures
        self.sizes = [(pictures.shape[3], pictures.shape[2])] * len(pictures)

    def __getitem__(self, number: int) -> UInt8[Tensor, "3 h w"]:
        return self.pictures[number]


class _Files:
    def __init__(self, files: Sequence[Path], sizes: list[tuple[int, int]]) -> None:
        self.files, self.sizes = files, sizes

    def __getitem__(self, number: int) -> UInt8[Tensor, "3 h w"]:
        return read_picture(self.files[number])


def read_picture(file: Path) -> UInt8[Tensor, "3 h w"]:
    """Red, green and blue. Raises UsageError for what is no picture of 8 bits."""
    try:
        with Image.open(file) as picture:
            if picture.mode not in ("RGB", "RGBA", "L", "P", "1", "CMYK", "YCbCr", "LA"):
                raise UsageError(
                    f"{file} is a picture of kind {picture.mode}; convert it to 8 bits, with gdal_translate -ot Byte "
                    "-scale say"
                )
            pixels = np.array(picture.convert("RGB"))
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise UsageError(f"{file} cannot be read: {error}; replace it, or take it away") from None
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


class PictureSplits(NamedTuple):
    """To learn from, to choose the checkpoint by, and to measure on."""

    train: LabelledPictures
    validation: LabelledPictures
    test: LabelledPictures


def read_splits(data: PictureData, classes: tuple[str, ...]) -> PictureSplits:
    """The splits of a data set. Raises UsageError where folders or classes do not fit."""
    if data.source == "aerotiny":
        made = [
            rendered(replace(data.aerotiny, split=split, pictures=number), data.cache)
            for split, number in (
                (data.aerotiny.split, data.aerotiny.pictures),
                ("validation", max(1, data.validation)),
                ("test", data.test),
            )
        ]
        if made[0].labels.classes != classes:
            raise UsageError(f"model.classes are {', '.join(classes)}; AeroTiny's are {', '.join(AeroTiny.classes)}")
        return PictureSplits(made[0], made[1].chosen(range(data.validation)), made[2])
    train = read_folder(data, data.train_split, classes)
    if data.validation >= len(train):
        raise UsageError(f"data.validation is {data.validation} of {len(train)} pictures; leave some to learn from")
    last = len(train) - data.validation
    return PictureSplits(
        train.chosen(range(last)), train.chosen(range(last, len(train))), read_folder(data, data.test_split, classes)
    )


def read_folder(data: PictureData, split: str, classes: tuple[str, ...]) -> LabelledPictures:
    """A split of a folder; labels are of ``classes``."""
    if not data.root:
        raise UsageError("data.root is empty; give the folder of pictures and labels, --data.root AI-TOD-R say")
    read = read_labels(data.root, replace(data.labels, split=split, classes=data.labels.classes or classes))
    if read.labels.classes != classes:
        raise UsageError(
            f"data.labels.classes are {', '.join(read.labels.classes)}, and model.classes {', '.join(classes)}; make "
            "them equal"
        )
    endings = (".xml",) if read.kind == "dior" else (".txt",)
    files = find_files(Path(data.root), split, endings).pictures
    missing = [name for name in read.labels.images if name not in files]
    if missing:
        raise UsageError(f"the picture of {missing[0]} is not in {data.root}; {len(missing)} are missing")
    sizes = sizes_of(files)
    names = read.labels.images
    return LabelledPictures(_Files([files[n] for n in names], [sizes[n] for n in names]), read.labels)


def rendered(config: AeroTinyConfig, cache: str = "") -> LabelledPictures:
    """AeroTiny in memory: from ``cache``, a folder, if it was rendered before; rendered and kept there if not."""
    told = json_text([_RENDERER, asdict(config)])
    file = Path(cache) / f"{config.split}-{hashlib.sha256(told.encode()).hexdigest()[:16]}.npz" if cache else None
    if file is not None and file.exists():
        try:
            with np.load(file) as kept:
                columns = {name: torch.from_numpy(kept[name]) for name in ("pictures", "count", "boxes", "label")}
        except (OSError, ValueError, KeyError, EOFError) as error:
            raise UsageError(f"{file} cannot be read: {error}; delete it, and it is rendered anew") from None
    else:
        columns = _render(config)
        if file is not None:
            _keep(columns, file)
    image = torch.repeat_interleave(columns["count"])
    names = tuple(f"{k:05d}" for k in range(config.pictures))
    easy = torch.zeros(len(image), dtype=torch.bool)
    labels = Labels(names, AeroTiny.classes, image, columns["label"], columns["boxes"], easy)
    return LabelledPictures(_InMemory(columns["pictures"]), labels)


def _render(config: AeroTinyConfig) -> dict[str, Tensor]:
    scenes = AeroTiny(config)
    made = [scenes[k] for k in progress.track(range(len(scenes)), f"rendering {config.split}", unit="pictures")]
    return {
        "pictures": torch.stack([scene.image for scene in made]),
        "count": torch.tensor([len(scene.labels) for scene in made]),
        "boxes": torch.cat([scene.boxes for scene in made]),
        "label": torch.cat([scene.labels for scene in made]),
    }


def _keep(columns: dict[str, Tensor], file: Path) -> None:
    with disk_errors(str(file.parent)):
        file.parent.mkdir(parents=True, exist_ok=True)
        beside = file.with_name(f"{file.stem}.{os.getpid()}.npz")
        np.savez(beside, **{name: column.numpy() for name, column in columns.items()})  # type: ignore[arg-type]
        beside.replace(file)
