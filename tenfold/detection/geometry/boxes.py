"""A box (cx, cy, w, h, t): its half axes, corners, area and horizontal hull."""

import torch
from jaxtyping import Float
from torch import Tensor

from tenfold.detection.geometry.border import takes


def at_least_float32(boxes: Float[Tensor, "*n 5"]) -> Float[Tensor, "*n 5"]:
    """The boxes, half precision as float32: their coordinates would move by pixels."""
    return boxes if boxes.dtype in (torch.float32, torch.float64) else boxes.float()


def half_axes(boxes: Float[Tensor, "*n 5"]) -> tuple[Float[Tensor, "*n 2"], Float[Tensor, "*n 2"]]:
    """u = (w/2)(cos t, sin t) along the width, v = (h/2)(−sin t, cos t) along the height."""
    w, h, t = boxes[..., 2] / 2, boxes[..., 3] / 2, boxes[..., 4]
    cosine, sine = t.cos(), t.sin()
    return torch.stack([w * cosine, w * sine], -1), torch.stack([-h * sine, h * cosine], -1)


@takes(boxes="boxes *n 5")
def corners(boxes: Float[Tensor, "*n 5"]) -> Float[Tensor, "*n 4 2"]:
    """The ring c−u−v, c+u−v, c+u+v, c−u+v.

    >>> corners(torch.tensor([10.0, 20.0, 4.0, 2.0, 0.0])).tolist()
    [[8.0, 19.0], [12.0, 19.0], [12.0, 21.0], [8.0, 21.0]]
    """
    u, v = half_axes(boxes)
    return boxes[..., None, :2] + torch.stack([-u - v, u - v, u + v, v - u], -2)


@takes(boxes="boxes *n 5")
def areas(boxes: Float[Tensor, "*n 5"]) -> Float[Tensor, "*n"]:
    """w h, in square pixels."""
    return boxes[..., 2] * boxes[..., 3]


@takes(boxes="boxes *n 5")
def horizontal(boxes: Float[Tensor, "*n 5"]) -> Float[Tensor, "*n 4"]:
    """The smallest box with sides along the axes, (x0, y0, x1, y1): centre ± (|u| + |v|).

    >>> horizontal(torch.tensor([10.0, 20.0, 4.0, 2.0, torch.pi / 2])).round(decimals=4).tolist()
    [9.0, 18.0, 11.0, 22.0]
    """
    u, v = half_axes(boxes)
    extent = u.abs() + v.abs()
    return torch.cat([boxes[..., :2] - extent, boxes[..., :2] + extent], -1)


def outlines(boxes: Float[Tensor, "*n 5"]) -> Float[Tensor, "*n 5"]:
    """The upright boxes around boxes, at angle 0, differentiable; not looked at, so that a loss does not wait."""
    u, v = half_axes(boxes)
    return torch.cat([boxes[..., :2], 2 * (u.abs() + v.abs()), torch.zeros_like(boxes[..., :1])], -1)


@takes(edges="numbers *n 4")
def from_horizontal(edges: Float[Tensor, "*n 4"]) -> Float[Tensor, "*n 5"]:
    """Boxes at angle 0 from (x0, y0, x1, y1).

    >>> from_horizontal(torch.tensor([9.0, 18.0, 11.0, 22.0])).tolist()
    [10.0, 20.0, 2.0, 4.0, 0.0]
    """
    low, high = edges[..., :2], edges[..., 2:]
    return torch.cat([(low + high) / 2, high - low, torch.zeros_like(edges[..., :1])], -1)
