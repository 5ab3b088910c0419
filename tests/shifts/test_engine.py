"""The sampler as an engine of ``scipy.stats.qmc``."""

import numpy as np
import pytest
from scipy.integrate import qmc_quad
from scipy.stats import qmc

from tenfold.errors import UsageError
from tenfold.shifts import ShiftSampler

MODES = [("iid", 2), ("vdm", 1), ("vdm_stream", 1), ("jitter", 1), ("kronecker", 2), ("sobol", 2)]


@pytest.mark.parametrize(("mode", "dim"), MODES)
def test_it_is_an_engine(mode: str, dim: int) -> None:
    sampler = ShiftSampler(dim, mode, 3)
    assert isinstance(sampler, qmc.QMCEngine)
    assert sampler.d == dim
    first, second = sampler.random(8), sampler.random(8)
    assert np.array_equal(first, sampler.batch(0, 8))
    assert np.array_equal(second, sampler.batch(1, 8))
    assert sampler.num_generated == 16
    assert np.array_equal(sampler.reset().random(8), first)
    assert np.array_equal(sampler.reset().fast_forward(8).random(8), second)
    assert np.array_equal(ShiftSampler(dim, mode, 3).next(8), first)
    drawn = ShiftSampler(dim, mode, 3).integers(-2, u_bounds=3, n=8)
    assert np.array_equal(drawn, np.floor(5 * first - 2).astype(int))
    with pytest.raises(UsageError, match="a batch has 0 points"):
        sampler.fast_forward(0)


@pytest.mark.parametrize(("mode", "dim"), MODES)
def test_qmc_quad_takes_it(mode: str, dim: int) -> None:
    def product(x: np.ndarray) -> np.ndarray:
        return np.asarray(np.prod(np.sin(x) / 2, axis=0))  # of integral 1 over [0, π] each

    found = qmc_quad(product, [0.0] * dim, [np.pi] * dim, qrng=ShiftSampler(dim, mode, 3), n_points=128)
    assert 0 < found.standard_error < 0.2
    assert abs(found.integral - 1) < 6 * found.standard_error


def test_seeds() -> None:
    ask = np.random.default_rng
    assert np.array_equal(ShiftSampler(seed=ask(1)).random(4), ShiftSampler(seed=ask(1)).random(4))
    assert not np.array_equal(ShiftSampler(seed=ask(1)).random(4), ShiftSampler(seed=ask(2)).random(4))
    assert np.array_equal(ShiftSampler(seed=-5).random(4), ShiftSampler(seed=-5).random(4))
    with pytest.raises(UsageError, match="seed is"):
        ShiftSampler(seed=1.5)
