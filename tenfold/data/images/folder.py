"""A folder of image files as splits."""

from pathlib import Path

import numpy as np

from tenfold.data.images.config import ImageDataConfig
from tenfold.data.images.decode import ImageDecoder, LazyImages, Read, good_images
from tenfold.data.images.splits import ImageSplits, held_out_sizes, stratified_order
from tenfold.errors import UsageError, suggest
from tenfold.files import sha256

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pnm", ".tga")


def load_folder(config: ImageDataConfig) -> ImageSplits:
    """Splits of the image files under ``config.path``, found recursively (hidden files left out).

    The class of an image is its first folder below the split's. Named splits (``test="val"``) are folders of
    that name at the top, and training images then come from the folder ``config.train`` where it exists, else
    from all others; numbers of held-out images are drawn from the training images, in proportion to the
    classes.

    Raises UsageError for a path that is no folder, holds no images or has no folder for a named split."""
    root, files = Path(config.path), readable_files(config)
    train, validation, test = named_splits(config, root, files)
    names = sorted({_class_of(path, base) for base, group in (train, validation, test) for path in group} - {""})
    if config.label_column == "none":
        names = []
    decoder = ImageDecoder(config.height, config.width, config.channels, config.levels)
    decoder(files[0], str(files[0]))  # reveals the shape, and unreadable data before any work starts

    def source(group: tuple[Path, list[Path]], rows: np.ndarray | None = None) -> LazyImages:
        base, paths = group
        paths = paths if rows is None else [paths[i] for i in rows]
        labels = _labels(base, paths, names)
        listing = [
            f"{path.relative_to(root).as_posix()} {path.stat().st_size} {label}"
            for path, label in zip(paths, labels, strict=True)
        ]
        fingerprint = sha256(str(decoder.shape), str(config.levels), *listing)
        return LazyImages(reader_of(paths), labels, decoder, fingerprint, config.memory_mb << 20)

    n_test, n_validation = held_out_sizes(config, len(train[1]))
    order = stratified_order(_labels(*train, names), config.split_seed)
    first, second, rest = np.split(order, [n_test, n_test + n_validation])
    splits = {
        "test": source(test) if isinstance(config.test, str) else source(train, first),
        "validation": source(validation) if isinstance(config.validation, str) else source(train, second),
        "train": source(train, rest),
    }
    assert decoder.shape is not None
    return ImageSplits(
        train=splits["train"],
        validation=splits["validation"],
        test=splits["test"],
        classes=len(names),
        class_names=tuple(names),
        shape=decoder.shape,
        levels=config.levels,
        fingerprint=sha256(*(part.fingerprint for part in splits.values())),
    )


def readable_files(config: ImageDataConfig) -> list[Path]:
    """The image files below the folder, all of which can be read; see ``good_images``."""
    files = image_files(config.path)
    good = good_images(reader_of(files), len(files), config.channels, config.skip_bad)
    return [path for path, use in zip(files, good, strict=True) if use]


def reader_of(paths: list[Path]) -> Read:
    """The undecoded images of some files."""
    return lambda positions: ([paths[i] for i in positions], [str(paths[i]) for i in positions])


def image_files(folder: str | Path) -> list[Path]:
    """The image files below ``folder``, sorted, hidden ones left out.

    Raises UsageError for a path that is no folder or holds no images."""
    root = Path(folder)
    if not root.is_dir():
        raise UsageError(f"{str(folder)!r} is not a folder; set --data.path to a folder of image files")
    files = sorted(
        path
        for path in root.rglob("*")
        if path.suffix.lower() in SUFFIXES
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(root).parts)
    )
    if not files:
        raise UsageError(f"folder {str(folder)!r} holds no image files ({', '.join(SUFFIXES)})")
    return files


Group = tuple[Path, list[Path]]


def named_splits(config: ImageDataConfig, root: Path, files: list[Path]) -> tuple[Group, Group, Group]:
    """(base folder, files) of training, validation and test; numbered splits have none of their own yet.

    Raises UsageError for a named split without a folder."""

    def below(name: str) -> Group:
        base = root / name
        found = [path for path in files if base in path.parents]
        if not found:
            folders = sorted(path.name for path in root.iterdir() if path.is_dir())
            raise UsageError(f"folder {config.path!r} has no split {name!r}{suggest(name, folders)}")
        return base, found

    validation = below(config.validation) if isinstance(config.validation, str) else (root, [])
    test = below(config.test) if isinstance(config.test, str) else (root, [])
    if isinstance(config.validation, int) and isinstance(config.test, int):
        return (root, files), validation, test
    if (root / config.train).is_dir():
        return below(config.train), validation, test
    taken = {*validation[1], *test[1]}
    return (root, [path for path in files if path not in taken]), validation, test


def _class_of(path: Path, base: Path) -> str:
    parts = path.relative_to(base).parts
    return parts[0] if len(parts) > 1 else ""


def _labels(base: Path, paths: list[Path], names: list[str]) -> np.ndarray:
    number = {name: i for i, name in enumerate(names)}
    return np.array([number.get(_class_of(path, base), -1) for path in paths], dtype=np.int64)
