"""Boxes as Gaussians, and how far two of them are from each other.

A box stands for N(μ, S) with μ its centre and S = R diag(w²/4, h²/4) Rᵀ. Every term below is a sum of positive parts in
the boxes' own frames, so that nothing cancels: with p, q a vector's components along and across a box, A = w²/4 and
B = h²/4, and δ the angle between two boxes,

    |S| v'S⁻¹v = B p² + A q²,                     |S| = A B,
    |S1 + S2| = A1 B1 + A2 B2 + cos²δ (A1 B2 + B1 A2) + sin²δ (A1 A2 + B1 B2).

Only differences of centres count: coordinates far from the origin lose nothing.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from tenfold.detection.geometry.border import takes
from tenfold.detection.geometry.boxes import at_least_float32
from tenfold.errors import UsageError
from tenfold.settings.arguments import read_arguments

_LONGEST = 1e7
_AT_ONCE = 1 << 17  # pairs, so that what is between lies in the cache


def sides_of(boxes: Float[Tensor, "*n 5"]) -> tuple[Float[Tensor, "*n"], Float[Tensor, "*n"]]:
    """Width and height within [1e−7, 1e7] pixels; in float32 from 1e−4 on, whose fourth powers have inverses."""
    least = 1e-7 if boxes.dtype == torch.float64 else 1e-4
    return boxes[..., 2].clamp(least, _LONGEST), boxes[..., 3].clamp(least, _LONGEST)


@takes(boxes="boxes *n 5")
def gaussian_of(boxes: Float[Tensor, "*n 5"]) -> tuple[Float[Tensor, "*n 2"], Float[Tensor, "*n 2 2"]]:
    """Mean and covariance, of sides within the bounds of ``sides_of``."""
    boxes = at_least_float32(boxes)
    a, b = (side.square() / 4 for side in sides_of(boxes))
    cosine, sine = boxes[..., 4].cos(), boxes[..., 4].sin()
    xx, xy = a * cosine.square() + b * sine.square(), (a - b) * cosine * sine
    yy = a * sine.square() + b * cosine.square()
    return boxes[..., :2], torch.stack([torch.stack([xx, xy], -1), torch.stack([xy, yy], -1)], -2)


@dataclass(frozen=True)
class PairOfGaussians:
    """What the distances between two boxes are made of; shapes broadcast.

    Attributes:
        a1, b1, a2, b2: variances along and across each box.
        p1, q1, p2, q2: the difference of the centres along and across each.
        cos2, sin2: of the angle between the boxes, squared.
    """

    a1: Tensor
    b1: Tensor
    a2: Tensor
    b2: Tensor
    p1: Tensor
    q1: Tensor
    p2: Tensor
    q2: Tensor
    cos2: Tensor
    sin2: Tensor

    @classmethod
    def of(cls, first: Tensor, second: Tensor, variance: float = 0.25) -> "PairOfGaussians":
        """From boxes (..., 5) whose shapes broadcast; variances are ``variance`` times the squares of the sides."""
        first, second = at_least_float32(first), at_least_float32(second)
        (x1, y1, _, _, t1), (x2, y2, _, _, t2) = first.unbind(-1), second.unbind(-1)
        a1, b1, a2, b2 = (variance * side.square() for side in (*sides_of(first), *sides_of(second)))
        c1, s1, c2, s2 = t1.cos(), t1.sin(), t2.cos(), t2.sin()
        dx, dy = x1 - x2, y1 - y2
        return cls(
            a1, b1, a2, b2,
            dx * c1 + dy * s1, dy * c1 - dx * s1, dx * c2 + dy * s2, dy * c2 - dx * s2,
            (c1 * c2 + s1 * s2).square(), (s1 * c2 - c1 * s2).square(),
        )  # fmt: skip

    @property
    def determinant(self) -> Tensor:
        """|S1 + S2|."""
        mixed = self.cos2 * (self.a1 * self.b2 + self.b1 * self.a2)
        return self.a1 * self.b1 + self.a2 * self.b2 + mixed + self.sin2 * (self.a1 * self.a2 + self.b1 * self.b2)

    @property
    def adjugate_form(self) -> Tensor:
        """d' adj(S1 + S2) d, which over the determinant is d'(S1 + S2)⁻¹d."""
        one = self.b1 * self.p1.square() + self.a1 * self.q1.square()
        return one + self.b2 * self.p2.square() + self.a2 * self.q2.square()

    @property
    def trace_of_ratio(self) -> Tensor:
        """tr(S1⁻¹ S2)."""
        along = self.cos2 * self.a2 + self.sin2 * self.b2
        return along / self.a1 + (self.sin2 * self.a2 + self.cos2 * self.b2) / self.b1

    @property
    def trace_of_product(self) -> Tensor:
        """tr(S1 S2)."""
        return self.cos2 * (self.a1 * self.a2 + self.b1 * self.b2) + self.sin2 * (self.a1 * self.b2 + self.b1 * self.a2)

    @property
    def root_determinants(self) -> Tensor:
        """√(|S1| |S2|)."""
        return (self.a1 * self.b1).sqrt() * (self.a2 * self.b2).sqrt()

    def swapped(self) -> "PairOfGaussians":
        """The two in the other order."""
        return PairOfGaussians(
            self.a2, self.b2, self.a1, self.b1, self.p2, self.q2, self.p1, self.q1, self.cos2, self.sin2
        )


@takes(first="boxes *#n 5", second="boxes *#n 5")
def bhattacharyya(first: Float[Tensor, "*#n 5"], second: Float[Tensor, "*#n 5"]) -> Float[Tensor, "..."]:
    """¼ d'(S1 + S2)⁻¹d + ½ ln(|S1 + S2| / (4 √(|S1| |S2|))), at least 0, of boxes whose shapes broadcast.

    >>> box = torch.tensor([5.0, 5.0, 4.0, 2.0, 0.7])
    >>> bhattacharyya(box, box).abs().item() < 1e-6
    True
    """
    return _distance(PairOfGaussians.of(first, second))


def _distance(pair: PairOfGaussians) -> Tensor:
    determinant = pair.determinant
    return pair.adjugate_form / determinant / 4 + (determinant / pair.root_determinants / 4).clamp(min=1.0).log() / 2


@takes(objects="boxes g 5", priors="boxes n 5")
def gjsd(objects: Float[Tensor, "g 5"], priors: Float[Tensor, "n 5"]) -> Float[Tensor, "g n"]:
    """Generalised Jensen-Shannon divergence of every object and every prior (DCFL's coarse metric, arXiv 2304.08876).

    With α = ½ the divergence, ½[KL(N_α ‖ N1) + KL(N_α ‖ N2)] to the Gaussian N_α of mean inverse covariance, is the
    Bhattacharyya distance, which is computed instead: the published expansion loses all digits in float32 far from the
    origin. Similarity is 1 / (1 + gjsd).

    Made for many pairs, from sums of covariances: in float32 its error grows with the square of the boxes' aspect, to
    about 1e−5 at 8:1, where ``bhattacharyya`` loses nothing.
    """
    return divergences(objects, priors)


def divergences(objects: Float[Tensor, "g 5"], priors: Float[Tensor, "n 5"]) -> Float[Tensor, "g n"]:
    """``gjsd`` of boxes that are not looked at, so that training does not wait for the device."""
    objects, priors = at_least_float32(objects), at_least_float32(priors)
    theirs = _moments(priors)
    rows = max(1, _AT_ONCE // max(1, len(priors)))
    parts = [_pairwise(tuple(c[:, None] for c in _moments(part)), theirs) for part in objects.split(rows)]
    return torch.cat(parts) if len(objects) else objects.new_zeros(0, len(priors))


def _moments(boxes: Float[Tensor, "n 5"]) -> tuple[Tensor, ...]:
    """x, y, the covariance's xx, xy, yy, √|S|, and ½ ln(2 √|S|)."""
    mean, covariance = gaussian_of(boxes)
    w, h = sides_of(boxes)
    root = w * h / 4
    return (
        mean[:, 0], mean[:, 1], covariance[:, 0, 0], covariance[:, 0, 1], covariance[:, 1, 1], root,
        (2 * root).log() / 2,
    )  # fmt: skip


def _pairwise(one: tuple[Tensor, ...], other: tuple[Tensor, ...]) -> Tensor:
    x1, y1, xx1, xy1, yy1, root1, log1 = one
    x2, y2, xx2, xy2, yy2, root2, log2 = other
    dx, dy, xx, xy, yy = x1 - x2, y1 - y2, xx1 + xx2, xy1 + xy2, yy1 + yy2
    # √|S1 + S2| is at least √|S1| + √|S2| (Minkowski), however it is rounded.
    determinant = torch.maximum(torch.addcmul(xx * yy, xy, xy, value=-1), (root1 + root2).square())
    form = torch.addcmul(xx * dy * dy, torch.addcmul(yy * dx, xy, dy, value=-2), dx)
    return torch.addcdiv((determinant.log() / 2 - log1 - log2).clamp(min=0), form.clamp(min=0), determinant, value=0.25)


@takes(first="boxes *#n 5", second="boxes *#n 5")
def probiou(first: Float[Tensor, "*#n 5"], second: Float[Tensor, "*#n 5"]) -> Float[Tensor, "..."]:
    """1 − √(1 − exp(−D)) with D the Bhattacharyya distance of Gaussians of covariance w²/12, h²/12 (arXiv 2106.06072).

    In (0, 1); the root is that of at least the rounding error, which bounds the gradient where boxes are equal.
    """
    distance = _distance(PairOfGaussians.of(first, second, 1 / 12))
    return 1 - (-torch.expm1(-distance)).clamp(min=torch.finfo(distance.dtype).eps).sqrt()


@takes(first="boxes *#n 5", second="boxes *#n 5")
@read_arguments
def kl_divergence(
    first: Float[Tensor, "*#n 5"], second: Float[Tensor, "*#n 5"], alpha: float = 1.0
) -> Float[Tensor, "..."]:
    """½ d'S1⁻¹d/α² + ½ tr(S1⁻¹S2) + ½ ln(|S1|/|S2|) − 1: KL(second ‖ first), where α = 1 (arXiv 2106.01883)."""
    _positive(alpha)
    return _kl(PairOfGaussians.of(first, second), alpha)


def _kl(pair: PairOfGaussians, alpha: float) -> Tensor:
    away = pair.p1.square() / pair.a1 + pair.q1.square() / pair.b1
    return away / (2 * alpha**2) + pair.trace_of_ratio / 2 + _half_log_ratio(pair) - 1


def _half_log_ratio(pair: PairOfGaussians) -> Tensor:
    return (pair.a1.log() + pair.b1.log() - pair.a2.log() - pair.b2.log()) / 2


@takes(first="boxes *#n 5", second="boxes *#n 5")
@read_arguments
def jeffreys(first: Float[Tensor, "*#n 5"], second: Float[Tensor, "*#n 5"], alpha: float = 1.0) -> Float[Tensor, "..."]:
    """The mean of the Kullback-Leibler divergences in both directions."""
    _positive(alpha)
    pair = PairOfGaussians.of(first, second)
    return (_kl(pair, alpha) + _kl(pair.swapped(), alpha)) / 2


@takes(first="boxes *#n 5", second="boxes *#n 5")
@read_arguments
def squared_wasserstein(
    first: Float[Tensor, "*#n 5"], second: Float[Tensor, "*#n 5"], alpha: float = 1.0
) -> Float[Tensor, "..."]:
    """|d|² + α² (tr S1 + tr S2 − 2 √(tr(S1 S2) + 2 √(|S1| |S2|))): of the 2-Wasserstein distance (arXiv 2101.11952)."""
    _positive(alpha)
    return _squared_wasserstein(PairOfGaussians.of(first, second), alpha)


def _squared_wasserstein(pair: PairOfGaussians, alpha: float) -> Tensor:
    shape = pair.a1 + pair.b1 + pair.a2 + pair.b2
    shape = shape - 2 * (pair.trace_of_product + 2 * pair.root_determinants).sqrt()
    return pair.p1.square() + pair.q1.square() + alpha**2 * shape


@takes(first="boxes *#n 5", second="boxes *#n 5")
@read_arguments
def kalman_iou(
    first: Float[Tensor, "*#n 5"], second: Float[Tensor, "*#n 5"], guard: float = 0.0
) -> Float[Tensor, "..."]:
    """V / (V1 + V2 − V + guard) with V = 4 √|S| of the boxes and of S = (S1⁻¹ + S2⁻¹)⁻¹, wherever the centres are: in
    (0, ⅓] (KFIoU, arXiv 2201.12558). The public code's ``guard`` is 1e−6 square pixels."""
    if guard < 0:
        raise UsageError(f"guard is {guard:g}; give square pixels from 0 on")
    pair = PairOfGaussians.of(first, second)
    shared = 4 * pair.root_determinants / pair.determinant.sqrt()
    return shared / (4 * (pair.a1 * pair.b1).sqrt() + 4 * (pair.a2 * pair.b2).sqrt() - shared + guard)


def _positive(alpha: float) -> None:
    if not alpha > 0:
        raise UsageError(f"alpha is {alpha:g}; give a positive number")
