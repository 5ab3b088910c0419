"""Power laws from numbers: log-log slopes with intervals."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tenfold.errors import UsageError
from tenfold.settings.arguments import read_arguments
from tenfold.shifts.arrays import reals
from tenfold.shifts.costs import Watch


@dataclass(frozen=True)
class Exponent:
    """y ≈ constant · N^slope by least squares of log y on log N; [low, high] is the 95 % bootstrap interval of the
    slope, by resampling replicates (θ) where there are several, points of the curve otherwise. ``local`` are the
    slopes between neighbours and ``theory`` the expected value, if given."""

    slope: float
    low: float
    high: float
    constant: float
    local: tuple[float, ...]
    theory: float | None
    N: tuple[float, ...]
    replicates: int
    resampled: str

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {**self.__dict__, "local": list(self.local), "N": list(self.N), "interval": "95 % bootstrap"}


@read_arguments
def fit_exponent(
    N: Any,
    y: Any,
    theory: float | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> Exponent:
    """Fit y ~ N^slope. ``y`` is (len(N),), or (replicates, len(N)), whose mean is fitted.

    Raises UsageError with fewer than 4 values of N, a range under a factor of 10, or values that are not positive."""
    sizes, values = reals(N, "N", finite=False), np.atleast_2d(reals(y, "y", finite=False))
    if resamples < 1 or seed < 0:
        raise UsageError(f"resamples is {resamples} and seed {seed}; expected at least 1, and a seed of at least 0")
    if sizes.ndim != 1 or values.ndim != 2 or values.shape[1] != len(sizes) or not len(values):
        raise UsageError(f"{sizes.size} values of N have y of shape {np.shape(y)}; expected (replicates, {sizes.size})")
    if len(sizes) < 4 or len(np.unique(sizes)) < 4:
        raise UsageError(f"{len(sizes)} values of N determine no exponent; give at least 4 different ones")
    if not (sizes > 0).all() or not np.isfinite(sizes).all() or not (values > 0).all() or not np.isfinite(values).all():
        raise UsageError("a value of N or y is not positive and finite, so it has no logarithm; leave it out")
    if sizes.max() < 10 * sizes.min():
        raise UsageError(f"N runs from {sizes.min():g} to {sizes.max():g}, under a factor of 10; widen the range")
    x = np.log(sizes)
    slope, intercept = np.polyfit(x, np.log(values.mean(axis=0)), 1)
    generator = np.random.default_rng(seed)
    drawn: list[float] = []
    several = len(values) > 1
    size = len(values) if several else len(x)
    watch = Watch(f"{resamples} resamples", "fewer are quicker, and the interval's ends then err by more")
    while len(drawn) < resamples:
        watch(len(drawn), resamples)
        picked = generator.integers(size, size=size)
        if several:
            drawn.append(np.polyfit(x, np.log(values[picked].mean(axis=0)), 1)[0])
        elif len(np.unique(picked)) > 2:
            drawn.append(np.polyfit(x[picked], np.log(values[0, picked]), 1)[0])
    low, high = np.quantile(drawn, [0.025, 0.975])
    order = np.argsort(x)
    steps, rises = np.diff(x[order]), np.diff(np.log(values.mean(axis=0))[order])
    local = rises[steps > 0] / steps[steps > 0]
    return Exponent(
        float(slope), float(low), float(high), float(np.exp(intercept)), tuple(float(v) for v in local), theory,
        tuple(float(n) for n in sizes), len(values), "replicates" if several else "points",
    )  # fmt: skip
