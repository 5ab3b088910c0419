"""Assignment of points, without priors: those in the middle of an object, on the level that is made for its size."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tenfold.detection.assign.options import PointOptions
from tenfold.detection.assign.priors import BACKGROUND, Priors
from tenfold.detection.geometry.boxes import areas
from tenfold.detection.geometry.points import edge_distances


@torch.no_grad()
def by_points(objects: Float[Tensor, "g 5"], priors: Priors, options: PointOptions) -> Int[Tensor, " n"]:
    """FCOS (arXiv 1904.01355): points inside an object, within ``radius`` strides of its centre, whose farthest edge is
    within the reach of their level and beyond that of the one before; of several objects the smallest."""
    if not len(objects):
        return torch.full((len(priors.boxes),), BACKGROUND, device=priors.boxes.device)
    stride = priors.boxes[:, 2] / options.scale
    points = priors.boxes[:, :2]
    distances = edge_distances(points[None], objects[:, None])
    middle = (points[None] - objects[:, None, :2]).abs().amax(-1) <= options.radius * stride
    farthest = distances.amax(-1)
    level = priors.level
    low = torch.where(level == 0, 0.0, options.reach * stride / 2)
    high = torch.where(level == len(priors.levels) - 1, torch.inf, options.reach * stride)
    good = middle & (distances.amin(-1) > 0) & (farthest >= low) & (farthest <= high)
    size = torch.where(good, areas(objects)[:, None], torch.inf)
    least, owner = size.min(0)
    return torch.where(least < torch.inf, owner, BACKGROUND)
