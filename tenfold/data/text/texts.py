"""Texts that a user wants scored: files, folders of files, or strings. Imports no PyTorch."""

import os
from collections.abc import Iterable
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


def read_texts(source: str | os.PathLike[str] | Iterable[object], lines: bool = False) -> list[NamedText]:
    """The texts of a file in UTF-8, of a folder of such files (searched recursively, hidden ones left out), or of a
    sequence of strings; blank ones are passed over. Files of a folder that are no text are left out, and told.

    >>> read_texts(["in the beginning"])
    [NamedText(name='1: in the beginning', text='in the beginning')]

    Raises UsageError for what is not there or not text, and where there is nothing to score."""
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        if not path.exists():
            raise UsageError(f"{path} does not exist; give a text file or a folder of them")
        files = _files(path) if path.is_dir() else [path]
        base = path if path.is_dir() else path.parent
        whole, others = [], []
        for file in files:
            try:
                whole.append(NamedText(str(file.relative_to(base)), "".join(lines_of(file))))
            except UsageError:
                if not path.is_dir():
                    raise
                others.append(str(file.relative_to(base)))
        if others:
            named = ", ".join(others[:5]) + (", …" if len(others) > 5 else "")
            progress.note(f"{len(others)} of {len(files)} files in {path} are no UTF-8 text and are left out: {named}")
    else:
        whole = []
        for i, text in enumerate(source, 1):
            if not isinstance(text, str):
                raise UsageError(f"texts are strings, but one of them is a {type(text).__name__}; decode it")
            whole.append(NamedText(_called(str(i), text), text))
    if lines:
        numbered = [(text.name, i, line) for text in whole for i, line in enumerate(text_lines(text.text), 1)]
        whole = [NamedText(_called(f"{name.partition(': ')[0]}:{i}", line), line) for name, i, line in numbered]
    whole = [text for text in whole if text.text.strip()]
    if not whole:
        raise UsageError(f"{source if isinstance(source, str | os.PathLike) else 'the input'} holds no text to score")
    return whole


def _files(folder: Path) -> list[Path]:
    found = sorted(file for file in folder.rglob("*") if file.is_file())
    return [file for file in found if not any(part.startswith(".") for part in file.relative_to(folder).parts)]


def _called(label: str, text: str) -> str:
    """A label with the beginning of a text, on one line."""
    begin = " ".join(text[: 2 * _SHOWN].split())
    return f"{label}: {begin[:_SHOWN]}{'…' if len(begin) > _SHOWN else ''}"
