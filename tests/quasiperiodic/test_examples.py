"""The pieces of the worked examples: sublevel sets of determinants, losses, variance tables, line figures."""

import numpy as np
import pytest

from tenfold.api.examples import run_example
from tenfold.errors import UsageError
from tenfold.figures import lines
from tenfold.quasiperiodic.examples.bad_sets import almost_mathieu, sublevel
from tenfold.quasiperiodic.examples.samplers import Design, DigitsDenoiser, smooth, variance_rows
from tenfold.quasiperiodic.examples.samplers import NoisyMixture as Mixture
from tenfold.shifts import Kronecker


def test_determinants_are_dense_ones():
    determinant, phases = almost_mathieu(7, 0.8, 0.3, "golden"), Kronecker("golden").points(0, 7)[:, 0]
    theta = np.array([0.0, 0.21, 0.77])
    sign, size = determinant(theta)
    for t, s, l in zip(theta, sign, size, strict=True):
        h = np.diag(1.6 * np.cos(2 * np.pi * (t + phases)) - 0.3) + np.eye(7, k=1) + np.eye(7, k=-1)
        expected = np.linalg.slogdet(h)
        assert s == expected[0]
        assert l == pytest.approx(expected[1], abs=1e-10)


def test_a_sublevel_set_has_the_right_ends():
    # |cos 2πθ| < 1/2 between known angles; and a zero far narrower than the grid is found by its change of sign.
    def cosine(theta):
        with np.errstate(divide="ignore"):
            return np.sign(np.cos(2 * np.pi * theta)), np.log(np.abs(np.cos(2 * np.pi * theta)))

    found = sublevel(cosine, np.log(0.5), 64)
    assert np.allclose(found.ends, [(1 / 6, 1 / 3), (2 / 3, 5 / 6)], atol=1e-12)
    assert found.length == pytest.approx(1 / 3, abs=1e-12)
    narrow = sublevel(lambda t: cosine(t + 0.003), np.log(1e-9), 64)
    assert np.allclose([a for a, _ in narrow.ends], [0.247, 0.747], atol=1e-8)
    assert 0 < narrow.length < 1e-8
    assert sublevel(lambda t: (np.ones_like(t), np.zeros_like(t)), -1.0, 64).region is None
    with pytest.raises(UsageError, match="grid has 4 points"):
        sublevel(cosine, -1.0, 4)


def test_the_denoiser_predicts_the_noise_of_far_data():
    digits = DigitsDenoiser()
    noise = np.random.default_rng(0).standard_normal((3, 64))
    few = digits.loss(np.array([0.02, 0.02, 0.02]), np.array([0, 5, 9]), noise)
    assert few.max() < 1e-6  # nearly clean images are told apart, so that the noise is known
    assert digits.loss(np.full(3, 1.0), np.array([0, 5, 9]), noise).max() < 1e-20  # pure noise is the noise
    assert digits.loss(np.full(3, 0.6), np.array([0, 5, 9]), noise).min() > few.max()
    table = digits.table(np.array([0.1, 0.5]), 20, common=True)
    assert np.array_equal(table, digits.table(np.array([0.1, 0.5]), 20, common=True))


def test_samplers_reduce_variance_and_keep_the_mean():
    rows = variance_rows(smooth, 1, ("iid", "vdm", "vdm_stream", "kronecker"), Design(16, 4, 60), "smooth")
    ratios = {r.model: r.value for r in rows if r.name == "variance_reduction"}
    assert min(ratios.values()) > 5
    assert ratios["vdm_stream"] > ratios["vdm"]
    (bias,) = [r.value for r in rows if r.name == "largest_bias"]
    assert bias < 4
    joint = variance_rows(Mixture().joint, 4, ("iid", "sobol"), Design(64, 4, 60), "mixture")
    assert joint[0].value > 1.5


def test_mixture_losses_share_one_mean():
    mixture, rng = Mixture(), np.random.default_rng(0)
    means = [
        mixture.joint(rng.random((40_000, 4))).mean(),
        mixture.time_only(1)(rng.random((40_000, 1))).mean(),
        mixture.time_and_noise(2)(rng.random((40_000, 2))).mean(),
    ]
    assert np.ptp(means) < 0.05 * np.mean(means)


def test_lines(tmp_path):
    path = lines({"a": ([1, 10], [1, 2]), "b": ([1, 10], [3, 3])}, tmp_path / "x.png", "x", "y", log=(True, True))
    assert path.read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(UsageError, match="2 places and 1 values"):
        lines({"a": ([1, 2], [1])}, tmp_path / "y.png", "x", "y")
    with pytest.raises(UsageError, match="no curve"):
        lines({}, tmp_path / "z.png", "x", "y")


def test_unknown_example(tmp_path):
    with pytest.raises(UsageError, match="did you mean 'slabs'"):
        run_example("slab", tmp_path)
