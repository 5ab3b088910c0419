"""Energies that are learned: gradients, weights of particles, codes of the plane, the verbs."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tenfold
from tenfold.cli.main import main
from tenfold.discrete_samplers.classical.chains import run_chains
from tenfold.discrete_samplers.classical.gibbs import HiddenGibbs
from tenfold.discrete_samplers.classical.kernels import ChainDraws
from tenfold.discrete_samplers.exact.enumeration import (
    all_states,
    enumerate_states,
    log_probabilities,
    machine_log_z,
    state_numbers,
)
from tenfold.discrete_samplers.learning.config import (
    DENSITIES,
    DiscreteEnergyConfig,
    EnergyDataSettings,
    LikelihoodObjective,
)
from tenfold.discrete_samplers.learning.data import load_bits
from tenfold.discrete_samplers.learning.densities import SPAN, bits_of, plane_entropy, plane_points, points_of
from tenfold.discrete_samplers.learning.model import BitNetwork, DiscreteEnergy, LearnedCouplings
from tenfold.discrete_samplers.learning.phase import NegativePhase, hamming_mmd, likelihood_loss
from tenfold.discrete_samplers.learning.recipes import RECIPES, DiscreteEnergyRecipe
from tenfold.discrete_samplers.learning.task import DiscreteEnergyTask
from tenfold.discrete_samplers.targets.binary import spin_glass
from tenfold.discrete_samplers.targets.functions import NeuralEnergy
from tenfold.discrete_samplers.targets.machines import BoltzmannMachine
from tenfold.discrete_samplers.targets.protocol import site_log_ratio, site_odds
from tenfold.errors import UsageError
from tenfold.training.config import TrainingConfig
from tenfold.training.streams import Draws


def machine(sites: int, hidden: int, size: float = 1.0) -> BoltzmannMachine:
    torch.manual_seed(3)
    return BoltzmannMachine(size * torch.randn(hidden, sites), size * torch.randn(sites), size * torch.randn(hidden))


@pytest.mark.parametrize("kind", ["machine", "perceptron", "couplings"])
def test_odds_of_sites_are_those_of_all(kind: str) -> None:
    torch.manual_seed(0)
    law: Any = {"machine": machine(5, 3), "perceptron": NeuralEnergy(BitNetwork(5, 8, 1), 5)}.get(kind)
    if law is None:
        law = LearnedCouplings(5)
        torch.nn.init.normal_(law.upper)
        torch.nn.init.normal_(law.field)
    x, chosen = torch.randint(2, (6, 5)), torch.tensor([3, 0])
    with torch.no_grad():
        whole = law.neighbour_log_ratio(x)
        torch.testing.assert_close(site_log_ratio(law, x, chosen), whole[:, chosen], rtol=1e-4, atol=1e-5)
        odds = site_odds(law, x, chosen)
        torch.testing.assert_close(odds, whole[:, chosen, 1] - whole[:, chosen, 0], rtol=1e-4, atol=1e-5)
        up, down = x.clone(), x.clone()
        up[:, 3], down[:, 3] = 1, 0
        torch.testing.assert_close(odds[:, 0], law.log_prob(up) - law.log_prob(down), rtol=1e-4, atol=1e-5)


def test_learned_couplings_are_a_spin_glass() -> None:
    law = LearnedCouplings(4)
    torch.nn.init.normal_(law.upper)
    torch.nn.init.normal_(law.field)
    x = all_states(4, 2)
    with torch.no_grad():
        torch.testing.assert_close(law.log_prob(x), spin_glass(law.couplings, law.field).log_prob(x))


def test_the_loss_has_the_gradient_of_the_likelihood() -> None:
    law, data = machine(4, 2).double(), torch.randint(2, (7, 4))
    states = all_states(4, 2)
    logs = law.log_prob(states)
    weights = logs.detach().softmax(0)
    wanted = torch.autograd.grad(logs.logsumexp(0) - law.log_prob(data).mean(), law.weights)[0]
    found = torch.autograd.grad(likelihood_loss(law.log_prob(data), law.log_prob(states), weights), law.weights)[0]
    torch.testing.assert_close(found, wanted)


def test_weighted_particles_follow_a_law_that_changes() -> None:
    """log Z and a mean of a machine that grows step by step, by particles that see each step once."""
    settings = LikelihoodObjective(particles=4000, threshold=0.5)
    phase = NegativePhase(settings, 6, 0)
    for step in range(1, 9):
        law = machine(6, 3, 0.25 * step)
        phase.follow(law, step)
    exact = enumerate_states(law, lambda x: x.double())
    assert abs(float(phase.estimate()) - machine_log_z(law)) < 0.1
    found = (phase.weights()[:, None] * phase.x).sum(0)
    assert float((found - exact.means).abs().max()) < 0.05
    assert float(phase.log_z) != 0  # it was resampled on the way
    again = NegativePhase(settings, 6, 1)
    again.load_state_dict(phase.state_dict())
    again.seed, again.draws = phase.seed, phase.draws
    for each in (phase, again):
        each.follow(machine(6, 3, 2.2), 9)
    assert torch.equal(phase.x, again.x)
    assert torch.equal(phase.log_weights, again.log_weights)


def test_hidden_bits_leave_a_machine_as_it_is() -> None:
    law = machine(4, 3)
    p = log_probabilities(law).exp()
    index = torch.multinomial(p, 20000, True)
    x = HiddenGibbs()(law, all_states(4, 2)[index], ChainDraws(0, torch.arange(20000))).x
    assert float((x != all_states(4, 2)[index]).double().mean()) > 0.05
    counts = torch.bincount(state_numbers(x, 2), minlength=16).double() / 20000
    assert float(((counts - p).abs() / (p * (1 - p) / 20000).sqrt()).max()) < 4.5
    assert run_chains(law, HiddenGibbs(), 10, 3).counts.ratios == 30
    with pytest.raises(UsageError, match="LearnedCouplings has no hidden bits"):
        run_chains(LearnedCouplings(4), HiddenGibbs(), 10, 3)


def test_persistent_particles_count_alike() -> None:
    phase = NegativePhase(LikelihoodObjective(negative="persistent", particles=50), 6, 0)
    for step in range(1, 4):
        phase.follow(machine(6, 3, 0.3 * step), step)
    assert torch.equal(phase.weights(), torch.full((50,), 1 / 50, dtype=torch.float64))


@pytest.mark.parametrize("name", DENSITIES)
def test_points_of_the_plane_are_bits(name: str) -> None:
    points = plane_points(name, 2000)
    assert np.array_equal(points, plane_points(name, 2000))
    assert float((np.abs(points) > SPAN).mean()) < 1e-3
    assert 0.5 < points.std() < 3
    inside = np.clip(points, -SPAN + 1e-9, SPAN - 1e-9)
    bits = bits_of(inside, 32)
    assert bits.shape == (2000, 32)
    assert float(np.abs(points_of(bits) - inside).max()) <= SPAN / 2**15
    cells = points_of(torch.cat([bits[:1]] * 2)) + np.array([[0.0, 0.0], [SPAN / 2**15, 0.0]])
    assert int((bits_of(cells, 32)[0] != bits_of(cells, 32)[1]).sum()) == 1


def test_densities_that_are_none() -> None:
    with pytest.raises(UsageError, match="density is 'spirals'"):
        plane_points("spirals", 3)


def test_the_distance_of_samples() -> None:
    torch.manual_seed(0)
    x, y, z = (
        torch.randint(2, (300, 8)),
        torch.randint(2, (400, 8)),
        torch.randint(2, (300, 8)) * torch.tensor([1, 1, 1, 1, 0, 0, 0, 0]),
    )
    assert abs(float(hamming_mmd(x, y))) < 2e-3
    assert float(hamming_mmd(x, z)) > 5e-3
    # Weights stand for copies, which are not compared with themselves.
    draws = torch.Generator().manual_seed(5)
    copies = torch.randint(1, 4, (40,), generator=draws)
    few, one = x[:40], torch.full((40,), 1 / 40, dtype=torch.float64)
    assert float(hamming_mmd(few, y, log_weights=one.log())) == pytest.approx(float(hamming_mmd(few, y)), abs=1e-12)
    w = copies.double() / copies.sum()
    kernel = torch.exp(-(few[:, None] != few).double().mean(-1) / 0.1)
    other = torch.exp(-(y[:, None] != few).double().mean(-1) / 0.1)
    mine = torch.exp(-(y[:, None] != y).double().mean(-1) / 0.1)
    pairs = 1 - torch.eye(40)
    expected = (w @ (kernel * pairs) @ w) / (w @ pairs.double() @ w) - 2 * (other @ w).mean()
    expected = expected + (mine.sum() - len(y)) / (len(y) * (len(y) - 1))
    assert float(hamming_mmd(few, y, log_weights=copies.double().log())) == pytest.approx(float(expected), abs=1e-9)


def test_digits_and_lattices_are_bits() -> None:
    digits = load_bits(EnergyDataSettings())
    assert (digits.train.rows.shape, digits.test.rows.shape) == ((1297, 64), (360, 64))
    assert 0.2 < float(digits.train.rows.double().mean()) < 0.5
    lattice = load_bits(EnergyDataSettings(source="ising", rows=400, test=10, side=3, beta=0.3))
    s = 2.0 * lattice.train.rows - 1
    energy = -(s.unflatten(1, (3, 3)) * (s.unflatten(1, (3, 3)).roll(1, 1) + s.unflatten(1, (3, 3)).roll(1, 2)))
    assert abs(float(energy.sum((1, 2)).mean()) + 9.3) < 2  # U of 3 x 3 at 0.3


def small(**objective: Any) -> DiscreteEnergyRecipe:
    return DiscreteEnergyRecipe(
        model=DiscreteEnergyConfig(sites=9, kind="couplings"),
        data=EnergyDataSettings(source="ising", side=3, beta=0.4, rows=4000, test=100),
        objective=LikelihoodObjective(particles=300, **objective),
        train=TrainingConfig(steps=150, batch_size=400, learning_rate=1e-2, threads=1),
    )


@pytest.mark.parametrize("negative", ["weighted", "persistent"])
def test_couplings_are_recovered(negative: Any) -> None:
    task = DiscreteEnergyTask(small(negative=negative))
    optimizer = torch.optim.Adam(task.model.parameters(), lr=3e-2)
    for step in range(60):
        index = (torch.arange(400) + 400 * step) % 4000
        batch = {"index": index, **task.train_source().batch(index.numpy())}
        for update in task.step(task.modules(), batch, Draws(0, step)):
            optimizer.zero_grad()
            update.loss.backward()
            optimizer.step()
    law: Any = task.model.law
    gap = (law.couplings.detach() - task._true_couplings())[~torch.eye(9, dtype=torch.bool)]
    assert float(gap.square().mean().sqrt()) < 0.05
    if negative == "weighted":
        with torch.no_grad():
            task.phase.follow(task.model.target, 60)
            assert abs(float(task.phase.estimate()) - enumerate_states(law).log_z) < 0.5


def test_the_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = str(tmp_path / "run")
    tiny = ["--train.steps", "3", "--train.threads", "1", "--model.hidden", "4", "--objective.particles", "8"]
    more = ["--evaluation.samples", "16", "--evaluation.steps", "4"]
    assert main(["train", "digits-machine", "--out", run, *tiny, *more]) == 0
    assert main(["sample", run, "--num", "8", "--steps", "3"]) == 0
    assert np.load(tmp_path / "run" / "samples" / "samples.npz")["bits"].shape == (8, 64)
    assert math.isfinite(json.loads((tmp_path / "run" / "samples" / "samples.json").read_text())["log_z"])
    rows = {(row.name, row.split): row.value for row in tenfold.evaluate(run)}
    assert 20 < rows["nll", "test"] < 64
    assert abs(rows["log_z", "exact"] - rows["log_z", "annealed"]) < 2


def test_recipes_describe_themselves() -> None:
    for named in RECIPES.values():
        found = DiscreteEnergyTask.describe(named.recipe)  # type: ignore[arg-type]
        assert found["parameters"] > 0
        assert found["activation_bytes"] > 0


def test_models_are_folders(tmp_path: Path) -> None:
    for kind in ("machine", "couplings", "perceptron"):
        model = DiscreteEnergy(DiscreteEnergyConfig(sites=6, kind=kind, hidden=4, layers=1))
        model.save_pretrained(tmp_path / kind)
        x = torch.randint(2, (4, 6))
        torch.testing.assert_close(DiscreteEnergy.from_pretrained(tmp_path / kind)(x), model(x))


@pytest.mark.parametrize(
    "make",
    [
        lambda: EnergyDataSettings(bits=5),
        lambda: LikelihoodObjective(threshold=2.0),
        lambda: DiscreteEnergyRecipe(model=DiscreteEnergyConfig(sites=9)),
        lambda: DiscreteEnergyRecipe(objective=LikelihoodObjective(sparsity=0.1)),
    ],
)
def test_settings_that_do_not_fit(make: Any) -> None:
    with pytest.raises(UsageError):
        make()


def test_no_energy_is_below_the_entropy_of_its_density() -> None:
    """Half of a square of side 8, by hand, and eight Gaussians that hardly overlap."""
    cell = 2 * math.log(SPAN / 2**15)
    assert plane_entropy("checkerboard") == pytest.approx(math.log(32) - cell, abs=2e-3)
    gaussians = math.log(8) + math.log(2 * math.pi * math.e * 0.125) - cell
    assert plane_entropy("8gaussians") == pytest.approx(gaussians, abs=0.01)
    assert plane_entropy("moons", 16) == pytest.approx(plane_entropy("moons", 32) - 16 * math.log(2), abs=1e-9)
    for wrong in ({"count": 0}, {"cells": 0}, {"name": "moon"}, {"bits": 3}):
        with pytest.raises(UsageError):
            plane_entropy(**{"name": "moons", **wrong})  # type: ignore[arg-type]
