"""Texts that a user wants scored: files, folders of files, or strings. Imports no PyTorch."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from tenfold import progress
from tenfold.data.text.reading import lines_of, text_lines
from tenfold.errors import UsageError
from tenfold.settings.checks import at_least, settings

_SHOWN = 40


@settings
class TextScoring:
    """Options of ``tenfold score`` for a model of text.

    Attributes:
        lines: score each line that is not blank by itself; without it a file is one text.
        draws: of noise for each row of a bound; no matter for models that read from left to right.
        batch: rows computed together.
        seed: of the noise.
    """

    lines: bool = False
    draws: int = 32
    batch: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        at_least(self, "", draws=1, batch=1)


class NamedText(NamedTuple):
    """A text, and what it is called in a table."""

    name: str
    text: str


@dataclass(frozen=True)
class Texts:
    """Texts that are read one at a time, anew whenever they are gone through; blank ones are passed over.

    Attributes:
        sources: what each is called, and a file or a string.
        lines: whether each line is a text by itself.
        count: how many there are.
    """

    sources: tuple[tuple[str, Path | str], ...]
    lines: bool
    count: int

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[NamedText]:
        for name, source in self.sources:
            parts = lines_of(source) if isinstance(source, Path) else text_lines(source) if self.lines else [source]
            named: Iterator[tuple[str, str]]
            if self.lines:
                named = ((_called(f"{name}:{i}", line), line.removesuffix("\n")) for i, line in enumerate(parts, 1))
            else:
                whole = "".join(parts)
                named = iter([(name if isinstance(source, Path) else _called(name, whole), whole)])
            yield from (NamedText(*text) for text in named if text[1].strip())


def read_texts(source: str | os.PathLike[str] | Iterable[object], lines: bool = False) -> Texts:
    """The texts of a file in UTF-8, of a folder of such files (searched recursively, hidden ones left out), or of a
    sequence of strings; blank ones are passed over. Files of a folder that are no text are left out, and told. All are
    looked through here, and none is kept.

    >>> list(read_texts(["in the beginning"]))
    [NamedText(name='1: in the beginning', text='in the beginning')]

    Raises UsageError for what is not there or not text, and where there is nothing to score."""
    if isinstance(source, str | os.PathLike):
        sources = _readable(Path(source))
    else:
        sources = []
        for i, text in enumerate(source, 1):
            if not isinstance(text, str):
                raise UsageError(f"texts are strings, but one of them is a {type(text).__name__}; decode it")
            sources.append((str(i), text))
    found = Texts(tuple(sources), lines, 0)
    found = replace(found, count=sum(1 for _ in found))
    if not found.count:
        raise UsageError(f"{source if isinstance(source, str | os.PathLike) else 'the input'} holds no text to score")
    return found


def _readable(path: Path) -> list[tuple[str, Path | str]]:
    """The files that are text, by their names below ``path``; of a folder the others are told."""
    if not path.exists():
        raise UsageError(f"{path} does not exist; give a text file or a folder of them")
    files, base = (_files(path), path) if path.is_dir() else ([path], path.parent)
    found: list[tuple[str, Path | str]] = []
    others = []
    for file in files:
        try:
            for _ in lines_of(file):
                pass
            found.append((str(file.relative_to(base)), file))
        except UsageError:
            if not path.is_dir():
                raise
            others.append(str(file.relative_to(base)))
    if others:
        named = ", ".join(others[:5]) + (", …" if len(others) > 5 else "")
        progress.note(f"{len(others)} of {len(files)} files in {path} are no UTF-8 text and are left out: {named}")
    return found


def _files(folder: Path) -> list[Path]:
    found = sorted(file for file in folder.rglob("*") if file.is_file())
    return [file for file in found if not any(part.startswith(".") for part in file.relative_to(folder).parts)]


def _called(label: str, text: str) -> str:
    """A label with the beginning of a text, on one line."""
    begin = " ".join(text[: 2 * _SHOWN].split())
    return f"{label}: {begin[:_SHOWN]}{'…' if len(begin) > _SHOWN else ''}"
