"""One sampler for the problems of many graphs: laws, network, weights, training, verbs."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tenfold.cli.main import main
from tenfold.discrete_samplers.exact.enumeration import enumerate_states
from tenfold.discrete_samplers.exact.proof import prove
from tenfold.discrete_samplers.flow.simulation import Trajectories, sample_flow, times
from tenfold.discrete_samplers.graphs.config import (
    GraphEvaluation,
    GraphFlowConfig,
    GraphObjective,
    GraphSampling,
    GraphSetSettings,
)
from tenfold.discrete_samplers.graphs.evaluation import measure_graphs
from tenfold.discrete_samplers.graphs.model import GraphFlow
from tenfold.discrete_samplers.graphs.network import GraphTransformer
from tenfold.discrete_samplers.graphs.recipes import GraphFlowRecipe
from tenfold.discrete_samplers.graphs.replay import GraphReplay
from tenfold.discrete_samplers.graphs.sampling import moved_choices, values_of
from tenfold.discrete_samplers.graphs.sets import random_graphs
from tenfold.discrete_samplers.graphs.task import GraphFlowTask
from tenfold.discrete_samplers.targets.graph_laws import GraphLaws, graph_laws
from tenfold.discrete_samplers.targets.graphs import PROBLEMS, Graph
from tenfold.errors import UsageError
from tenfold.training.config import TrainingConfig
from tenfold.training.streams import Draws

GRAPHS = random_graphs(GraphSetSettings(least=3, most=6, probability=0.5), "test", 4)
TINY = (
    *("--model.hidden", "16", "--model.head", "8", "--model.blocks", "1", "--train.threads", "1"),
    *("--objective.graphs", "2", "--objective.copies", "4", "--objective.buffer", "16", "--objective.steps", "4"),
    *("--train.batch_size", "8", "--data.train", "4", "--data.test", "2"),
    *("--evaluation.steps", "3", "--evaluation.copies", "3", "--evaluation.moves", "1"),
)


def small() -> GraphFlowRecipe:
    return GraphFlowRecipe(
        model=GraphFlowConfig(nodes=6, hidden=16, head=8, blocks=1, inverse_temperature=2.0),
        data=GraphSetSettings(least=4, most=6, probability=0.4, train=5, test=2),
        objective=GraphObjective(graphs=4, copies=4, steps=4, inner=4, buffer=32),
        train=TrainingConfig(steps=12, batch_size=16, threads=1),
    )


def random_network(nodes: int = 6) -> GraphTransformer:
    torch.manual_seed(1)
    network = GraphTransformer(nodes, 16, 8, 2, farthest=3)
    with torch.no_grad():
        network.distance_bias.normal_()
        network.output_layer.ommega_embedder.embedding.mul_(4)
    return network


@pytest.mark.parametrize("kind", ["mis", "clique", "cut"])
def test_rows_have_the_laws_of_their_graphs(kind: str) -> None:
    problems = [PROBLEMS[kind](graph, 0.4) for graph in GRAPHS]
    x = torch.randint(2, (12, 7))
    laws = graph_laws(problems, 7)
    rows = torch.arange(4).repeat_interleave(3)
    mine = laws.of(rows)
    for b, problem in enumerate(problems):
        n, part = problem.sites, x[3 * b : 3 * b + 3]
        torch.testing.assert_close(mine.log_prob(x)[3 * b : 3 * b + 3], problem.log_prob(part[:, :n]))
        ratios = mine.neighbour_log_ratio(x)[3 * b : 3 * b + 3]
        torch.testing.assert_close(ratios[:, :n], problem.neighbour_log_ratio(part[:, :n]))
        assert not ratios[:, n:].any()
        assert laws.present[b].tolist() == [True] * n + [False] * (7 - n)


def test_distances_are_along_edges() -> None:
    path = Graph(5, torch.tensor([[0, 1], [1, 2], [2, 3]]))
    laws = graph_laws([PROBLEMS["mis"](path)], 6, farthest=2)
    assert laws.distance[0, 0].tolist() == [0, 1, 2, 3, 3, 3]
    assert laws.degree[0].tolist() == [1, 2, 2, 1, 0, 0]


def test_the_network_is_hollow_equivariant_and_blind_to_what_is_absent() -> None:
    network = random_network()
    laws = graph_laws([PROBLEMS["mis"](graph) for graph in GRAPHS], 6, 3)
    x, t = torch.randint(2, (4, 6)), torch.rand(4)
    g = network(x, t, laws)
    c = network.time_embedder(t)
    here, seen = network.hollow(x, c, laws), torch.zeros(4, 6, 6, dtype=torch.bool)
    for i in range(6):
        y = x.clone()
        y[:, i] = 1 - y[:, i]
        there = network(y, t, laws)
        chosen = torch.arange(4), i, y[:, i]
        torch.testing.assert_close(g[chosen], -there[torch.arange(4), i, x[:, i]])
        moved = (network.hollow(y, c, laws) != here).any(-1)
        seen[:, i] = moved
        assert not moved[:, i].any()
        assert not moved[~laws.present[:, i]].any()
    assert not g[~laws.present].any()
    full = laws.present.all(1)
    assert bool(full.any())
    assert bool((seen[full] | torch.eye(6, dtype=torch.bool)).all())
    torch.testing.assert_close(network(x[2:3], t[2:3], laws.of(torch.tensor([2]))), g[2:3])


def test_distances_and_degrees_matter() -> None:
    network, x, t = random_network(5), torch.ones(1, 5, dtype=torch.int64), torch.full((1,), 0.5)
    star = Graph(5, torch.tensor([[0, 1], [0, 2], [0, 3], [0, 4]]))
    path = Graph(5, torch.tensor([[0, 1], [1, 2], [2, 3], [3, 4]]))
    found = [network(x, t, graph_laws([PROBLEMS["mis"](graph)], 5, 3)) for graph in (star, path)]
    assert float((found[0] - found[1]).detach().abs().max()) > 1e-2


def test_weights_are_exact_on_every_graph() -> None:
    flow = GraphFlow(GraphFlowConfig(nodes=6, hidden=16, head=8, blocks=1, inverse_temperature=1.0))
    with torch.no_grad():
        flow.network.output_layer.ommega_embedder.embedding.mul_(3)
    laws = flow.laws(GRAPHS[:1]).of(torch.zeros(6000, dtype=torch.int64))
    found = sample_flow(flow.process(laws), laws, 6000, times(4), flow.prior, floor=0.3)
    (problem,) = flow.problems(GRAPHS[:1])
    exact = enumerate_states(problem).log_z + (6 - problem.sites) * 0.6931471805599453
    assert found.log_z is not None
    assert found.log_z_standard_error is not None
    assert abs(found.log_z - exact) < 4 * found.log_z_standard_error < 0.2


def test_training_lowers_the_residual_and_the_state_restores_it() -> None:
    def updates(task: GraphFlowTask, first: int, last: int, optimizer: Any) -> list[float]:
        found = []
        for step in range(first, last):
            for update in task.step(task.modules(), {"index": torch.arange(64) + 64 * step}, Draws(3, step)):
                optimizer.zero_grad()
                update.loss.backward()
                optimizer.step()
                found.append(float(update.loss.detach()))
        return found

    def made(task: GraphFlowTask) -> Any:
        return torch.optim.SGD(task.model.parameters(), lr=3e-3, momentum=0.0)

    one, two = GraphFlowTask(small()), GraphFlowTask(small())
    losses = updates(one, 0, 30, made(one))
    assert sum(losses[-8:]) < 0.8 * sum(losses[:8])
    assert updates(two, 0, 6, made(two)) == losses[:6]
    three = GraphFlowTask(small())
    three.model.load_state_dict(two.model.state_dict())
    three.load_state_dict(two.state_dict())
    assert updates(three, 6, 10, made(three)) == losses[6:10]


def test_every_graph_has_its_own_rate() -> None:
    replay = GraphReplay(6, times(1), 2)
    xi = torch.tensor([[1.0, 3.0, 10.0, 20.0]]).expand(2, -1)
    made = Trajectories(torch.ones(2, 4, 2, dtype=torch.int64), xi, torch.zeros(2, 4, dtype=torch.float64))
    replay.add(made, torch.tensor([7, 7, 9, 9]), 2)
    assert replay.rates[0].tolist() == [2.0, 2.0, 15.0, 15.0, 0.0, 0.0]
    _, place, graph, rate = replay.draw(torch.tensor([[0.9, 0.0], [0.0, 0.9]]))
    assert (place.tolist(), graph.tolist(), rate.tolist()) == ([1, 0], [7, 9], [2.0, 15.0])
    replay.add(made, torch.tensor([4, 4, 5, 5]), 2)
    assert replay.graphs.tolist() == [5, 5, 9, 9, 4, 4]
    assert replay.filled == 6


@pytest.mark.parametrize("kind", ["er", "ba", "rb"])
def test_graphs_depend_on_seed_and_number_alone(kind: Any) -> None:
    settings = GraphSetSettings(kind=kind, least=16, most=20, probability=0.5)
    made, more = random_graphs(settings, "test", 3), random_graphs(settings, "test", 5)
    assert all(torch.equal(a.edges, b.edges) for a, b in zip(made, more, strict=False))
    assert all(16 <= graph.nodes <= 20 for graph in more)
    other = random_graphs(settings, "train", 3)
    assert not all(a.nodes == b.nodes and torch.equal(a.edges, b.edges) for a, b in zip(made, other, strict=True))


def test_cliques_alone_have_as_many_independent_nodes() -> None:
    (graph,) = random_graphs(GraphSetSettings(kind="rb", least=15, most=15, probability=1.0), "test", 1)
    assert len(graph.edges) == 15
    assert prove(PROBLEMS["mis"](graph)).value == 5


def test_moves_alone_find_good_sets() -> None:
    problems = [PROBLEMS["mis"](graph, 0.2) for graph in GRAPHS]
    x = moved_choices(graph_laws(problems, 6).of(torch.arange(4).repeat_interleave(8)), 12, 2)
    best = [prove(problem).value for problem in problems]
    assert values_of(problems, x, 8).amax(1).tolist() == best


def test_rows_of_the_evaluation() -> None:
    flow = GraphFlow(small().model).eval()
    rows = measure_graphs(flow, GRAPHS[:2], GraphEvaluation(copies=4, steps=4, moves=(1,), seconds=5.0), "mine")
    models = {row.model for row in rows}
    assert {"mine", "mine, 1 DMALA moves a step", "conditional rates", "DMALA alone, 1 moves a step"} < models
    optimum = next(row.value for row in rows if row.model == "optimum")
    for row in rows:
        assert row.name == "seconds" or row.value <= (1 if row.name == "ratio" else optimum) + 1e-9
    assert next(row.value for row in rows if row.model == "simulated annealing" and row.name == "ratio") == 1


def test_the_verbs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, file = tmp_path / "run", tmp_path / "graph.txt"
    line = ["train", "graphs-mis", "--out", str(run), "--train.steps", "3", *TINY]
    assert main([*line, "--data.least", "5", "--data.most", "8", "--model.nodes", "8"]) == 0
    file.write_text("a b\nb c\nc d\nd a\n")
    assert main(["sample", str(run), "--graph", str(file), "--num", "16", "--steps", "4", "--refine", "1"]) == 0
    folder = next(path.parent for path in run.rglob("samples.npz"))
    found = json.loads((folder / "samples.json").read_text())
    assert found["best"] == len(found["nodes_chosen"]) == 2
    assert np.load(folder / "samples.npz")["tokens"].shape == (16, 4)
    capsys.readouterr()
    assert main(["solve", "mis", str(file), "--run", str(run), "--chains", "8", "--sweeps", "4", "--json"]) == 0
    solved = json.loads(capsys.readouterr().out)
    assert (solved["value"], solved["annealed"], solved["sampled"], solved["proven"]) == (2, 2, 2, True)
    assert main(["solve", "cut", str(file), "--run", str(run)]) != 0
    assert "trained for mis" in capsys.readouterr().err
    assert main(["sample", str(run)]) == 2
    assert "--graph" in capsys.readouterr().err
    file.write_text("\n".join(f"{i} {i + 1}" for i in range(9)))
    assert main(["sample", str(run), "--graph", str(file), "--out", str(tmp_path / "more")]) != 0
    assert "at most 8" in capsys.readouterr().err


@pytest.mark.parametrize(
    "make",
    [
        lambda: GraphFlowConfig(inverse_temperature=0.0),
        lambda: GraphFlowConfig(head=5),
        lambda: GraphSetSettings(least=9, most=8),
        lambda: GraphSetSettings(probability=1.5),
        lambda: GraphSetSettings(kind="ba", least=4, degree=4),
        lambda: GraphObjective(buffer=8),
        lambda: GraphEvaluation(moves=(0,)),
        lambda: GraphEvaluation(alpha=float("nan")),
        lambda: GraphSampling(alpha=-1.0),
        lambda: GraphFlowRecipe(data=GraphSetSettings(most=30)),
        lambda: graph_laws([], 3),
        lambda: graph_laws([PROBLEMS["mis"](GRAPHS[0])], 2),
        lambda: GraphTransformer(4, 16, 5),
        lambda: random_graphs(GraphSetSettings(probability=1e-9), "test", 1),
        lambda: random_graphs(GraphSetSettings(kind="rb", least=11, most=11), "test", 1),
    ],
)
def test_bad_input_is_refused(make: Any) -> None:
    with pytest.raises(UsageError):
        make()


def test_laws_move_and_repeat() -> None:
    laws = graph_laws([PROBLEMS["cut"](graph) for graph in GRAPHS[:2]], 6)
    again = laws.to("cpu").of(torch.tensor([1, 1]))
    assert isinstance(again, GraphLaws)
    assert torch.equal(again.matrix[0], laws.matrix[1])
    assert again.sites == 6
