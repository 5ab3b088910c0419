"""What enters by the face: number types, lists, emptiness, NaN and nonsense are right, or refused in one sentence."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import tenfold.discrete_samplers as face
from tenfold.errors import UsageError

X = torch.randint(0, 2, (3, 16), generator=torch.Generator().manual_seed(0))
GRAPH = face.graph_of([[0, 1], [1, 2], [2, 3], [3, 15], [4, 5], [6, 7], [8, 9], [10, 11], [12, 13], [14, 0]])
NONE = {
    "floats": X.float(), "halves": X.half(), "booleans": X.bool(), "complex": X.to(torch.complex64), "a row": X[0],
    "three axes": X[None], "few sites": X[:, :5], "beyond": X + 5, "below": X - 3, "text": "abc", "nothing": None,
    "NaN": torch.full((3, 16), math.nan), "ragged": [[1, 0], [1]], "empty list": [],
}  # fmt: skip
SAME = {
    "uint8": X.to(torch.uint8), "int32": X.int(), "list": X.tolist(), "array": X.numpy(),
    "strided": torch.stack([X, X], 2)[:, :, 0],
}  # fmt: skip
NUMBERS = (2.5, math.nan, True, "3", 1e30, np.float32(2.5))
LADDERS = (
    [0.0, math.nan, 1.0], [0.0, 0.5], [0.5, 0.0, 1.0], [], "x", [[0.0, 1.0]], 5, torch.zeros(2, dtype=torch.complex64),
)  # fmt: skip


def laws() -> face.GraphLaws:
    return face.graph_laws([face.MaximumIndependentSet(GRAPH)], 16).of(torch.zeros(3, dtype=torch.int64))


def energy() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(32, 1), nn.Flatten(0))


TARGETS: dict[str, Callable[[], Any]] = {
    "ising": lambda: face.Ising(4, 4, 0.3),
    "potts": lambda: face.potts_lattice(4, 4, 2, 0.3),
    "set": lambda: face.MaximumIndependentSet(GRAPH),
    "clique": lambda: face.MaximumClique(GRAPH),
    "cut": lambda: face.MaximumCut(GRAPH),
    "machine": lambda: face.BoltzmannMachine(torch.ones(2, 16) / 8, torch.ones(16), torch.ones(2)),
    "callable": lambda: face.CallableTarget(lambda x: x.sum(1).float(), 16),
    "network": lambda: face.NeuralEnergy(energy(), 16),
    "laws": laws,
}
METHODS = (
    "log_prob", "neighbour_log_ratio", "flip_log_ratio", "local_field", "hidden_probabilities", "feasible",
    "objective", "approximate_log_ratio",
)  # fmt: skip
NETWORKS: dict[str, Callable[[], Any]] = {
    "leTF": lambda: _timed(face.EquivariantTransformer(16, 2, 16, 8, 1)),
    "lattice": lambda: _timed(face.LatticeFlow(face.LatticeFlowConfig())),
    "graphs": lambda: _on_graphs(face.GraphFlow(face.GraphFlowConfig(nodes=16))),
    "masked": lambda: face.MaskedConditionals(16, 2, 16, 2, 1),
    "causal": lambda: face.CausalConditionals(16, 2, 16, 8, 1),
    "ordered": lambda: face.OrderedSampler(face.OrderedConfig()),
    "bits": lambda: face.DiscreteEnergy(face.DiscreteEnergyConfig(sites=16)),
}


def _timed(network: nn.Module) -> Callable[[Any], torch.Tensor]:
    return lambda x: network(x, torch.full((3,), 0.3))


def _on_graphs(flow: face.GraphFlow) -> Callable[[Any], torch.Tensor]:
    own = laws()
    return lambda x: flow(x, torch.full((3,), 0.3), own)


def refused(use: Callable[[], object]) -> None:
    """One sentence of ours; or of the checks of annotations, which tests alone have, where no array is given at all."""
    with pytest.raises((UsageError, TypeError)) as error:
        use()
    assert isinstance(error.value, UsageError) or "violates type hint" in str(error.value)
    assert "\n" not in str(error.value) or isinstance(error.value, TypeError)


def swept(read: Callable[[Any], torch.Tensor]) -> None:
    goal = read(X)
    for given in SAME.values():
        torch.testing.assert_close(read(given), goal, rtol=0, atol=0)
    for given in NONE.values():
        refused(lambda given=given: read(given))  # type: ignore[misc]


@pytest.mark.parametrize("name", TARGETS)
def test_tokens_given_to_targets(name: str) -> None:
    target = TARGETS[name]()
    for method in METHODS:
        if hasattr(target, method):
            swept(getattr(target, method))
            if name != "laws":
                assert len(getattr(target, method)(X[:0])) == 0


@pytest.mark.parametrize("name", TARGETS)
def test_sites_given_to_targets(name: str) -> None:
    target = TARGETS[name]()
    for method in ("site_log_ratio", "site_odds"):
        if hasattr(target, method):
            read = getattr(target, method)
            goal = read(X, torch.tensor([2, 5]))
            for same in ([2, 5], np.array([2, 5], np.uint8)):
                torch.testing.assert_close(read(X, same), goal, rtol=0, atol=0)
            assert read(X, torch.tensor([], dtype=torch.int64)).shape[:2] == (3, 0)
            for bad in (torch.tensor([0.0]), torch.tensor([99]), torch.tensor([-1]), torch.tensor([[1]]), None):
                refused(lambda bad=bad: read(X, bad))  # type: ignore[misc]  # noqa: B023


@pytest.mark.parametrize("name", NETWORKS)
def test_tokens_given_to_networks(name: str) -> None:
    network = NETWORKS[name]()
    with torch.no_grad():
        if name == "causal":  # takes the first tokens alone
            assert network(X[:, :5]).shape == (3, 5, 2)
            swept(lambda x: network(x if not isinstance(x, torch.Tensor) or x.shape != (3, 5) else X + 9))
        else:
            swept(network)


def test_times() -> None:
    network = face.EquivariantTransformer(16, 2, 16, 8, 1)
    goal = network(X, torch.tensor([0.25, 0.5, 0.75]))
    for same in ([0.25, 0.5, 0.75], np.array([0.25, 0.5, 0.75])):
        torch.testing.assert_close(network(X, same), goal)
    for bad in ([math.nan] * 3, [-0.1] * 3, [1, 1, 1], [0.5], 0.5, torch.ones(3, dtype=torch.complex64)):
        refused(lambda bad=bad: network(X, bad))  # type: ignore[misc]


def _samplers() -> dict[str, tuple[Callable[..., Any], dict[str, Any]]]:
    ising, kernel, flow = face.Ising(4, 4, 0.3), face.Gibbs(), face.LatticeFlow(face.LatticeFlowConfig())
    ways = {"process": flow.process, "target": flow.target, "prior": flow.prior}
    graph = face.GraphFlow(face.GraphFlowConfig(nodes=16))
    own, ordered = laws(), face.OrderedSampler(face.OrderedConfig())
    network, drawn = ordered.network, ordered.target()
    assert isinstance(network, face.MaskedConditionals)
    chains = {"target": ising, "kernel": kernel, "chains": 4, "moves": 2}
    return {
        "run_chains": (face.run_chains, chains),
        "parallel_tempering": (face.parallel_tempering, chains),
        "annealed_sampling": (face.annealed_sampling, {"target": ising, "kernel": kernel, "particles": 4}),
        "packed_gibbs": (face.packed_gibbs, {"target": ising, "chains": 64, "sweeps": 2}),
        "sample_flow": (face.sample_flow, {**ways, "num": 4, "grid": face.times(2)}),
        "adapted_grid": (face.adapted_grid, {**ways, "steps": 2, "pilot": 8}),
        "way": (flow.way, {"steps": 2}),
        "draw": (ordered.draw, {"num": 4}),
        "masked_smc": (face.masked_smc, {"network": network, "target": drawn, "particles": 4, "populations": 1}),
        "flow_choices": (face.flow_choices, {"process": graph.process(own), "laws": own, "steps": 2}),
        "moved_choices": (face.moved_choices, {"laws": own, "steps": 2, "moves": 1}),
        "simulated_annealing": (
            face.simulated_annealing,
            {"problem": TARGETS["set"](), "chains": 2, "sweeps": 2},
        ),
        "solve": (face.solve, {"graph": GRAPH, "problem": "mis"}),
        "plane_points": (face.plane_points, {"name": "moons", "count": 4}),
        "plane_entropy": (face.plane_entropy, {"name": "moons", "count": 4}),
        "spread_sites": (face.spread_sites, {"height": 4, "width": 4, "apart": 2}),
    }


SAMPLERS = _samplers()
WHOLE = {
    "run_chains": ("chains", "moves", "burn_in", "seed"), "parallel_tempering": ("chains", "moves", "seed"),
    "annealed_sampling": ("particles", "populations", "moves", "seed"), "packed_gibbs": ("chains", "sweeps", "seed"),
    "sample_flow": ("num", "populations", "refinements", "seed"), "adapted_grid": ("steps", "pilot", "seed"),
    "way": ("steps", "apart", "seed"), "draw": ("num", "at_once", "seed"),
    "masked_smc": ("particles", "populations", "seed"), "flow_choices": ("steps", "moves", "seed"),
    "moved_choices": ("steps", "moves", "seed"), "simulated_annealing": ("chains", "sweeps", "seed"),
    "solve": ("chains", "sweeps", "seed"), "plane_points": ("count", "seed"),
    "plane_entropy": ("count", "cells", "bits"), "spread_sites": ("height", "apart"),
}  # fmt: skip


@pytest.mark.parametrize("name", SAMPLERS)
def test_whole_numbers_given_to_samplers(name: str) -> None:
    use, options = SAMPLERS[name]
    for argument in WHOLE[name]:
        for value in (2.5, math.nan, True, "x", 1e30, *((-5,) if argument not in ("seed", "refinements") else ())):
            refused(lambda a=argument, v=value: use(**{**options, a: v}))  # type: ignore[misc]


def test_what_rises_from_0_to_1() -> None:
    ising, kernel, flow = face.Ising(4, 4, 0.3), face.Gibbs(), face.LatticeFlow(face.LatticeFlowConfig())
    uses: tuple[Callable[[Any], Any], ...] = (
        lambda b: face.annealed_sampling(ising, kernel, 8, betas=b).log_weights,
        lambda b: face.parallel_tempering(ising, kernel, 4, 2, ladder=b).samples,
        lambda b: face.reverse_annealing(ising, kernel, X, b).log_z,
        lambda b: face.sample_flow(flow.process, flow.target, 4, b).log_weights,
        lambda b: face.data_bound(flow.process, flow.target, X, b),
    )
    for use in uses:
        goal = use(torch.tensor([0.0, 0.5, 1.0]))
        for same in ([0, 0.5, 1], np.array([0, 0.5, 1]), torch.tensor([0.0, 0.5, 1.0]).half()):
            torch.testing.assert_close(use(same), goal, rtol=0, atol=0)
        for bad in LADDERS:
            refused(lambda bad=bad: use(bad))  # type: ignore[misc]  # noqa: B023


def test_rows_that_samplers_begin_with() -> None:
    ising, flow = face.Ising(4, 4, 0.3), face.LatticeFlow(face.LatticeFlowConfig())
    swept(lambda x: face.data_bound(flow.process, flow.target, x, face.times(2)))
    swept(lambda x: torch.tensor(face.reverse_annealing(ising, face.Gibbs(), x, [0, 1]).log_z))
    swept(lambda x: face.repaired(TARGETS["set"](), x))
    swept(lambda x: face.improved(TARGETS["cut"](), x))
    bits = {**NONE, "few sites": X[:, :3]}
    for given in bits.values():
        refused(lambda given=given: face.points_of(given))  # type: ignore[misc]
    for given in (x for name, x in NONE.items() if name != "nothing"):
        refused(lambda g=given: face.run_chains(ising, face.Gibbs(), 3, 2, start=g))  # type: ignore[misc]


def test_what_is_no_target_kernel_or_function() -> None:
    """Not annotations: what users hand over by mistake."""
    ising, kernel = face.Ising(2, 2, 0.3), face.Gibbs()
    result = face.run_chains(ising, kernel, 4, 2)
    uses: tuple[Callable[[], object], ...] = (
        *(lambda f=f: face.run_chains(ising, kernel, 4, 2, watched=f)  # type: ignore[misc]
          for f in (lambda x: x, lambda x: torch.full((len(x),), math.nan), lambda x: x[:2, 0].float())),
        *(lambda f=f: face.enumerate_states(ising, f)  # type: ignore[misc]
          for f in (lambda x: x[:, 0].float(), lambda x: torch.full((len(x), 1), math.nan))),
        *(lambda f=f: result.mean(f)  # type: ignore[misc]
          for f in (lambda x: x[:2], lambda x: torch.full((len(x),), math.nan))),
        lambda: face.sample_flow(nn.Identity(), ising, 4, groups=[torch.arange(3)]),
        lambda: face.sample_flow(nn.Identity(), ising, 4, groups=[torch.arange(4.0)]),
        lambda: face.sample_flow(nn.Identity(), ising, 4, groups=[]),
    )  # fmt: skip
    for use in uses:
        refused(use)


def test_graphs_and_matrices() -> None:
    for bad in ([[0, 1.5]], [[0, -1]], [[0, 0]], "x", None, [], [[0, 1], [1, 0]], torch.tensor([[0.0, 1.0]]), 5,
                np.array([[True, False]])):  # fmt: skip
        refused(lambda bad=bad: face.graph_of(bad))  # type: ignore[misc]
    assert face.graph_of(np.array([[0, 1]], np.uint8)).nodes == 2
    own = laws()
    for bad in (torch.tensor([5]), torch.tensor([-1]), "x", torch.tensor([0.5])):
        refused(lambda bad=bad: own.of(bad))  # type: ignore[misc]
    refused(lambda: own.log_prob(X[:2]))
    square = torch.tensor([[0.0, 0.5], [0.5, 0.0]])
    for made in (face.qubo, face.spin_glass):
        for same in (square, square.numpy(), square.tolist()):
            assert made(same, torch.zeros(2)).sites == 2
        for bad in (square * math.nan, square.long(), square[:1], square.triu(), "x", torch.zeros(0, 0),
                    square.to(torch.complex64)):  # fmt: skip
            refused(lambda bad=bad, made=made: made(bad, torch.zeros(2)))  # type: ignore[misc]
        for bad in (torch.zeros(3), torch.tensor([math.nan, 0.0]), torch.tensor([1, 2]), "x"):
            refused(lambda bad=bad, made=made: made(square, bad))  # type: ignore[misc]
    for bad in ([[math.nan, 1.0]], [[1, 2]], np.zeros((2, 3)), [[math.inf, 0.0]], "x", np.zeros((2, 2), complex)):
        refused(lambda bad=bad: face.bits_of(bad, 8))  # type: ignore[misc]
    for bits in (7, 2, 200, 8.5):
        refused(lambda bits=bits: face.bits_of(np.zeros((1, 2)), bits))  # type: ignore[misc]
    points = np.array([[0.5, -1.0], [3.0, 2.0]])
    for same in (points.tolist(), torch.from_numpy(points), np.asfortranarray(points)):
        torch.testing.assert_close(face.bits_of(same, 8), face.bits_of(points, 8))


# Settings, objects of a run, and functions that other tests sweep.
EXCUSED = {
    *("BlockGibbs", "HiddenGibbs", "Informed", "Jumps", "Langevin", "SwendsenWang", "Wolff", "Gibbs", "ChainDraws"),
    *("LatticeEvaluation", "LatticeFlowConfig", "LatticeSampling", "ResidualObjective", "LatticeFlowRecipe"),
    *("GraphEvaluation", "GraphFlowConfig", "GraphObjective", "GraphSampling", "GraphSetSettings", "GraphFlowRecipe"),
    *("DiscreteEnergyConfig", "EnergyDataSettings", "EnergySampleOptions", "LikelihoodEvaluation"),
    *("LikelihoodObjective", "DiscreteEnergyRecipe", "OrderedConfig", "OrderedEvaluation", "OrderedObjective"),
    *("OrderedSampling", "OrderedRecipe", "DiscreteEnergyTask", "GraphFlowTask", "LatticeFlowTask", "OrderedTask"),
    *("SamplerResult", "Solution", "NegativePhase", "FlowProcess", "Graph", "DiscreteTarget", "compare", "prove"),
    *("GraphTransformer", "graph_sets", "sampler_comparison", "read_convolution", "read_transformer", "read_graph"),
    *("ising_lattice", "ising_strip", "potts_strip", "machine_log_z", "random_graphs", "times", "sample_causal"),
    *("sample_masked", "Potts", "DiscreteEnergy"),
}


def test_every_name_of_the_face_is_swept_or_excused() -> None:
    told = {name for name in face.__all__ if name not in EXCUSED}
    source = Path(__file__).read_text(encoding="utf-8")
    assert {name for name in told if f"face.{name}" not in source} == set()
    assert set(face.__all__) >= EXCUSED


def test_trained_samplers(tmp_path: Path) -> None:
    model, study = face.OrderedSampler(face.OrderedConfig()), face.SamplerStudy(seconds=0.1)
    for wrong in (None, "text", 5, object(), {"a": 1}):
        refused(lambda wrong=wrong: face.read_samplers(wrong))
        refused(lambda wrong=wrong: face.read_samplers([wrong]))
        refused(lambda wrong=wrong: face.trained_runs(wrong, 16))
        refused(lambda wrong=wrong: face.trained_runs([wrong], 16))
        refused(lambda wrong=wrong: face.study_samplers(wrong, study, tmp_path))
        refused(lambda wrong=wrong: face.study_samplers(model, wrong, tmp_path))
    for number in (2.5, math.nan, True, None, 0, -1):
        refused(lambda number=number: face.trained_runs([model], number))
        refused(lambda number=number: face.trained_runs([model], 16, number))
        refused(lambda number=number: face.SamplerStudy(chains=number))
    for seconds in (0.0, -1.0, math.nan, math.inf, "soon"):
        refused(lambda seconds=seconds: face.SamplerStudy(seconds=seconds))
    assert face.read_samplers([]) == []
