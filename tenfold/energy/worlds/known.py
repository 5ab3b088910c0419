"""Worlds whose density is known at every noise level: Gaussian mixtures, scaled to a standard deviation of one."""

import math
from typing import cast

import numpy as np
import torch
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture as FittedMixture
from torch import Tensor

from tenfold.data.images.splits import MapSource, read_all
from tenfold.data.load import load_images
from tenfold.energy.closed_forms.gaussian_mixtures import GaussianMixture
from tenfold.energy.density import Density
from tenfold.energy.options import DIGITS, EnergyDataConfig
from tenfold.energy.worlds.rows import SampleRows, SampleWorld, to_unit
from tenfold.errors import UsageError

_STRETCH = (0.35, 0.1)  # of a Gaussian on the ring: along it, and across


def ring(components: int, seed: int) -> GaussianMixture:
    """Gaussians on a circle in the plane, stretched along it, with weights between 1 and 3 (before they are made to sum
    to one)."""
    generator = torch.Generator().manual_seed(seed)
    angles = torch.arange(components, dtype=torch.float64) * (2 * math.pi / components)
    outward = torch.stack([angles.cos(), angles.sin()], 1)
    along = torch.stack([-outward[:, 1], outward[:, 0]], 1)
    axes = torch.stack([along, outward], 2)
    variances = torch.tensor(_STRETCH, dtype=torch.float64).square()
    covariances = axes @ torch.diag(variances) @ axes.mT
    weights = 1 + 2 * torch.rand(components, generator=generator, dtype=torch.float64)
    return _scaled(weights, 1.3 * outward, covariances)


def pca_digits(dimensions: int, components: int, seed: int) -> GaussianMixture:
    """A Gaussian mixture, fitted by expectation maximisation to the first principal components of the digits.

    Raises UsageError for more components than the digits have pixels."""
    images = load_images(DIGITS)
    if not isinstance(images.train, MapSource) or dimensions > math.prod(images.shape):
        raise UsageError(f"data.dimensions is {dimensions}; the digits have {math.prod(images.shape)} pixels")
    pixels = to_unit(read_all(images.train)[0], images.levels).flatten(1).double().numpy()
    coordinates = PCA(dimensions, svd_solver="full").fit_transform(pixels)
    fitted = FittedMixture(components, covariance_type="full", random_state=seed, reg_covar=1e-4).fit(coordinates)
    return _scaled(
        *(torch.from_numpy(np.array(part)) for part in (fitted.weights_, fitted.means_, fitted.covariances_))
    )


def _scaled(weights: Tensor, means: Tensor, covariances: Tensor) -> GaussianMixture:
    """The mixture around its mean, in units of its standard deviation."""
    plain = GaussianMixture(weights, means, covariances)
    return GaussianMixture(weights, (means - plain.mean) / plain.data_scale, covariances / plain.data_scale**2)


def known_world(data: EnergyDataConfig) -> SampleWorld:
    """Samples of the mixture that ``data`` describes, and its closed form."""
    if data.kind == "mixture":
        known = ring(data.components, data.seed)
    else:
        known = pca_digits(data.dimensions, data.components, data.seed)
    sizes = (data.samples, data.held_out, data.held_out)
    train, validation, test = (SampleRows(part) for part in known.sample(sum(sizes), seed=data.seed).split(sizes))
    return SampleWorld(train, validation, test, shape=known.shape, classes=0, known=cast(Density, known))
