"""Assignment by rank: each object takes the priors most like it, and a prior that several want the one most like it."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tenfold.detection.assign.options import GaussianRankingOptions, WassersteinRankingOptions
from tenfold.detection.assign.priors import BACKGROUND, IGNORED, Priors
from tenfold.detection.geometry.gaussians import divergences, squared_wasserstein


@torch.no_grad()
def by_gaussians(objects: Float[Tensor, "g 5"], priors: Priors, options: GaussianRankingOptions) -> Int[Tensor, " n"]:
    """Two rounds by 1 / (1 + GJSD): the second with smaller priors, among those that are still free."""
    if not len(objects):
        return torch.full((len(priors.boxes),), BACKGROUND, device=priors.boxes.device)
    boxes = priors.boxes
    taken = _best(1 / (1 + divergences(objects, boxes)), options.first)
    if options.second:
        smaller = torch.cat([boxes[:, :2], boxes[:, 2:4] * options.decay, boxes[:, 4:]], 1)
        further = _best(1 / (1 + divergences(objects, smaller)), options.second)
        taken = torch.where(taken >= 0, taken, further)
    return taken


@torch.no_grad()
def by_wasserstein(
    objects: Float[Tensor, "g 5"], priors: Priors, options: WassersteinRankingOptions
) -> Int[Tensor, " n"]:
    """By exp(−W / C); priors of great similarity that no object took are ignored."""
    if not len(objects):
        return torch.full((len(priors.boxes),), BACKGROUND, device=priors.boxes.device)
    square = squared_wasserstein(objects[:, None], priors.boxes[None]).clamp(min=0)
    value = (-square.sqrt() / options.constant).exp()
    taken = _best(value, options.best)
    free = torch.where(value.amax(0) < options.background_below, BACKGROUND, IGNORED)
    return torch.where(taken >= 0, taken, free)


def _best(value: Float[Tensor, "g n"], number: int) -> Int[Tensor, " n"]:
    """The object of each prior that is among the ``number`` best of some, BACKGROUND for others."""
    chosen = value.topk(min(number, value.shape[1]), dim=1).indices
    wanted = torch.full_like(value, -torch.inf).scatter(1, chosen, value.gather(1, chosen))
    most, owner = wanted.max(0)
    return torch.where(most > -torch.inf, owner, BACKGROUND)
