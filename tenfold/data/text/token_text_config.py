"""What a user can set about texts as rows of a tokenizer's tokens. Imports no PyTorch."""

from dataclasses import dataclass

from tenfold.data.text.code_config import CodeDataConfig
from tenfold.errors import UsageError


@dataclass(frozen=True)
class TokenTextConfig:
    """JSON lines as rows of equally many tokens, held in memory.

    Attributes:
        path: a .jsonl file, or a folder of them; each line an object with "text".
        tokenizer: folder or hub id of a tokenizer of transformers; its token of the end goes between two texts.
        length: tokens of a row.
        validation: share of the lines that is held out to choose the best checkpoint.
        test: share that is measured on at the end.
        validation_rows: most validation rows that are looked at in training, evenly spread; 0 for all.
        split_seed: seed of the split.
    """

    path: str = ""
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
        """The same for the reader of JSON lines."""
        return CodeDataConfig(
            source="jsonl",
            path=self.path,
            length=self.length,
            most_characters=0,
            validation=self.validation,
            test=self.test,
            validation_rows=self.validation_rows,
            split_seed=self.split_seed,
        )
