"""Which masked positions a pass reveals: pure functions of what the pass found out, and the rules with their options.

The functions take (B, N) tensors and return (B, N) bool; positions that are not candidates have rank −inf. Every rule
reveals at least one candidate of each row that has any, or its quota.

With ReMDM (arXiv 2503.00307) revealed tokens may return to the mask, which buys quality for passes. From time t to
s < t, with revealed shares α_t ≤ α_s: a revealed token goes back with probability σ; a mask is revealed with
(α_s − (1 − σ) α_t) / (1 − α_t). σ lies in [0, min(1, (1 − α_s) / α_t)]; σ = 0 is the plain reverse process."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tenfold.errors import UsageError
from tenfold.masked_lm.decoding import schedules
from tenfold.masked_lm.decoding.generation import Canvas
from tenfold.masked_lm.decoding.proposals import Uniforms

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
    ``masks``, the step's number from 0, and the times τ_0 … τ_S of the block's schedule, a row each."""

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
        return drawn_by_rank(seen.score, quotas, self.alg_temp, uniforms.all("ranks", seen.score.shape))


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
        numbers = spread(uniforms.at("reveals", moment.canvas.step, moment.masks), moment.masks, 2.0)
        return Drawn(numbers < schedules.reveal_probability(moment.step, moment.taus)[:, None])


@dataclass(frozen=True)
class FirstOfBlock(Strategy):
    """As published for blocks with a cache: a block's first token is revealed from the block's first pass, sure or not;
    then the ``rest`` follows."""

    rest: Strategy

    def ahead(self, moment: Moment, uniforms: Uniforms) -> Drawn | None:
        if moment.step:
            return None
        return Drawn(moment.masks & (moment.inside.cumsum(dim=1) == 1))

    def choose(self, seen: Seen, quotas: Quotas, uniforms: Uniforms) -> Bool[Tensor, "B N"]:
        return self.rest.choose(seen, quotas, uniforms)


def largest_sigma(alpha_t: float, alpha_s: float) -> float:
    """min(1, (1 − α_s) / α_t)."""
    return min(1.0, (1 - alpha_s) / alpha_t) if alpha_t > 0 else 1.0


def alpha(time: float, kind: str, loop: tuple[float, float, float]) -> float:
    """Revealed share at a time in [0, 1], linear; for kind "loop" it is held at ``loop[2]`` for times between
    ``loop[0]`` and ``loop[1]`` and linear on both sides."""
    if kind != "loop":
        return 1 - time
    on, off, held = loop
    if time > on:
        return held * (1 - time) / (1 - on)
    return held if time >= off else held + (1 - held) * (off - time) / off


def sigmas(
    kind: str,
    eta: float,
    t: float,
    s: float,
    loop: tuple[float, float, float],
    probability: Float[Tensor, "B N"],
    revealed: Bool[Tensor, "B N"],
) -> Float[Tensor, "B N"]:
    """σ of every position; of masks too, which it makes up for what goes back.

    "cap": min(η, σ_max); "rescale": η σ_max; "confidence": η σ_max softmax(−ψ) over the revealed positions, ψ the
    probability a token had when it was revealed, and 0 at masks; "loop": η σ_max within the loop's times, else 0."""
    limit = largest_sigma(alpha(t, kind, loop), alpha(s, kind, loop))
    if kind == "confidence":
        if bool((revealed & ~torch.isfinite(probability)).any()):
            raise UsageError("the probability of a revealed token is NaN or infinite; the weights are damaged")
        scores = (-probability.to(torch.float64)).masked_fill(~revealed, -torch.inf)
        return scores.softmax(dim=1).masked_fill(~revealed, 0.0) * eta * limit
    value = min(eta, limit) if kind == "cap" else eta * limit
    if kind == "loop" and not (t <= loop[0] and s >= loop[1]):
        value = 0.0
    return torch.full(probability.shape, value, dtype=torch.float64, device=probability.device)


def remasked_reveal(alpha_t: float, alpha_s: float, sigma: Float[Tensor, "B N"]) -> Float[Tensor, "B N"]:
    """(α_s − (1 − σ) α_t) / (1 − α_t)."""
    return ((alpha_s - (1 - sigma) * alpha_t) / (1 - alpha_t)).clamp(0, 1)


@dataclass(frozen=True)
class ReMDM(Strategy):
    """ReMDM as a rule: what is revealed, and what goes back to the mask, is drawn ahead of each pass; the last step
    reveals everything. ``sigma`` is a kind of ``sigmas``."""

    settles: ClassVar[bool] = False
    sigma: str = "cap"
    eta: float = 0.1
    loop: tuple[float, float, float] = (0.55, 0.05, 0.9)

    def ahead(self, moment: Moment, uniforms: Uniforms) -> Drawn:
        """Draw both."""
        canvas, masks, step = moment.canvas, moment.masks, moment.step
        revealed = canvas.maskable & ~masks
        numbers = spread(uniforms.at("reveals", canvas.step, masks).double(), masks, 2.0)
        back = uniforms.all("back", masks.shape) if self.eta else torch.ones_like(numbers)
        starts, ends, last = schedules.times_of(step, moment.taus)
        shown, returned = masks & last[:, None], torch.zeros_like(masks)
        spans = list(zip(starts.tolist(), ends.tolist(), strict=True))
        for t, s in set(spans):  # rows of fewer masks have other times
            rows = ~last & torch.tensor([span == (t, s) for span in spans], device=masks.device)
            alpha_t, alpha_s = (alpha(time, self.sigma, self.loop) for time in (t, s))
            sigma = sigmas(self.sigma, self.eta, t, s, self.loop, canvas.probability, revealed)
            shown |= rows[:, None] & (numbers < remasked_reveal(alpha_t, alpha_s, sigma))
            returned |= rows[:, None] & revealed & (back < sigma)
        return Drawn(shown, returned if self.eta else None)
