"""What a user can set about text and source code. Imports no PyTorch."""

from dataclasses import dataclass
from typing import Literal

from tenfold.errors import UsageError


@dataclass(frozen=True)
class CodeDataConfig:
    """Where texts come from, and how they become rows of equally many tokens.

    Attributes:
        source: "stdlib" (functions of the running Python's standard library, split by file) or "jsonl" (a file, or a
            folder of .jsonl files; each line an object with "text", or with "prompt" and "completion").
        path: the JSON lines.
        length: tokens of a row.
        functions: of the standard library, those with a docstring ("documented") or "all".
        most_characters: longer texts are left out; 0 keeps all.
        packed: rows are windows of all texts on end, an end token between two; else a row is one text, cut off or
            padded.
        stride: tokens between the beginnings of two packed training rows; 0 for ``length``, less makes rows overlap.
        learn_padding: padding after a text is masked and learned as well (published for instruction tuning: it
            teaches where to stop).
        validation: share of the files (or lines) that is held out to choose the best checkpoint.
        test: share that is measured on at the end.
        validation_rows: most validation rows that are looked at, evenly spread; 0 for all.
        split_seed: seed of the split.
    """

    source: Literal["stdlib", "jsonl"] = "stdlib"
    path: str = ""
    length: int = 256
    functions: Literal["documented", "all"] = "documented"
    most_characters: int = 1000
    packed: bool = True
    stride: int = 0
    learn_padding: bool = False
    validation: float = 0.05
    test: float = 0.1
    validation_rows: int = 128
    split_seed: int = 0

    def __post_init__(self) -> None:
        if self.length < 2:
            raise UsageError(f"data.length is {self.length}; a row needs at least 2 tokens")
        if not 0 <= self.stride <= self.length:
            raise UsageError(
                f"data.stride is {self.stride}; give 1 to data.length ({self.length}), or 0 for the length"
            )
        if self.validation_rows < 0:
            raise UsageError(f"data.validation_rows is {self.validation_rows}; give at least 1, or 0 for all")
        if self.most_characters < 0:
            raise UsageError(f"data.most_characters is {self.most_characters}; give at least 1, or 0 for no limit")
        for name in ("validation", "test"):
            if not 0 < getattr(self, name) < 1:
                raise UsageError(f"data.{name} is {getattr(self, name)}; give a share between 0 and 1")
        if self.validation + self.test >= 1:
            raise UsageError(
                f"data.validation {self.validation} and data.test {self.test} leave nothing to train on; "
                "their sum must be below 1"
            )
        if self.learn_padding and self.packed:
            raise UsageError(
                "packed rows have no padding to learn; set --data.packed false or --data.learn_padding false"
            )
