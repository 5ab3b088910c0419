"""What a sceptic would compare an image flow with: densities of integer pixels that take minutes to fit or less.

Every value is in bits per dimension of the integers on the test split, with the flows' own uniform dequantisation
where the model is a density: v + u on [0, levels) per pixel, one independent noise draw per value.
"""

import copy
import math
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from tenfold.data.images import ImageSplits, read_all
from tenfold.errors import UsageError
from tenfold.flows.loss import dequantise, discrete_log_prob
from tenfold.measurement import Measurement, bits_per_dim

# A full covariance of more dimensions than this takes longer to fit than the flows that it is compared with.
_MOST_DIMENSIONS = 1024

LogProb = Callable[[Tensor], Tensor]
"""Images x = 2 (v + u) / levels − 1, flattened to (N, D) float32, to log densities (N,) in nats."""


def baseline_rows(splits: ImageSplits, seconds: float, draws: int = 16, seed: int = 0) -> list[Measurement]:
    """All baselines that fit these images: the histogram always, densities up to 1,024 dimensions, and the spline
    flow, trained for ``seconds`` of wall-clock time, when that is above 0 and zuko is installed (a warning says so
    where it is not).

    Raises UsageError for streamed training images."""
    if not hasattr(splits.train, "batch"):
        raise UsageError("baselines need random access data; set --data.streaming=false or --evaluation.baselines=false")
    rows = [histogram(splits)]
    if math.prod(splits.shape) > _MOST_DIMENSIONS:
        return rows
    rows += [gaussian(splits, draws, seed), gaussian_mixture(splits, 10, draws, seed)]
    if seconds > 0:
        try:
            rows.append(spline_flow(splits, seconds, draws, seed))
        except UsageError as error:
            warnings.warn(f"the spline flow is left out: {error}", stacklevel=2)
    return rows


def histogram(splits: ImageSplits) -> Measurement:
    """Independent pixels: each with the frequencies of its levels in the training images, plus one for every
    level. A distribution of the integers, so nothing is dequantised and nothing drawn.

    The smallest number of levels that the training and test images use is taken: 17 for the digits."""
    train, test = (pixels_of(source) for source in (splits.train, splits.test))
    levels = splits.levels
    counts = torch.zeros(levels, train.shape[1]).scatter_add_(0, train.long(), torch.ones(train.shape))
    log_share = (counts + 1).log() - math.log(len(train) + levels)
    log_prob = log_share.gather(0, test.long()).double().sum(dim=1)
    dimensions = train.shape[1]
    bits = bits_per_dim(float(log_prob.mean()), dimensions)
    return Measurement("bits_per_dim", bits, "bits/dim", "test", "histogram", note="independent pixels, discrete")


def gaussian(splits: ImageSplits, draws: int = 16, seed: int = 0) -> Measurement:
    """A Gaussian with full covariance (scikit-learn), fitted to dequantised training images."""
    return _measured(splits, _mixture(splits, 1, seed), draws, seed, "gaussian", "full covariance")


def gaussian_mixture(splits: ImageSplits, components: int = 10, draws: int = 16, seed: int = 0) -> Measurement:
    """A mixture of Gaussians with full covariances (scikit-learn), fitted to dequantised training images."""
    log_prob = _mixture(splits, components, seed)
    return _measured(splits, log_prob, draws, seed, f"gaussian-mixture-{components}", "full covariances")


def pixels_of(source: Any) -> Int[Tensor, "n d"]:
    """All images of a split as uint8 (N, D)."""
    return read_all(source)[0].flatten(1)


def _mixture(splits: ImageSplits, components: int, seed: int) -> LogProb:
    from sklearn.mixture import GaussianMixture

    pixels = pixels_of(splits.train)
    generator = torch.Generator().manual_seed(seed)
    x = dequantise(pixels, splits.levels, torch.rand(pixels.shape, generator=generator))
    model = GaussianMixture(components, covariance_type="full", random_state=seed).fit(x.double().numpy())

    def log_prob(x: Tensor) -> Tensor:
        return torch.from_numpy(np.asarray(model.score_samples(x.double().numpy())))

    return log_prob


def _measured(
    splits: ImageSplits, log_prob: LogProb, draws: int, seed: int, model: str, note: str = ""
) -> Measurement:
    values = torch.tensor(list(_bits(splits.test, splits.levels, log_prob, draws, seed)), dtype=torch.float64)
    error = float(values.std() / math.sqrt(draws)) if draws > 1 else None
    return Measurement("bits_per_dim", float(values.mean()), "bits/dim", "test", model, error, draws, note)


def _bits(source: Any, levels: int, log_prob: LogProb, draws: int, seed: int) -> Iterator[float]:
    pixels = pixels_of(source)
    generator = torch.Generator().manual_seed(seed + 1)
    for _ in range(draws):
        x = dequantise(pixels, levels, torch.rand(pixels.shape, generator=generator))
        with torch.no_grad():
            nats = discrete_log_prob(log_prob(x).double(), pixels.shape[1], levels)
        yield bits_per_dim(float(nats.mean()), pixels.shape[1])
