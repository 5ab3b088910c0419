"""Text to tokens and back: UTF-8 bytes, or a tokenizer of transformers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

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


def tokenizer_of(config: MaskedLMConfig) -> Tokenizer | None:
    """The tokenizer that a configuration alone describes; None where it is in files."""
    return ByteTokenizer() if config.tokenizer == "bytes" else None
