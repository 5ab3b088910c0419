"""Estimates of per-token log-probabilities of completions under a masked model (arXiv 2506.20639, section 4.1).

A completion o is hidden in several views; l_k of a view is log p(o_k | view) where o_k is hidden in it. With λ pairs of
times (t, 1 − t) and masks (M, not M), and x_T the view that hides everything,

    log p_k ≈ 1/(λ + 1) · (Σ_pairs [M_k l_k(x_t)/t + (1 − M_k) l_k(x_{1−t})/(1 − t)] + l_k(x_T)).

It is a proxy: its expected weights add to (2λ + 1)/(λ + 1), so that with λ = 1 a ratio of two estimates acts like one
of tokens to the power 1.5. ``normalised`` divides by 2λ + 1 instead. Bounds in place of a proxy are in ``bounds``."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tenfold.errors import UsageError
from tenfold.masked_lm.grpo.bounds import Sandwich, count_views, upper_bound
from tenfold.nn.border import floats
from tenfold.nn.tensors import read_tensors, require_axes, truths, within
from tenfold.settings.arguments import read_arguments

EstimatorName = Literal["coupled", "decoupled", "full", "d1", "spg"]
D1_SHARE = 0.15  # of the prompt's tokens (arXiv 2504.12216)


class MaskViews(NamedTuple):
    """The views of completions, drawn once and used for every policy that is compared.

    Attributes:
        hidden: which tokens of the completions are masked in each of v views.
        weight: of a hidden token's log-probability in each view.
        prompt: which tokens of the prompts are masked, in all views; None for none.
        sandwich: what of an upper bound stands in for the weighted sum, a completion; None for nothing.
    """

    hidden: Bool[Tensor, "v b l"]
    weight: Float[Tensor, "v b"]
    prompt: Bool[Tensor, "b p"] | None = None
    sandwich: Sandwich | None = None

    def covered(self) -> Int[Tensor, "b l"]:
        """In how many views a token is hidden."""
        return self.hidden.sum(0)


class Estimate(NamedTuple):
    """Per-token estimates, and the views that they are of: estimates of other views are not to be compared."""

    log_p: Float[Tensor, "b l"]
    views: MaskViews


@read_tensors()
def full_views(completions: Int[Tensor, "b l"]) -> MaskViews:
    """Everything hidden, in one view."""
    hidden = torch.ones_like(completions, dtype=torch.bool)[None]
    return MaskViews(hidden, torch.ones(hidden.shape[:2], device=completions.device))


@read_arguments
@read_tensors()
def d1_views(completions: Int[Tensor, "b l"], uniforms: Float[Tensor, "b p"], share: float = D1_SHARE) -> MaskViews:
    """Everything hidden, and a share of the prompt too (d1, arXiv 2504.12216).

    Raises UsageError for a share, or numbers, outside [0, 1]."""
    if not 0 <= share <= 1:
        raise UsageError(f"share is {share:g}; give a part of the prompt, in [0, 1]")
    within(uniforms, "uniforms", 0.0, 1.0)
    return full_views(completions)._replace(prompt=uniforms < share)


@read_arguments
@read_tensors()
def coupled_views(masks: Bool[Tensor, "pairs b l"], t: Float[Tensor, "pairs b"], normalised: bool = False) -> MaskViews:
    """λ pairs of a mask at time t and its complement at 1 − t, and the view that hides everything.

    Raises UsageError for a time outside (0, 1), and for no pair."""
    return _paired(masks, ~masks, t, normalised)


@read_arguments
@read_tensors()
def decoupled_views(
    masks: Bool[Tensor, "pairs b l"],
    others: Bool[Tensor, "pairs b l"],
    t: Float[Tensor, "pairs b"],
    normalised: bool = False,
) -> MaskViews:
    """The same with masks of their own at 1 − t: some tokens are hidden in both, some in none of a pair."""
    return _paired(masks, others, t, normalised)


def _paired(masks: Tensor, others: Tensor, t: Tensor, normalised: bool) -> MaskViews:
    if not bool(((t > 0) & (t < 1)).all()):
        raise UsageError(f"times of a pair lie in (0, 1), but one is {t[~((t > 0) & (t < 1))][0].item():g}")
    pairs = len(t)
    if not pairs:
        raise UsageError("there is no pair of masks; give at least one")
    hidden = torch.cat([torch.ones_like(masks[:1]), masks, others])
    divisor = 2 * pairs + 1 if normalised else pairs + 1
    return MaskViews(hidden, torch.cat([torch.ones_like(t[:1]), 1 / t, 1 / (1 - t)]) / divisor)


def spread_out(uniforms: Float[Tensor, "*rows l"], offset: Float[Tensor, "*rows 1"]) -> Float[Tensor, "*rows l"]:
    """Stratified numbers: a random order of the strata of [0, 1), and one offset in all of them. Each is uniform by
    itself, and the number below t is t l up to one, so that a mask has no more or fewer tokens by chance."""
    ranks = uniforms.argsort(-1).argsort(-1)
    return ((ranks + offset) / uniforms.shape[-1]).clamp(max=1 - 2.0**-24)


@read_arguments
@read_tensors()
def draw_views(
    kind: EstimatorName,
    prompts: Int[Tensor, "b p"],
    completions: Int[Tensor, "b l"],
    uniforms: Callable[[str, tuple[int, ...]], Tensor],
    pairs: int = 1,
    least: float = 0.2,
    stratified: bool = False,
    normalised: bool = False,
) -> MaskViews:
    """The views of an estimator, from U[0, 1) numbers by purpose: ``uniforms(purpose, shape)`` is (b, *shape).

    Times lie in (``least``, 1 − ``least``): with weights 1/t down to 0 the second moment of the estimate diverges.
    The bounds ("spg") take as many views as ``pairs`` pairs do, of numbers of hidden tokens from 1 to all.

    Raises UsageError for an unknown estimator, ``pairs`` below 1 and ``least`` outside (0, 0.5)."""
    l = completions.shape[1]
    if pairs < 1 or not 0 < least < 0.5:
        raise UsageError(f"pairs is {pairs} and the least time {least}; give at least 1, and a time in (0, 0.5)")
    if kind == "full":
        return full_views(completions)
    if kind == "d1":
        return d1_views(completions, uniforms("prompt", (prompts.shape[1],)))
    if kind == "spg":
        return MaskViews(*count_views(uniforms("masks", (2 * pairs + 1, l)), uniforms("counts", (1,))))
    t = least + (1 - 2 * least) * uniforms("times", (pairs,)).T

    def masks(purpose: str, share: Tensor) -> Tensor:
        numbers = uniforms(purpose, (pairs, l)).transpose(0, 1)
        if stratified:
            numbers = spread_out(numbers, uniforms(f"{purpose} offset", (pairs, 1)).transpose(0, 1))
        return numbers < share[..., None]

    if kind == "coupled":
        return coupled_views(masks("masks", t), t, normalised)
    return decoupled_views(masks("masks", t), masks("other masks", 1 - t), t, normalised)


LogLoss = Callable[..., Tensor]
"""``MaskedLM.forward``: (noisy, clean, chosen, attention mask) to −log p at the chosen places."""


@read_arguments
@read_tensors()
def estimate(
    forward: LogLoss,
    prompts: Int[Tensor, "b p"],
    completions: Int[Tensor, "b l"],
    views: MaskViews,
    mask: int,
    real: Bool[Tensor, "b p"] | None = None,
) -> Estimate:
    """Per-token log-probability estimates: all views as one batch, logits at hidden tokens of the completions alone.

    ``real`` is False at the padding left of prompts, which is not attended to. Prompt tokens are hidden where the
    views say so.

    Raises UsageError for views of completions or prompts of another shape."""
    _check_views(views, prompts, completions)
    v, b, l = views.hidden.shape
    clean = torch.cat([prompts, completions], 1)
    before = torch.zeros_like(prompts, dtype=torch.bool) if views.prompt is None else views.prompt
    chosen = torch.cat([torch.zeros_like(prompts, dtype=torch.bool).expand(v, -1, -1), views.hidden], 2)
    noisy = torch.where(torch.cat([before.expand(v, -1, -1), views.hidden], 2), mask, clean)
    attention = None
    if real is not None and not bool(real.all()):
        attention = torch.cat([real, torch.ones_like(completions, dtype=torch.bool)], 1).repeat(v, 1)
    nll = forward(noisy.flatten(0, 1), clean.repeat(v, 1), chosen.flatten(0, 1), attention)
    each = -nll.unflatten(0, (v, b))[..., -l:]
    log_p = (views.weight[..., None] * each).sum(0)
    if views.sandwich is not None:
        share, power = views.sandwich
        upper = upper_bound(each, views.hidden, views.weight, power)
        log_p = torch.lerp(log_p, upper.to(log_p.dtype), share[:, None].to(log_p.dtype))
    return Estimate(log_p, views)


def _check_views(views: MaskViews, prompts: Tensor, completions: Tensor) -> None:
    """Raises UsageError for views of other completions or prompts."""
    if not isinstance(views, MaskViews):
        raise UsageError(f"views is {type(views).__name__}; make them with draw_views")
    b, l = completions.shape
    sizes: dict[str, tuple[object, str]] = {}
    require_axes(truths(views.hidden, "views.hidden"), "views.hidden", ("v", str(b), str(l)), sizes)
    require_axes(floats(views.weight, "views.weight"), "views.weight", ("v", str(b)), sizes)
    if views.prompt is not None:
        require_axes(truths(views.prompt, "views.prompt"), "views.prompt", tuple(map(str, prompts.shape)))
    if views.sandwich is not None:
        require_axes(floats(views.sandwich.share, "views.sandwich.share"), "views.sandwich.share", (str(b),))


def require_same_views(one: Estimate, other: Estimate) -> None:
    """Raises UsageError for estimates of different masks, weights or bounds: their ratio would be noise."""
    for given in (one, other):
        if not isinstance(given, Estimate):
            raise UsageError(f"an estimate is {type(given).__name__}; make it with estimate")
    if not _same(one.views, other.views):
        raise UsageError("the two estimates are of different masks; draw the views once, and use them for both")


def _same(one: object, other: object) -> bool:
    """Tuples of equal tensors and numbers."""
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return torch.equal(one, other)
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    return type(one) is type(other) and one == other
