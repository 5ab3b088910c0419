"""Discrete diffusion of a tokenizer's tokens as the training loop sees it: MDLM and SEDD as published."""

import math
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from tenfold.data.text.packed_text import PackedRows, read_packed
from tenfold.data.text.token_text_config import TokenTextConfig
from tenfold.discrete_diffusion import likelihood
from tenfold.discrete_diffusion.config import DiffusionConfig
from tenfold.discrete_diffusion.options import DiffusionObjective, TokenRowEvaluation
from tenfold.discrete_diffusion.task import DiffusionTask
from tenfold.errors import UsageError
from tenfold.runs.measurement import Measurement
from tenfold.text.tokenizer import FileTokenizer, find_tokenizer


@runtime_checkable
class TokenRecipe(Protocol):
    """What a recipe must hold."""

    model: DiffusionConfig
    data: TokenTextConfig
    objective: DiffusionObjective
    evaluation: TokenRowEvaluation
    train: Any


class TokenSplits(NamedTuple):
    """Rows of three splits."""

    train: PackedRows
    validation: PackedRows
    test: PackedRows


class TokenTask(DiffusionTask):
    """The objectives of ``DiffusionTask`` on JSON lines in a tokenizer's tokens."""

    def __init__(self, recipe: TokenRecipe, name: str = "discrete-tokens") -> None:
        super().__init__(recipe, name)  # type: ignore[arg-type]

    def _check_data(self) -> None:
        model, data = self.recipe.model, self.recipe.data
        if model.alphabet:
            raise UsageError("the data's tokens are no characters; leave model.alphabet empty")
        if data.length > model.length:
            raise UsageError(f"data.length {data.length} exceeds model.length {model.length}; shorten the rows")

    @cached_property
    def tokenizer(self) -> FileTokenizer:
        """The tokenizer."""
        return find_tokenizer(self.recipe.data.tokenizer, self.recipe.model.vocabulary)

    @cached_property
    def data(self) -> TokenSplits:  # type: ignore[override]
        """The texts on end, a token of the end between two, as rows.

        Raises UsageError where no texts are named, and for a tokenizer without such a token."""
        if not self.recipe.data.path:
            raise UsageError(
                "data.path is empty: OpenWebText does not come with tenfold; write it (or other texts) as JSON lines, "
                "one object with 'text' a line, and name the file or folder"
            )
        end = self.tokenizer.inner.eos_token_id
        if end is None:
            raise UsageError(
                f"the tokenizer of {self.recipe.data.tokenizer} has no token of the end to put between texts; set its "
                "eos_token"
            )
        found = read_packed(self.recipe.data, self.tokenizer.encode, end)
        return TokenSplits(found["train"], found["validation"], found["test"])

    def train_source(self) -> PackedRows:
        """Rows of the training texts."""
        return self.data.train

    def validation_source(self) -> PackedRows:
        """Rows of the validation texts, not more than the data's settings say."""
        return self.data.validation.some(self.recipe.data.validation_rows)

    def export(self, folder: Path) -> None:
        """Write the model folder, the tokenizer in it."""
        self.model.tokenizer = self.model.tokenizer or self.tokenizer
        self.model.save_pretrained(folder, {"name": self.name})

    def evaluate(self, seconds: float = 0.0) -> list[Measurement]:
        """Bits per token and perplexity of test rows, by the bound, and by the frequencies of tokens."""
        options, data = self.recipe.evaluation, self.data
        some = data.test.some(options.rows)
        tokens = some.batch(np.arange(len(some)))["tokens"]
        device = next(self.model.parameters()).device
        found = likelihood.bound(self.model, tokens.to(device), options.draws, batch=options.batch)
        counts = np.bincount(data.train.arrays["tokens"].ravel(), minlength=self.recipe.model.vocabulary) + 1.0
        costs = torch.from_numpy(-np.log(counts / counts.sum()))[tokens].sum(1)
        rows = _rows(found.nats.cpu(), tokens, self.name, found.name, options.draws)
        rows += _rows(costs, tokens, "unigram", "one added to each count", None)
        rows.append(Measurement("parameters", sum(p.numel() for p in self.model.parameters()), model=self.name))
        return rows

    def figures(self, directory: Path) -> list[Path]:
        """None besides the curves of training."""
        directory.mkdir(parents=True, exist_ok=True)
        return []


def _rows(nats: Tensor, tokens: Tensor, model: str, note: str, draws: int | None) -> list[Measurement]:
    each = nats.double() / tokens.shape[1]
    mean, error = float(each.mean()), float(each.std()) / math.sqrt(len(each))
    bits = 1 / math.log(2)
    size = math.exp(mean)
    return [
        Measurement("bits_per_token", mean * bits, "bits/token", "test", model, error * bits, draws, note),
        Measurement("perplexity", size, "", "test", model, size * error, draws, note),
    ]
