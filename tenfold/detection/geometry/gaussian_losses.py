"""Losses of predicted and true boxes that are distances between their Gaussians, as the field's papers shape them."""

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from tenfold.detection.geometry.border import takes
from tenfold.detection.geometry.boxes import at_least_float32
from tenfold.detection.geometry.gaussians import (
    bhattacharyya,
    jeffreys,
    kalman_iou,
    kl_divergence,
    probiou,
    sides_of,
    squared_wasserstein,
)
from tenfold.errors import UsageError, suggest
from tenfold.settings.arguments import read_arguments

Shaping = Literal["none", "log1p", "sqrt"]
_LEAST = 1e-7  # below, roots are those of this
_KL = ("kl", "jeffreys", "kl_max", "kl_min")


def shaped(distances: Float[Tensor, "*n"], shaping: str, tau: float) -> Float[Tensor, "*n"]:
    """1 − 1/(τ + f) for τ ≥ 1, else f, where f is log(1 + x), √x, or x itself.

    Raises UsageError for another shaping, and for τ that is negative.
    """
    shapes = {"none": lambda x: x, "log1p": torch.log1p, "sqrt": lambda x: x.clamp(min=_LEAST).sqrt()}
    if shaping not in shapes:
        raise UsageError(f"shaping is {shaping!r}{suggest(shaping, shapes)}")
    if not 0 <= tau < math.inf:
        raise UsageError(f"tau is {tau}; give a number of at least 0")
    value = shapes[shaping](distances)
    return 1 - 1 / (tau + value) if tau >= 1 else value


@takes(predicted="boxes *n 5", target="boxes *n 5")
@read_arguments
def kl_loss(
    predicted: Float[Tensor, "*n 5"], target: Float[Tensor, "*n 5"], kind: str = "kl",
    shaping: str = "log1p", tau: float = 1.0, alpha: float = 1.0, root: bool = True,
) -> Float[Tensor, "*n"]:  # fmt: skip
    """KLD (arXiv 2106.01883) of aligned boxes: ``kl``, ``jeffreys``, or the larger or smaller of both directions
    (``kl_max``, ``kl_min``); its ``root`` first, and then shaped."""
    if kind not in _KL:
        raise UsageError(f"kind is {kind!r}{suggest(kind, _KL)}")
    if kind == "kl":
        return shaped(_root(kl_divergence(predicted, target, alpha), root), shaping, tau)
    if kind == "jeffreys":
        return shaped(_root(jeffreys(predicted, target, alpha), root), shaping, tau)
    one, other = kl_divergence(predicted, target, alpha), kl_divergence(target, predicted, alpha)
    pick = torch.maximum if kind == "kl_max" else torch.minimum
    return shaped(pick(_root(one, root), _root(other, root)), shaping, tau)


def _root(distances: Tensor, root: bool) -> Tensor:
    return distances.clamp(min=_LEAST).sqrt() if root else distances


@takes(predicted="boxes *n 5", target="boxes *n 5")
@read_arguments
def wasserstein_loss(
    predicted: Float[Tensor, "*n 5"], target: Float[Tensor, "*n 5"],
    shaping: str = "log1p", tau: float = 1.0, alpha: float = 1.0, normalised: bool = True,
) -> Float[Tensor, "*n"]:  # fmt: skip
    """GWD (arXiv 2101.11952) of aligned boxes, over 2 (|S1| |S2|)^⅛ where it is normalised, so that it has no unit."""
    distance = squared_wasserstein(predicted, target, alpha).clamp(min=_LEAST).sqrt()
    if normalised:
        logs = [side.log() for boxes in (predicted, target) for side in sides_of(at_least_float32(boxes))]
        distance = distance / (torch.stack(logs).sum(0) / 4).exp()  # |S| is (w h / 4)²
    return shaped(distance, shaping, tau)


@takes(predicted="boxes *n 5", target="boxes *n 5")
@read_arguments
def kalman_loss(
    predicted: Float[Tensor, "*n 5"], target: Float[Tensor, "*n 5"], shaping: str = "none"
) -> Float[Tensor, "*n"]:
    """KFIoU (arXiv 2201.12558) of aligned boxes: smooth L1 (β = 1/9) of the centres, and of the ratio r ≤ ⅓ either
    1 − r (``none``), −ln(r + 1e−6) (``ln``) or exp(1 − r) − 1 (``exp``)."""
    shapes = {"none": lambda r: 1 - r, "ln": lambda r: -(r + 1e-6).log(), "exp": lambda r: torch.expm1(1 - r)}
    if shaping not in shapes:
        raise UsageError(f"shaping is {shaping!r}{suggest(shaping, shapes)}")
    away = functional.smooth_l1_loss(predicted[..., :2], target[..., :2], reduction="none", beta=1 / 9).sum(-1)
    return away + shapes[shaping](kalman_iou(predicted, target, 1e-6))


@takes(predicted="boxes *n 5", target="boxes *n 5")
def probiou_loss(predicted: Float[Tensor, "*n 5"], target: Float[Tensor, "*n 5"]) -> Float[Tensor, "*n"]:
    """1 − ProbIoU (arXiv 2106.06072) of aligned boxes."""
    return 1 - probiou(predicted, target)


@takes(predicted="boxes *n 5", target="boxes *n 5")
@read_arguments
def bhattacharyya_loss(
    predicted: Float[Tensor, "*n 5"], target: Float[Tensor, "*n 5"], shaping: str = "log1p", tau: float = 1.0
) -> Float[Tensor, "*n"]:
    """The Bhattacharyya distance of aligned boxes, which is DCFL's divergence, shaped."""
    return shaped(bhattacharyya(predicted, target), shaping, tau)
