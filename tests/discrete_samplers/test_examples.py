"""The worked examples: samplers at equal seconds, sets of graphs; and chains that are watched."""

from pathlib import Path

import pytest
import torch

from tenfold.discrete_samplers.classical.chains import run_chains
from tenfold.discrete_samplers.classical.gibbs import Gibbs, HiddenGibbs
from tenfold.discrete_samplers.classical.tempering import parallel_tempering
from tenfold.discrete_samplers.comparison import Compared, compared_rows
from tenfold.discrete_samplers.exact.enumeration import machine_log_z
from tenfold.discrete_samplers.examples import comparisons, graph_sets
from tenfold.discrete_samplers.targets.binary import Ising
from tenfold.discrete_samplers.targets.machines import BoltzmannMachine


def test_chains_tell_the_means_of_what_is_watched() -> None:
    target = Ising(3, 3, 0.3)
    watched = run_chains(target, Gibbs(), 6, 4, burn_in=2, seed=3, watched=target.log_prob)
    ends = [run_chains(target, Gibbs(), 6, moves, seed=3).samples for moves in (3, 4)]
    wanted = torch.stack([target.log_prob(x).double() for x in ends]).mean(0)
    assert watched.chain_means is not None
    torch.testing.assert_close(watched.chain_means, wanted)
    assert run_chains(target, Gibbs(), 6, 4).chain_means is None


def test_ladders_tell_the_means_of_what_is_watched() -> None:
    target, ladder = Ising(3, 3, 0.3), torch.tensor([0.0, 0.5, 1.0])
    watched = parallel_tempering(target, Gibbs(), 5, 4, ladder, seed=3, watched=target.log_prob)
    ends = [parallel_tempering(target, Gibbs(), 5, moves, ladder, seed=3).samples for moves in (3, 4)]
    wanted = torch.stack([target.log_prob(x).double() for x in ends]).mean(0)
    assert watched.chain_means is not None
    torch.testing.assert_close(watched.chain_means, wanted)


def test_every_sampler_is_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparisons, "QUICK_SECONDS", 0.01)
    found = comparisons.sampler_comparison(tmp_path, quick=True)
    laws = set(comparisons.laws(True))
    assert {row.split for row in found.rows} == laws
    assert {row.split for row in found.rows if row.model == "exact" and row.name == "log_z"} == laws
    models = {row.model for row in found.rows if row.name == "mean"}
    assert {"gibbs", "hidden gibbs", "packed gibbs", "wolff", "annealed smc", "parallel tempering"} < models


def test_the_best_is_the_one_with_most_draws_among_those_that_are_right() -> None:
    def row(name: str, mean: float, draws: float) -> Compared:
        return Compared(name, 1.0, 8, mean, 0.1, (mean - 1.0) / 0.1, draws, None, None, 0.0, ())

    found = [row("a", 1.1, 5.0), row("b", 0.9, 7.0), row("wrong", 9.0, 99.0)]
    rows = compared_rows("law", found, 1.0, 0.0)
    (best,) = [found for found in rows if found.name == "best"]
    assert (best.model, best.value) == ("b", 7.0)
    assert "wrong" in best.note
    assert [found.model for found in rows if found.name == "draws_a_second"] == ["a", "b"]


def test_the_machine_has_its_exact_values() -> None:
    law = comparisons.machine_law(2)
    assert isinstance(law.target, BoltzmannMachine)
    assert law.log_z == pytest.approx(machine_log_z(law.target), abs=1e-6)
    x = run_chains(law.target, HiddenGibbs(), 2000, 30, 30).samples
    ink = law.observable(x).double()
    assert abs(float(ink.mean()) - law.mean) < 5 * float(ink.std()) / 2000**0.5


def test_sets_of_graphs_reach_what_is_proven(tmp_path: Path) -> None:
    found = graph_sets.graph_sets(tmp_path, quick=True).rows
    assert {row.split.split(":")[0] for row in found} == {"independent sets, ER 16-20", "cuts, BA 16-20"}
    known = [row for row in found if row.model == "best known"]
    assert all(row.note == "2 of 2 proven optimal" for row in known)
    annealed = [row.value for row in found if row.model == "simulated annealing" and row.split.endswith("best of 8")]
    assert annealed[1::2] == [1.0, 1.0]
    assert all(row.value < 1 for row in found if row.split.endswith("published"))


@pytest.mark.parametrize("name", [*graph_sets.PUBLISHED, *graph_sets.RATIOS])
def test_names_of_sets_say_how_they_are_drawn(name: str) -> None:
    problem, settings = graph_sets.settings_of(name, 3)
    assert all(row.value <= 1 for row in graph_sets.published_rows(name))
    assert problem == ("cut" if name.startswith("cuts") else "mis")
    assert name.split(",")[1].split()[0].lower() == settings.kind
    assert f"{settings.least}-{settings.most}" in name
    if settings.kind == "rb":
        assert name.endswith(f"p = {settings.probability}")
