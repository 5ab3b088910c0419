"""Completions of prompts by the policy as it is, their rewards and advantages."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

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
