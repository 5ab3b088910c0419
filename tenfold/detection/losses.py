"""Losses of dense heads: sums, to be divided by a number of objects or positive priors."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from tenfold.detection.geometry.boxes import outlines
from tenfold.detection.geometry.gaussian_losses import (
    bhattacharyya_loss,
    kalman_loss,
    kl_loss,
    probiou_loss,
    wasserstein_loss,
)
from tenfold.detection.geometry.overlap import aligned_iou
from tenfold.settings.arguments import read_arguments

_GAUSSIAN: dict[str, Callable[..., Tensor]] = {
    "kl": kl_loss,
    "wasserstein": wasserstein_loss,
    "kalman": kalman_loss,
    "probiou": probiou_loss,
    "bhattacharyya": bhattacharyya_loss,
}


@read_arguments
def focal_loss(
    logits: Float[Tensor, "n c"],
    labels: Int[Tensor, " n"],
    counted: Bool[Tensor, " n"],
    alpha: float = 0.25,
    gamma: float = 2.0,
) -> Float[Tensor, ""]:
    """−Σ α_t (1 − p_t)^γ log p_t over the classes of the priors that count (arXiv 1708.02002).

    Args:
        labels: class of each prior, −1 for background.
        counted: priors that are not ignored.
    """
    target = (labels[:, None] == torch.arange(logits.shape[1], device=logits.device)).to(logits.dtype)
    entropy = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    wrong = torch.where(target > 0, (-logits).sigmoid(), logits.sigmoid())
    weight = torch.where(target > 0, alpha, 1 - alpha) * wrong.pow(gamma)
    return (weight * entropy * counted[:, None]).sum()


def box_losses(predicted: Float[Tensor, "n 5"], target: Float[Tensor, "n 5"], kind: str) -> Float[Tensor, ""]:
    """The sum over aligned pairs of −ln IoU ("iou"), of that of the upright boxes around both ("outline"), or of a
    distance of their Gaussians in its published shape."""
    if kind == "iou":
        return rotated_iou_loss(predicted, target)
    if kind == "outline":
        return rotated_iou_loss(outlines(predicted), outlines(target))
    return _GAUSSIAN[kind](predicted, target).sum()


@read_arguments
def rotated_iou_loss(
    predicted: Float[Tensor, "n 5"], target: Float[Tensor, "n 5"], least: float = 1e-6
) -> Float[Tensor, ""]:
    """−Σ ln max(IoU, least): boxes that do not touch cost much, and have no gradient."""
    return -aligned_iou(predicted, target).clamp(min=least).log().sum()


@read_arguments
def smooth_l1_loss(
    predicted: Float[Tensor, "n 5"], target: Float[Tensor, "n 5"], beta: float = 1 / 9
) -> Float[Tensor, ""]:
    """Σ over the five numbers of encoded boxes: d²/(2β) below β, |d| − β/2 above."""
    return functional.smooth_l1_loss(predicted, target, reduction="sum", beta=beta)
