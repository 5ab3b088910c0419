"""Exact values agree with each other and with the fixtures; what is too large is refused."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tenfold.discrete_samplers.exact.enumeration import (
    all_states,
    enumerate_states,
    log_probabilities,
    machine_log_z,
    state_numbers,
)
from tenfold.discrete_samplers.exact.lattice import CRITICAL_BETA, ising_lattice
from tenfold.discrete_samplers.exact.proof import prove
from tenfold.discrete_samplers.exact.transfer import ising_strip, potts_strip
from tenfold.discrete_samplers.targets.binary import Ising
from tenfold.discrete_samplers.targets.functions import CallableTarget
from tenfold.discrete_samplers.targets.graphs import PROBLEMS, Graph
from tenfold.discrete_samplers.targets.machines import BoltzmannMachine
from tenfold.discrete_samplers.targets.potts import potts_lattice
from tenfold.errors import UsageError

RTOL = 1e-9


@pytest.fixture
def lattice(fixtures: Path) -> Any:
    return np.load(fixtures / "discrete_samplers" / "exact_lattice.npz")


def test_the_closed_form(lattice: Any) -> None:
    for i, side in enumerate(lattice["kaufman_L"]):
        for j, beta in enumerate(lattice["kaufman_beta"]):
            found = ising_lattice(int(side), int(side), float(beta))
            wanted = [lattice[f"kaufman_{name}"][i, j] for name in ("logZ", "U", "varE")]
            np.testing.assert_allclose(found, wanted, rtol=RTOL, atol=1e-7 * (beta > 0.8))


@pytest.mark.parametrize("beta", [0.01, 0.2, CRITICAL_BETA, 1.0, 5.0])
def test_nothing_overflows_at_64(beta: float) -> None:
    found = ising_lattice(64, 64, beta)
    assert all(map(math.isfinite, found))
    assert found.energy_variance >= 0
    assert math.log(2) - 1e-6 <= found.entropy(beta) <= 64**2 * math.log(2)
    strip = ising_strip(64, 8, beta)
    np.testing.assert_allclose(ising_lattice(64, 8, beta)[:2], (strip.log_z, strip.energy), rtol=RTOL)


def test_the_closed_form_of_rectangles(lattice: Any) -> None:
    for (height, width, beta), wanted in zip(lattice["rect_LMbeta"], lattice["rect_logZ_U_varE"], strict=True):
        for sides in ((int(height), int(width)), (int(width), int(height))):
            np.testing.assert_allclose(ising_lattice(*sides, float(beta)), wanted, rtol=RTOL)


@pytest.mark.parametrize("k", range(8))
def test_transfer_matrices_with_a_field(lattice: Any, k: int) -> None:
    side, beta, field = lattice[f"tm{k}_L_beta_h"]
    found = ising_strip(int(side), int(side), float(beta), float(field))
    log_z, energy, magnetisation = lattice[f"tm{k}_logZ_U_m"]
    spins = torch.tensor([-1.0, 1.0])
    np.testing.assert_allclose([found.log_z, found.energy], [log_z, energy], rtol=RTOL)
    np.testing.assert_allclose(found.mean(spins), magnetisation, rtol=RTOL, atol=1e-9)
    wanted = lattice[f"tm{k}_corr"]
    for a, b in {(0, 0), (0, 1), (1, 0), (1, 1), (int(side) // 2, 1)}:
        np.testing.assert_allclose(found.correlation(a, b), wanted[a, b], rtol=1e-8)


@pytest.mark.parametrize("k", range(5))
def test_potts_transfer_matrices(lattice: Any, k: int) -> None:
    side, colours, beta = lattice[f"potts{k}_L_q_beta"]
    found = potts_strip(int(side), int(side), int(colours), float(beta))
    np.testing.assert_allclose([found.log_z, found.energy], lattice[f"potts{k}_logZ_U"], rtol=RTOL)
    np.testing.assert_allclose(found.correlation(1, 2), lattice[f"potts{k}_agree"][1, 2], rtol=RTOL)


@pytest.mark.parametrize("sides", [(1, 1), (1, 3), (3, 1), (2, 2), (2, 3), (3, 4)])
@pytest.mark.parametrize("beta", [0.0, 0.2, CRITICAL_BETA, 0.9])
def test_three_ways_agree(sides: tuple[int, int], beta: float) -> None:
    """Doubled bonds and loops of small sides included."""
    target = Ising(*sides, beta, dtype=torch.float64)
    unit = Ising(*sides, 1.0, dtype=torch.float64)

    def energies(x: torch.Tensor) -> torch.Tensor:
        energy = -unit.log_prob(x)
        return torch.stack([energy, energy**2], 1)

    found = enumerate_states(target, energies)
    energy, square = found.means.tolist()
    wanted = (found.log_z, energy, square - energy**2)
    np.testing.assert_allclose(ising_lattice(*sides, beta), wanted, rtol=RTOL, atol=1e-10)
    np.testing.assert_allclose(ising_strip(*sides, beta).log_z, found.log_z, rtol=RTOL)
    np.testing.assert_allclose(ising_strip(*sides, beta).energy, energy, rtol=RTOL, atol=1e-10)


def test_the_density_of_states(lattice: Any) -> None:
    for side in (3, 4, 5):
        energy, count = lattice[f"dos{side}_E"].astype(float), lattice[f"dos{side}_g"].astype(float)
        terms = np.log(count) - 0.37 * energy
        log_z = terms.max() + np.log(np.exp(terms - terms.max()).sum())
        np.testing.assert_allclose(ising_lattice(side, side, 0.37).log_z, log_z, rtol=RTOL)


def test_potts_by_enumeration() -> None:
    found = enumerate_states(potts_lattice(2, 3, 3, 0.6, torch.float64))
    np.testing.assert_allclose(found.log_z, potts_strip(2, 3, 3, 0.6).log_z, rtol=RTOL)


def test_enumeration_does_not_depend_on_the_chunk() -> None:
    target = potts_lattice(2, 2, 3, 0.6, torch.float64)
    whole, parts = enumerate_states(target), enumerate_states(target, chunk=7)
    assert math.isclose(whole.log_z, parts.log_z, rel_tol=1e-12)
    torch.testing.assert_close(whole.means, parts.means)
    assert math.isclose(log_probabilities(target).exp().sum().item(), 1)
    x = all_states(4, 3)
    assert state_numbers(x, 3).tolist() == list(range(81))


def test_forbidden_states_do_not_count() -> None:
    target = CallableTarget(lambda x: torch.where(x.sum(1) == 1, 0.0, -torch.inf), 4)
    found = enumerate_states(target, lambda x: x, chunk=3)
    assert math.isclose(found.log_z, math.log(4))
    torch.testing.assert_close(found.means, torch.full((4,), 0.25, dtype=torch.float64))
    with pytest.raises(UsageError, match="all 4 states are forbidden"):
        enumerate_states(CallableTarget(lambda x: torch.full((len(x),), -torch.inf), 2))


def test_machines_by_either_layer() -> None:
    machine = BoltzmannMachine(torch.randn(5, 9), torch.randn(9), torch.randn(5)).double()
    np.testing.assert_allclose(machine_log_z(machine, 8), enumerate_states(machine).log_z, rtol=1e-9)


def test_what_is_too_large() -> None:
    with pytest.raises(UsageError, match=r"2\^27 = 1\.34e\+08 states"):
        enumerate_states(Ising(3, 9, 0.2))
    with pytest.raises(UsageError, match="8192 states"):
        ising_strip(3, 13, 0.2)
    with pytest.raises(UsageError, match="hidden layer"):
        machine_log_z(BoltzmannMachine(torch.randn(27, 2), torch.randn(2), torch.randn(27)))
    with pytest.raises(UsageError, match=r"beta is -1.0"):
        ising_lattice(3, 3, -1.0)


FAST = [
    "nx_karate", "nx_florentine", "nx_davis", "nx_petersen", "nx_icosahedral", "nx_frucht", "nx_chvatal",
    "ig_Grotzsch", "ig_Walther", "er16_0", "er32_0",
]  # fmt: skip


@pytest.mark.parametrize("name", FAST)
def test_proven_optima(fixtures: Path, name: str) -> None:
    data = np.load(fixtures / "discrete_samplers" / "graphs_optima.npz")
    graph = Graph(int(data[f"{name}_n"]), torch.tensor(data[f"{name}_edges"].astype(np.int64)))
    for kind, wanted in zip(("mis", "clique", "cut"), data[f"{name}_opt_mis_clique_cut"].tolist(), strict=True):
        if wanted < 0 or (kind == "cut" and graph.nodes > 16):
            continue
        problem = PROBLEMS[kind](graph)
        found = prove(problem, seconds=30)
        assert found.proven
        assert found.value == wanted
        assert found.choice is not None
        assert bool(problem.feasible(found.choice[None]).all())
