"""Which masked positions a pass reveals: pure functions of what the pass found out, and the rules with their options.

The functions take (B, N) tensors and return (B, N) bool; positions that are not candidates have rank −inf. Every rule
reveals at least one candidate of each row that has any, or its quota.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tenfold.masked_lm.decoding.generation import Canvas
from tenfold.masked_lm.decoding.proposals import Uniforms
from tenfold.masked_lm.decoding.schedules import reveal_probability

Quotas = Int[Tensor, " B"] | None


def ranks(score: Float[Tensor, "B N"]) -> Int[Tensor, "B N"]:
    """Place of each position in its row, 0 for the largest score; among equals the left one comes first."""
    order = score.argsort(dim=1, descending=True, stable=True)
    places = torch.arange(score.shape[1], device=score.device).expand_as(order)
    return torch.empty_like(order).scatter_(1, order, places)


def best(score: Float[Tensor, "B N"], quotas: Int[Tensor, " B"]) -> Bool[Tensor, "B N"]:
    """The ``quotas[b]`` candidates of row b with the largest scores, or as many as there are."""
    return (ranks(score) < quotas[:, None]) & (score > -torch.inf)


def drawn_by_rank(
    score: Float[Tensor, "B N"], quotas: Int[Tensor, " B"], alg_temp: float, uniforms: Float[Tensor, "B N"]
) -> Bool[Tensor, "B N"]:
    """``quotas[b]`` candidates of row b, drawn one after the other without putting back with weights
    softmax(score / alg_temp): the largest of score / alg_temp plus Gumbel noise (float64)."""
    noise = -torch.log(-torch.log(uniforms.to(torch.float64).clamp(min=torch.finfo(torch.float64).tiny)))
    return best(score.to(torch.float64) / alg_temp + noise, quotas)


def above_threshold(
    score: Float[Tensor, "B N"],
    probability: Float[Tensor, "B N"],
    threshold: float,
    quotas: Int[Tensor, " B"] | None = None,
) -> Bool[Tensor, "B N"]:
    """Fast-dLLM (arXiv 2505.22618): candidates whose proposal has at least that probability, and the best one by score
    whatever its probability; with ``quotas`` only among the best of each row."""
    place = ranks(score)
    chosen = (probability >= threshold) | (place == 0)
    if quotas is not None:
        chosen &= place < quotas[:, None]
    return chosen & (score > -torch.inf)


def by_factor(probability: Float[Tensor, "B N"], factor: float) -> Bool[Tensor, "B N"]:
    """Fast-dLLM's factor rule: in order of probability c_(1) ≥ c_(2) ≥ …, as long as c_(r) ≥ 1 − f / (r + 1); the first
    always."""
    ordered = probability.sort(dim=1, descending=True, stable=True).values
    rank = torch.arange(1, ordered.shape[1] + 1, device=ordered.device)
    accepted = ordered >= 1 - factor / (rank + 1)
    accepted[:, 0] = True
    return best(probability, accepted.long().cumprod(dim=1).sum(dim=1))


def by_entropy_bound(score: Float[Tensor, "B N"], entropy: Float[Tensor, "B N"], gamma: float) -> Bool[Tensor, "B N"]:
    """EB-Sampler (arXiv 2505.24857): in order of score, the largest n with Σ_{r≤n} H_r − max_{r≤n} H_r ≤ γ (nats)."""
    candidates = score > -torch.inf
    order = score.argsort(dim=1, descending=True, stable=True)
    nats = entropy.masked_fill(~candidates, torch.inf).gather(1, order)
    excess = nats.cumsum(dim=1) - nats.cummax(dim=1).values
    accepted = (excess <= gamma) & candidates.gather(1, order)
    accepted[:, 0] = candidates.any(dim=1)
    return best(score, accepted.long().cumprod(dim=1).sum(dim=1))


def spread(values: Tensor, where: Bool[Tensor, "B N"], rest: int | float) -> Tensor:
    """Row-major values of the positions ``where`` as (B, N), ``rest`` elsewhere."""
    full = torch.full(where.shape, rest, dtype=values.dtype, device=values.device)
    full[where] = values
    return full


class Moment(NamedTuple):
    """A step of a block, before its pass: the ``canvas``, which positions are ``inside`` the block and which of them
    ``masks``, the step's number from 0, and the times τ_0 … τ_S of the block's schedule."""

    canvas: Canvas
    inside: Bool[Tensor, "B N"]
    masks: Bool[Tensor, "B N"]
    step: int
    taus: Tensor


class Drawn(NamedTuple):
    """What is revealed without a look at the pass, and what goes back to the mask."""

    shown: Bool[Tensor, "B N"]
    back: Bool[Tensor, "B N"] | None = None


class Seen(NamedTuple):
    """What a pass found out about each position: the rank ``score`` and the ``probability`` of its proposal, −inf where
    none was asked for, and the ``entropy`` in nats, None where no rule needs it."""

    score: Float[Tensor, "B N"]
    probability: Float[Tensor, "B N"]
    entropy: Float[Tensor, "B N"] | None = None


class Strategy:
    """A rule with its options: it draws what is revealed ``ahead`` of a pass, or chooses from what the pass has seen.

    ``settles`` says whether what is revealed stays."""

    settles: ClassVar[bool] = True

    def ahead(self, moment: Moment, uniforms: Uniforms) -> Drawn | None:
        """What is revealed whatever the pass says; None for a rule that chooses."""
        return None

    def choose(self, seen: Seen, quotas: Quotas, uniforms: Uniforms) -> Bool[Tensor, "B N"]:
        """What is revealed; ``quotas`` are the schedule's, None where the rule alone says."""
        raise NotImplementedError


@dataclass(frozen=True)
class TopK(Strategy):
    """The quota's best-ranked masks; with a temperature ``alg_temp`` drawn by rank."""

    alg_temp: float | None = None

    def choose(self, seen: Seen, quotas: Quotas, uniforms: Uniforms) -> Bool[Tensor, "B N"]:
        assert quotas is not None
        if not self.alg_temp:
            return best(seen.score, quotas)
        numbers = uniforms.uniform(seen.score.shape, seen.score.device)
        return drawn_by_rank(seen.score, quotas, self.alg_temp, numbers)


@dataclass(frozen=True)
class Threshold(Strategy):
    """Every proposal of at least that probability, and the best one; no more than the quota where there is one."""

    threshold: float

    def choose(self, seen: Seen, quotas: Quotas, uniforms: Uniforms) -> Bool[Tensor, "B N"]:
        return above_threshold(seen.score, seen.probability, self.threshold, quotas)


@dataclass(frozen=True)
class Factor(Strategy):
    """Rank r while its probability is at least 1 − f / (r + 1)."""

    factor: float

    def choose(self, seen: Seen, quotas: Quotas, uniforms: Uniforms) -> Bool[Tensor, "B N"]:
        return by_factor(seen.probability, self.factor)


@dataclass(frozen=True)
class EntropyBound(Strategy):
    """As many as have ``gamma`` nats of joint entropy beyond the largest one; it needs the entropies."""

    gamma: float

    def choose(self, seen: Seen, quotas: Quotas, uniforms: Uniforms) -> Bool[Tensor, "B N"]:
        assert seen.entropy is not None
        return by_entropy_bound(seen.score, seen.entropy, self.gamma)


class ReverseProcess(Strategy):
    """Each mask by itself, with the probability 1 − s/t of the reverse process."""

    def ahead(self, moment: Moment, uniforms: Uniforms) -> Drawn:
        masks = moment.masks
        numbers = uniforms.reveals(moment.canvas.step, int(masks.sum()), masks.device)
        return Drawn(spread(numbers < reveal_probability(moment.step, moment.taus), masks, False))


@dataclass(frozen=True)
class FirstOfBlock(Strategy):
    """As published for blocks with a cache: a block's first token is revealed from the block's first pass, sure or not;
    then the ``rest`` follows."""

    rest: Strategy

    def ahead(self, moment: Moment, uniforms: Uniforms) -> Drawn | None:
        if moment.step:
            return None
        shown = moment.masks.clone()
        shown[:, int(moment.inside.any(dim=0).long().argmax()) + 1 :] = False
        return Drawn(shown)

    def choose(self, seen: Seen, quotas: Quotas, uniforms: Uniforms) -> Bool[Tensor, "B N"]:
        return self.rest.choose(seen, quotas, uniforms)
