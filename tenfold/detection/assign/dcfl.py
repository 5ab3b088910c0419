"""Dynamic coarse-to-fine assignment (DCFL, arXiv 2304.08876, section 3.3), without loops over objects.

Coarse: an object's K priors of highest similarity, wherever the levels are; a prior that several want goes to the last.
Posterior: of these, the Q that the predictions suit best. Fine: of these, the ones inside the dynamic mixture.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tenfold.detection.assign.checks import check_assignment
from tenfold.detection.assign.options import DcflOptions
from tenfold.detection.assign.priors import BACKGROUND, IGNORED, Predictions, Priors
from tenfold.detection.geometry.border import takes
from tenfold.detection.geometry.gaussians import PairOfGaussians, divergences
from tenfold.detection.geometry.overlap import aligned_iou
from tenfold.errors import UsageError

_ELEMENTS = 1 << 19  # of the similarity matrix at once, so that it lies in the cache
_WEIGHT = 0.7  # of the object in the mixture
_RADIUS = 1.5


class DcflStages(NamedTuple):
    """The object's number, BACKGROUND or IGNORED for each prior: after each stage, the last is the result. ``mixture``
    is the constraint's value at the object of the posterior stage, 0 where there is none."""

    coarse: Int[Tensor, " n"]
    posterior: Int[Tensor, " n"]
    fine: Int[Tensor, " n"]
    mixture: Float[Tensor, " n"]


@takes(objects="boxes g 5")
def dcfl_stages(
    objects: Float[Tensor, "g 5"], priors: Priors, predictions: Predictions | None, options: DcflOptions | None = None
) -> DcflStages:
    """Assign the objects of one picture.

    Args:
        objects: boxes.
        priors: those of all levels; ``moved`` ones are ranked unless ``options.prior`` is static.
        predictions: at the priors; not used, and may be None, where ``options.posterior`` is off.

    Raises:
        UsageError: as ``assign_priors``.
    """
    options = options or DcflOptions()
    check_assignment(objects.new_zeros(0, dtype=torch.int64), priors, options, predictions)
    return stages(objects.to(priors.boxes.dtype), priors, predictions, options)


@torch.no_grad()
def stages(
    objects: Float[Tensor, "g 5"], priors: Priors, predictions: Predictions | None, options: DcflOptions
) -> DcflStages:
    """``dcfl_stages`` of what is not looked at."""
    ranked = priors.moved if options.prior == "dynamic" else priors.boxes
    n, dtype = len(ranked), torch.promote_types(ranked.dtype, torch.float32)
    if not len(objects) or not n:
        nothing = torch.full((n,), BACKGROUND, device=ranked.device)
        return DcflStages(nothing, nothing, nothing, torch.zeros(n, dtype=dtype, device=ranked.device))
    coarse = _coarse(objects, ranked, options)
    if options.posterior:
        if predictions is None:
            raise UsageError("DcflOptions ranks by predictions; give them, or choose another assigner")
        posterior = _best_of_each(coarse, _quality(objects, coarse, predictions), options.kept, len(objects))
    else:
        posterior = coarse
    mixture, inside = _constraint(objects, ranked, posterior, options)
    rank = _rank_within(posterior, mixture, len(objects))  # by the constraint, so that what is inside comes first
    kept = inside | ((posterior >= 0) & (rank < options.min_positives))
    fine = torch.where((posterior >= 0) & ~kept, BACKGROUND, posterior)
    return DcflStages(coarse, posterior, fine, mixture)


def similarity(objects: Float[Tensor, "g 5"], priors: Float[Tensor, "n 5"], metric: str) -> Float[Tensor, "g n"]:
    """1 / (1 + GJSD), or IoU of boxes with sides of at least 0.001 pixels; in [0, 1]."""
    if metric == "gjsd":
        return 1 / (1 + divergences(objects, priors))
    one, other = (torch.cat([b[:, :2], b[:, 2:4].clamp(min=1e-3), b[:, 4:]], 1) for b in (objects, priors))
    g, n = len(one), len(other)
    return aligned_iou(one[:, None].expand(g, n, 5), other[None].expand(g, n, 5))


def _coarse(objects: Tensor, ranked: Tensor, options: DcflOptions) -> Int[Tensor, " n"]:
    n = len(ranked)
    most = torch.zeros(n, dtype=torch.promote_types(ranked.dtype, torch.float32), device=ranked.device)
    taken = torch.full((n,), -1, device=ranked.device)
    rows = max(1, _ELEMENTS // n)
    for start in range(0, len(objects), rows):
        value = similarity(objects[start : start + rows], ranked, options.metric)
        most = torch.maximum(most, value.amax(0))
        # All that equal one of the K best are candidates too.
        least = value.topk(min(options.candidates, n), dim=1).values[:, -1:]
        g, prior = (value >= least).nonzero(as_tuple=True)
        taken.scatter_reduce_(0, prior, g + start, "amax")
    return torch.where(taken >= 0, taken, torch.where(most < options.background_below, BACKGROUND, IGNORED))


def _quality(objects: Tensor, coarse: Tensor, predictions: Predictions) -> Float[Tensor, " n"]:
    """IoU of the candidates' boxes with their objects, and the highest probability of any class."""
    rows = (coarse >= 0).nonzero()[:, 0]
    score = predictions.logits[rows].amax(1).sigmoid()
    quality = aligned_iou(objects[coarse[rows]], predictions.boxes[rows]) + score
    return quality.new_full((len(coarse),), -math.inf).index_put((rows,), quality)


def _best_of_each(
    assigned: Int[Tensor, " n"], value: Float[Tensor, " n"], number: int, objects: int
) -> Int[Tensor, " n"]:
    """Of each object's priors the ``number`` of highest value stay, of equal ones the first; others are background."""
    place = _rank_within(assigned, value, objects)
    return torch.where((assigned >= 0) & (place >= number), BACKGROUND, assigned)


def _rank_within(assigned: Tensor, value: Tensor, objects: int) -> Int[Tensor, " n"]:
    """0 for the highest value among the priors of one object, and so on."""
    order = value.argsort(descending=True, stable=True)
    group = torch.where(assigned >= 0, assigned, objects)[order]
    by_group = group.argsort(stable=True)
    order, group = order[by_group], group[by_group]
    first = torch.searchsorted(group, torch.arange(objects + 1, device=group.device))
    place = torch.arange(len(group), device=group.device) - first[group]
    return torch.empty_like(place).index_put((order,), place)


def _constraint(
    objects: Tensor, ranked: Tensor, posterior: Tensor, options: DcflOptions
) -> tuple[Float[Tensor, " n"], Bool[Tensor, " n"]]:
    """A value at each candidate, the higher the nearer, and whether it is inside."""
    rows = (posterior >= 0).nonzero()[:, 0]
    own, prior = objects[posterior[rows]], ranked[rows]
    centre = torch.zeros(len(objects), 3, dtype=ranked.dtype, device=ranked.device)
    ones = torch.ones_like(prior[:, :1])
    centre = centre.index_add(0, posterior[rows], torch.cat([prior[:, :2], ones], 1))
    mean = (centre[:, :2] / centre[:, 2:].clamp(min=1))[posterior[rows]]
    if options.constraint == "none":
        value, inside = torch.ones_like(prior[:, 0]), torch.ones_like(prior[:, 0], dtype=torch.bool)
    elif options.constraint == "circle":
        square = (prior[:, :2] - own[:, :2]).square().sum(1)
        radius = _RADIUS**2 * (own[:, 2].square() + own[:, 3].square()) / 4
        value, inside = -square, square <= radius
    else:
        about_object = _bell(own, prior[:, :2], own[:, :2])
        mixed = _WEIGHT * about_object + (1 - _WEIGHT) * _bell(own, prior[:, :2], mean)
        value = mixed if options.constraint == "dgmm" else about_object
        inside = value >= math.exp(-options.threshold)
    whole = value.new_zeros(len(posterior)).index_put((rows,), value)
    return whole, torch.zeros(len(posterior), dtype=torch.bool, device=ranked.device).index_put((rows,), inside)


def _bell(objects: Tensor, points: Tensor, centres: Tensor) -> Float[Tensor, " m"]:
    """exp(−½ (n − m)' S⁻¹ (n − m)) with the objects' covariances S."""
    at = torch.cat([points - centres + objects[:, :2], objects[:, 2:]], 1)
    pair = PairOfGaussians.of(objects, at)
    return (-(pair.p1.square() / pair.a1 + pair.q1.square() / pair.b1) / 2).exp()
