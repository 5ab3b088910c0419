"""Boxes: four products agree with the matrix, spectral intervals hold, gauge and duality, bad boxes."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenfold.errors import UsageError
from tenfold.quasiperiodic.operators import matvec, presets
from tenfold.quasiperiodic.operators.hopping import exponential, nearest_neighbour
from tenfold.quasiperiodic.operators.intervals import symbol_range
from tenfold.quasiperiodic.operators.long_range import LongRange
from tenfold.quasiperiodic.operators.matvec import KINDS
from tenfold.quasiperiodic.spectral.spectrum import bloch_spectrum, eigenvalues
from tenfold.runs import machine
from tenfold.shifts import costs
from tests.quasiperiodic.systems import CASES, chain, fixture, plane, random_operator, random_state, seeds


@pytest.mark.parametrize("name", CASES)
def test_chain_of_the_fixtures(name: str) -> None:
    z = fixture(name)
    box = chain(z).box(int(z["L"]))
    assert box.sites[:, 0].tolist() == z["idx"].tolist()
    assert np.abs(box.potential - z["V"]).max() < 1e-12
    assert np.abs(eigenvalues(box) - z["eigenvalues"]).max() < 1e-11
    assert box.interval.low <= z["eigenvalues"][0]
    assert z["eigenvalues"][-1] <= box.interval.high


def test_plane_of_the_fixtures() -> None:
    z = fixture("dense2d")
    box = plane(z).box(int(z["L"]))
    assert box.sites.tolist() == z["sites"].tolist()
    assert np.abs(box.potential - z["V"]).max() < 1e-12
    assert np.abs(eigenvalues(box) - z["eigenvalues"]).max() < 1e-11


@settings(max_examples=30, deadline=None)
@given(seeds, st.integers(1, 2), st.booleans(), st.booleans(), st.booleans())
def test_products_agree_with_the_matrix(seed: int, dim: int, complex_: bool, ring: bool, complex_state: bool) -> None:
    operator = random_operator(seed, dim, 3, complex_)
    box = operator.ring(9 + seed % 3, -4, approximant=False) if ring else operator.box(4 + seed % 3, centre=2)
    states = np.stack([random_state(seed + i, box.size, complex_state) for i in range(2)])
    exact = states @ box.dense().T
    scale = max(abs(box.interval.low), abs(box.interval.high))
    for kind in (*KINDS, "auto"):
        found = box.with_product(kind).matvec(states)
        assert np.abs(found - exact).max() < 1e-13 * max(scale, 1), kind


def test_both_stencils_are_used_and_agree() -> None:
    operator = presets.multi_frequency(1.0, hopping=exponential(1.0, 0.3, radius=20))
    for box in (operator.box(300), operator.ring(601, approximant=False)):
        stencil = box.with_product("stencil").product
        assert type(stencil).__name__ == "Toeplitz"
        state = random_state(3, box.size)
        from tenfold.quasiperiodic.operators.matvec import Slices

        assert np.abs(stencil.apply(state) - Slices(box).apply(state)).max() < 1e-13


def test_the_cheapest_product_is_chosen_by_counting() -> None:
    short, long_ = presets.free().box(200_000), presets.free(2).box(60)
    for box in (short, long_):
        table = matvec.costs(box)
        assert table["slices"].flops == 2 * len(box.operator.hopping.coefs) * box.size
        assert box.product.kind == "stencil"
    wide = LongRange(exponential(1.0, 0.25, 2, radius=12)).box(30)
    assert matvec.costs(wide)["fft"].nanoseconds < matvec.costs(wide)["slices"].nanoseconds
    assert wide.product.kind == "fft"


@settings(max_examples=30, deadline=None)
@given(seeds, st.integers(1, 2), st.booleans(), st.booleans())
def test_the_spectral_interval_contains_the_spectrum(seed: int, dim: int, complex_: bool, ring: bool) -> None:
    operator = random_operator(seed, dim, 2, complex_)
    box = operator.ring(6, approximant=False) if ring else operator.box(3)
    found = np.linalg.eigvalsh(box.dense())
    assert box.interval.low <= found[0]
    assert found[-1] <= box.interval.high


@settings(max_examples=20, deadline=None)
@given(seeds, st.integers(1, 2))
def test_symbol_ranges_hold_and_are_tight(seed: int, dim: int) -> None:
    hopping = random_operator(seed, dim, 3, True).hopping
    low, high = symbol_range(hopping)
    values = hopping.symbol([1000] if dim == 1 else [200, 200])
    assert low <= values.min()
    assert values.max() <= high
    assert high - low <= (values.max() - values.min()) * 1.02 + 1e-9


def test_a_batch_of_theta_is_a_batch_of_boxes() -> None:
    operator = presets.aubry_andre(1.5)
    together = operator.at([[0.1], [0.7]]).box(6)
    assert together.potential.shape == (2, 13)
    state = random_state(0, 13)
    for row, theta in enumerate((0.1, 0.7)):
        single = operator.at(theta).box(6)
        assert np.array_equal(together.dense()[row], single.dense())
        assert np.abs(together.matvec(state)[row] - single.matvec(state)).max() < 1e-14
    with pytest.raises(UsageError, match="one operator"):
        together.sparse()


def test_bands_are_the_matrix() -> None:
    z = fixture("dense1d_case1")
    box = chain(z).box(20)
    bands, dense = box.banded(), box.dense()
    reach = len(bands) // 2
    for i in range(box.size):
        for j in range(max(0, i - reach), min(box.size, i + reach + 1)):
            assert bands[reach + i - j, j] == dense[i, j]
    assert np.abs(box.sparse().toarray() - dense).max() == 0


def test_aubry_duality_of_band_edges() -> None:
    # σ(AA(λ)) = λ σ(AA(1/λ)) as the union over θ and Bloch phase, at p/q = 34/55.
    q, lam = 55, 2.5

    def edges(coupling: float) -> tuple[np.ndarray, np.ndarray]:
        found = []
        for theta in (0.0, 1 / (2 * q)):
            operator = presets.aubry_andre(coupling, "golden", theta)
            found.append(bloch_spectrum(operator, q, np.array([0.0, np.pi])))
        both = np.concatenate(found)
        return both.min(0), both.max(0)

    low, high = edges(lam)
    dual_low, dual_high = edges(1 / lam)
    assert np.abs(low - lam * dual_low).max() < 1e-13 * 10
    assert np.abs(high - lam * dual_high).max() < 1e-13 * 10


def test_bloch_spectrum_is_that_of_the_repeated_ring() -> None:
    operator = presets.multi_frequency(1.0, ["golden"], 0.2, exponential(1.0, 0.5, radius=6))
    q = 8
    assert operator.orbit is not None
    repeated = replace(operator, orbit=operator.orbit.approximant(q)).ring(3 * q, approximant=False)
    bloch = bloch_spectrum(operator, q, 2 * np.pi * np.arange(3) / 3)
    assert np.abs(np.sort(bloch.ravel()) - np.linalg.eigvalsh(repeated.dense())).max() < 1e-12


def test_rings_close_with_their_approximant() -> None:
    ring = presets.aubry_andre(1.0).ring(610)
    assert abs(ring.potential[0] - ring.operator.values([610], [1])[0]) < 1e-12
    assert ring.operator.orbit.omega[0][0] * 610 % (1 << 64) in range((1 << 64) - 610, 1 << 64)


def test_mobility_edge_of_exponential_hopping() -> None:
    box = presets.exponential_hopping(1.0, 1.0, 1.0).ring(610)
    energies, vectors = np.linalg.eigh(box.dense())
    ipr, edge = (vectors**4).sum(0), presets.mobility_edge(1.0, 1.0, 1.0)
    assert abs(edge - 0.5431) < 5e-5
    assert (energies < edge).sum() == 377
    below, above = ipr[energies < edge - 0.02], ipr[energies > edge + 0.02]
    assert 0.18 <= below.min() <= below.max() <= 0.9
    assert 0.0028 <= above.min() <= above.max() <= 0.0095


class TestBadBoxes:
    def test_memory_is_told_before_it_is_taken(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(costs, "LITTLE", 0)
        monkeypatch.setattr(machine, "free_memory", lambda: 1 << 20)
        with pytest.raises(UsageError, match=r"200,001 sites would need .* GiB"):
            presets.aubry_andre(1.0).box(100_000)
        with pytest.raises(UsageError, match="a dense matrix of 2001 sites"):
            presets.aubry_andre(1.0).box(1000).dense()

    def test_shapes(self) -> None:
        operator = presets.aubry_andre(1.0)
        for wrong, words in (
            (lambda: operator.box(-1), "at least 0"),
            (lambda: operator.box((1, 2)), "the lattice is Z"),
            (lambda: operator.ring(2), "shorter than the hopping"),
            (lambda: operator.box(3).matvec(np.ones(5)), "needs"),
            (lambda: operator.box(3).index(4), "outside the box"),
            (lambda: operator.box(3).distance("l3"), "no norm 'l3'"),
            (lambda: operator.box(3).with_product("fftt"), "did you mean 'fft'"),
            (lambda: operator.ring(8).banded(), "open one-dimensional"),
            (lambda: operator.box(5, centre=2**63 - 3), "2\\^63"),
            (lambda: presets.free().at(0.3), "no theta to choose"),
        ):
            with pytest.raises(UsageError, match=words):
                wrong()

    def test_distances(self) -> None:
        box = LongRange(nearest_neighbour(2)).box(2)
        n = box.sites
        assert np.array_equal(box.distance("l1"), np.abs(n).sum(1))
        assert np.array_equal(box.distance("linf"), np.abs(n).max(1))
        assert np.allclose(box.distance("l2") ** 2, (n**2).sum(1))
        assert presets.free().ring(5).distance().tolist() == [0, 1, 2, 2, 1]
        assert presets.free().box(2, centre=10).distance().tolist() == [2, 1, 0, 1, 2]
