"""Rewards of texts as characters: what a classifier of held-out text says, and the length of words."""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from tenfold.data.text.characters import encode, read_text
from tenfold.data.text.config import CharacterDataConfig
from tenfold.errors import UsageError
from tenfold.rl.rewards import Reward

_BEGINNING = "The book of the generation of Jesus Christ"
_LIMIT = 8.0


class Labelled(NamedTuple):
    """Rows of one split, and whether each is of the New Testament."""

    tokens: Int[Tensor, "b n"]
    new: Bool[Tensor, " b"]


class TrigramClassifier:
    """Log-odds of two kinds of text, a weight for each trigram of characters; both kinds count alike.

    ``classifier(tokens)`` gives (b,), within ±8."""

    def __init__(self, rows: Labelled, vocabulary: int, decay: float = 1e-3) -> None:
        if bool(rows.new.all()) or not bool(rows.new.any()):
            raise UsageError("all rows are of one kind, so there is nothing to tell apart; give rows of both")
        self.vocabulary = vocabulary
        self.weight = torch.zeros(vocabulary**3, requires_grad=True)
        self.bias = torch.zeros(1, requires_grad=True)
        features, labels = self._trigrams(rows.tokens), rows.new.float()
        balance = torch.where(rows.new, 0.5 / labels.mean(), 0.5 / (1 - labels.mean()))
        optimiser = torch.optim.LBFGS([self.weight, self.bias], max_iter=60, line_search_fn="strong_wolfe")

        def loss() -> Tensor:
            optimiser.zero_grad()
            logits = self.weight[features].sum(1) + self.bias
            value = F.binary_cross_entropy_with_logits(logits, labels, balance) + decay * self.weight.square().sum()
            value.backward()
            return value

        optimiser.step(loss)
        self.weight, self.bias = self.weight.detach(), self.bias.detach()

    def to(self, device: torch.device, dtype: torch.dtype | None = None) -> "TrigramClassifier":
        """Move the weights, which keep their type."""
        self.weight, self.bias = self.weight.to(device), self.bias.to(device)
        return self

    def _trigrams(self, tokens: Int[Tensor, "b n"]) -> Int[Tensor, "b m"]:
        size = self.vocabulary
        return (tokens[:, :-2] * size + tokens[:, 1:-1]) * size + tokens[:, 2:]

    def __call__(self, tokens: Int[Tensor, "b n"]) -> Float[Tensor, " b"]:
        """The reward."""
        home = self.weight.device
        return (
            (self.weight[self._trigrams(tokens.to(home))].sum(1) + self.bias).clamp(-_LIMIT, _LIMIT).to(tokens.device)
        )

    def accuracy(self, rows: Labelled) -> float:
        """Mean over the two kinds of the share that is told rightly."""
        right = (self(rows.tokens) > 0) == rows.new
        return float((right[rows.new].float().mean() + right[~rows.new].float().mean()) / 2)


def testament_rows(config: CharacterDataConfig, place: int) -> Labelled:
    """The rows of the blocks at a ``place`` of the King James Bible.

    Raises UsageError for another text."""
    if config.source != "kjv":
        raise UsageError(
            "the reward 'testament' is about the King James Bible; set --data.source kjv, or another reward"
        )
    text = read_text(config)
    start = len(encode(text[: text.index(_BEGINNING)], config))
    tokens = encode(text, config)
    firsts = np.arange(0, len(tokens) - config.length + 1, config.length)
    same_block = firsts // config.block == (firsts + config.length - 1) // config.block
    firsts = firsts[same_block & (firsts // config.block % config.every == place)]
    rows = tokens[firsts[:, None] + np.arange(config.length)]
    return Labelled(torch.from_numpy(rows), torch.from_numpy(firsts >= start))


def word_length(blank: int) -> Reward:
    """Letters over words: 64 characters with 11 blanks have 53/12."""

    def reward(tokens: Int[Tensor, "b n"]) -> Float[Tensor, " b"]:
        blanks = (tokens == blank).sum(1)
        return (tokens.shape[1] - blanks) / (blanks + 1.0)

    return reward


def reward_of(name: str, config: CharacterDataConfig) -> Reward:
    """A reward by name, its classifier trained on the validation blocks."""
    if name == "testament":
        return TrigramClassifier(testament_rows(config, config.validation_place), len(config.alphabet))
    blank = config.alphabet.find(" ")
    if blank < 0:
        raise UsageError("the reward 'word_length' needs a blank in data.alphabet")
    return word_length(blank)
