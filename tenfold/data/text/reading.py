"""Text files as they are: UTF-8, gzipped or not, a byte-order mark left out, lines that end at a line feed alone.

Other breaks (U+2028, U+0085, a vertical tab, a lone carriage return …) are characters of a line. No PyTorch here."""

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from tenfold.errors import UsageError

_MARK = b"\xef\xbb\xbf"


def lines_of(file: Path) -> Iterator[str]:
    """The lines of a file, one at a time, each with its end.

    Raises UsageError for what is no UTF-8, with the byte, and no whole gzip file."""
    at, packed = 0, False
    try:
        with file.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
        with gzip.open(file) if packed else file.open("rb") as lines:
            for line in lines:
                text = line.removeprefix(_MARK) if at == 0 else line
                at += len(line) - len(text)
                if b"\0" in text:
                    raise UsageError(f"{file} is no text: byte {at + text.index(0)} is 0; leave it out")
                yield text.decode()
                at += len(text)
    except UnicodeDecodeError as error:
        raise UsageError(f"{file} is not UTF-8 at byte {at + error.start}; convert it, or leave it out") from None
    except (OSError, EOFError, zlib.error, MemoryError) as error:
        what = "is no whole gzip file" if packed else "cannot be read"
        raise UsageError(f"{file} {what}: {str(error) or type(error).__name__}") from None


def text_lines(text: str) -> list[str]:
    """The lines of a text, as ``lines_of`` has them, without their ends.

    >>> text_lines("a\\x85b\\r\\nc\\n")
    ['a\\x85b\\r', 'c']
    """
    return text.removesuffix("\n").split("\n")


def json_objects(file: Path, wanted: str = "an object") -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a file of JSON lines with the number of their line, one at a time; blank lines are passed over.

    Raises UsageError, with the line's number, for what is not ``wanted``: NaN and infinities are no JSON, nor is text
    that UTF-8 cannot hold."""
    for number, line in enumerate(lines_of(file), 1):
        if not line.strip():
            continue
        where = f"line {number} of {file}"
        try:
            value = json.loads(line, parse_constant=_refuse)
            if "\\u" in line:
                json.dumps(value, ensure_ascii=False).encode()  # half of a surrogate pair
        except json.JSONDecodeError as error:
            raise UsageError(f"{where} is not JSON: {error.msg} at column {error.colno}") from None
        except (ValueError, RecursionError, MemoryError) as error:  # numbers of thousands of digits, deep nesting
            raise UsageError(f"{where} is not JSON that can be read: {str(error) or type(error).__name__}") from None
        if not isinstance(value, dict):
            raise UsageError(f"{where} is {type(value).__name__}; expected {wanted}")
        yield number, value


def _refuse(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number in JSON")
