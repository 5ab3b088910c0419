"""Completions of prompts by the policy as it is, their rewards and advantages."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tenfold.masked_lm.decoding.generation import Generation
from tenfold.masked_lm.decoding.options import GenerationOptions
from tenfold.masked_lm.decoding.sampling import diffusion_generate
from tenfold.masked_lm.grpo.prompts import Problem
from tenfold.masked_lm.model import MaskedLM
from tenfold.rl.policy import until_end
from tenfold.rl.programs import TextReward, checked_rewards


class Completed(NamedTuple):
    """Completions of prompts, a group of each after the other.

    Attributes:
        prompts: each prompt as often as it was completed, padded on the left.
        real: False at the padding.
        completions: tokens; behind the first end token, padding.
        valid: tokens up to and including the first end.
        order: pass that revealed each token.
        confidence: how sure it was then.
    """

    prompts: Int[Tensor, "b p"]
    real: Bool[Tensor, "b p"]
    completions: Int[Tensor, "b l"]
    valid: Bool[Tensor, "b l"]
    order: Int[Tensor, "b l"]
    confidence: Float[Tensor, "b l"]


def complete(
    model: MaskedLM,
    prompts: Int[Tensor, "b p"],
    real: Bool[Tensor, "b p"],
    group: int,
    options: GenerationOptions,
    seed: int,
    samples: Sequence[int],
    batch: int = 64,
) -> Completed:
    """``group`` completions of each prompt. Those of one are keyed by ``seed``, its tokens and its number among
    ``samples``, so that none depends on the batch."""
    rows = prompts.repeat_interleave(group, 0)
    there = real.repeat_interleave(group, 0)
    numbers = [sample * group + k for sample in samples for k in range(group)]
    chosen = options.with_changes(stop_ids=model.special.ends)
    training = model.training
    model.eval()
    found: list[Generation] = []
    for first in range(0, len(rows), batch):
        part = slice(first, first + batch)
        found.append(diffusion_generate(model, rows[part], there[part], chosen, seed=seed, samples=numbers[part]))
    model.train(training)
    completions = torch.cat([one.completions for one in found])
    start = rows.shape[1]
    return Completed(
        rows,
        there,
        completions,
        until_end(completions, model.special.ends),
        torch.cat([one.order[:, start:] for one in found]),
        torch.cat([one.confidence[:, start:] for one in found]),
    )


def texts_of(model: MaskedLM, drawn: Completed) -> list[str]:
    """The completions as texts, without the end token and what is behind it."""
    assert model.tokenizer is not None
    ends = set(model.special.ends)
    return [
        model.tokenizer.decode([token for token in row[:count] if token not in ends])
        for row, count in zip(drawn.completions.tolist(), drawn.valid.sum(1).tolist(), strict=True)
    ]


def rewarded(
    model: MaskedLM, drawn: Completed, problems: Sequence[Problem], group: int, reward: TextReward
) -> Float[Tensor, "b g"]:
    """The rewards of groups of completions, a group for each of the ``problems``.

    Raises UsageError for a reward that is missing or not finite."""
    each: list[Mapping[str, object]] = [problem for problem in problems for _ in range(group)]
    found = checked_rewards(reward(texts_of(model, drawn), each), len(each), "reward")
    return torch.tensor(found, dtype=torch.float32, device=drawn.completions.device).view(-1, group)


@dataclass
class Round:
    """What a round has drawn, and how far it is.

    Attributes:
        drawn: completions.
        rewards: (b, g), of groups.
        index: (b,), numbers of the prompts in training, which key the masks.
        updates: those that are done.
        old: estimates of the policy that drew, for each update; none where the round has one.
        reference: estimates of the reference; none without a penalty.
    """

    drawn: Completed
    rewards: Tensor
    index: Tensor
    updates: int = 0
    old: list[Tensor] = field(default_factory=list)
    reference: list[Tensor] = field(default_factory=list)


class OpenRounds:
    """The rounds of a step that are under way, one for each micro-batch, as a checkpoint in the middle of them keeps
    them."""

    def __init__(self) -> None:
        self._step, self._rounds = -1, dict[int, Round]()

    def of(self, batch: Mapping[str, Tensor], step: int, draw: Callable[[], Round]) -> Round:
        """The round of a micro-batch, drawn where there is none yet."""
        if step != self._step:
            self._step, self._rounds = step, {}
        first = int(batch["index"][0])
        if first not in self._rounds:
            self._rounds[first] = draw()
        return self._rounds[first]

    def end(self, batch: Mapping[str, Tensor]) -> None:
        """Forget the round of a micro-batch."""
        self._rounds.pop(int(batch["index"][0]), None)

    def state_dict(self) -> dict[str, Any]:
        """What is under way; nothing between two steps."""
        rounds = {str(first): {**vars(one), "drawn": one.drawn._asdict()} for first, one in self._rounds.items()}
        return {"step": self._step, "rounds": rounds} if rounds else {}

    def load_state_dict(self, state: Mapping[str, Any], device: torch.device) -> None:
        """Restore it."""
        self._step, self._rounds = int(state.get("step", -1)), {}
        for first, saved in state.get("rounds", {}).items():
            drawn = Completed(**{name: value.to(device) for name, value in saved["drawn"].items()})
            old, reference = ([one.to(device) for one in saved[name]] for name in ("old", "reference"))
            rewards, index = saved["rewards"].to(device), saved["index"].to(device)
            self._rounds[int(first)] = Round(drawn, rewards, index, saved["updates"], old, reference)
