"""Four corners, as labels are drawn, and boxes: by the edges, or by the smallest rectangle around them."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from tenfold.detection.geometry.angles import to_convention
from tenfold.detection.geometry.border import takes
from tenfold.detection.geometry.boxes import corners
from tenfold.errors import UsageError, suggest
from tenfold.settings.arguments import read_arguments


@takes(boxes="boxes *n 5")
def to_quads(boxes: Float[Tensor, "*n 5"]) -> Float[Tensor, "*n 8"]:
    """Corners x1, y1, ..., x4, y4 of boxes, in ring order."""
    return corners(boxes).flatten(-2)


@takes(quads="numbers *n 8")
@read_arguments
def from_quads(quads: Float[Tensor, "*n 8"], convention: str = "le135", method: str = "edges") -> Float[Tensor, "*n 5"]:
    """Boxes of quads x1, y1, ..., x4, y4 in ring order.

    ``edges`` takes the lengths and the direction from the edges p1p2 and p2p3 and the centre from the diagonal p1p3;
    ``min_area`` is the smallest rectangle that holds the corners, in whatever order. For rectangles they agree.

    Raises UsageError for another method or convention.

    >>> from_quads(torch.tensor([8.0, 19, 12, 19, 12, 21, 8, 21])).tolist()
    [10.0, 20.0, 4.0, 2.0, 0.0]
    """
    methods = {"edges": _by_edges, "min_area": smallest_rectangle}
    if method not in methods:
        raise UsageError(f"method is {method!r}{suggest(method, methods)}")
    return to_convention(methods[method](quads), convention)


def _by_edges(quads: Float[Tensor, "*n 8"]) -> Float[Tensor, "*n 5"]:
    p1, p2, p3, p4 = quads.unflatten(-1, (4, 2)).unbind(-2)
    first, second = torch.linalg.vector_norm(p2 - p1, dim=-1), torch.linalg.vector_norm(p3 - p2, dim=-1)
    along = torch.where((first > second)[..., None], p2 - p1, p4 - p1)
    angle = torch.atan2(along[..., 1], along[..., 0])
    sides = torch.stack([torch.maximum(first, second), torch.minimum(first, second), angle], -1)
    return torch.cat([(p1 + p3) / 2, sides], -1)


def smallest_rectangle(quads: Float[Tensor, "*n 8"]) -> Float[Tensor, "*n 5"]:
    """The rectangle of least area around four points. One of its sides lies along an edge of their hull, so that the
    six lines through two of them are all that need be tried."""
    points = quads.unflatten(-1, (4, 2))
    middle = points.mean(-2, keepdim=True)
    points = points - middle
    i, j = torch.triu_indices(4, 4, 1, device=quads.device)
    along = points[..., j, :] - points[..., i, :]  # (*n, 6, 2)
    length = torch.linalg.vector_norm(along, dim=-1, keepdim=True)
    along = torch.where(length > 0, along / length.clamp(min=torch.finfo(quads.dtype).tiny), along.new_tensor([1, 0]))
    across = torch.stack([-along[..., 1], along[..., 0]], -1)
    u, v = points @ along.mT, points @ across.mT  # (*n, 4 points, 6 lines)
    (u0, u1), (v0, v1) = u.aminmax(dim=-2), v.aminmax(dim=-2)
    best = ((u1 - u0) * (v1 - v0)).argmin(-1, keepdim=True)
    u0, u1, v0, v1 = (side.gather(-1, best) for side in (u0, u1, v0, v1))
    along, across = (axis.gather(-2, best[..., None].expand(*best.shape, 2))[..., 0, :] for axis in (along, across))
    centre = middle[..., 0, :] + (u0 + u1) / 2 * along + (v0 + v1) / 2 * across
    return torch.cat([centre, u1 - u0, v1 - v0, torch.atan2(along[..., 1:], along[..., :1])], -1)


def quad_areas(quads: Float[Tensor, "*n 8"]) -> Float[Tensor, "*n"]:
    """The area inside a ring, by the shoelace formula; of a ring that crosses itself the difference of its parts."""
    points = quads.unflatten(-1, (4, 2))
    diagonal, other = points[..., 2, :] - points[..., 0, :], points[..., 3, :] - points[..., 1, :]
    return (diagonal[..., 0] * other[..., 1] - diagonal[..., 1] * other[..., 0]).abs() / 2


@takes(quads="numbers *n 8")
def crossing(quads: Float[Tensor, "*n 8"]) -> Bool[Tensor, "*n"]:
    """Whether two opposite edges of the ring cross.

    >>> crossing(torch.tensor([0.0, 0, 1, 1, 1, 0, 0, 1])).item()
    True
    """
    p1, p2, p3, p4 = quads.unflatten(-1, (4, 2)).unbind(-2)
    return _cross(p1, p2, p3, p4) | _cross(p2, p3, p4, p1)


def _cross(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    def side(p: Tensor, q: Tensor, r: Tensor) -> Tensor:
        u, v = q - p, r - p
        return (u[..., 0] * v[..., 1] - u[..., 1] * v[..., 0]).sign()

    return (side(a, b, c) * side(a, b, d) < 0) & (side(c, d, a) * side(c, d, b) < 0)


@takes(quads="numbers *n 8")
def ring_order(quads: Float[Tensor, "*n 8"]) -> Float[Tensor, "*n 8"]:
    """The corners around their mean point, beginning with the first one: a ring that crosses itself no more.

    >>> ring_order(torch.tensor([0.0, 0, 1, 1, 1, 0, 0, 1])).tolist()
    [0.0, 0.0, 1.0, 0.0, 1.0, 1.0, 0.0, 1.0]
    """
    points = quads.unflatten(-1, (4, 2))
    away = points - points.mean(-2, keepdim=True)
    angle = torch.atan2(away[..., 1], away[..., 0])
    order = torch.remainder(angle - angle[..., :1], 2 * torch.pi).argsort(dim=-1, stable=True)
    return points.gather(-2, order[..., None].expand(*order.shape, 2)).flatten(-2)


@takes(quads="numbers *n 8")
def skew(quads: Float[Tensor, "*n 8"]) -> Float[Tensor, "*n"]:
    """The share of the smallest rectangle around a quad that the quad leaves empty: 0 for rectangles, 0 without
    area."""
    box = smallest_rectangle(quads)
    area = box[..., 2] * box[..., 3]
    return torch.where(area > 0, 1 - quad_areas(quads) / torch.where(area > 0, area, 1.0), 0.0).clamp(0, 1)
