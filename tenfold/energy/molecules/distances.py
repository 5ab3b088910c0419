"""Distances between samples of particle systems, as the field reports them."""

import math

import torch
from jaxtyping import Float
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from tenfold.energy.molecules.centred import to_positions
from tenfold.energy.molecules.systems import ParticleSystem
from tenfold.errors import UsageError
from tenfold.runs.measurement import Measurement

_PAIRED = 2048


def wasserstein(
    x: Float[Tensor, " n"], y: Float[Tensor, " m"], order: int = 1, weights: Float[Tensor, " n"] | None = None
) -> float:
    """W_p of two sets of numbers, (∫₀¹ |F⁻¹(u) − G⁻¹(u)|^p du)^{1/p}, exactly; ``weights`` are those of x, of any sum.

    Raises UsageError for empty sets, numbers that are not finite, and weights that are negative or all zero."""
    if not len(x) or not len(y):
        raise UsageError(f"there are {len(x)} and {len(y)} numbers; a distance needs at least one of each")
    if not bool(torch.isfinite(x).all() & torch.isfinite(y).all()):
        raise UsageError("some numbers are NaN or infinite; leave those samples out, or look where they come from")
    mass = torch.ones_like(x, dtype=torch.float64) if weights is None else weights.double()
    if not (bool((mass >= 0).all()) and float(mass.sum()) > 0):
        raise UsageError("weights must be at least 0, and one of them positive")
    order_x, sorted_y = x.argsort(), y.double().sort().values
    levels_x = (mass[order_x].cumsum(0) / mass.sum()).clamp(max=1.0)
    levels_y = torch.arange(1, len(y) + 1, dtype=torch.float64) / len(y)
    levels_x[-1] = 1.0
    ends = torch.cat([levels_x, levels_y]).sort().values
    middle = ends - 0.5 * torch.diff(ends, prepend=ends.new_zeros(1))
    widths = torch.diff(ends, prepend=ends.new_zeros(1))
    quantile_x = x.double()[order_x][torch.searchsorted(levels_x, middle).clamp(max=len(x) - 1)]
    quantile_y = sorted_y[torch.searchsorted(levels_y, middle).clamp(max=len(y) - 1)]
    return float((widths * (quantile_x - quantile_y).abs() ** order).sum() ** (1 / order))


def transport_distance(x: Float[Tensor, "n k"], y: Float[Tensor, "m l"], space: int | None = None) -> float:
    """The 2-Wasserstein distance of two equally large sets of vectors by an optimal assignment; with ``space``, of
    positions of particles, each pair turned (and mirrored) onto the other in the best way first.

    Raises UsageError for sets of different sizes."""
    if x.shape != y.shape or not len(x):
        raise UsageError(f"the sets have shapes {tuple(x.shape)} and {tuple(y.shape)}; give two of one shape")
    cost = torch.cdist(x.double(), y.double()).square() if space is None else _turned(x.double(), y.double(), space)
    rows, columns = linear_sum_assignment(cost.numpy())
    return math.sqrt(max(0.0, float(cost[rows, columns].mean())))


def _turned(x: Tensor, y: Tensor, space: int) -> Float[Tensor, "n n"]:
    """min over orthogonal Q of |X − Y Q|² = |X|² + |Y|² − 2 ‖XᵀY‖_* (Kabsch), for every pair of configurations."""
    a, b = to_positions(x, space), to_positions(y, space)
    crossed = torch.einsum("ips,jpt->ijst", a, b)
    return a.square().sum((1, 2))[:, None] + b.square().sum((1, 2)) - 2 * torch.linalg.svdvals(crossed).sum(-1)


def mean_discrepancy(
    x: Float[Tensor, "n k"], y: Float[Tensor, "m k"], weights: Float[Tensor, " n"] | None = None
) -> float:
    """MMD with a Gaussian kernel whose width is the median distance in y; the square root of the biased (never
    negative) estimate of its square."""
    mass = (
        torch.full((len(x),), 1 / len(x), dtype=torch.float64) if weights is None else weights.double() / weights.sum()
    )
    x, y = x.double(), y.double()
    width = torch.pdist(y).median().clamp_min(1e-12)

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return (-torch.cdist(a, b).square() / (2 * width**2)).exp()

    squared = mass @ kernel(x, x) @ mass + kernel(y, y).mean() - 2 * (mass @ kernel(x, y)).mean()
    return math.sqrt(max(0.0, float(squared)))


def energy_distance_rows(
    system: ParticleSystem,
    samples: Float[Tensor, "n k"],
    truth: Float[Tensor, "m k"],
    model: str,
    weights: Float[Tensor, " n"] | None = None,
) -> list[Measurement]:
    """How far ``samples`` (with weights) are from the ground truth: W1 and W2 of the energy in units of temperature 1,
    W2 of all distances between particles, and MMD of the sorted distances, which neither turning nor exchanging
    particles changes (of evenly spread 2,048 of the truth: it looks at all pairs)."""
    energy, true_energy = system.energy(samples.double()), system.energy(truth.double())
    pairs, true_pairs = system.distances(samples.double()), system.distances(truth.double())
    few = true_pairs[:: max(1, len(true_pairs) // _PAIRED)]
    of_pairs = None if weights is None else weights[:, None].expand_as(pairs).flatten()
    values = {
        "energy_w1": wasserstein(energy, true_energy, 1, weights),
        "energy_w2": wasserstein(energy, true_energy, 2, weights),
        "distance_w2": wasserstein(pairs.flatten(), true_pairs.flatten(), 2, of_pairs),
        "distance_mmd": mean_discrepancy(pairs.sort(1).values, few.sort(1).values, weights),
    }
    units = {"energy_w1": "kT", "energy_w2": "kT", "distance_w2": "length", "distance_mmd": ""}
    return [Measurement(name, value, units[name], "", model) for name, value in values.items()]
