"""Targets: fast ratios are differences of log-probabilities, −∞ forbids, borders tell what is wrong."""

import math
from pathlib import Path
from typing import Any

import networkx
import numpy as np
import pytest
import torch

from tenfold.discrete_samplers.targets.annealed import AnnealedTarget, ProductPrior, uniform
from tenfold.discrete_samplers.targets.binary import Ising, PairwiseBinary, qubo, spin_glass
from tenfold.discrete_samplers.targets.couplings import Couplings
from tenfold.discrete_samplers.targets.files import read_graph
from tenfold.discrete_samplers.targets.functions import CallableTarget, NeuralEnergy
from tenfold.discrete_samplers.targets.graphs import Graph, MaximumClique, MaximumCut, MaximumIndependentSet, graph_of
from tenfold.discrete_samplers.targets.machines import BoltzmannMachine
from tenfold.discrete_samplers.targets.potts import Potts, potts_lattice
from tenfold.discrete_samplers.targets.protocol import (
    DiscreteTarget,
    check_tokens,
    conditional,
    log_difference,
    neighbours,
    site_log_ratio,
)
from tenfold.errors import UsageError

TRIANGLE = Graph(4, torch.tensor([[0, 1], [1, 2], [2, 0], [2, 3]]))


def symmetric(d: int) -> torch.Tensor:
    matrix = torch.randn(d, d, dtype=torch.float64)
    return ((matrix + matrix.T) / 2).fill_diagonal_(0)


def all_targets() -> dict[str, Any]:
    torch.manual_seed(1)
    double = torch.float64
    sparse = Couplings(1200, torch.stack([torch.arange(1199), torch.arange(1, 1200)], 1), torch.randn(1199))
    return {
        "ising": Ising(4, 4, 0.3, 0.1, double),
        "ising-2x3": Ising(2, 3, 0.3, 0.1, double),
        "ising-1x3": Ising(1, 3, 0.3, 0.1, double),
        "glass": spin_glass(symmetric(6), torch.randn(6, dtype=double)),
        "qubo": qubo(symmetric(6).fill_diagonal_(0.3), torch.randn(6, dtype=double)),
        "sparse": PairwiseBinary(-1, torch.randn(1200), sparse),
        "potts": potts_lattice(3, 3, 3, 0.7, double),
        "potts-2x3": potts_lattice(2, 3, 4, 0.7, double),
        "potts-field": Potts(Couplings(3, torch.tensor([[0, 1], [2, 1]]), torch.randn(2)), 3, torch.randn(3, 3)),
        "mis": MaximumIndependentSet(TRIANGLE, 0.5),
        "clique": MaximumClique(TRIANGLE, 0.5),
        "cut": MaximumCut(TRIANGLE, 0.5),
        "rbm": BoltzmannMachine(torch.randn(5, 7), torch.randn(7), torch.randn(5)),
        "energy": NeuralEnergy(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 1)), 4, 3),
        "function": CallableTarget(lambda x: (x.double() * x.double().roll(1, 1)).sum(1), 5, 3, chunk=7),
        "product": ProductPrior(torch.tensor([[0.2, 0.3, 0.5], [0.6, 0.3, 0.1]])),
        "annealed": AnnealedTarget(potts_lattice(3, 3, 3, 0.7), uniform(9, 3), torch.tensor(0.3)),
    }


TARGETS = all_targets()


@pytest.mark.parametrize("name", TARGETS)
def test_ratios_are_differences(name: str) -> None:
    target = TARGETS[name]
    assert isinstance(target, DiscreteTarget)
    x = torch.randint(target.states, (3, target.sites))
    with torch.no_grad():
        ratios = target.neighbour_log_ratio(x)
        assert ratios.shape == (3, target.sites, target.states)
        assert bool((ratios.gather(-1, x[..., None]) == 0).all())
        chosen = torch.tensor([target.sites - 1, 0])
        for i in chosen.tolist():
            for token in range(target.states):
                y = x.clone()
                y[:, i] = token
                found = target.log_prob(y) - target.log_prob(x)
                torch.testing.assert_close(ratios[:, i, token], found, rtol=1e-4, atol=2e-4)
        torch.testing.assert_close(site_log_ratio(target, x, chosen), ratios[:, chosen])


@pytest.mark.parametrize("name", ["ising", "ising-2x3", "glass", "sparse", "potts", "potts-2x3", "mis"])
def test_colours_hold_no_edge_and_every_site(name: str) -> None:
    target = TARGETS[name]
    label = torch.empty(target.sites, dtype=torch.int64)
    for number, sites in enumerate(target.colours):
        label[sites] = number
    assert sorted(torch.cat(list(target.colours)).tolist()) == list(range(target.sites))
    one, other = target.couplings.edges.T
    assert bool((label[one] != label[other]).all())
    assert len(target.colours) == (2 if name in ("ising", "sparse") else len(target.colours))


def test_the_reference_target(fixtures: Path) -> None:
    from safetensors.torch import load_file

    data = load_file(fixtures / "discrete_samplers" / "dnfs_ising_step.safetensors")
    lattice, glass = Ising(3, 3, beta=1.2, field=0.2), spin_glass(data["J"], data["b"])
    for target in (lattice, glass):
        torch.testing.assert_close(target.log_prob(data["x"]), data["log_prob"], rtol=1e-4, atol=1e-4)


def test_the_ratios_of_the_fixture(fixtures: Path) -> None:
    data = np.load(fixtures / "discrete_samplers" / "kolmogorov_bruteforce.npz")
    target = spin_glass(torch.tensor(data["mh_J"]) / 2, torch.tensor(data["mh_b"]))
    x = torch.tensor(data["mh_states"])
    torch.testing.assert_close(target.log_prob(x), torch.tensor(data["mh_logp"]), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(target.flip_log_ratio(x), torch.tensor(data["mh_delta"]), rtol=1e-12, atol=1e-12)


def test_doubled_bonds_of_small_lattices() -> None:
    """2·height·width bonds, whatever the sides."""
    for height, width in ((1, 1), (1, 4), (2, 2), (2, 5), (3, 3)):
        up = torch.ones(1, height * width, dtype=torch.int64)
        assert Ising(height, width, 1.0).log_prob(up).item() == 2 * height * width
        assert potts_lattice(height, width, 3, 1.0).log_prob(up).item() == 2 * height * width


def test_a_diagonal_of_bits_is_linear() -> None:
    w, h = torch.tensor([[2.0, 0.5], [0.5, -1.0]]), torch.tensor([0.1, 0.2])
    x = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]])
    v = x.float()
    torch.testing.assert_close(qubo(w, h).log_prob(x), torch.einsum("bi,ij,bj->b", v, w, v) + v @ h)


def test_the_first_order_ratio_is_right_for_a_linear_energy_alone() -> None:
    x = torch.randint(3, (5, 4))
    linear = TARGETS["energy"]
    torch.testing.assert_close(linear.approximate_log_ratio(x), linear.neighbour_log_ratio(x), rtol=1e-4, atol=1e-5)
    curved = NeuralEnergy(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 8), torch.nn.SiLU(),
                                              torch.nn.Linear(8, 1)), 4, 3)  # fmt: skip
    assert (curved.approximate_log_ratio(x) - curved.neighbour_log_ratio(x)).abs().max() > 1e-3


# --- what is forbidden ----------------------------------------------------------------------------------------


def test_forbidden_states() -> None:
    """Of three bits only those with an even sum are allowed, but for 000 and 101."""
    target = CallableTarget(lambda x: torch.where((x.sum(1) % 2 == 0) & (x[:, 1] == 1), 1.0, -torch.inf), 3)
    ratios = target.neighbour_log_ratio(torch.tensor([[1, 1, 0], [1, 0, 0], [0, 0, 0]]))
    assert ratios[0].tolist() == [[-math.inf, 0.0], [-math.inf, 0.0], [0.0, -math.inf]]
    assert ratios[1].tolist() == [[0.0, 0.0], [0.0, math.inf], [0.0, 0.0]]
    assert ratios[2].tolist() == [[0.0, 0.0]] * 3
    probabilities = conditional(ratios)
    assert probabilities[0].tolist() == [[0.0, 1.0], [0.0, 1.0], [1.0, 0.0]]
    assert probabilities[1, 1].tolist() == [0.0, 1.0]
    assert probabilities[2].tolist() == [[0.5, 0.5]] * 3


def test_a_path_forgets_at_its_beginning_what_is_forbidden() -> None:
    target = CallableTarget(lambda x: torch.where(x[:, 0] == 1, 0.0, -torch.inf), 2)
    x = torch.tensor([[0, 0], [1, 0]])
    path = AnnealedTarget(target, uniform(2, 2), torch.tensor([0.0, 0.5]))
    assert path.log_prob(x).isfinite().all()
    assert path.neighbour_log_ratio(x)[0].isfinite().all()
    assert path.neighbour_log_ratio(x)[1, 0, 0] == -math.inf
    assert AnnealedTarget(target, uniform(2, 2), torch.tensor(0.5)).log_prob(x).tolist()[0] == -math.inf


def test_differences_of_forbidden_states() -> None:
    a = torch.tensor([0.0, -math.inf, -math.inf, 1.0])
    b = torch.tensor([-math.inf, 0.0, -math.inf, 3.0])
    assert log_difference(a, b).tolist() == [math.inf, -math.inf, 0.0, -2.0]


def test_neighbours_differ_at_one_site() -> None:
    x = torch.randint(3, (4, 5))
    found = neighbours(x, 3)
    assert found.shape == (4, 10, 5)
    assert bool(((found != x[:, None]).sum(-1) == 1).all())
    assert all(len(row.unique(dim=0)) == 10 for row in found)


# --- borders --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("x", "sentence"),
    [
        (torch.tensor([[0, 1, 2, 0, 1, 0, 0, 0, 0]]), "tokens from 0 to 2; they lie in 0..1"),
        (torch.tensor([[-1, 1, 1, 1, 1, 1, 1, 1, 1]]), "spins −1 and \\+1 are the tokens 0 and 1"),
        (torch.ones(1, 9), "dtype torch.float32; give integers"),
        (torch.ones(1, 9, dtype=torch.bool), "dtype torch.bool; give integers"),
        (torch.ones(1, 8, dtype=torch.int64), "the target takes tokens \\(batch, 9\\)"),
        (torch.ones(9, dtype=torch.int64), "takes tokens \\(batch, 9\\)"),
    ],
)
def test_tokens_that_are_none(x: torch.Tensor, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        check_tokens(x, Ising(3, 3, 0.2))
    if x.dtype == torch.int64 and x.ndim == 2:
        with pytest.raises(UsageError, match=sentence):
            Ising(3, 3, 0.2).log_prob(x)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: spin_glass(torch.ones(2, 3), torch.zeros(2)), "square"),
        (lambda: spin_glass(torch.tensor([[0.0, 1.0], [2.0, 0.0]]), torch.zeros(2)), "not symmetric"),
        (lambda: spin_glass(torch.ones(2, 2), torch.zeros(2)), "diagonal"),
        (lambda: spin_glass(torch.full((2, 2), math.nan), torch.zeros(2)), "NaN"),
        (lambda: spin_glass(torch.zeros(2, 2), torch.zeros(3)), "one number for each of 2"),
        (lambda: Graph(3, torch.tensor([[0, 0]])), "edge to itself"),
        (lambda: Graph(3, torch.tensor([[0, 1], [1, 0]])), "stands twice"),
        (lambda: Graph(3, torch.tensor([[0, 3]])), "there are 0..2"),
        (lambda: Graph(3, torch.zeros(0, 2, dtype=torch.int64)), "without edges"),
        (lambda: MaximumIndependentSet(TRIANGLE, penalty=1.0), "penalty is 1.0"),
        (lambda: MaximumClique(TRIANGLE, penalty=0.5), "penalty is 0.5"),
        (lambda: MaximumCut(TRIANGLE, temperature=0.0), "temperature is 0.0"),
        (lambda: MaximumCut(TRIANGLE, temperature=math.nan), "temperature is nan"),
        (lambda: Ising(0, 3, 0.2), "sides of at least 1"),
        (lambda: Ising(3, 3, "much"), "beta is 'much'"),
        (lambda: ProductPrior(torch.tensor([[0.0, 1.0]])), "must leave no state"),
        (lambda: ProductPrior(torch.tensor([[0.4, 0.4]])), "normalised prior"),
        (lambda: CallableTarget(lambda x: x, 2).log_prob(torch.zeros(1, 2, dtype=torch.int64)), "log_prob gave int64"),
        (lambda: CallableTarget(lambda x: x[:, 0] * math.nan, 2).log_prob(torch.ones(1, 2, dtype=torch.int64)), "NaN"),
        (lambda: CallableTarget(lambda x: x.sum() / 1.0, 2).log_prob(torch.ones(1, 2, dtype=torch.int64)), "one float"),
        (lambda: graph_of(networkx.DiGraph([(0, 1)])), "directed"),
        (lambda: graph_of("karate"), "str is no graph"),
    ],
)
def test_targets_that_are_none(make: Any, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        make()


# --- graphs ---------------------------------------------------------------------------------------------------


def test_objectives_on_a_triangle_with_a_tail() -> None:
    mis, clique, cut = MaximumIndependentSet(TRIANGLE), MaximumClique(TRIANGLE), MaximumCut(TRIANGLE)
    x = torch.tensor([[1, 0, 0, 1], [1, 1, 0, 0], [1, 1, 1, 0]])
    assert mis.objective(x).tolist() == [2, -1, -1]
    assert clique.objective(x).tolist() == [-1, 2, 3]
    assert cut.objective(x).tolist() == [3, 2, 1]
    torch.testing.assert_close(cut.log_prob(x), cut.objective(x).float())
    assert mis.log_prob(x)[0] == 2


def test_graphs_from_files(tmp_path: Path) -> None:
    graph = networkx.karate_club_graph()
    files = {name: tmp_path / f"karate.{name}" for name in ("txt", "graphml", "col")}
    files["txt"].write_text("# karate\n" + "\n".join(f"{a} {b}" for a, b in graph.edges()))
    networkx.write_graphml(graph, files["graphml"])
    lines = [f"e {a + 1} {b + 1}\ne {b + 1} {a + 1}" for a, b in graph.edges()]
    files["col"].write_text("c karate\np edge 34 78\n" + "\n".join(lines))
    for file in files.values():
        found = read_graph(file)
        assert (found.nodes, len(found.edges)) == (34, 78)
        assert sorted(found.adjacency.sum(0).tolist()) == sorted(dict(graph.degree()).values())
    (tmp_path / "bad.col").write_text("p edge x 3")
    (tmp_path / "bad.txt").write_text("1\n")
    for name, sentence in (("bad.col", "line 1"), ("bad.txt", "expected two nodes"), ("none.txt", "does not exist")):
        with pytest.raises(UsageError, match=sentence):
            read_graph(tmp_path / name)
