"""Particle systems: energies and forces, coordinates without the centre, chains, distances, the equivariant network."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import wasserstein_distance

from tenfold.energy import (
    BackboneConfig,
    DenoisingConfig,
    EnergyConfig,
    EnergyDataConfig,
    EnergyEvaluation,
    EnergyObjective,
    EnergyRecipe,
    EnergyTask,
    GaussianMixture,
)
from tenfold.energy.evaluation import cooling
from tenfold.energy.model import DenoisingModel, EnergyModel
from tenfold.energy.molecules import (
    SYSTEMS,
    centred_basis,
    double_well,
    energy_distance_rows,
    lennard_jones,
    mean_discrepancy,
    replica_exchange,
    to_coordinates,
    to_positions,
    transport_distance,
    wasserstein,
)
from tenfold.energy.molecules.chains import split_r_hat
from tenfold.energy.worlds import particles
from tenfold.energy.worlds.read import read_world
from tenfold.errors import UsageError
from tenfold.training.streams import Draws

RANDOM = torch.Generator().manual_seed(0)


def draw(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=RANDOM)


def turned(space: int) -> torch.Tensor:
    return torch.linalg.qr(draw(space, space)).Q


@pytest.mark.parametrize("particles", [2, 3, 13])
def test_coordinates_without_the_centre(particles: int) -> None:
    basis = centred_basis(particles, draw(1))
    torch.testing.assert_close(basis @ basis.mT, torch.eye(particles - 1, dtype=torch.float64))
    assert float(basis.sum(1).abs().max()) < 1e-14
    x = draw(5, particles, 3)
    centred = x - x.mean(1, keepdim=True)
    torch.testing.assert_close(to_positions(to_coordinates(x), 3), centred)
    torch.testing.assert_close(to_coordinates(x).norm(dim=1), centred.flatten(1).norm(dim=1))


@pytest.mark.parametrize("name", SYSTEMS)
def test_forces_are_minus_the_gradient(name: str) -> None:
    system = SYSTEMS[name]()
    z = (system.spacing * draw(6, system.dimensions)).requires_grad_()
    energy, force = system.energy_and_force(z)
    (gradient,) = torch.autograd.grad(energy.sum(), z)
    assert float((force + gradient).detach().abs().max()) < 1e-12 * float(gradient.abs().max())
    with pytest.raises(UsageError, match=f"{name} has {system.dimensions}"):
        system.energy(draw(3, system.dimensions + 1))


@pytest.mark.parametrize("name", SYSTEMS)
def test_energies_know_neither_orientation_nor_order(name: str) -> None:
    system = SYSTEMS[name]()
    x = system.spacing * draw(4, system.particles, system.space)
    other = x[:, torch.randperm(system.particles, generator=RANDOM)] @ turned(system.space) + 3.0
    torch.testing.assert_close(
        system.energy(to_coordinates(x)), system.energy(to_coordinates(other)), rtol=1e-8, atol=0
    )


def test_energies_of_known_configurations() -> None:
    # An icosahedron around one particle is the least energy of LJ-13: −44.33 for each unit of depth.
    golden = (1 + 5**0.5) / 2
    shell = torch.tensor([[0, a, b * golden] for a in (-1, 1) for b in (-1, 1)], dtype=torch.float64)
    shell = torch.cat([shell, shell[:, [2, 0, 1]], shell[:, [1, 2, 0]]])
    shape = torch.cat([torch.zeros(1, 3, dtype=torch.float64), shell / shell[0].norm()])
    least = min(float(_free(lennard_jones()).energy(to_coordinates(s * shape))) for s in np.linspace(0.9, 1.1, 401))
    assert least / 2 == pytest.approx(-44.3268, abs=2e-3)
    # A square of side 4: four pairs at the barrier's top, two at the diagonal.
    square = 4 * torch.tensor([[0, 0], [0, 1], [1, 1], [1, 0]], dtype=torch.float64)
    off = 4 * 2**0.5 - 4
    assert float(double_well().energy(to_coordinates(square))) == pytest.approx(2 * (0.9 * off**4 - 4 * off**2))


def _free(system):
    from dataclasses import replace

    return replace(system, trap=0.0)


def test_chains_of_a_system_whose_law_is_known() -> None:
    """Two particles on a line in a spring: the distance is Gaussian."""
    from tenfold.energy.molecules import ParticleSystem

    system = ParticleSystem("pair", 2, 1, lambda r: (0 * r, 0 * r), trap=2.0)
    found = replica_exchange(system, (1.0, 0.3), chains=128, kept=40, every=3, warmup=200, seed=1)
    z = found.samples[..., 0].flatten()
    error = 4 * math.sqrt(0.5 / found.effective[0])
    assert abs(float(z.mean())) < error
    assert float(z.var()) == pytest.approx(0.5, abs=4 * math.sqrt(2 * 0.25 / found.effective[0]))
    assert found.r_hat[0] < 1.05
    assert 0.7 < found.acceptance[0] < 0.95
    torch.testing.assert_close(found.energies, system.energy(found.samples))


def test_more_chains_change_none_of_the_others() -> None:
    few, many = (
        replica_exchange(double_well(), (1.0, 0.5), chains=n, kept=3, every=2, warmup=0, seed=2) for n in (3, 8)
    )
    torch.testing.assert_close(few.samples, many.samples[:, :3], rtol=0, atol=0)


def test_bad_ladders_are_refused() -> None:
    for ladder, message in (((), "positive numbers"), ((0.5, 1.0), "from the largest down"), ((1.0, -1.0), "positive")):
        with pytest.raises(UsageError, match=message):
            replica_exchange(double_well(), ladder)
    with pytest.raises(UsageError, match="kept is 0"):
        replica_exchange(double_well(), kept=0)


def test_split_r_hat_tells_stuck_chains() -> None:
    independent = draw(400, 16)
    r_hat, effective = split_r_hat(independent)
    assert r_hat < 1.01
    assert effective == pytest.approx(independent.numel(), rel=0.15)
    assert split_r_hat(independent + torch.arange(16.0))[0] > 2
    walk = torch.empty(2000, 16, dtype=torch.float64)
    walk[0] = draw(16)
    for i in range(1, 2000):  # an autoregression, whose time is (1 + a) / (1 − a)
        walk[i] = 0.8 * walk[i - 1] + 0.6 * draw(16)
    assert split_r_hat(walk)[1] == pytest.approx(walk.numel() / 9, rel=0.2)
    assert math.isnan(split_r_hat(torch.zeros(10, 2))[0])


def test_wasserstein_distances() -> None:
    x, y, w = draw(57), 2 * draw(33) + 1, torch.rand(57, generator=RANDOM, dtype=torch.float64)
    assert wasserstein(x, y) == pytest.approx(wasserstein_distance(x, y), rel=1e-12)
    assert wasserstein(x, y, 1, w) == pytest.approx(wasserstein_distance(x, y, w), rel=1e-9)
    even = draw(33)
    assert wasserstein(even, y, 2) == pytest.approx(
        float((even.sort().values - y.sort().values).square().mean() ** 0.5)
    )
    assert transport_distance(even[:, None], y[:, None]) == pytest.approx(wasserstein(even, y, 2))
    for bad, message in (((x[:0], y), "at least one"), ((x * math.nan, y), "NaN"), ((x, y, 1, 0 * w), "positive")):
        with pytest.raises(UsageError, match=message):
            wasserstein(*bad)


def test_transport_turns_configurations_onto_each_other() -> None:
    z = draw(6, 6)
    other = to_coordinates(to_positions(z, 2) @ turned(2))[torch.randperm(6, generator=RANDOM)]
    assert transport_distance(z, other, space=2) == pytest.approx(0, abs=1e-6)
    assert transport_distance(z, other) > 0.1
    with pytest.raises(UsageError, match="one shape"):
        transport_distance(z, z[:3])


def test_discrepancy_and_rows() -> None:
    system = double_well()
    x = 2 * draw(200, system.dimensions)
    assert mean_discrepancy(x, x) == 0
    assert mean_discrepancy(x[:100], x[100:]) < 0.2 < mean_discrepancy(x[:100] + 4, x[100:])
    weights = torch.zeros(200, dtype=torch.float64)
    weights[:50] = 1
    rows = {row.name: row.value for row in energy_distance_rows(system, x, x[:50], "m", weights)}
    assert rows == pytest.approx(dict.fromkeys(rows, 0), abs=1e-7)


@pytest.mark.parametrize("space", [2, 3])
def test_the_equivariant_network(space: int) -> None:
    shape = (4 * space,)
    config = DenoisingConfig(shape=shape, network=BackboneConfig(kind="egnn", width=12, layers=2, space=space))
    model = DenoisingModel(config).double().eval()
    x, q, order = draw(3, 5, space), turned(space), torch.randperm(5, generator=RANDOM)
    sigma = torch.tensor([0.1, 1.0, 5.0], dtype=torch.float64)
    moved = to_positions(model(to_coordinates(x), sigma), space)[:, order] @ q
    torch.testing.assert_close(to_positions(model(to_coordinates(x[:, order] @ q), sigma), space), moved)
    energy = EnergyModel(EnergyConfig(**vars(config), head="dot")).double().eval()
    one, other = (energy.log_density(to_coordinates(y), sigma) for y in (x, x[:, order] @ q))
    torch.testing.assert_close(one, other)
    with pytest.raises(UsageError, match="an egnn of particles in 3 dimensions"):
        DenoisingConfig(shape=(8,), network=BackboneConfig(kind="egnn"))


def test_worlds_of_particles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(particles, "_CHAINS", 16)
    monkeypatch.setattr(particles, "_WARMUP", 5)
    monkeypatch.setattr(particles, "_EVERY", 1)
    monkeypatch.setattr(cooling, "_TRUTH", 64)
    particles.configurations.cache_clear()
    data = EnergyDataConfig(kind="dw4", samples=96, held_out=16)
    config = EnergyConfig(shape=(6,), data_scale=2.1, network=BackboneConfig(kind="egnn", width=8, layers=1, space=2))
    world = read_world(data, config)
    assert [len(part) for part in (world.train, world.validation, world.test)] == [96, 16, 16]
    assert world.particles is not None
    assert world.particles.name == "dw4"
    options = EnergyEvaluation(steps=6, particles=16, populations=2, cooling=(2.0,))
    model = EnergyModel(config).eval().given(None)
    rows = cooling.cooling_rows(model, world.particles, data, options, (0.01, 20.0), torch.device("cpu"), "m")
    found = {(row.name, row.split, row.model): row.value for row in rows}
    ways = {*cooling.WAYS, cooling.TRUE_END}
    for split in ("γ = 1", "γ = 2"):
        assert {model for name, s, model in found if (name, s) == ("energy_w1", split)} == {
            "long chains",
            *(f"m, {way}" for way in ways),
        }
    assert all(math.isfinite(value) for value in found.values())
    with pytest.raises(UsageError, match=r"model\.shape is"):
        read_world(data, EnergyConfig(shape=(8,)))
    # What an energy may learn from besides samples: U itself, its slope and its value.
    objective = EnergyObjective(start=False, distillation=0.0, target_score=1.0, pinning=1.0)
    task = EnergyTask(EnergyRecipe(model=config, data=data, objective=objective))
    batch = {**task.train_source().batch(np.arange(8)), "index": torch.arange(8)}
    (update,) = task.step(task.modules(), batch, Draws(0, 0))
    assert {"target_score", "pinning"} <= set(update.metrics)
    energies = world.particles.energy(batch["x"].double())
    found = task.known.log_density(batch["x"], torch.tensor(0.01))
    torch.testing.assert_close(found.double(), -energies, rtol=1e-6, atol=1e-5)
    particles.configurations.cache_clear()


def test_the_law_of_particles_without_noise() -> None:
    """e^{−U/T}: its score is the gradient of its logarithm."""
    law = particles.Boltzmann(lennard_jones(), 0.5)
    z = (lennard_jones().spacing * draw(5, *law.shape)).requires_grad_()
    log, score = law.log_density_and_score(z, torch.tensor(0.0))
    torch.testing.assert_close(log, -2 * lennard_jones().energy(z))
    (gradient,) = torch.autograd.grad(log.sum(), z)
    assert float((score - gradient).detach().abs().max()) < 1e-12 * float(gradient.abs().max())


def test_the_true_energy_at_the_end() -> None:
    """Weights of a model that is wrong, corrected at the last level, are those of the truth."""
    system, wrong = double_well(), GaussianMixture(torch.ones(1), torch.zeros(1, 6), 4.4 * torch.eye(6)[None])
    corrected = cooling.Corrected(wrong, system, 0.5, 2.0)
    x, sigma = 2 * draw(9, 6), torch.tensor(0.1, dtype=torch.float64)
    change, _ = corrected.at_level(x, sigma, None, 1.0, True)
    torch.testing.assert_close(2.0 * wrong.log_density(x, sigma) + change, -2.0 * 0.5 * system.energy(x))
    assert float(corrected.at_level(x, sigma, None, 1.0, False)[0].abs().max()) == 0
