"""Where the pictures and labels of a folder lie, in the layouts of AI-TOD-R, DOTA, DIOR-R and YOLO.

Imports no PyTorch."""

from collections import Counter
from pathlib import Path
from typing import NamedTuple

from PIL import Image, UnidentifiedImageError

from tenfold import progress
from tenfold.detection.data.rows import Size
from tenfold.errors import UsageError

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
LABEL_FOLDERS = ("labels_v1", "labelTxt", "labels", "Annotations/Oriented Bounding Boxes", "annfiles")
PICTURE_FOLDERS = ("images", "JPEGImages-trainval", "JPEGImages-test", "JPEGImages")
_NO_LABELS = ("classes.txt", "readme.txt")


class FoundFiles(NamedTuple):
    """Files of labels, and pictures by name; none where they do not lie beside the labels."""

    labels: list[Path]
    pictures: dict[str, Path]


def find_files(root: Path, split: str, endings: tuple[str, ...]) -> FoundFiles:
    """Label files with these ``endings`` and pictures below a folder: in ``labels_v1/SPLIT`` and ``images/SPLIT``, in
    ``SPLIT/labelTxt`` and ``SPLIT/images``, or in the folder itself.

    Raises UsageError where there are none, and where two pictures have one name.
    """
    if not root.is_dir():
        raise UsageError(f"{root} is no folder; give the folder of a data set, or one file of labels in JSON")
    labels = next((found for place in _places(root, split, LABEL_FOLDERS) if (found := _files(place, endings))), [])
    if not labels:
        below = f" or {root}/labels_v1/{split}, {root}/labelTxt/{split}" if split else ""
        splits = sorted({f.name for name in LABEL_FOLDERS for f in (root / name).glob("*") if f.is_dir()})
        hint = f"; choose a split of {', '.join(splits)}" if splits and not split else ""
        raise UsageError(f"no labels ({', '.join(endings)}) are in {root}{below}{hint}")
    found = next((f for place in _places(root, split, PICTURE_FOLDERS) if (f := _files(place, PICTURES))), [])
    twice = [name for name, count in Counter(file.stem for file in found).items() if count > 1]
    if twice:
        raise UsageError(f"two pictures in {found[0].parent} are named {twice[0]}; labels tell them by that name alone")
    return FoundFiles(labels, {file.stem: file for file in found})


def _places(root: Path, split: str, names: tuple[str, ...]) -> list[Path]:
    inside = [root / name / split for name in names] + [root / split / name for name in names]
    return [*inside, root / split] if split else [*(root / name for name in names), root]


def _files(folder: Path, endings: tuple[str, ...]) -> list[Path]:
    if not folder.is_dir():
        return []
    found = (f for f in folder.iterdir() if f.suffix.lower() in endings and f.name.lower() not in _NO_LABELS)
    return sorted(f for f in found if f.is_file() and not f.name.startswith("."))


def sizes_of(pictures: dict[str, Path]) -> dict[str, Size]:
    """Width and height of pictures by name, from their headers; UsageError for a file that is no picture."""
    sizes = {}
    for name, file in progress.track(pictures.items(), "sizes of pictures", unit="pictures"):
        try:
            with Image.open(file) as picture:
                sizes[name] = picture.size
        except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError) as error:
            reason = "it is no picture" if isinstance(error, UnidentifiedImageError) else str(error)
            raise UsageError(f"{file} cannot be read: {reason}; replace it, or take it and its labels away") from None
    return sizes
