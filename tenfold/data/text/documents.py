"""Texts of any kind of file, one document at a time: JSON lines, plain text, and data sets of Hugging Face."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tenfold import progress
from tenfold.data.text.code import Document, json_lines
from tenfold.data.text.reading import lines_of
from tenfold.errors import TenfoldError, UsageError

_KINDS = "JSON lines (.jsonl), text (.txt), or a data set of Hugging Face (as save_to_disk writes it, or .parquet)"
_MARKS = ("dataset_dict.json", "state.json")
_PIECE = 4096  # characters of a plain text's document, at least


def read_documents(path: str, column: str = "text") -> Iterator[tuple[str, Document]]:
    """Each document under a name that does not change, by which it is put into a split.

    Args:
        path: a file or a folder of files, all of one kind: ``.jsonl`` (objects with "text", or "prompt" and
            "completion"; gzipped or not), ``.parquet``, or else UTF-8 text, which is cut at line ends into documents of
            some thousand characters; a folder that ``datasets`` wrote by ``save_to_disk``; or, where nothing is there,
            a data set's name on the Hugging Face hub.
        column: of data sets of Hugging Face, the one of the texts; of several splits their "train" is read, from which
            validation and test are taken.

    Raises UsageError for files that are missing, of another or of several kinds, or not as described; TenfoldError
    where the hub cannot be reached."""
    place = Path(path)
    if not path:
        raise UsageError(f"data.path is empty; name {_KINDS}")
    if not place.exists():
        if path.count("/") == 1 and not place.suffix and not path.startswith((".", "/", "~")):
            yield from _data_set(path, column)
            return
        raise UsageError(f"{path} does not exist; name {_KINDS}")
    if any((place / mark).is_file() for mark in _MARKS):
        yield from _data_set(path, column)
        return
    kind = _kind_of(place)
    if kind == ".jsonl":
        yield from json_lines(path)
    elif kind == ".parquet":
        yield from _data_set(path, column)
    else:
        yield from _texts(place)


def _kind_of(place: Path) -> str:
    """The one kind of a file, or of a folder's files; hidden files are passed over."""
    if place.is_file():
        name = place.name.removesuffix(".gz")
        return next((kind for kind in (".jsonl", ".parquet") if name.endswith(kind)), ".txt")
    names = [file.name.removesuffix(".gz") for file in place.iterdir() if file.is_file() and file.name[0] != "."]
    found = {kind for kind in (".jsonl", ".parquet", ".txt") if any(name.endswith(kind) for name in names)}
    if len(found) != 1:
        what = f"files of several kinds ({', '.join(sorted(found))})" if found else "no texts"
        raise UsageError(f"{place} holds {what}; name a file or a folder of one kind: {_KINDS}")
    return found.pop()


def _texts(place: Path) -> Iterator[tuple[str, Document]]:
    named = (file for pattern in ("*.txt", "*.txt.gz") for file in place.glob(pattern) if file.name[0] != ".")
    files = sorted(named) if place.is_dir() else [place]
    for file in progress.track(files, "reading texts", "files"):
        piece: list[str] = []
        number = size = 0
        for line in lines_of(file):
            piece.append(line)
            size += len(line)
            if size >= _PIECE:
                yield f"{file.name}:{number}", Document("".join(piece))
                piece, number, size = [], number + 1, 0
        if piece:
            yield f"{file.name}:{number}", Document("".join(piece))


def _data_set(path: str, column: str) -> Iterator[tuple[str, Document]]:
    rows = _rows_of(path)
    if column not in (names := list(rows.column_names or [])):
        raise UsageError(f"{path} has no column {column!r}; it has {', '.join(map(repr, names)) or 'none'}")
    for number, row in enumerate(progress.track(rows.select_columns([column]), "reading texts", "texts")):
        text = row[column]
        if not isinstance(text, str):
            raise UsageError(f"row {number} of {path} has no text in {column!r}; it is {type(text).__name__}")
        if text:
            yield str(number), Document(text)


def _rows_of(path: str) -> Any:
    try:
        import datasets
    except ImportError:
        raise UsageError(
            f"{path} is read by the datasets package, which is missing; run: pip install 'tenfold[data]'"
        ) from None
    place = Path(path)
    try:
        if any((place / mark).is_file() for mark in _MARKS):
            loaded = datasets.load_from_disk(path)
        elif place.exists():
            files = [path] if place.is_file() else sorted(str(file) for file in place.glob("*.parquet"))
            loaded = datasets.load_dataset("parquet", data_files=files)
        else:
            loaded = datasets.load_dataset(path)
    except Exception as error:  # the library raises dozens of types, from requests' to its own
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        if place.exists():
            raise UsageError(f"{path} is no data set that can be read ({reason})") from error
        raise TenfoldError(
            f"{path} is no file here, and as a data set of the Hugging Face hub it cannot be loaded ({reason})"
        ) from error
    if isinstance(loaded, datasets.DatasetDict):
        name = "train" if "train" in loaded else next(iter(loaded), "")
        if not name:
            raise UsageError(f"{path} is a data set without splits")
        return loaded[name]
    return loaded
