"""Characters as tokens, for whatever asks for a tokenizer."""

from collections.abc import Sequence
from pathlib import Path

from tenfold.data.text.characters import encode
from tenfold.data.text.config import CharacterDataConfig
from tenfold.ordering.config import OrderLMConfig


class CharacterTokenizer:
    """The places of characters in a model's alphabet; others as its configuration says.

    >>> CharacterTokenizer(OrderLMConfig()).encode("Abc")
    [1, 2, 3]
    """

    def __init__(self, config: OrderLMConfig) -> None:
        self.alphabet = config.alphabet
        self._data = CharacterDataConfig(alphabet=config.alphabet, lower=config.lower, others=config.others)

    def encode(self, text: str) -> list[int]:
        """Tokens of a text."""
        return [int(token) for token in encode(text, self._data)]

    def decode(self, tokens: Sequence[int]) -> str:
        """Text of tokens; others than characters are left out."""
        return "".join(self.alphabet[t] for t in tokens if 0 <= t < len(self.alphabet))

    def pieces(self, tokens: Sequence[int]) -> list[bytes]:
        """The bytes of each character."""
        return [self.decode([token]).encode() for token in tokens]

    def sizes(self, tokens: Sequence[int], text: str | None = None) -> list[int]:
        """How many bytes each character has."""
        return list(map(len, self.pieces(tokens)))

    def save(self, folder: Path) -> None:
        """Nothing: the configuration says it all."""
