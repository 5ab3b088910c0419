"""Classical moves: exact transition matrices, invariance, exact values, keyed draws."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tenfold.discrete_samplers.classical.annealing import annealed_sampling, reverse_annealing
from tenfold.discrete_samplers.classical.bits import packed_gibbs
from tenfold.discrete_samplers.classical.chains import independent_draws, run_chains, split_r_hat
from tenfold.discrete_samplers.classical.clusters import SwendsenWang, Wolff, clusters
from tenfold.discrete_samplers.classical.gibbs import BlockGibbs, Gibbs
from tenfold.discrete_samplers.classical.informed import Informed, informed_proposal
from tenfold.discrete_samplers.classical.kernels import ChainDraws, drawn
from tenfold.discrete_samplers.classical.langevin import (
    Jumps,
    Langevin,
    jump_log_proposal,
    langevin_log_proposal,
    tuned,
)
from tenfold.discrete_samplers.classical.optimise import simulated_annealing, temperatures
from tenfold.discrete_samplers.classical.repair import improved, repaired
from tenfold.discrete_samplers.classical.tempering import parallel_tempering
from tenfold.discrete_samplers.exact.enumeration import all_states, log_probabilities, state_numbers
from tenfold.discrete_samplers.exact.lattice import ising_lattice
from tenfold.discrete_samplers.targets.annealed import AnnealedTarget, uniform
from tenfold.discrete_samplers.targets.binary import Ising, spin_glass
from tenfold.discrete_samplers.targets.couplings import Couplings
from tenfold.discrete_samplers.targets.functions import CallableTarget
from tenfold.discrete_samplers.targets.graphs import PROBLEMS, Graph
from tenfold.discrete_samplers.targets.potts import Potts, potts_lattice
from tenfold.errors import UsageError

KERNELS: dict[str, Any] = {
    "gibbs": Gibbs(),
    "block": BlockGibbs(2),
    "gwg": Informed(),
    "barker": Informed(balance="barker"),
    "paths": Informed(length=3),
    "dmala": Langevin(0.5),
    "dlmc": Jumps(0.5),
}


@pytest.fixture
def matrices(fixtures: Path) -> dict[str, torch.Tensor]:
    data = np.load(fixtures / "discrete_samplers" / "kolmogorov_bruteforce.npz")
    return {name: torch.tensor(data[name]) for name in data if name.startswith("mh_")}


def glass(data: dict[str, torch.Tensor]) -> Any:
    return spin_glass(data["mh_J"] / 2, data["mh_b"])


def accepted_matrix(proposal: torch.Tensor, log_p: torch.Tensor) -> torch.Tensor:
    """Metropolis and Hastings' matrix [to, from]."""
    ratio = (log_p[:, None] - log_p[None]).exp() * proposal.T / proposal
    matrix = proposal * torch.where(proposal > 0, ratio, 0.0).clamp(max=1)
    matrix.fill_diagonal_(0)
    return matrix + torch.diag(1 - matrix.sum(0))


def by_site(log_proposal: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
    """Of independent sites, [to, from]."""
    picked = log_proposal[None].expand(len(states), -1, -1, -1).gather(-1, states[:, None, :, None].expand(
        -1, len(states), -1, 1))  # fmt: skip
    return picked[..., 0].sum(-1).exp()


def test_proposals_of_the_fixture(matrices: dict[str, torch.Tensor]) -> None:
    target, states = glass(matrices), matrices["mh_states"]
    ratios, log_p = target.neighbour_log_ratio(states), target.log_prob(states)
    flat = informed_proposal(ratios, states).exp().view(16, 4, 2)
    informed = torch.zeros(16, 16, dtype=torch.float64)
    for i in range(4):
        other = states.clone()
        other[:, i] = 1 - other[:, i]
        informed[state_numbers(other, 2), state_numbers(states, 2)] = flat[torch.arange(16), i, other[:, i]]
    order = state_numbers(states, 2)
    place = np.ix_
    torch.testing.assert_close(informed[place(order, order)], matrices["mh_gwg_Q"], rtol=1e-12, atol=1e-14)
    langevin = by_site(langevin_log_proposal(ratios, states, float(matrices["mh_dmala_alpha"])), states)
    torch.testing.assert_close(langevin, matrices["mh_dmala_Q"], rtol=1e-12, atol=1e-14)
    for name, proposal in (("gwg", matrices["mh_gwg_Q"]), ("dmala", langevin)):
        made = accepted_matrix(proposal, log_p)
        torch.testing.assert_close(made, matrices[f"mh_{name}_P"], rtol=1e-12, atol=1e-14)
        flow = made * log_p.softmax(0)
        torch.testing.assert_close(flow, flow.T, rtol=1e-12, atol=1e-14)
    for logs in (jump_log_proposal(ratios, states, 0.3), langevin_log_proposal(ratios, states, 0.3)):
        torch.testing.assert_close(logs.exp().sum(-1), torch.ones(16, 4, dtype=torch.float64))


def empirical(kernel: Any, target: Any, draws_each: int = 20000, first: int = 0) -> torch.Tensor:
    """[to, from] from chains that start in every state."""
    states = all_states(target.sites, target.states)
    x = states.repeat_interleave(draws_each, 0)
    moved = kernel(target, x, ChainDraws(first, torch.arange(len(x)), 1)).x
    to, came = state_numbers(moved, target.states), torch.arange(len(states)).repeat_interleave(draws_each)
    counts = torch.zeros(len(states), len(states), dtype=torch.float64)
    counts.index_put_((to, came), torch.ones(len(to), dtype=torch.float64), accumulate=True)
    return counts / draws_each


class OneByOne:
    """The fixture's sweep goes through the sites in order."""

    def __init__(self, target: Any) -> None:
        self.sites, self.states = target.sites, target.states
        self.log_prob, self.neighbour_log_ratio = target.log_prob, target.neighbour_log_ratio


@pytest.mark.parametrize(
    ("kernel", "name"),
    [(Gibbs(), "gibbs_sweep"), (Informed(proposals=1), "gwg"), ("dmala", "dmala")],
    ids=["gibbs", "gwg", "dmala"],
)
def test_moves_have_the_matrices_of_the_fixture(matrices: dict[str, torch.Tensor], kernel: Any, name: str) -> None:
    if kernel == "dmala":
        kernel = Langevin(float(matrices["mh_dmala_alpha"]))
    n = 20000
    found = empirical(kernel, OneByOne(glass(matrices)), n)
    order = state_numbers(matrices["mh_states"], 2)
    wanted = torch.zeros(16, 16, dtype=torch.float64)
    wanted[order[:, None], order[None]] = matrices[f"mh_{name}_P"]
    error = (wanted * (1 - wanted) / n).sqrt() + 1e-4
    assert float(((found - wanted) / error).abs().max()) < 4.5


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("states", [2, 3])
def test_moves_leave_the_law_invariant(name: str, states: int) -> None:
    """From exact samples, the law after a move is the law before; forbidden states are never entered."""
    torch.manual_seed(3)
    table = torch.randn(states**3, dtype=torch.float64) * 1.5
    table[[1, 5]] = -torch.inf
    target = CallableTarget(lambda x: table[state_numbers(x, states)], 3, states)
    p = log_probabilities(target).exp()
    n = 40000
    start = torch.multinomial(p, n, replacement=True)
    x = all_states(3, states)[start]
    moved = KERNELS[name](target, x, ChainDraws(0, torch.arange(n), 1))
    counts = torch.bincount(state_numbers(moved.x, states), minlength=states**3).double()
    assert counts[1] == counts[5] == 0
    expected = n * p
    statistic = float(((counts - expected).square() / expected)[p > 0].sum())
    freedom = int((p > 0).sum()) - 1
    assert statistic < freedom + 4 * math.sqrt(2 * freedom)
    assert bool((moved.x != x).any())


@pytest.mark.parametrize("name", ["sw", "wolff"])
@pytest.mark.parametrize("kind", ["ising", "potts", "glass", "field"])
def test_cluster_moves_leave_the_law_invariant(name: str, kind: str) -> None:
    edges, weights = torch.tensor([[0, 1], [1, 2], [0, 2], [2, 3]]), torch.tensor([0.3, 0.6, 0.2, 0.5])
    couplings = Couplings(4, edges, weights)
    target: Any = {
        "ising": Ising(2, 2, 0.3),
        "potts": Potts(couplings, 3),
        "glass": spin_glass(torch.zeros(4, 4).index_put_((edges[:, 0], edges[:, 1]), weights / 2).add_(
            torch.zeros(4, 4).index_put_((edges[:, 1], edges[:, 0]), weights / 2)), torch.zeros(4)),
        "field": Potts(couplings, 2, torch.randn(4, 2)),
    }[kind]  # fmt: skip
    kernel = SwendsenWang() if name == "sw" else Wolff()
    if kind == "field" and name == "wolff":
        with pytest.raises(UsageError, match="knows no field"):
            kernel(target, torch.zeros(2, 4, dtype=torch.int64), ChainDraws(0, torch.arange(2)))
        return
    p, n = log_probabilities(target).exp(), 40000
    torch.manual_seed(5)
    x = all_states(4, target.states)[torch.multinomial(p, n, replacement=True)]
    moved = kernel(target, x, ChainDraws(1, torch.arange(n), 1)).x
    counts = torch.bincount(state_numbers(moved, target.states), minlength=len(p)).double()
    statistic = float(((counts - n * p).square() / (n * p)).sum())
    assert statistic < len(p) - 1 + 4 * math.sqrt(2 * (len(p) - 1))
    # Detailed balance, entry by entry.
    pairs = torch.zeros(len(p), len(p)).index_put_(
        (state_numbers(moved, target.states), state_numbers(x, target.states)), torch.ones(n), accumulate=True
    )
    assert float(((pairs - pairs.T).abs() / (pairs + pairs.T).clamp(min=1).sqrt()).max()) < 5


def test_clusters_are_connected_components() -> None:
    edges = torch.tensor([[0, 1], [1, 2], [3, 4]])
    found = clusters(torch.tensor([[True, True, False], [False, False, True], [False] * 3]), edges, 5)
    assert found.tolist() == [[0, 0, 0, 3, 4], [0, 1, 2, 3, 3], [0, 1, 2, 3, 4]]


def test_cluster_moves_on_a_path_are_those_of_its_couplings() -> None:
    target, x = Ising(4, 4, 0.8), torch.randint(2, (6, 16))
    draws = ChainDraws(3, torch.arange(6), 2)
    path = AnnealedTarget(target, uniform(16, 2), torch.full((6,), 0.5))
    assert torch.equal(SwendsenWang()(path, x, draws).x, SwendsenWang()(Ising(4, 4, 0.4), x, draws).x)


def test_cluster_moves_refuse() -> None:
    draws, x = ChainDraws(0, torch.arange(2)), torch.zeros(2, 9, dtype=torch.int64)
    with pytest.raises(UsageError, match="coupling is negative"):
        SwendsenWang()(Ising(3, 3, -0.2), x, draws)
    with pytest.raises(UsageError, match="for spins and Potts models"):
        Wolff()(CallableTarget(lambda x: x.sum(1).float(), 9), x, draws)


# --- whole samplers -------------------------------------------------------------------------------------------


def energy_of(height: int, width: int) -> Callable[[torch.Tensor], torch.Tensor]:
    unit = Ising(height, width, 1.0)
    return lambda x: -unit.log_prob(x)


def z_score(samples: torch.Tensor, side: int, beta: float) -> float:
    values = energy_of(side, side)(samples).double()
    return float((values.mean() - ising_lattice(side, side, beta).energy) / (values.std() / len(values) ** 0.5))


def test_packed_gibbs() -> None:
    beta = 0.35
    found = packed_gibbs(Ising(6, 4, beta), chains=4096, sweeps=60)
    values = energy_of(6, 4)(found.samples).double()
    error = values.std() / len(values) ** 0.5
    assert abs(float(values.mean()) - ising_lattice(6, 4, beta).energy) < 4 * float(error)
    field = packed_gibbs(Ising(4, 4, 0.2, 0.3), chains=4096, sweeps=40).samples
    from tenfold.discrete_samplers.exact.transfer import ising_strip

    spin = (2.0 * field - 1).mean(1).double()
    wanted = ising_strip(4, 4, 0.2, 0.3).mean(torch.tensor([-1.0, 1.0]))
    assert abs(float(spin.mean()) - wanted) < 4 * float(spin.std() / 64)
    few = packed_gibbs(Ising(6, 4, beta), chains=70, sweeps=60)
    assert torch.equal(few.samples, found.samples[:70])
    for bad in (Ising(5, 4, beta), Ising(2, 4, beta), potts_lattice(4, 4, 2, beta)):
        with pytest.raises((UsageError, TypeError), match=r"even sides|Ising"):
            packed_gibbs(bad)


@pytest.mark.parametrize("name", ["gibbs", "gwg", "dmala", "dlmc", "sw", "wolff"])
def test_chains_find_the_energy(name: str) -> None:
    kernel = {"sw": SwendsenWang(), "wolff": Wolff()}.get(name, KERNELS.get(name))
    found = run_chains(Ising(4, 4, 0.3), kernel, chains=800, moves=40, seed=3)
    assert abs(z_score(found.samples, 4, 0.3)) < 4
    assert found.counts.ratios > 0 or name in ("sw", "wolff")
    assert 0 < found.diagnostics["acceptance"] <= 1


def test_parallel_tempering() -> None:
    """Two states that single moves do not connect."""
    target = CallableTarget(lambda x: torch.where((x.sum(1) == 0) | (x.sum(1) == 6), 6.0, 0.0) + x[:, 0] * 0.5, 6)
    found = parallel_tempering(target, Gibbs(), chains=200, moves=40)
    p = log_probabilities(target).exp()
    counts = torch.bincount(state_numbers(found.samples, 2), minlength=64).double()
    for state in (0, 63):
        wanted = float(p[state])
        assert abs(float(counts[state]) / 200 - wanted) < 4 * math.sqrt(wanted * (1 - wanted) / 200)
    assert found.diagnostics["swaps"] > 0.1


def test_annealing_is_unbiased_and_bounded() -> None:
    target, exact = Ising(4, 4, 0.4), ising_lattice(4, 4, 0.4)
    plain = annealed_sampling(target, Gibbs(), 2000, betas=torch.linspace(0, 1, 17), threshold=0.0)
    assert plain.log_z is not None
    assert plain.log_z_standard_error is not None
    assert plain.elbo is not None
    assert abs(plain.log_z - exact.log_z) < 4 * plain.log_z_standard_error
    assert plain.elbo < plain.log_z
    energy = plain.mean(energy_of(4, 4))
    assert abs(float(energy) - exact.energy) < 4 * float(plain.standard_error(energy_of(4, 4)))
    samples = run_chains(target, SwendsenWang(), 500, 40).samples
    upper = reverse_annealing(target, Gibbs(), samples, torch.linspace(0, 1, 17))
    assert plain.elbo - 0.02 < exact.log_z < upper.log_z + 4 * upper.standard_error


def test_one_step_of_annealing_by_enumeration() -> None:
    """With one step and no resampling, Ẑ is the importance estimate from the prior."""
    target = Ising(3, 3, 0.2)
    found = annealed_sampling(target, Gibbs(), 5000, betas=torch.tensor([0.0, 1.0]), threshold=0.0)
    assert found.log_z is not None
    assert abs(found.log_z - ising_lattice(3, 3, 0.2).log_z) < 4 * (found.log_z_standard_error or 0)


def test_adaptive_monte_carlo() -> None:
    found = annealed_sampling(Ising(6, 6, 0.4407), Gibbs(), 200, populations=8, keep=0.8)
    exact = ising_lattice(6, 6, 0.4407).log_z
    assert found.log_z is not None
    assert abs(found.log_z - exact) < 4 * (found.log_z_standard_error or 0) + 0.05
    assert found.diagnostics["resamplings"] > 0
    assert found.ess > 0.3


def test_forbidden_states_are_annealed_away() -> None:
    target = CallableTarget(lambda x: torch.where(x.sum(1) <= 1, 0.0, -torch.inf), 5)
    found = annealed_sampling(target, Gibbs(), 1000, betas=torch.tensor([0.0, 0.5, 1.0]))
    assert found.log_z is not None
    assert abs(found.log_z - math.log(6)) < 0.2
    alive = found.log_weights > -math.inf
    assert bool((found.samples[alive].sum(1) <= 1).all())


# --- keyed draws ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*KERNELS, "sw", "wolff"])
def test_parts_of_chains_are_parts_of_the_whole(name: str) -> None:
    kernel = {"sw": SwendsenWang(), "wolff": Wolff()}.get(name, KERNELS.get(name))
    target = potts_lattice(3, 3, 3, 0.5)
    whole = run_chains(target, kernel, 7, 5, seed=4).samples
    parts = [run_chains(target, kernel, 3, 5, seed=4), run_chains(target, kernel, 4, 5, seed=4, first=3)]
    assert torch.equal(whole, torch.cat([part.samples for part in parts]))
    assert not torch.equal(whole, run_chains(target, kernel, 7, 5, seed=5).samples)


def test_populations_and_ladders_are_parts_too() -> None:
    target = potts_lattice(3, 3, 3, 0.9)
    fixed = torch.linspace(0, 1, 5)
    one = annealed_sampling(target, Gibbs(), 16, 3, fixed, seed=1).samples
    two = annealed_sampling(target, Gibbs(), 16, 2, fixed, seed=1, first=1).samples
    assert torch.equal(one[16:], two)
    ladder = parallel_tempering(target, Gibbs(), 5, 6, seed=2).samples
    assert torch.equal(ladder[2:], parallel_tempering(target, Gibbs(), 3, 6, seed=2, first=2).samples)


# --- what is told ---------------------------------------------------------------------------------------------


def test_chains_that_do_not_mix_say_so() -> None:
    cold = run_chains(Ising(4, 4, 3.0), Gibbs(), 64, 100, start=torch.zeros(64, 16, dtype=torch.int64))
    assert any("leads in every sample" in note for note in cold.notes)
    apart = torch.cat([torch.zeros(2, 50), torch.ones(2, 50)]) + 0.01 * torch.randn(4, 50)
    assert split_r_hat(apart.double()) > 1.5
    assert split_r_hat(torch.randn(8, 400).double()) < 1.05
    draws = independent_draws(torch.randn(20, 500).double())
    assert 7000 < draws <= 10000
    slow = torch.randn(20, 500).cumsum(1).double()
    assert independent_draws(slow) < 1500


def test_low_weights_are_told() -> None:
    found = annealed_sampling(
        Ising(6, 6, 0.8), Informed(proposals=1), 500, betas=torch.tensor([0.0, 1.0]), threshold=0.0
    )
    assert any("effective sample size" in note for note in found.notes)
    assert any("above its lower bound" in note for note in found.notes)


def test_tuning_meets_its_goal() -> None:
    target = Ising(6, 6, 0.3)
    x = torch.randint(2, (200, 36))
    for kernel in (Langevin(5.0), Jumps(5.0)):
        made, x = tuned(kernel, target, x, ChainDraws(0, torch.arange(200)), rounds=60)
        moved = made(target, x, ChainDraws(1, torch.arange(200)))
        assert abs(float(moved.accepted.mean()) - 0.574) < 0.15


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: run_chains(Ising(3, 3, 0.2), Gibbs(), chains=1), "chains and moves are 1 and 256"),
        (lambda: Langevin(0.0), "step is 0.0"),
        (lambda: Jumps(-1.0), "time is -1.0"),
        (lambda: Informed(length=0), "length is 0"),
        (lambda: BlockGibbs(13)(Ising(4, 4, 0.1), torch.zeros(1, 16, dtype=torch.int64),
                                ChainDraws(0, torch.arange(1))), "2\\^13 states"),
        (lambda: annealed_sampling(Ising(3, 3, 0.2), Gibbs(), betas=torch.tensor([0.0, 0.5])), "rise from 0 to 1"),
        (lambda: annealed_sampling(Ising(3, 3, 0.2), Gibbs(), particles=1), "particles"),
        (lambda: annealed_sampling(Ising(3, 3, 0.2), Gibbs(), prior=uniform(4, 2)), "prior has 4 sites"),
        (lambda: parallel_tempering(Ising(3, 3, 0.2), Gibbs(), ladder=torch.tensor([1.0])), "ladder"),
        (lambda: run_chains(Ising(3, 3, 0.2), Gibbs(), 2, start=torch.zeros(3, 9, dtype=torch.int64)), "3 rows"),
    ],
)  # fmt: skip
def test_samplers_refuse(make: Any, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        make()


def test_draws_never_give_what_has_no_probability() -> None:
    p = torch.tensor([[0.0, 0.3, 0.0, 0.7, 0.0]]).expand(5, -1)
    u = torch.tensor([0.0, 0.2999, 0.3, 0.9999, 1 - 2**-24])
    assert drawn(p, u).tolist() == [1, 1, 3, 3, 3]


# --- graphs ---------------------------------------------------------------------------------------------------


def graphs(fixtures: Path) -> dict[str, tuple[Graph, list[int]]]:
    data = np.load(fixtures / "discrete_samplers" / "graphs_optima.npz")
    return {
        str(name): (
            Graph(int(data[f"{name}_n"]), torch.tensor(data[f"{name}_edges"].astype(np.int64))),
            data[f"{name}_opt_mis_clique_cut"].tolist(),
        )
        for name in data["names"]
    }


def test_proven_optima_are_reached(fixtures: Path) -> None:
    found = graphs(fixtures)
    assert len(found) > 60
    small = [(name, *found[name]) for name in found if found[name][0].nodes <= 34][::9]
    for name, graph, optima in small:
        for kind, wanted in zip(("mis", "clique", "cut"), optima, strict=True):
            if wanted >= 0:
                problem = PROBLEMS[kind](graph)
                result = simulated_annealing(problem, chains=16, sweeps=20)
                assert bool(problem.feasible(result.samples).all())
                assert result.diagnostics["best"] == wanted, (name, kind)


def test_repair_is_the_greedy_rule() -> None:
    graph = Graph(12, torch.tensor([[i, j] for i in range(12) for j in range(i) if (i * 7 + j * 5) % 4 == 0]))
    x = torch.randint(2, (40, 12))
    for kind in ("mis", "clique"):
        problem = PROBLEMS[kind](graph)
        barred = graph.adjacency if kind == "mis" else ~graph.adjacency & ~torch.eye(12, dtype=torch.bool)
        wanted = x.clone()
        for row in wanted:
            for i in range(12):
                if row[i]:
                    row[barred[i]] = 0
        assert torch.equal(repaired(problem, x), wanted)
        better = improved(problem, x)
        assert bool((problem.objective(better) >= problem.objective(wanted)).all())
        assert bool((problem.objective(better) > 0).all())


def test_temperatures() -> None:
    assert temperatures(1, 1.0, 0.1) == [1.0]
    with pytest.raises(UsageError, match="it falls"):
        simulated_annealing(PROBLEMS["cut"](Graph(2, torch.tensor([[0, 1]]))), hot=0.1, cold=1.0)
