"""Text to tokens and back: UTF-8 bytes, or a tokenizer of transformers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from tenfold.errors import UsageError
from tenfold.hub.fetch import resolve
from tenfold.text.networks import library

_FILES = ("tokenizer.json", "vocab.json", "tokenizer.model")


@runtime_checkable
class Tokenizer(Protocol):
    """What a model's text goes through; special tokens are added by whoever arranges the sequence."""

    def encode(self, text: str) -> list[int]:
        """Tokens of a text, without begin and end."""

    def decode(self, tokens: Sequence[int]) -> str:
        """Text of tokens; special ones are left out."""

    def sizes(self, tokens: Sequence[int]) -> list[int]:
        """UTF-8 bytes that each token stands for; 0 for special ones."""

    def save(self, folder: Path) -> None:
        """Write what reads it back, if anything is needed."""


class ByteTokenizer:
    """One token a byte of UTF-8.

    >>> ByteTokenizer().encode("né")
    [110, 195, 169]
    >>> ByteTokenizer().decode([110, 195, 169, 256])
    'né'
    """

    def encode(self, text: str) -> list[int]:
        """The bytes."""
        return list(text.encode())

    def decode(self, tokens: Sequence[int]) -> str:
        """The text; bytes that are no UTF-8 become �."""
        return bytes(t for t in tokens if 0 <= t < 256).decode(errors="replace")

    def sizes(self, tokens: Sequence[int]) -> list[int]:
        """1 for a byte, 0 for special tokens."""
        return [int(t < 256) for t in tokens]

    def save(self, folder: Path) -> None:
        """Nothing: the configuration says it all."""


class FileTokenizer:
    """A tokenizer of transformers, read from the files beside a checkpoint."""

    def __init__(self, tokenizer: Any) -> None:
        self.inner = tokenizer
        self._special = set(tokenizer.all_special_ids)
        self._sizes: dict[int, int] = {}
        self._bytewise = "ByteLevel" in str(getattr(getattr(tokenizer, "backend_tokenizer", None), "decoder", ""))

    def encode(self, text: str) -> list[int]:
        """Tokens of the text alone; words that look like special tokens are text."""
        return list(self.inner(text, add_special_tokens=False, split_special_tokens=True, verbose=False)["input_ids"])

    def decode(self, tokens: Sequence[int]) -> str:
        """The text, spaces as they were."""
        return str(self.inner.decode(list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def sizes(self, tokens: Sequence[int]) -> list[int]:
        """UTF-8 bytes of each token; byte-level vocabularies write every byte as one character."""
        for token in set(tokens) - set(self._sizes):
            if token in self._special or token >= len(self.inner):
                self._sizes[token] = 0
            elif self._bytewise:
                self._sizes[token] = len(self.inner.convert_ids_to_tokens(token))
            else:
                self._sizes[token] = len(self.inner.decode([token]).encode())
        return [self._sizes[token] for token in tokens]

    def save(self, folder: Path) -> None:
        """Write the tokenizer's files."""
        self.inner.save_pretrained(folder)


def read_tokenizer(folder: Path, model_type: str = "") -> FileTokenizer | None:
    """The tokenizer in a checkpoint's folder, None where there is none. No code that comes with it is run: Dream's
    own tokenizer class reads the files that Qwen2's does.

    Raises UsageError where transformers is missing."""
    if not any((folder / name).is_file() for name in _FILES):
        return None
    transformers = library("a tokenizer needs")
    kind = transformers.Qwen2Tokenizer if model_type == "Dream" else transformers.AutoTokenizer
    return FileTokenizer(kind.from_pretrained(folder))


def find_tokenizer(source: str, vocabulary: int) -> FileTokenizer:
    """The tokenizer of a local folder or a hub repository, of which the weights are not fetched.

    Raises UsageError where transformers is missing, for a folder without a tokenizer that it can load, and for one of
    more tokens than the ``vocabulary``; TenfoldError where the hub cannot be reached."""
    library("a tokenizer needs")  # before anything is fetched
    folder = resolve(source, wanted=("*.json", "*.txt", "*.model"))
    try:
        found = read_tokenizer(folder)
    except Exception as error:  # the library raises dozens of types
        reason = " ".join(str(error).split()).partition(". ")[0] or type(error).__name__
        raise UsageError(f"the tokenizer of {source} cannot be loaded by transformers ({reason[:200]})") from error
    if found is None:
        raise UsageError(f"{source} has no tokenizer: none of {', '.join(_FILES)} is there")
    if len(found.inner) > vocabulary:
        raise UsageError(
            f"the tokenizer of {source} has {len(found.inner)} tokens, more than the model's {vocabulary}; give the "
            "one that the model was trained with"
        )
    return found
