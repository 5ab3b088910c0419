"""ReMDM (arXiv 2503.00307) as a transition tensor: revealed tokens may return to the mask, and marginals stay.

From α_t to α_s > α_t a revealed token is masked with probability σ, a mask revealed with
(α_s − (1 − σ) α_t)/(1 − α_t), for any 0 ≤ σ ≤ min(1, (1 − α_s)/α_t); σ = 0 is the ancestral step.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tenfold.discrete.paths import MaskSource, Source, UniformSource
from tenfold.discrete.schedules import Schedule
from tenfold.discrete_diffusion.samplers.options import Sigma
from tenfold.discrete_diffusion.samplers.steps import Span
from tenfold.errors import UsageError


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
    scores = (-probability.to(limit.dtype)).masked_fill(noisy == source.mask, -torch.inf)
    return torch.nan_to_num(scores.softmax(1)) * eta * limit


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
