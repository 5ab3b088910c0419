"""Text to tokens and back: UTF-8 bytes, or a tokenizer of transformers."""

import re
import tempfile
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from tenfold.errors import UsageError
from tenfold.hub.fetch import resolve
from tenfold.text.byte_files import byte_characters, write_byte_tokenizer
from tenfold.text.networks import library, one_sentence, quiet

_FILES = (
    "tokenizer.json", "vocab.json", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "vocab.txt",
    "tokenizer_config.json",
)  # fmt: skip
BYTES = "bytes"
_BYTES = byte_characters()
_ALONE: dict[str, Any] = {"add_special_tokens": False, "split_special_tokens": True, "verbose": False}


@runtime_checkable
class Tokenizer(Protocol):
    """What a model's text goes through; special tokens are added by whoever arranges the sequence."""

    def encode(self, text: str) -> list[int]:
        """Tokens of a text, without begin and end."""

    def decode(self, tokens: Sequence[int]) -> str:
        """Text of tokens; special ones are left out."""

    def pieces(self, tokens: Sequence[int]) -> list[bytes]:
        """The UTF-8 bytes that each token stands for; none for special ones."""

    def sizes(self, tokens: Sequence[int], text: str | None = None) -> list[int]:
        """How many bytes each of the tokens of a whole text stands for. With the ``text`` they add up to its bytes,
        whatever the tokenizer changes or does not know."""

    def save(self, folder: Path) -> None:
        """Write what reads it back, if anything is needed."""


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        code = ord(text[error.start])
        raise UsageError(f"a text has half of a character (U+{code:04X}), which UTF-8 cannot hold; mend it") from None


class ByteTokenizer:
    """One token a byte of UTF-8.

    >>> ByteTokenizer().encode("né")
    [110, 195, 169]
    >>> ByteTokenizer().decode([110, 195, 169, 256])
    'né'
    """

    def encode(self, text: str) -> list[int]:
        """The bytes."""
        return list(_utf8(text))

    def decode(self, tokens: Sequence[int]) -> str:
        """The text; bytes that are no UTF-8 become �."""
        return bytes(t for t in tokens if 0 <= t < 256).decode(errors="replace")

    def pieces(self, tokens: Sequence[int]) -> list[bytes]:
        """One byte each, none for special tokens."""
        return [bytes([t]) if 0 <= t < 256 else b"" for t in tokens]

    def sizes(self, tokens: Sequence[int], text: str | None = None) -> list[int]:
        """1 for a byte, 0 for special tokens."""
        return [int(0 <= t < 256) for t in tokens]

    def save(self, folder: Path) -> None:
        """Nothing: the configuration says it all."""


class FileTokenizer:
    """A tokenizer of transformers, read from the files beside a checkpoint."""

    def __init__(self, tokenizer: Any) -> None:
        self.inner = tokenizer
        self._special = set(tokenizer.all_special_ids)
        self._pieces: dict[int, bytes] = {}
        self._decoder = str(getattr(getattr(tokenizer, "backend_tokenizer", None), "decoder", "▁"))

    def encode(self, text: str) -> list[int]:
        """Tokens of the text alone; words that look like special tokens are text."""
        _utf8(text)
        return list(self.inner(text, **_ALONE)["input_ids"])

    def encode_marked(self, text: str) -> list[int]:
        """Tokens of a text in which special tokens are written out, as chat templates do."""
        _utf8(text)
        return list(self.inner(text, add_special_tokens=False, verbose=False)["input_ids"])

    def decode(self, tokens: Sequence[int]) -> str:
        """The text, spaces as they were."""
        known = [token for token in tokens if token >= 0]
        return str(self.inner.decode(known, skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def pieces(self, tokens: Sequence[int]) -> list[bytes]:
        """The bytes of each token as the vocabulary writes them, the space before a word included."""
        for token in set(tokens) - set(self._pieces):
            self._pieces[token] = self._piece(token)
        return [self._pieces[token] for token in tokens]

    def _piece(self, token: int) -> bytes:
        if token in self._special or not 0 <= token < len(self.inner):
            return b""
        written = self.inner.convert_ids_to_tokens(token)
        if token in self.inner.added_tokens_decoder:
            return str(written).encode()
        if "ByteLevel" in self._decoder:  # every byte is one character
            return bytes(_BYTES[c] for c in written) if set(written) <= set(_BYTES) else written.encode()
        if byte := re.fullmatch("<0x([0-9A-F]{2})>", written):
            return bytes.fromhex(byte[1])
        if "▁" in self._decoder:
            return str(written).replace("▁", " ").encode()
        return str(self.inner.decode([token], clean_up_tokenization_spaces=False)).encode()

    @cached_property
    def _prefix(self) -> int:
        """Blanks that are put before a text."""
        return max(0, len(b"".join(self.pieces(self.encode("a")))) - 1)

    def sizes(self, tokens: Sequence[int], text: str | None = None) -> list[int]:
        """Bytes of the tokens of a whole text: those of the vocabulary, without the blank that is put before a text.
        Where these are not all of the ``text``, those between the beginnings of its tokens."""
        sizes = list(map(len, self.pieces(tokens)))
        first = next((i for i, size in enumerate(sizes) if size), 0)
        if self._prefix and sizes and self.pieces([tokens[first]])[0].startswith(b" "):
            sizes[first] -= self._prefix
        if text is None or sum(sizes) == len(text.encode()):
            return sizes
        if self.inner.is_fast:
            found = self.inner(text, **_ALONE, return_offsets_mapping=True)["offset_mapping"]
            places = np.cumsum([0, *(len(c.encode()) for c in text)])
            starts = np.maximum.accumulate([0, *(begin for begin, _ in found[1:])])
            begins = places[starts]
        else:  # nobody says where they begin: in proportion to what the vocabulary writes
            whole = np.cumsum([0, *(max(size, 1) for size in sizes)])
            begins = len(text.encode()) * whole[:-1] // whole[-1]
        return np.diff(np.append(begins, len(text.encode()))).tolist() if len(begins) == len(tokens) else sizes

    def save(self, folder: Path) -> None:
        """Write the tokenizer's files."""
        self.inner.save_pretrained(folder)


def read_tokenizer(folder: Path, model_type: str = "", source: str = "") -> FileTokenizer | None:
    """The tokenizer in a checkpoint's folder, None where there is none. No code that comes with it is run: Dream's
    own tokenizer class reads the files that Qwen2's does.

    Raises UsageError, about ``source`` or else the folder, where transformers is missing or cannot load it."""
    if not any((folder / name).is_file() for name in _FILES):
        return None
    transformers = library("a tokenizer needs")
    kind = transformers.Qwen2Tokenizer if model_type == "Dream" else transformers.AutoTokenizer
    with quiet(transformers), one_sentence(f"the tokenizer of {source or folder} cannot be loaded by transformers"):
        return FileTokenizer(kind.from_pretrained(folder, trust_remote_code=False))


def find_tokenizer(source: str, vocabulary: int) -> FileTokenizer:
    """The tokenizer of a local folder or a hub repository, of which the weights are not fetched; that of UTF-8 bytes,
    with 256 for the end of a text, by the name "bytes".

    Raises UsageError where transformers is missing, for a folder without a tokenizer that it can load, and for one of
    more tokens than the ``vocabulary``; TenfoldError where the hub cannot be reached."""
    library("a tokenizer needs")  # before anything is fetched
    if source == BYTES:
        with tempfile.TemporaryDirectory() as folder:
            write_byte_tokenizer(Path(folder), {"eos": 256})
            found = read_tokenizer(Path(folder), source=source)
    else:
        found = read_tokenizer(resolve(source, wanted=("*.json", "*.txt", "*.model")), source=source)
    if found is None:
        raise UsageError(f"{source} has no tokenizer: none of {', '.join(_FILES)} is there")
    require_room(found, vocabulary, source)
    return found


def end_of(tokenizer: FileTokenizer, source: str) -> int:
    """The token that goes between two texts. Raises UsageError for a tokenizer without one."""
    end = tokenizer.inner.eos_token_id
    if end is None:
        raise UsageError(f"the tokenizer of {source} has no token of the end to put between texts; set its eos_token")
    return int(end)


def require_room(tokenizer: FileTokenizer, vocabulary: int, source: str) -> None:
    """Raises UsageError for a tokenizer that makes tokens outside of a model's ``vocabulary``."""
    if (count := 1 + max(tokenizer.inner.get_vocab().values(), default=-1)) > vocabulary:
        raise UsageError(
            f"the tokenizer of {source} has {count} tokens, more than the model's {vocabulary}; give the one that the "
            "model was trained with"
        )
