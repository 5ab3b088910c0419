"""The neural sampler of lattices as the loop and the verbs see it, and the room's own verbs."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import networkx
import numpy as np
import pytest
import torch

import tenfold
from tenfold.cli.main import main
from tenfold.discrete_samplers.comparison import compare, samplers_for
from tenfold.discrete_samplers.config import (
    LatticeEvaluation,
    LatticeFlowConfig,
    LatticeSampling,
    ResidualObjective,
    SamplerStudy,
)
from tenfold.discrete_samplers.distances import distance_rows, distances
from tenfold.discrete_samplers.evaluation import bond_energy, measure
from tenfold.discrete_samplers.exact.enumeration import enumerate_states
from tenfold.discrete_samplers.exact.lattice import ising_lattice
from tenfold.discrete_samplers.flow.simulation import Trajectories, times
from tenfold.discrete_samplers.model import LatticeFlow, RateNetwork, exact_values, lattice_target, share_of_coupling
from tenfold.discrete_samplers.ordered.config import OrderedConfig
from tenfold.discrete_samplers.ordered.model import OrderedSampler
from tenfold.discrete_samplers.recipes import RECIPES, LatticeFlowRecipe
from tenfold.discrete_samplers.replay import Replay
from tenfold.discrete_samplers.solving import solve
from tenfold.discrete_samplers.targets.graphs import MaximumIndependentSet, graph_of
from tenfold.discrete_samplers.targets.potts import potts_lattice
from tenfold.discrete_samplers.task import LatticeFlowTask
from tenfold.discrete_samplers.trained import read_samplers, study_samplers, trained_runs
from tenfold.errors import UsageError
from tenfold.training.config import TrainingConfig
from tenfold.training.streams import Draws

TINY = (
    *("--model.height", "3", "--model.width", "3", "--model.channels", "3", "--train.threads", "1"),
    *("--objective.trajectories", "8", "--objective.buffer", "16", "--objective.steps", "4", "--objective.inner", "3"),
    *("--train.batch_size", "8", "--evaluation.samples", "64", "--evaluation.steps", "4"),
)


def small(**objective: Any) -> LatticeFlowRecipe:
    return LatticeFlowRecipe(
        model=LatticeFlowConfig(height=3, width=3, beta=0.3, channels=3, hidden=16, conditional=0.1),
        objective=ResidualObjective(trajectories=16, buffer=32, steps=6, inner=4, **objective),
        train=TrainingConfig(steps=12, batch_size=16, threads=1),
        evaluation=LatticeEvaluation(samples=64, steps=4),
    )


@pytest.mark.parametrize("network", ["cavity", "convolution", "transformer", "perceptron", "attention", "scan", "none"])
def test_every_network_makes_a_sampler(network: Any, tmp_path: Path) -> None:
    config = LatticeFlowConfig(height=3, width=3, network=network, hidden=16, head=8, blocks=1, channels=3)
    flow = LatticeFlow(config)
    x, t = torch.randint(2, (4, 9)), torch.rand(4)
    flow.save_pretrained(tmp_path / "model")
    again = LatticeFlow.from_pretrained(tmp_path / "model")
    torch.testing.assert_close(again(x, t), flow(x, t))
    assert flow(x, t).requires_grad


@pytest.mark.parametrize("target", ["ising", "potts"])
def test_exact_values_of_the_target(target: Any) -> None:
    config = LatticeFlowConfig(target=target, height=2, width=3, beta=0.4, states=2 if target == "ising" else 3,
                               network="none")  # fmt: skip
    found = enumerate_states(lattice_target(config), lambda x: bond_energy(config, x)[:, None])
    exact = exact_values(config)
    assert exact is not None
    assert abs(exact[0] - found.log_z) < 1e-4
    assert abs(exact[1] - float(found.means[0])) < 1e-4


@pytest.mark.parametrize("rate", ["batch", "ema", "weighted", "network"])
def test_training_lowers_the_residual(rate: Any) -> None:
    torch.manual_seed(0)
    task = LatticeFlowTask(small(rate=rate))
    modules = task.modules()
    optimizer = torch.optim.Adam([p for m in modules.values() for p in m.parameters()], lr=1e-2)
    losses = []
    for step in range(36):
        index = torch.arange(48) + 48 * step
        for update in task.step(modules, {"index": index}, Draws(0, step)):
            optimizer.zero_grad()
            update.loss.backward()
            optimizer.step()
            losses.append(float(update.loss.detach()))
            assert update.check["xi"].shape == (48,)
    assert sum(losses[-10:]) < 0.6 * sum(losses[:10])
    if rate != "network":
        log_z = float(task._log_z())
        assert abs(log_z - ising_lattice(3, 3, 0.3).log_z) < 0.7


def test_the_state_restores_the_run() -> None:
    """Steps after a restored state are those of a run that went on."""

    def updates(task: LatticeFlowTask, first: int, last: int, optimizer: Any) -> list[float]:
        found = []
        for step in range(first, last):
            for update in task.step(task.modules(), {"index": torch.arange(16) + 16 * step}, Draws(3, step)):
                optimizer.zero_grad()
                update.loss.backward()
                optimizer.step()
                found.append(float(update.loss.detach()))
        return found

    def optimizer_of(task: LatticeFlowTask) -> Any:
        return torch.optim.SGD(task.model.parameters(), lr=1e-3)

    one, two = LatticeFlowTask(small(curriculum=1.0)), LatticeFlowTask(small(curriculum=1.0))
    first = updates(one, 0, 6, optimizer_of(one))
    assert first == updates(two, 0, 6, optimizer_of(two))
    three = LatticeFlowTask(small(curriculum=1.0))
    three.model.load_state_dict(two.model.state_dict())
    three.load_state_dict(two.state_dict())
    assert updates(three, 6, 11, optimizer_of(three)) == updates(one, 6, 11, optimizer_of(one))


def test_the_buffer_is_a_ring() -> None:
    replay = Replay(4, times(1), 2)

    def made(value: int, count: int) -> Trajectories:
        states = torch.full((2, count, 2), value)
        return Trajectories(states, torch.full((2, count), float(value)), torch.zeros(2, count, dtype=torch.float64))

    replay.add(made(1, 3), "batch", 0.9)
    assert replay.filled == 3
    replay.add(made(2, 3), "ema", 0.75)
    assert replay.states[0, :, 0].tolist() == [2, 2, 1, 2]
    assert replay.rates.tolist() == [1.25, 1.25]
    x, place = replay.draw(torch.tensor([[0.99, 0.99], [0.0, 0.6]]))
    assert x[:, 0].tolist() == [2, 1]
    assert place.tolist() == [1, 0]


def test_the_learned_rate_is_a_slope() -> None:
    rate = RateNetwork(8).double()
    t = torch.linspace(0, 1, 5, dtype=torch.float64)
    step = 1e-6
    wanted = (rate.layers((t + step)[:, None]) - rate.layers((t - step)[:, None]))[:, 0] / (2 * step)
    torch.testing.assert_close(rate(t), wanted, rtol=1e-6, atol=1e-8)
    rate(t).sum().backward()
    assert rate.layers[0].weight.grad is not None


def test_the_curriculum_ends_at_the_target() -> None:
    task = LatticeFlowTask(small(curriculum=0.5, start=0.4))
    shares = [share_of_coupling(task.recipe.objective, step, 12) for step in (0, 3, 6, 12)]
    assert [round(share, 3) for share in shares] == [0.4, 0.7, 1.0, 1.0]
    task.model.couple(0.5)
    assert task.model.target.beta == pytest.approx(0.15)
    task.evaluate()
    assert task.model.target.beta == pytest.approx(0.3)


def test_another_target_is_refused() -> None:
    state, other = LatticeFlowTask(small()).state_dict(), LatticeFlowTask(LatticeFlowRecipe())
    with pytest.raises(UsageError, match=r"height 3 instead of 4, width 3 instead of 4, beta 0\.3 instead of 0\.2"):
        other.load_state_dict(state)


def test_a_share_of_the_coupling_is_a_share_of_the_path() -> None:
    """ξ of the path to ρ^h at t is h ξ of the path to ρ at h t: one network serves all smaller couplings."""
    torch.manual_seed(0)
    flow = LatticeFlow(LatticeFlowConfig(beta=0.4)).double()
    x, t = torch.randint(2, (5, 16)), torch.rand(5, dtype=torch.float64)
    with torch.no_grad():
        whole = flow(x, 0.3 * t) - 16 * math.log(2)
        flow.couple(0.3)
        share = flow(x, t) - 16 * math.log(2)
    torch.testing.assert_close(share, 0.3 * whole, rtol=1e-4, atol=1e-5)


def test_rows_have_exact_values_and_baselines_beside_them() -> None:
    flow = LatticeFlow(LatticeFlowConfig(height=3, width=3, channels=3))
    rows = measure(flow, LatticeEvaluation(samples=400, steps=8), "mine")
    names = {(row.model, row.name) for row in rows}
    assert {("mine", "ess"), ("mine", "log_z"), ("exact", "log_z"), ("exact", "energy")} <= names
    mine = {(row.name, row.split): row for row in rows if row.model == "mine"}
    exact = {row.name: row.value for row in rows if row.model == "exact"}
    log_z = mine["log_z", ""]
    assert abs(log_z.value - exact["log_z"]) < 4 * (log_z.standard_error or 0)
    assert abs(mine["energy", "weighted"].value - exact["energy"]) < 4 * (
        mine["energy", "weighted"].standard_error or 0
    )
    assert any("annealed" in row.model for row in rows)


def test_the_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = str(tmp_path / "run")
    assert main(["train", "ising-4x4", "--out", run, "--train.steps", "6", *TINY]) == 0
    assert main(["sample", run, "--num", "32", "--steps", "4", "--method", "smc", "--populations", "4"]) == 0
    capsys.readouterr()
    files = list((tmp_path / "run" / "samples").iterdir())
    assert {file.name for file in files} == {"samples.npz", "samples.json"}
    arrays = np.load(tmp_path / "run" / "samples" / "samples.npz")
    assert arrays["tokens"].shape == (32, 3, 3)
    about = json.loads((tmp_path / "run" / "samples" / "samples.json").read_text())
    assert about["log_z_standard_error"] > 0
    colours = len(lattice_target(LatticeFlowConfig(height=3, width=3)).colours)
    assert about["counts"]["network"] == 32 * 4 * (1 + colours)
    rows = tenfold.evaluate(run)
    assert any(row.name == "ess" for row in rows)


def test_solve(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    graph = networkx.karate_club_graph()
    file = tmp_path / "karate.txt"
    file.write_text("\n".join(f"{a} {b}" for a, b in graph.edges()))
    assert main(["solve", "mis", str(file), "--json", "--chains", "16", "--sweeps", "30"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["value"], found["proven"]) == (20, True)
    chosen = [int(node) for node in found["nodes_chosen"]]
    assert not graph.subgraph(chosen).edges()
    assert main(["solve", "cut", str(file), "--seconds", "0"]) == 0
    assert "no proof was asked for" in capsys.readouterr().out
    problem = MaximumIndependentSet(graph_of(graph))
    solution = solve(graph, "mis", chains=8, sweeps=10)
    assert bool(problem.feasible(solution.choice[None]).all())
    assert main(["solve", "mis", str(tmp_path / "none.txt")]) == 2
    assert main(["solve", "colour", str(file)]) == 2
    assert main(["solve", "mis", str(file), "--sweeps", "0"]) == 2


def test_compare(capsys: pytest.CaptureFixture[str]) -> None:
    line = ["compare", "ising", "--size", "4", "--beta", "0.3", "--seconds", "0.3", "--chains", "32", "--json"]
    assert main([*line, "--samplers", "gibbs,packed gibbs,annealed smc"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["sampler"] for row in found["rows"]] == ["gibbs", "packed gibbs", "annealed smc"]
    assert abs(found["exact"]["log_z"] - ising_lattice(4, 4, 0.3).log_z) < 1e-9
    assert all(abs(row["bias"]) < 5 for row in found["rows"])
    assert main(["compare", "ising", "--samplers", "gibs"]) == 2
    assert main(["compare", "ising", "--states", "3"]) == 2
    assert main(["compare", "glass"]) == 2


def test_trained_samplers_are_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    lattice = {"beta": 0.1}
    LatticeFlow(LatticeFlowConfig(**lattice)).save_pretrained(tmp_path / "flow")
    OrderedSampler(OrderedConfig(**lattice, hidden=8, heads=1, layers=1)).save_pretrained(tmp_path / "masked")
    causal = OrderedConfig(**lattice, hidden=8, heads=1, layers=1, order="raster")
    OrderedSampler(causal).save_pretrained(tmp_path / "causal")
    masked = str(tmp_path / "masked")
    runs = ",".join(str(tmp_path / name) for name in ("flow", "masked", "causal"))
    line = ["compare", "ising", "--run", runs, "--seconds", "0.2", "--chains", "64", "--json"]
    names = ["neural flow", "neural flow + gibbs", "masked", "autoregressive", "gibbs"]
    assert main([*line, "--samplers", ",".join(names)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["sampler"] for row in found["rows"]] == names
    assert found["target"]["beta"] == 0.1
    assert all(abs(row["bias"]) < 5 for row in found["rows"])
    assert all(abs(row["log_z"] - found["exact"]["log_z"]) < 0.5 for row in found["rows"][:4])
    study = SamplerStudy(seconds=0.2, chains=32, samplers=("neural flow", "masked", "gibbs"), beside=(masked,))
    told = study_samplers(LatticeFlow.from_pretrained(tmp_path / "flow"), study, tmp_path)
    assert {row.model for row in told.rows if row.name == "mean"} == {"neural flow", "masked", "gibbs", "exact"}
    assert all((tmp_path / name).exists() for name in told.captions)
    two = trained_runs(read_samplers([tmp_path / "masked", tmp_path / "masked"]), 16)
    assert list(two) == ["masked", "masked #2"]
    one, parts = (two["masked"](work, 3).samples for work in (1, 3))
    assert (parts[:16] == one).all()
    OrderedSampler(replace(causal, beta=0.3)).save_pretrained(tmp_path / "other")
    with pytest.raises(UsageError, match="of another lattice"):
        study_samplers(
            LatticeFlow.from_pretrained(tmp_path / "flow"), replace(study, beside=(str(tmp_path / "other"),)), tmp_path
        )
    for words in (["--size", "6"], ["--run", f"{tmp_path / 'flow'},{tmp_path / 'other'}"], ["--run", str(tmp_path)]):
        assert main([*line, *words]) == 2
    assert main(["compare", "potts", "--run", str(tmp_path / "flow")]) == 2
    assert main(["compare", "ising", "--apart", "3"]) == 2


def test_samplers_fit_their_targets() -> None:
    glass = lattice_target(LatticeFlowConfig(height=4, width=4, beta=-0.2))
    assert "swendsen-wang" not in samplers_for(glass, 16)
    assert "wolff" not in samplers_for(lattice_target(LatticeFlowConfig(field=0.2)), 16)
    assert "packed gibbs" not in samplers_for(potts_lattice(4, 4, 3, 0.2), 16)
    with pytest.raises(UsageError, match="does not fit"):
        compare(glass, lambda x: x.sum(1), names=("wolff",))
    with pytest.raises(UsageError, match=r"seconds is 0\.0"):
        compare(glass, lambda x: x.sum(1), seconds=0.0)


@pytest.mark.parametrize(
    "make",
    [
        lambda: LatticeFlowConfig(states=3),
        lambda: LatticeFlowConfig(target="potts", states=3, field=0.1),
        lambda: LatticeFlowConfig(network="convolution", kernels=(3, 5)),
        lambda: LatticeFlowConfig(height=2),
        lambda: LatticeFlowConfig(target="potts", states=3),
        lambda: LatticeFlowConfig(network="none", conditional=None),
        lambda: LatticeFlowConfig(network="transformer", head=5),
        lambda: ResidualObjective(buffer=64),
        lambda: ResidualObjective(clamp=0.0),
        lambda: LatticeFlowRecipe(model=LatticeFlowConfig(height=5), evaluation=LatticeEvaluation(distances=8)),
        lambda: ResidualObjective(curriculum=2.0),
        lambda: LatticeEvaluation(floor=0.0),
        lambda: LatticeSampling(method="smc", num=10),
        lambda: LatticeFlow(LatticeFlowConfig()).couple(0.0),
    ],
)
def test_settings_that_do_not_fit(make: Any) -> None:
    with pytest.raises(UsageError):
        make()


def test_recipes_describe_themselves() -> None:
    for named in RECIPES.values():
        assert LatticeFlowTask.describe(named.recipe)["parameters"] > 0  # type: ignore[arg-type]


def test_distances_of_empirical_laws() -> None:
    p = torch.tensor([0.5, 0.25, 0.25]).double()
    found = distances(p.log(), torch.tensor([2.0, 2.0, 0.0]).double())
    assert found == pytest.approx((0.25, 0.5 * math.log(1.0) + 0.5 * math.log(2.0), 0.5))
    assert distances(p.log(), 7 * p) == pytest.approx((0.0, 0.0, 0.0))


def test_distances_of_a_sampler_are_near_those_of_exact_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tenfold.discrete_samplers.distances._CHUNK", 2048)
    monkeypatch.setattr("tenfold.discrete_samplers.distances._SWEEPS", 8)
    flow = LatticeFlow(LatticeFlowConfig(height=3, width=3, beta=0.05, channels=3, hidden=8)).eval()
    rows = distance_rows(flow, flow.way(3), 4000, "mine")
    assert len(rows) == 12
    assert all(row.draws == 4096 for row in rows)
    floor = {row.name: row.value for row in rows if row.model == "independent exact draws"}
    # χ² of n exact draws is (states − 1)/n on the mean.
    assert floor["chi2"] == pytest.approx(511 / 4096, rel=0.3)
    for row in rows:
        if row.split == "weighted" or row.model.startswith("Gibbs"):
            assert row.value < 1.3 * floor[row.name] + 1e-3
