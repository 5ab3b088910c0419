"""The area that two boxes share, as an integral along the edges of one of them: no polygon, no sorting, no cases.

In the frame of box B, where B is |x| ≤ hx, |y| ≤ hy, the shared area is the integral over |x| ≤ hx of the height of A
cut to |y| ≤ hy. The upper and the lower outline of A are its edges, so that the area is

    − Σ_edges ∫ clamp(y(x), −hy, hy) dx    over the part of the edge with |x| ≤ hx,

edges taken in the ring's order. Every term is continuous in all inputs: edges that lie on each other are nothing
special, and so are slivers and boxes without area.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from tenfold.detection.geometry.border import takes
from tenfold.detection.geometry.boxes import at_least_float32

_FAR = 4.0  # in long sides: beyond √2 nothing is shared


@takes(first="boxes *n 5", second="boxes *n 5")
def intersection_areas(first: Float[Tensor, "*n 5"], second: Float[Tensor, "*n 5"]) -> Float[Tensor, "*n"]:
    """The area shared by aligned pairs of boxes, in square pixels. Differentiable; boxes are not checked.

    Exact but for rounding: in float64 about 1e−15 of the larger box, in float32 4e−7. Coordinates far from the origin
    cost what their own rounding costs, since only differences of centres count.
    """
    shared, _, _, scale = scaled_intersection(at_least_float32(first), at_least_float32(second))
    return shared * scale.square()


def scaled_intersection(first: Float[Tensor, "*n 5"], second: Float[Tensor, "*n 5"]) -> tuple[Tensor, ...]:
    """The area shared, both boxes' own, and the scale: the longest side of the pair, in which lengths are measured, so
    that boxes of 1e−7 and of 1e15 pixels are as good as others. Areas are in its square."""
    sides = torch.cat([first[..., 2:4], second[..., 2:4]], -1)
    longest = sides.detach().amax(-1)
    scale = torch.where(longest > 0, longest, 1.0)
    w1, h1, w2, h2 = (sides / scale[..., None]).unbind(-1)
    away = ((first[..., :2] - second[..., :2]) / scale[..., None]).clamp(-_FAR, _FAR)
    x, y = _edges_in_frame(away, w1, h1, first[..., 4] - second[..., 4], second[..., 4])
    area1, area2 = w1 * h1, w2 * h2
    shared = _edge_integral(x, y, w2 / 2, h2 / 2)
    return torch.minimum(shared.clamp(min=0), torch.minimum(area1, area2)), area1, area2, scale


def _edges_in_frame(away: Tensor, w: Tensor, h: Tensor, turn: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """The corners of A in the frame of B, x and y of (4, *n), counter-clockwise in (x, y)."""
    cosine, sine = t.cos(), t.sin()
    dx, dy = away.unbind(-1)
    px, py = dx * cosine + dy * sine, dy * cosine - dx * sine
    cosine, sine = turn.cos() / 2, turn.sin() / 2
    ux, uy, vx, vy = w * cosine, w * sine, -h * sine, h * cosine
    return torch.stack([px - ux - vx, px + ux - vx, px + ux + vx, px - ux + vx]), torch.stack(
        [py - uy - vy, py + uy - vy, py + uy + vy, py - uy + vy]
    )


def _edge_integral(x: Float[Tensor, "4 *n"], y: Float[Tensor, "4 *n"], hx: Tensor, hy: Tensor) -> Tensor:
    x_next, y_next = x.roll(-1, 0), y.roll(-1, 0)
    limits = torch.finfo(x.dtype)
    # Where the edge enters and leaves |x| ≤ hx, as shares of the edge; upright edges have no width to integrate over.
    width = x_next - x
    upright = width.abs() <= limits.tiny ** (1 / 3)
    width = torch.where(upright, 1.0, width)
    x0, x1 = x.clamp(-hx, hx), x_next.clamp(-hx, hx)
    y0 = torch.lerp(y, y_next, ((x0 - x) / width).clamp(0, 1))
    y1 = torch.lerp(y, y_next, ((x1 - x) / width).clamp(0, 1))
    heights = _mean_of_clamped(torch.minimum(y0, y1), torch.maximum(y0, y1), hy, 8 * limits.eps)
    return -(torch.where(upright, 0.0, x1 - x0) * heights).sum(0)


def _mean_of_clamped(low: Tensor, high: Tensor, hy: Tensor, tolerance: float) -> Tensor:
    """The mean of clamp(y, −hy, hy) for y uniform in [low, high]: a part below, one inside, one above."""
    a, b = low.clamp(-hy, hy), high.clamp(-hy, hy)
    below = (torch.minimum(high, -hy) - low).clamp(min=0)
    above = (high - torch.maximum(low, hy)).clamp(min=0)
    inside, length = (a + b) / 2, high - low
    flat = length <= tolerance * (hy + low.abs() + high.abs())
    return torch.where(flat, inside, ((b - a) * inside + hy * (above - below)) / torch.where(flat, 1.0, length))
