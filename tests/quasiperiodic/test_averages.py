"""Time averages: fixtures, three ways that agree, limits, bad input."""

import json

import numpy as np
import pytest
from hypothesis import given, settings

from tenfold.errors import UsageError
from tenfold.quasiperiodic.dynamics.averages import eigenbasis_moments, time_averaged, transform, weight
from tenfold.quasiperiodic.dynamics.evolution import BoxTooSmallError
from tenfold.quasiperiodic.operators import presets
from tenfold.quasiperiodic.propagation.dense import diagonalise
from tests.quasiperiodic.systems import CASES, chain, fixture, plane, random_operator, random_state, seeds

WAYS = ("eig", "resolvent", "quadrature")


@pytest.mark.parametrize("name", CASES)
def test_chain_of_the_fixtures(name: str) -> None:
    z = fixture(name)
    box = chain(z).box(int(z["L"]))
    tolerance = np.where(z["T"] <= 100, 1e-9, 1e-7)
    done = time_averaged(box, None, z["T"], z["p"])
    assert done.certificate == "finite system"
    assert np.abs(done.probabilities - z["tavg_prob"]).max() < 1e-9
    assert (np.abs(done.moments / z["tavg_moments"] - 1).max(1) < tolerance).all()
    state = np.zeros(box.size)
    state[box.size // 2] = 1.0
    assert np.abs(eigenbasis_moments(box, state, z["T"], z["p"]) / done.moments - 1).max() < 1e-11
    for method in ("resolvent", "quadrature"):
        other = time_averaged(box, None, z["T"][:2], z["p"], method=method)
        assert np.abs(other.moments / z["tavg_moments"][:2] - 1).max() < 1e-9
        assert np.abs(other.probabilities - z["tavg_prob"][:2]).max() < 1e-11


def test_plane_of_the_fixtures() -> None:
    z = fixture("dense2d")
    box = plane(z).box(int(z["L"]))
    assert np.abs(time_averaged(box, None, z["T"]).probabilities - z["tavg_prob"]).max() < 1e-9
    for method in ("resolvent", "quadrature"):
        found = time_averaged(box, None, z["T"][0], method=method)
        assert np.abs(found.probabilities[0] - z["tavg_prob"][0]).max() < 1e-11


@pytest.mark.parametrize(("index", "box"), [(0, 40), (1, 350)])
def test_free_particle(index: int, box: int) -> None:
    # ⟨X²⟩ = T², ⟨X⁴⟩ = 9 T⁴ + T²; the weight's tail needs a box of some 35 T, and a horizon that ends it (tol).
    z = fixture("free_moments")
    for method, tol in (("eig", 1e-12), ("quadrature", 1e-14)):
        done = time_averaged(
            presets.free(), None, z["T"][index], [2.0, 4.0], method=method, edge_tol=1e-13, box=box, tol=tol
        )
        assert done.moments[0, 0] == pytest.approx(z["tavg_x2_nn"][index], rel=1e-9)
        assert done.moments[0, 1] == pytest.approx(z["tavg_x4_nn"][index], rel=1e-8)


@settings(max_examples=8, deadline=None)
@given(seeds)
def test_three_ways_agree(seed: int) -> None:
    box = random_operator(seed, 1, 1 + seed % 3, seed % 2 == 0).box(15)
    state = random_state(seed, box.size)
    found = [time_averaged(box, state, [0.7, 6.0], 2.0, method=method) for method in WAYS]
    for other in found[1:]:
        assert np.abs(other.probabilities - found[0].probabilities).max() < 1e-9
        assert other.error_bound < 1e-11
    assert np.abs(found[0].probabilities.sum(1) - 1).max() < 1e-12


@pytest.mark.parametrize("seed", [141, 6, 9])
def test_the_resolvent_at_short_times(seed: int) -> None:
    # h T below 1: the energies have to spread as widely as 1/T, not as the spectrum.
    box = random_operator(seed, 1, 1).box(15)
    state = random_state(seed, box.size)
    scales = np.array([1e-6, 1e-2, 0.3, 1.0, 3.0]) / box.interval.half_width
    exact, found = (time_averaged(box, state, scales, method=m) for m in ("eig", "resolvent"))
    assert np.abs(found.probabilities - exact.probabilities).max() < 1e-11
    assert found.error_bound < 1e-11


@pytest.mark.parametrize("kind", ["cesaro", "gaussian"])
def test_other_weights_two_ways(kind: str) -> None:
    box = presets.aubry_andre(1.2, theta=0.3).box(30)
    one, two = (time_averaged(box, None, [2.0, 9.0], 2.0, kind=kind, method=m) for m in ("eig", "quadrature"))
    assert np.abs(one.probabilities - two.probabilities).max() < 1e-11


@pytest.mark.parametrize("kind", ["abel", "cesaro", "gaussian"])
def test_weights_and_their_transforms(kind: str) -> None:
    # T = 1.5: the midpoint rule on [0, 40 T], of the weight and against e^{−iωt}.
    T, count = 1.5, 200_000
    width = (T if kind == "cesaro" else 40 * T) / count
    t = (np.arange(count) + 0.5) * width
    for omega in (0.0, 0.4, -3.0):
        exact = (weight(kind, t, T) * np.exp(-1j * omega * t)).sum() * width
        assert abs(transform(kind, np.array(omega), T) - exact) < 1e-7


def test_the_limit_of_long_times() -> None:
    box = presets.aubry_andre(1.1, theta=0.23).box(12)
    spectral = diagonalise(box)
    state = random_state(4, box.size)
    limit = (np.abs(spectral.vectors) ** 2) @ np.abs(spectral.coefficients(state)) ** 2
    for kind in ("abel", "cesaro", "gaussian"):
        found = time_averaged(box, state, 1e9, kind=kind).probabilities[0]
        assert np.abs(found - limit).max() < 1e-6


def test_strong_coupling_is_first_order_perturbation() -> None:
    # Averaged over long times, |ψ_{±1}|² → 2/(V_0 − V_{±1})², up to relative 1/λ².
    for lam in (100.0, 200.0):
        v = presets.aubry_andre(lam, theta=0.2).values([-1], [3])
        exact = sum(2 / (v[1] - v[i]) ** 2 for i in (0, 2))
        found = time_averaged(presets.aubry_andre(lam, theta=0.2), None, 1e6).moments[0, 0]
        assert abs(found / exact - 1) < 100 / lam**2


class TestBoxes:
    def test_adaptive(self) -> None:
        done = time_averaged(presets.aubry_andre(2.0, theta=0.2), None, [10.0, 1e3])
        assert done.certificate == "a posteriori"
        assert done.edge_mass < 1e-6
        wide = time_averaged(presets.aubry_andre(2.0, theta=0.2).box(300), None, [10.0, 1e3])
        assert np.abs(done.moments - wide.moments).max() < 1e-9

    def test_what_the_box_lost_bounds_the_difference(self) -> None:
        operator = presets.aubry_andre(0.8, theta=0.2)
        exact = time_averaged(operator.box(300), None, [3.0, 6.0], kind="abel")
        for method in WAYS:
            done = time_averaged(operator, None, [3.0, 6.0], method=method, box=40, edge_tol=1.0)
            difference = np.abs(exact.probabilities[:, 260:341] - done.probabilities).sum(1)
            difference += exact.probabilities.sum(1) - exact.probabilities[:, 260:341].sum(1)
            assert (difference <= done.box_bound + 1e-12).all()
            assert done.box_bound[0] < done.box_bound[1] < 0.5

    def test_too_small(self) -> None:
        with pytest.raises(BoxTooSmallError, match="of the averaged mass is at its edge at T = 20"):
            time_averaged(presets.free(), None, 20.0, box=30)
        with pytest.raises(UsageError, match="too many for method 'eig'"):
            time_averaged(presets.free(), None, 1e3)


def test_results_say_what_they_are() -> None:
    facts = json.loads(json.dumps(time_averaged(presets.aubry_andre(3.0), None, 5.0, [1.0, 2.0]).to_dict()))
    assert facts["weight"] == "(2/T) exp(-2t/T) on t >= 0"
    assert len(facts["moments"][0]) == 2
    assert facts["certificate"] == "a posteriori"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"T": 0.0}, "T above 0"),
        ({"T": -3.0}, "t >= 0"),
        ({"T": [1.0, np.inf]}, "finite scale"),
        ({"p": 0.0}, "above 0"),
        ({"kind": "able"}, "did you mean 'abel'"),
        ({"method": "eigg"}, "did you mean 'eig'"),
        ({"method": "resolvent", "kind": "cesaro"}, "for the abel average, not for 'cesaro'"),
        ({"tol": 1e-16}, "1e-14 and above"),
        ({"box": "certified"}, "give 'adaptive'"),
        ({"method": "resolvent", "T": 1e9}, "energies, more than"),
        ({"phi": [{0: 1.0}, {1: 1.0}]}, "one state"),
    ],
)
def test_bad_input(arguments: dict, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        time_averaged(presets.aubry_andre(3.0), **arguments)
