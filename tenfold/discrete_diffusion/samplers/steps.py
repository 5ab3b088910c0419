"""One step of the reverse chain as a tensor: (prediction, noisy tokens, span) ↦ p(x_s^i | x_t) of every site.

All functions take log-probabilities (b, n, V), tokens (b, n) and return probabilities (b, n, S), S the states of the
source. Sites that are not active (the unmasked ones of the mask source) keep their token. Which view of the prediction
a step is exact for is in ``STEPS``: p(x_0^i | x_t) ("posterior") or p(x_0^i | x_t without site i) ("leave_one_out");
with masks the two are one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tenfold.discrete.masking import reveal_probability
from tenfold.discrete.paths import MaskSource, Source, UniformSource, View
from tenfold.discrete.schedules import Schedule, likelihood_weight
from tenfold.discrete_diffusion.options import Sigma
from tenfold.errors import UsageError


class Span(NamedTuple):
    """From time t down to s < t: ``alpha`` α_t, ``alpha_next`` α_s, ``hazard`` (t − s) λ_t with λ = −α'/(1 − α), the
    expected number of jumps, each (b,); ``last`` where s is 0."""

    alpha: Float[Tensor, " b"]
    alpha_next: Float[Tensor, " b"]
    hazard: Float[Tensor, " b"]
    last: bool


def interval(schedule: Schedule, t: Float[Tensor, " b"], s: Float[Tensor, " b"]) -> Span:
    """The span from ``t`` to ``s`` on a schedule.

    Raises UsageError unless 0 ≤ s < t ≤ 1."""
    if not bool(((s >= 0) & (s < t) & (t <= 1)).all()):
        raise UsageError(f"a step runs from t = {t.max():g} to s = {s.min():g}; steps need 0 ≤ s < t ≤ 1")
    weight = likelihood_weight(schedule, t)
    last = not bool(s.any())
    # Schedules may end a hair from α = 1; the last step is to end at clean tokens.
    alpha_next = torch.ones_like(s) if last else schedule.alpha(s)
    return Span(schedule.alpha(t), alpha_next, (t - s) * weight, last)


def grid(steps: int, power: float = 1.0) -> list[float]:
    """Times 1 = t_0 > … > t_N = 0, t_k = (1 − k/N)^power.

    Raises UsageError for less than one step.

    >>> grid(4)
    [1.0, 0.75, 0.5, 0.25, 0.0]
    """
    if steps < 1 or not power > 0:
        raise UsageError(f"steps is {steps} and power {power}; give at least one step and a positive power")
    return [(1 - k / steps) ** power for k in range(steps + 1)]


def _kept(noisy: Int[Tensor, "b n"], source: Source, dtype: torch.dtype) -> Float[Tensor, "b n s"]:
    return torch.nn.functional.one_hot(noisy, source.states).to(dtype)


def _in_states(clean: Float[Tensor, "b n v"], source: Source) -> Float[Tensor, "b n s"]:
    """Probabilities of tokens as probabilities of states: none of the mask."""
    return torch.nn.functional.pad(clean, (0, source.states - clean.shape[-1]))


def _at_active(moved: Float[Tensor, "b n s"], noisy: Int[Tensor, "b n"], source: Source) -> Float[Tensor, "b n s"]:
    return torch.where(source.active(noisy)[..., None], moved, _kept(noisy, source, moved.dtype))


def _check(log_prob: Tensor, noisy: Tensor, source: Source) -> None:
    if log_prob.shape != (*noisy.shape, source.vocabulary):
        raise UsageError(
            f"log-probabilities have shape {tuple(log_prob.shape)}; a vocabulary of {source.vocabulary} and tokens "
            f"{tuple(noisy.shape)} need {(*noisy.shape, source.vocabulary)} (drop the mask's column)"
        )


def jump(
    log_posterior: Float[Tensor, "b n v"],
    noisy: Int[Tensor, "b n"],
    share: Float[Tensor, " b"],
    source: Source,
) -> Float[Tensor, "b n s"]:
    """(1 − a) δ_x + a P: with probability a a site is drawn anew from the prediction."""
    _check(log_posterior, noisy, source)
    a = share[:, None, None]
    clean = _in_states(log_posterior.exp(), source)
    return _at_active((1 - a) * _kept(noisy, source, clean.dtype) + a * clean, noisy, source)


def euler(
    log_posterior: Float[Tensor, "b n v"], noisy: Int[Tensor, "b n"], step: Span, source: Source
) -> Float[Tensor, "b n s"]:
    """Euler's step of the rate λ (P − δ_x): a = min(1, h λ)."""
    return jump(log_posterior, noisy, step.hazard.clamp(max=1), source)


def exponential(
    log_posterior: Float[Tensor, "b n v"], noisy: Int[Tensor, "b n"], step: Span, source: Source
) -> Float[Tensor, "b n s"]:
    """The discrete-flow-matching solver: a = 1 − exp(−h λ), and the last step draws from P."""
    share = torch.ones_like(step.hazard) if step.last else -torch.expm1(-step.hazard)
    return jump(log_posterior, noisy, share, source)


def tau_leap(
    log_posterior: Float[Tensor, "b n v"], noisy: Int[Tensor, "b n"], step: Span, source: Source
) -> Float[Tensor, "b n s"]:
    """A site leaves with probability 1 − exp(−h λ (1 − P(x))), to y ≠ x in proportion to P; the last step draws from
    P."""
    if step.last:
        return jump(log_posterior, noisy, torch.ones_like(step.hazard), source)
    _check(log_posterior, noisy, source)
    return _at_active(_leave(_in_states(log_posterior.exp(), source), noisy, step.hazard), noisy, source)


def _leave(
    target: Float[Tensor, "b n s"], noisy: Int[Tensor, "b n"], hazard: Float[Tensor, " b"]
) -> Float[Tensor, "b n s"]:
    """Leave x at the rate of ``target`` off x for the time ``hazard``; where all of it is at x, stay."""
    off = target.scatter(-1, noisy[..., None], 0.0)
    rate = off.sum(-1, keepdim=True)
    leave = -torch.expm1(-hazard[:, None, None] * rate)
    moved = leave * off / rate.clamp(min=torch.finfo(rate.dtype).tiny)
    return moved.scatter(-1, noisy[..., None], 1 - leave)


def ancestral(
    log_prediction: Float[Tensor, "b n v"], noisy: Int[Tensor, "b n"], step: Span, source: Source
) -> Float[Tensor, "b n s"]:
    """p(x_s | x_t) with the clean token integrated out; of a uniform source exact for the leave-one-out view Q.

    Masks: revealed with probability (α_s − α_t)/(1 − α_t). Uniform, V tokens (arXiv 2412.10193):
    [α_t V Q(y) 1{y = x} + (α_t/α_s − α_t) 1{y = x} + (α_s − α_t) Q(y) + (1 − α_t/α_s)(1 − α_s)/V]
    / [α_t V Q(x) + 1 − α_t]."""
    _check(log_prediction, noisy, source)
    if isinstance(source, MaskSource):
        return jump(log_prediction, noisy, reveal_probability(step.alpha_next, step.alpha), source)
    a_t, a_s = step.alpha[:, None, None], step.alpha_next[:, None, None]
    q, x, size = log_prediction.exp(), noisy[..., None], source.vocabulary
    at_x = q.gather(-1, x)
    spread = (a_s - a_t) * q + (1 - a_t / a_s) * (1 - a_s) / size
    top = spread.scatter_add(-1, x, a_t * size * at_x + a_t / a_s - a_t)
    return top / (a_t * size * at_x + 1 - a_t)


def analytic(
    ratios: Float[Tensor, "b n s"], noisy: Int[Tensor, "b n"], step: Span, source: Source
) -> Float[Tensor, "b n s"]:
    """Tweedie's step of score entropy (arXiv 2310.16834) from the noisy ratios p_t(y)/p_t(x), 1 at y = x:
    (e^{−Δσ Q} r)(y) · e^{Δσ Q}(x, y), e^{−Δσ} = α_t/α_s.

    Ratios of a network need not be those of any distribution; what comes out negative is cut off, and the rest
    normalised. Raises UsageError where α_t is 0: σ = −log α is infinite there (start the grid later, or give the
    schedule an epsilon)."""
    if not bool((step.alpha > 0).all()):
        raise UsageError(
            "the analytic step needs σ = −log α, which is infinite where α_t is 0; give the schedule an epsilon above "
            "0, or use the ancestral step"
        )
    if ratios.shape[-1] != source.states:
        raise UsageError(f"ratios have {ratios.shape[-1]} states a site, but the source has {source.states}")
    shrink = (step.alpha / step.alpha_next)[:, None, None]
    total = ratios.sum(-1, keepdim=True)
    kept = _kept(noisy, source, ratios.dtype)
    if isinstance(source, MaskSource):
        staggered = ratios / shrink
        staggered[..., source.mask] += ((1 - 1 / shrink) * total)[..., 0]
        back = shrink * kept + (1 - shrink) * (noisy == source.mask)[..., None]
    else:
        staggered = ratios / shrink - (1 - shrink) / (shrink * source.states) * total
        back = shrink * kept + (1 - shrink) / source.states
    moved = (staggered * back).clamp(min=0)
    return _at_active(moved / moved.sum(-1, keepdim=True), noisy, source)


def corrector(
    log_posterior: Float[Tensor, "b n v"],
    noisy: Int[Tensor, "b n"],
    alpha: Float[Tensor, " b"],
    strength: Float[Tensor, " b"],
    source: Source,
) -> Float[Tensor, "b n s"]:
    """A move that keeps p_t: every site is noised anew, at rate 1 for the time ``strength``, from
    m = (1 − α) π + α P, π the source's own distribution (a divergence-free part of the rate, arXiv 2407.15595).

    p_t is kept in the limit of a small strength, if P is the posterior."""
    _check(log_posterior, noisy, source)
    clean = _in_states(log_posterior.exp(), source)
    own = clean.new_full((source.states,), 1 / source.states)
    if isinstance(source, MaskSource):
        # The prediction at a token that stands is the token.
        clean = _at_active(clean, noisy, source)
        own = (torch.arange(source.states, device=clean.device) == source.mask).to(clean.dtype)
    target = alpha[:, None, None] * clean + (1 - alpha)[:, None, None] * own
    return _leave(target, noisy, strength)


class Step(NamedTuple):
    """A step by name: its transition tensor, and the view of the prediction that it takes."""

    transition: Callable[[Tensor, Tensor, Span, Source], Tensor]
    view: View


STEPS: dict[str, Step] = {
    "ancestral": Step(ancestral, "leave_one_out"),
    "euler": Step(euler, "posterior"),
    "exponential": Step(exponential, "posterior"),
    "tau_leap": Step(tau_leap, "posterior"),
}
"""The steps that take a prediction of clean tokens; ``analytic`` takes ratios."""


@dataclass(frozen=True)
class RemaskingRule:
    """How strongly revealed tokens return to the mask along a chain.

    Attributes:
        kind: of σ, see ``sigmas``; "loop" holds a share of tokens and re-masks only meanwhile.
        eta: the strength.
        loop: first and last time of that interval, and the revealed share in it.
    """

    kind: Sigma
    eta: float
    loop: tuple[float, float, float]

    def step(
        self,
        schedule: Schedule,
        t: Float[Tensor, " b"],
        s: Float[Tensor, " b"],
        noisy: Int[Tensor, "b n"],
        probability: Float[Tensor, "b n"],
        source: MaskSource,
    ) -> tuple[Span, Float[Tensor, "b n"]]:
        """The levels of noise at t and s, and σ of every site between them."""
        looped, last = self.kind == "loop", not bool(s.any())
        alpha, following = (looped_alpha(x, self.loop) if looped else schedule.alpha(x) for x in (t, s))
        span = Span(alpha, torch.ones_like(s) if last else following, torch.zeros_like(alpha), last)
        inside = not looped or bool((t <= self.loop[0]).all() & (s >= self.loop[1]).all())
        return span, sigmas(self.kind, self.eta if inside else 0.0, span, noisy, probability, source)


def looped_alpha(t: Float[Tensor, " b"], loop: tuple[float, float, float]) -> Float[Tensor, " b"]:
    """The revealed share at times of a chain that holds it at ``loop[2]`` between ``loop[0]`` and ``loop[1]``; linear
    before and after."""
    on, off, held = loop
    before, after = held * (1 - t) / (1 - on), held + (1 - held) * (off - t) / off
    return torch.where(t > on, before, torch.where(t >= off, torch.full_like(t, held), after))


def largest_sigma(step: Span) -> Float[Tensor, " b"]:
    """min(1, (1 − α_s)/α_t); 1 where α_t is 0."""
    return ((1 - step.alpha_next) / step.alpha.clamp(min=torch.finfo(step.alpha.dtype).tiny)).clamp(max=1)


def sigmas(
    kind: Sigma,
    eta: float,
    step: Span,
    noisy: Int[Tensor, "b n"],
    probability: Float[Tensor, "b n"],
    source: MaskSource,
) -> Float[Tensor, "b n"]:
    """σ of every site. "cap": min(η, bound); "rescale" and "loop": η · bound; "confidence": η · bound ·
    softmax over the revealed sites of −ψ, ψ the ``probability`` that a token was drawn with, and 0 at masks.

    Raises UsageError for η outside [0, 1]."""
    if not 0 <= eta <= 1:
        raise UsageError(f"eta is {eta}; the strength of re-masking must lie in [0, 1]")
    limit = largest_sigma(step)[:, None].expand(noisy.shape)
    if kind == "cap":
        return limit.clamp(max=eta)
    if kind in ("rescale", "loop"):
        return eta * limit
    masked = noisy == source.mask
    shares = (-probability.to(limit.dtype)).masked_fill(masked, -torch.inf).softmax(1)
    return torch.where(masked, 0.0, shares) * eta * limit  # of a row of masks alone the softmax is NaN


def remask(
    log_posterior: Float[Tensor, "b n v"],
    noisy: Int[Tensor, "b n"],
    step: Span,
    sigma: Float[Tensor, "b n"],
    source: Source,
) -> Float[Tensor, "b n s"]:
    """The transition tensor.

    Raises UsageError for a source without a mask, or a σ beyond its bound."""
    if isinstance(source, UniformSource):
        raise UsageError("re-masking needs a mask, which the uniform source has not; use a corrector")
    if bool((sigma < 0).any() | (sigma > largest_sigma(step)[:, None] * (1 + 1e-6)).any()):
        raise UsageError(f"a σ of {sigma.max():g} exceeds its bound min(1, (1 − α_s)/α_t), or is below 0")
    a_t, a_s = step.alpha[:, None], step.alpha_next[:, None]
    reveal = ((a_s - (1 - sigma) * a_t) / (1 - a_t)).clamp(0, 1)[..., None]
    masked = (noisy == source.mask)[..., None]
    pad = (0, source.states - source.vocabulary)
    revealed = reveal * torch.nn.functional.pad(log_posterior.exp(), pad)
    at_mask = torch.where(masked[..., 0], 1 - reveal[..., 0], sigma.to(revealed.dtype))
    kept = (1 - sigma)[..., None] * torch.nn.functional.one_hot(noisy, source.states)
    moved = torch.where(masked, revealed, kept.to(revealed.dtype))
    moved[..., source.mask] = at_mask
    return moved
