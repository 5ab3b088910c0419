"""Pictures and boxes moved together: by one similarity each, under which a rectangle stays a rectangle."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from tenfold.detection.config import PictureChanges
from tenfold.detection.data.pictures import NOBODY
from tenfold.detection.geometry.angles import to_convention
from tenfold.training.streams import Draws

_QUARTERS = torch.tensor([[[1.0, 0], [0, 1]], [[0, -1], [1, 0]], [[-1, 0], [0, -1]], [[0, 1], [-1, 0]]])


def changed(
    pictures: Float[Tensor, "b 3 h w"],
    boxes: Float[Tensor, "b m 5"],
    labels: Int[Tensor, "b m"],
    index: Int[Tensor, " b"],
    draws: Draws,
    changes: PictureChanges,
) -> tuple[Float[Tensor, "b 3 h w"], Float[Tensor, "b m 5"], Int[Tensor, "b m"]]:
    """Pictures, values from 0 to 255, mirrored, turned, moved, zoomed and coloured; objects whose centres leave them
    are NOBODY's. What a picture draws is keyed by ``index``."""
    height, width = pictures.shape[2:]
    linear = similarity_of(index, draws, changes, square=height == width)
    middle = pictures.new_tensor([width / 2, height / 2])
    shift = torch.round((2 * draws.uniform("shift", index, (2,)) - 1) * changes.shift)
    pictures = moved_pictures(pictures, linear, shift)
    centre = torch.einsum("bij,bmj->bmi", linear, boxes[..., :2] - middle) + (middle + shift[:, None])
    boxes = moved_boxes(boxes, linear, centre)
    inside = ((centre >= 0) & (centre <= pictures.new_tensor([width, height]))).all(-1)
    return _coloured(pictures, index, draws, changes.colour), boxes, torch.where(inside, labels, NOBODY)


def similarity_of(
    index: Int[Tensor, " b"], draws: Draws, changes: PictureChanges, square: bool
) -> Float[Tensor, "b 2 2"]:
    """Reflection, quarter turn and zoom of each picture, as a matrix on (x, y) from its middle."""
    flip = torch.where((draws.uniform("flip", index, (2,)) < 0.5) & changes.flips, -1.0, 1.0)
    turn = draws.integers("turn", index, 4) * int(changes.turns and square)
    zoom = changes.zoom ** (2 * draws.uniform("zoom", index) - 1)
    return zoom[:, None, None] * torch.diag_embed(flip) @ _QUARTERS.to(flip.device)[turn]


def moved_pictures(
    pictures: Float[Tensor, "b 3 h w"],
    linear: Float[Tensor, "b 2 2"],
    shift: Float[Tensor, "b 2"],
    beyond: str = "zeros",
) -> Float[Tensor, "b 3 h w"]:
    """p → A p + shift about the middles, black where nothing was, or of another kind ``beyond`` the
    picture (of ``grid_sample``); to the pixel where A turns by quarters and mirrors alone."""
    height, width = pictures.shape[2:]
    half = pictures.new_tensor([width / 2, height / 2])
    back = torch.linalg.inv(linear)
    # On [-1, 1]: u_in = D⁻¹ A⁻¹ (D u_out − shift), with D the half sides.
    matrix = back * (half[None, :] / half[:, None])
    offset = -torch.einsum("bij,bj->bi", back, shift) / half
    grid = functional.affine_grid(torch.cat([matrix, offset[..., None]], 2), list(pictures.shape), align_corners=False)
    return functional.grid_sample(pictures, grid, "bilinear", beyond, align_corners=False)


def moved_boxes(
    boxes: Float[Tensor, "b m 5"], linear: Float[Tensor, "b 2 2"], centre: Float[Tensor, "b m 2"]
) -> Float[Tensor, "b m 5"]:
    """Boxes with these centres, whose axes go through the similarities."""
    along = torch.stack([boxes[..., 4].cos(), boxes[..., 4].sin()], -1)
    along = torch.einsum("bij,bmj->bmi", linear, along)
    scale = torch.linalg.vector_norm(along, dim=-1, keepdim=True)
    angle = torch.atan2(along[..., 1:], along[..., :1])
    return to_convention(torch.cat([centre, boxes[..., 2:4] * scale, angle], -1), "le135")


def _coloured(
    pictures: Float[Tensor, "b 3 h w"], index: Int[Tensor, " b"], draws: Draws, strength: float
) -> Float[Tensor, "b 3 h w"]:
    """Each channel times, and plus, a little."""
    u = 2 * draws.uniform("colour", index, (2, 3)) - 1
    factor, added = 1 + strength * u[:, 0], 128 * strength * u[:, 1]
    return (pictures * factor[..., None, None] + added[..., None, None]).clamp(0, 255)
