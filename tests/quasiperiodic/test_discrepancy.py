"""Discrepancies against brute-force fixtures, invariants, and bounds."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenfold.errors import UsageError
from tenfold.quasiperiodic import discrepancy, periodic_discrepancy
from tenfold.shifts import Kronecker
from tests.conftest import FIXTURES

DATA = np.load(FIXTURES / "quasiperiodic" / "discrepancy.npz")
NAMES = {"star": "star", "extreme": "extreme", "L2star": "L2star"}
SQUARES = {"L2star": "L2star_sq_warnock", "centred": "CD", "wraparound": "WD", "mixture": "MD"}


@pytest.mark.parametrize("case", ["golden", "s2s3", "three"])
def test_fixture(case):
    x = DATA[f"{case}_points"]
    there = {kind: name for kind, name in NAMES.items() if f"{case}_{name}" in DATA}
    assert set(NAMES) - set(there) == ({"extreme"} if case == "three" else set())
    for kind, name in there.items():
        found = discrepancy(x, kind)
        assert abs(found.value - DATA[f"{case}_{name}"]) < 1e-12
        assert found.exact
    for kind, name in SQUARES.items():
        assert abs(discrepancy(x, kind, squared=True).value - DATA[f"{case}_{name}"]) < 1e-12
        assert discrepancy(x, kind).value ** 2 == pytest.approx(float(DATA[f"{case}_{name}"]), abs=1e-12)


def test_halfplane_fixture():
    lower = float(DATA["s2s3_halfplane_lower"])
    value = discrepancy(DATA["s2s3_points"], "halfplane").value
    assert lower - 1e-12 <= value <= lower + 1e-3


clouds = st.builds(
    lambda n, d, seed: np.random.default_rng(seed).random((n, d)), st.integers(1, 12), st.integers(1, 2),
    st.integers(0, 2**32 - 1),
)  # fmt: skip


@settings(max_examples=30, deadline=None)
@given(clouds)
def test_inequalities_and_permutations(x):
    d = x.shape[1]
    star, extreme, cube = (discrepancy(x, k).value for k in ("star", "extreme", "cube"))
    assert star <= extreme + 1e-12
    assert extreme <= 2**d * star + 1e-12
    assert cube <= extreme + 1e-12
    shuffled = np.random.default_rng(0).permutation(x)
    for kind in ("star", "extreme", "cube", "L2star", "centred", "wraparound", "mixture", "periodic"):
        assert discrepancy(shuffled, kind).value == pytest.approx(discrepancy(x, kind).value, abs=1e-12)
    bounds = discrepancy(x, "star", exact=False, budget=4000)
    assert bounds.low - 1e-12 <= star <= bounds.high + 1e-12
    assert not bounds.exact


@settings(max_examples=15, deadline=None)
@given(clouds)
def test_boxes_by_brute_force(x):
    n, d = x.shape
    grids = [np.unique(np.concatenate([x[:, j], [0.0, 1.0]])) for j in range(d)]
    worst = 0.0
    sides = [list(itertools.combinations_with_replacement(g, 2)) for g in grids]
    for choice in itertools.product(*sides):
        low, high = np.array([a for a, _ in choice]), np.array([b for _, b in choice])
        volume = (high - low).prod()
        closed = ((x >= low) & (x <= high)).all(axis=1).sum() / n
        opened = ((x > low) & (x < high)).all(axis=1).sum() / n
        worst = max(worst, closed - volume, volume - opened)
    assert discrepancy(x, "extreme").value == pytest.approx(worst, abs=1e-12)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 9))
def test_squares_by_brute_force(seed, n):
    x = np.random.default_rng(seed).random((n, 2))
    worst = 0.0
    for axis in (0, 1):
        held = np.unique(np.concatenate([x[:, axis], [0.0, 1.0]]))
        free = np.unique(np.concatenate([x[:, 1 - axis], [0.0, 1.0]]))
        for left, right in itertools.combinations(held, 2):
            side = right - left
            for begin in np.concatenate([free, free - side]):
                if begin < -1e-12 or begin + side > 1 + 1e-12:
                    continue
                for give, sign in ((1e-13, 1), (-1e-13, -1)):
                    u = (x[:, axis] >= left - give) & (x[:, axis] <= right + give)
                    v = (x[:, 1 - axis] >= begin - give) & (x[:, 1 - axis] <= begin + side + give)
                    worst = max(worst, sign * ((u & v).sum() / n - side**2))
    # Single points are squares of side 0.
    assert discrepancy(x, "cube").value == pytest.approx(max(worst, 1 / n), abs=1e-12)


def test_halfplanes_by_random_search():
    x = np.random.default_rng(5).random((10, 2))
    value = discrepancy(x, "halfplane").value
    grid = (np.stack(np.meshgrid(np.arange(200), np.arange(200)), -1).reshape(-1, 2) + 0.5) / 200
    rng = np.random.default_rng(6)
    found = 0.0
    for _ in range(400):
        angle, c = rng.random() * 2 * np.pi, rng.random() * 1.5 - 0.25
        normal = np.array([np.cos(angle), np.sin(angle)])
        found = max(found, abs((x @ normal >= c).mean() - (grid @ normal >= c).mean()))
    assert found <= value + 0.01


def test_periodic_discrepancy_knows_no_shift():
    orbit = Kronecker("cubic")
    values = [discrepancy(orbit.shifted(s).points(0, 400), "periodic").value for s in range(3)]
    fast = periodic_discrepancy(orbit.shifted(9), 400)
    assert np.allclose(values, fast.value, atol=1e-12)
    assert periodic_discrepancy(orbit, 400, squared=True).value == pytest.approx(fast.value**2)
    assert periodic_discrepancy(orbit, 1, squared=True).value == pytest.approx(1 / 4 - 1 / 9)


def test_bounds_in_five_dimensions():
    x = np.random.default_rng(0).random((40, 5))
    found = discrepancy(x, "star", budget=20_000)
    assert not found.exact
    assert 0 < found.low <= found.high <= 1
    for corner in np.random.default_rng(1).random((2000, 5)):
        assert abs((x < corner).all(axis=1).mean() - corner.prod()) <= found.high
    wide = discrepancy(x, "extreme", budget=2000)
    assert wide.low <= wide.high
    assert discrepancy(x, "cube", budget=2000).low <= wide.high


@pytest.mark.parametrize(
    ("points", "options", "words"),
    [
        ([[0.5, 1.5]], {}, r"outside \[0, 1\]"),
        ([[np.nan]], {}, "NaN"),
        (np.zeros((0, 2)), {}, "expected \\(N, d\\)"),
        ([[0.5]], {"kind": "starr"}, "did you mean 'star'"),
        ([[0.5]], {"squared": True}, "no squared form"),
        ([[0.5]], {"kind": "halfplane"}, "for d = 2"),
        (np.full((600, 3), 0.5), {"exact": True}, "certified bounds"),
        (np.full((10, 4), 0.5), {"exact": True}, "leave exact away"),
    ],
)  # fmt: skip
def test_refusals(points, options, words):
    with pytest.raises(UsageError, match=words):
        discrepancy(points, **options)
