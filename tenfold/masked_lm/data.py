"""Texts of code as rows of a model's tokens, with the bytes that they stand for."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from tenfold import progress
from tenfold.data.text.code import CodeSplits, Document, load_code
from tenfold.data.text.config import CodeDataConfig
from tenfold.data.text.token_rows import DiffusionCollator, TokenRows
from tenfold.errors import UsageError
from tenfold.masked_lm.config import SpecialIds
from tenfold.text.tokenizer import Tokenizer

END = 256  # of a text, in the streams that the counted byte models read


@dataclass(frozen=True)
class CodeRows:
    """Rows of the three splits, and the texts that they were made of."""

    texts: CodeSplits
    train: TokenRows
    validation: TokenRows
    test: TokenRows
    tokenizer: Tokenizer
    end: int
    test_sizes: Int[Tensor, " r"]
    """Bytes that the scored tokens of each test row stand for; an end token stands for none."""

    def byte_stream(self, documents: tuple[Document, ...]) -> Int[np.ndarray, " n"]:
        """Texts on end as bytes, each followed by ``END``."""
        return np.concatenate([np.array([*(d.prompt + d.text).encode(), END]) for d in documents])

    def byte_rows(self, rows: TokenRows, count: int) -> list[tuple[Int[np.ndarray, " n"], int]]:
        """The first ``count`` rows as bytes, end tokens as ``END``, with the number of bytes before the first token
        that is scored: what comes before is given."""
        found = []
        for row, free in zip(rows.arrays["tokens"][:count], rows.arrays["maskable"][:count], strict=True):
            scored = np.flatnonzero(free)
            if len(scored) == 0:
                continue
            first, last = int(scored[0]), int(scored[-1]) + 1
            parts = [self._bytes(row[:first]), self._bytes(row[first:last])]
            found.append((np.array(parts[0] + parts[1], np.int64), len(parts[0])))
        return found

    def _bytes(self, tokens: np.ndarray) -> list[int]:
        pieces = zip(tokens.tolist(), self.tokenizer.pieces(tokens.tolist()), strict=True)
        return [byte for token, piece in pieces for byte in ([END] if token == self.end else piece)]


def read_rows(config: CodeDataConfig, special: SpecialIds, tokenizer: Tokenizer, shifted: bool) -> CodeRows:
    """The rows that a configuration describes, in the tokens of a model.

    Raises the errors of ``load_code``, and UsageError for a model without an end or padding token."""
    end = special.eos if special.eos is not None else special.pad
    pad = special.pad if special.pad is not None else special.eos
    if end is None or pad is None:
        raise UsageError(
            "the model has neither an end nor a padding token to put between texts; set model.eos or model.pad"
        )
    texts = load_code(config)
    made = []
    for name, documents in (("training", texts.train), ("validation", texts.validation), ("test", texts.test)):
        # Overlapping rows would be counted twice where something is measured.
        stride = config.stride if name == "training" else 0
        collate = DiffusionCollator(config.length, pad, end, None, config.packed, stride, config.learn_padding, shifted)
        tracked = progress.track(documents, f"{name} tokens", "texts")
        encode = tokenizer.encode
        tokens = [(encode(d.prompt) if d.prompt else [], encode(d.text)) for d in tracked]
        made.append(TokenRows(collate(tokens)))
    # The bytes of each token lie in rows as the token does.
    counted = zip(tokens, documents, strict=True)
    sizes = [(tokenizer.sizes(p, d.prompt), tokenizer.sizes(t, d.text)) for (p, t), d in counted]
    rows = replace(collate, pad=0, end=0)(sizes)["tokens"] * made[2].arrays["maskable"]
    return CodeRows(texts, made[0], made[1], made[2], tokenizer, end, torch.from_numpy(rows.sum(1)))
