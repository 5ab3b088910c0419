"""Distances between sets of images, in the features of an extractor; and the error of reconstructions.

The pure functions take features (N, F) and compute in float64. ``sample_metrics`` and ``real_floor`` apply
them to images and return measurements that say how many images stand behind them.
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from tenfold import progress
from tenfold.errors import UsageError
from tenfold.nn.border import Values, as_tensor, finite
from tenfold.runs.measurement import Measurement

Extractor = Callable[[Tensor], Tensor]
"""Images uint8 (N, C, H, W) to features (N, F), on the CPU."""


def fid(real: Values, fake: Values) -> float:
    """Fréchet distance of Gaussians fitted to two sets of features (Heusel et al. 2017, arXiv 1706.08500):

    |μ₁ − μ₂|² + tr(Σ₁ + Σ₂ − 2 (Σ₁ Σ₂)^½), covariances with n − 1.

    Biased upwards by about a term of order F²/N, so that values compare at equal N only.

    Raises UsageError for features of different width or not finite, and where N or M does not exceed F (the
    covariance would be singular).

    >>> x = torch.randn(100, 2, generator=torch.Generator().manual_seed(0))
    >>> round(fid(x, x + torch.tensor([3.0, 4.0])), 3)
    25.0
    """
    a, b = _checked(real, fake)
    for name, features in (("real", a), ("generated", b)):
        if len(features) <= features.shape[1]:
            raise UsageError(
                f"FID in {features.shape[1]} features needs more than that many {name} images, not "
                f"{len(features)}; add images or take an extractor with fewer features"
            )
    difference = a.mean(dim=0) - b.mean(dim=0)
    first, second = torch.cov(a.T).reshape(a.shape[1], -1), torch.cov(b.T).reshape(b.shape[1], -1)
    # tr (Σ₁ Σ₂)^½ = tr (R Σ₂ R)^½ with R = Σ₁^½: symmetric, so that eigenvalues are real and rounding is mild.
    values, vectors = torch.linalg.eigh(first)
    root = (vectors * values.clamp_min(0).sqrt()) @ vectors.T
    cross = torch.linalg.eigvalsh(root @ second @ root).clamp_min(0).sqrt().sum()
    return max(0.0, float(difference.square().sum() + first.trace() + second.trace() - 2 * cross))


def kid(
    real: Values,
    fake: Values,
    subsets: int = 100,
    subset_size: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """Kernel distance (Bińkowski et al. 2018, arXiv 1801.01401): the unbiased estimate of the squared
    maximum mean discrepancy with kernel (x·y / F + 1)³, as mean and standard deviation over random subsets.

    Subsets have ``subset_size`` images, or half of the smaller set where that is less. The mean may be
    negative: its expectation is zero for equal distributions.

    Raises UsageError for sets of fewer than four images or bad features."""
    a, b = _checked(real, fake)
    smaller = min(len(a), len(b))
    if smaller < 4:
        raise UsageError(f"KID needs at least 4 images on either side, but there are {smaller}")
    if subsets < 1 or subset_size < 2:
        raise UsageError(f"subsets is {subsets} and subset_size {subset_size}; give at least 1 and 2")
    size = min(subset_size, smaller // 2)
    generator = torch.Generator().manual_seed(seed)
    values = []
    for _ in progress.track(range(subsets), "KID", "subsets"):
        i = torch.randperm(len(a), generator=generator)[:size]
        j = torch.randperm(len(b), generator=generator)[:size]
        values.append(mmd(a[i], b[j]))
    found = torch.tensor(values, dtype=torch.float64)
    return float(found.mean()), float(found.std(correction=0))


def mmd(a: Values, b: Values) -> float:
    """Unbiased squared maximum mean discrepancy with the kernel (x·y / F + 1)³: a U-statistic, pairs of an
    image with itself left out. n, m ≥ 2; raises UsageError for fewer, and for bad features."""
    a, b = _checked(a, b)
    n, m = len(a), len(b)
    if min(n, m) < 2:
        raise UsageError(f"the discrepancy needs at least 2 images on either side, but there are {min(n, m)}")

    def kernel(x: Float[Tensor, "i f"], y: Float[Tensor, "j f"]) -> Float[Tensor, "i j"]:
        return (x @ y.T / x.shape[1] + 1) ** 3

    aa, bb = kernel(a, a), kernel(b, b)
    within = (aa.sum() - aa.trace()) / (n * (n - 1)) + (bb.sum() - bb.trace()) / (m * (m - 1))
    return float(within - 2 * kernel(a, b).mean())


def precision_recall(real: Values, fake: Values, neighbours: int = 3, chunk: int = 2048) -> tuple[float, float]:
    """Improved precision and recall (Kynkäänniemi et al. 2019, arXiv 1904.06991): the share of generated
    images inside the real manifold, and of real images inside the generated one. A set's manifold is the
    union of balls around its features that reach to the ``neighbours``-th nearest of the others. Distances
    in ``chunk`` rows.

    Raises UsageError where a set has no more than ``neighbours`` images."""
    a, b = _checked(real, fake)
    smaller = min(len(a), len(b))
    if chunk < 1:
        raise UsageError(f"chunk is {chunk}; give at least 1")
    if neighbours < 1 or smaller <= neighbours:
        raise UsageError(
            f"precision and recall with {neighbours} neighbours need more images than that on either side, "
            f"and at least one neighbour, but there are {smaller}"
        )
    return _covered(b, a, neighbours, chunk), _covered(a, b, neighbours, chunk)


def mean_squared_error(a: Values, b: Values) -> Float[Tensor, "n"]:
    """Mean square difference per image, float64, in squared units of the inputs (integers are converted).

    Raises UsageError for other shapes, and for NaN and infinite values."""
    x, y = _images(a, "the images"), _images(b, "the images that they are compared with")
    if x.shape != y.shape:
        raise UsageError(f"images of shapes {tuple(x.shape)} and {tuple(y.shape)} do not match pixel by pixel")
    return (x - y).square().reshape(len(x), x.shape[1:].numel()).mean(dim=1)


def psnr(a: Values, b: Values, peak: float) -> Float[Tensor, "n"]:
    """Peak signal-to-noise ratio per image in dB, 10 log10(peak² / MSE); ``peak`` is the range of a pixel (2
    for images in [−1, 1]); infinite for equal images."""
    if not 0 < peak < math.inf:
        raise UsageError(f"peak is {peak}; the range of pixel values must be positive")
    return 10 * (peak**2 / mean_squared_error(a, b)).log10()


def reconstruction_rows(images: Values, rebuilt: Values, peak: float, model: str, split: str) -> list[Measurement]:
    """Mean square error and PSNR with their standard errors over the images.

    Raises UsageError for no images, and what ``mean_squared_error`` refuses."""
    if not len(images):
        raise UsageError("there are no images to compare")
    rows = []
    for name, unit, values in (
        ("reconstruction_mse", "squared pixel", mean_squared_error(images, rebuilt)),
        ("reconstruction_psnr", "dB", psnr(images, rebuilt, peak)),
    ):
        error = float(values.std() / math.sqrt(len(values))) if len(values) > 1 else None
        error = error if error is not None and math.isfinite(error) else None
        note = f"N = {len(values)}"
        rows.append(Measurement(name, float(values.mean()), unit, split, model, standard_error=error, note=note))
    return rows


def sample_metrics(
    extractor: Extractor, real: Tensor, fake: Tensor, model: str, split: str, neighbours: int = 3
) -> list[Measurement]:
    """FID, KID, precision and recall of ``fake`` against ``real`` images, both uint8 (N, C, H, W) in [0, levels).

    Values depend on the numbers of images, which the notes give: put ``real_floor`` at the same numbers
    beside them. Raises UsageError where either number does not exceed the features' width."""
    a, b = extractor(real), extractor(fake)
    distance = fid(a, b)
    mean, spread = kid(a, b)
    precision, recall = precision_recall(a, b, neighbours)
    name = getattr(extractor, "name", "own extractor")
    count = f"N = {len(a)} real, {len(b)} compared; {a.shape[1]} features ({name})"
    return [
        Measurement("fid", distance, "", split, model, note=count),
        Measurement("kid", mean, "", split, model, note=f"{count}; s.d. over subsets {spread:.2g}"),
        Measurement("precision", precision, "share", split, model, note=count),
        Measurement("recall", recall, "share", split, model, note=count),
    ]


def real_floor(
    extractor: Extractor, real: Tensor, other: Tensor | None = None, count: int | None = None, seed: int = 0
) -> list[Measurement]:
    """What the metrics read for real images: ``real`` against ``other`` real ones (or, without them, against
    each other in two disjoint random halves), of which ``count`` are drawn, as many as there are samples to judge.

    Raises UsageError when there are fewer than ``count``."""
    generator = torch.Generator().manual_seed(seed)
    if other is None:
        first, second = torch.randperm(len(real), generator=generator).split((len(real) + 1) // 2)
        real, other = real[first], real[second]
    if count is not None and count > len(other):
        raise UsageError(f"a floor with {count} images needs as many real ones to compare, but there are {len(other)}")
    chosen = other[torch.randperm(len(other), generator=generator)[:count]]
    return sample_metrics(extractor, real, chosen, "real images", "floor")


def _checked(real: Values, fake: Values) -> tuple[Float[Tensor, "n f"], Float[Tensor, "m f"]]:
    """The border of everything that reads features: float64 tensors of one width, all finite."""
    a, b = as_tensor(real, "features of real images"), as_tensor(fake, "features of generated images")
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or not a.shape[1]:
        raise UsageError(
            f"features have shapes {tuple(a.shape)} and {tuple(b.shape)}; give (N, F) and (M, F) of one extractor"
        )
    for name, features in (("real", a), ("generated", b)):
        if features.is_complex() or features.dtype == torch.bool:
            raise UsageError(f"features of {name} images have dtype {features.dtype}; give real numbers")
        if not bool(torch.isfinite(features).all()):
            raise UsageError(f"features of {name} images are not all finite; look for NaN in the images")
    return a.double().cpu(), b.double().cpu()


def _images(values: Values, name: str) -> Float[Tensor, "n *shape"]:
    """The border of what compares images: float64, finite."""
    x = as_tensor(values, name)
    if x.is_complex() or x.dtype == torch.bool or not x.ndim:
        raise UsageError(f"{name} have dtype {x.dtype} and shape {tuple(x.shape)}; give real numbers (N, ...)")
    return finite(x.double(), name)


def _covered(points: Float[Tensor, "n f"], manifold: Float[Tensor, "m f"], neighbours: int, chunk: int) -> float:
    # The nearest of all distances to one's own set is to oneself, hence the (k + 1)-th smallest.
    radii = torch.cat([torch.cdist(part, manifold).kthvalue(neighbours + 1).values for part in manifold.split(chunk)])
    parts = progress.track(points.split(chunk), "precision and recall", "chunks")
    inside = [(torch.cdist(part, manifold) <= radii).any(dim=1) for part in parts]
    return float(torch.cat(inside).double().mean())
