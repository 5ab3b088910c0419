"""Text to tokens and back: UTF-8 bytes, or a tokenizer of transformers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from tenfold.masked_lm.config import MaskedLMConfig


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
        """1 for a byte, 0 for padding and mask."""
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


def tokenizer_of(config: MaskedLMConfig) -> Tokenizer | None:
    """The tokenizer that a configuration alone describes; None where it is in files."""
    return ByteTokenizer() if config.tokenizer == "bytes" else None


def read_tokenizer(folder: Path, model_type: str) -> FileTokenizer | None:
    """The tokenizer in a checkpoint's folder, None where there is none. No code that comes with it is run: Dream's
    own tokenizer class reads the files that Qwen2's does."""
    import transformers

    if not any((folder / name).is_file() for name in ("tokenizer.json", "vocab.json", "tokenizer.model")):
        return None
    kind = transformers.Qwen2Tokenizer if model_type == "Dream" else transformers.AutoTokenizer
    return FileTokenizer(kind.from_pretrained(folder))
