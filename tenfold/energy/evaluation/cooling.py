"""Particles annealed to lower temperatures by a learned energy, beside long chains there."""

import torch
from jaxtyping import Float
from torch import Tensor

from tenfold.energy.composition.algebra import composed
from tenfold.energy.density import Density
from tenfold.energy.feynman_kac.options import ControlOptions, GridOptions, ResamplingOptions, WeightOptions
from tenfold.energy.feynman_kac.sampler import ParticleSampler
from tenfold.energy.molecules.distances import energy_distance_rows
from tenfold.energy.molecules.systems import ParticleSystem
from tenfold.energy.options import EnergyDataConfig, EnergyEvaluation
from tenfold.energy.worlds.particles import configurations
from tenfold.runs.measurement import Measurement

_TRUTH = 16_384

WAYS: dict[str, dict[str, object]] = {
    "guidance alone": {"weights": WeightOptions("none"), "resampling": ResamplingOptions(threshold=0.0)},
    "continuous weights": {"weights": WeightOptions("continuous")},
    "exact weights": {"control": ControlOptions("none")},
    "exact weights, control": {"control": ControlOptions("ecg")},
}
"""How p^γ is sampled, by what the table calls it."""


TRUE_END = "exact weights, control, true energy at the end"


class Corrected:
    """log γ changed from that of the learned energy to the true one: what a reward may do at the last level, where the
    weights take it into account. It is 0 before."""

    looks_ahead = True  # so that no control counts on a change that comes at once

    def __init__(self, model: Density, system: ParticleSystem, inverse_temperature: float, gamma: float) -> None:
        self.model, self.system = model, system
        self.inverse_temperature, self.gamma = inverse_temperature, gamma

    def at_level(
        self,
        x: Float[Tensor, "n *shape"],
        sigma: Float[Tensor, ""],
        denoised: Float[Tensor, "n *shape"] | None,
        data_scale: float,
        last: bool,
    ) -> tuple[Float[Tensor, " n"], Float[Tensor, "n *shape"]]:
        """γ (−U/T − log p) at the last level."""
        if not last:
            return x.new_zeros(len(x)), torch.zeros_like(x)
        learned = self.model.log_density(x, sigma)
        true = -self.inverse_temperature * self.system.energy(x.double()).to(x.dtype)
        return self.gamma * (true - learned), torch.zeros_like(x)


def truth(data: EnergyDataConfig, gamma: float, seed: int) -> Float[Tensor, "n k"]:
    """Configurations at inverse temperature γ / T by long chains, spread over all of them."""
    drawn = configurations(data.kind, gamma / data.temperature, _TRUTH, seed).samples.flatten(0, 1)
    return drawn[:: max(1, len(drawn) // _TRUTH)][:_TRUTH]


def cooling_rows(
    model: Density,
    system: ParticleSystem,
    data: EnergyDataConfig,
    options: EnergyEvaluation,
    levels: tuple[float, float],
    device: torch.device,
    name: str,
) -> list[Measurement]:
    """Distances of samples of p^γ to long chains at that temperature, for every γ of ``options.cooling`` and every way
    of ``WAYS``, with γ = 1 for the model itself; below them the distances of as many configurations of other chains,
    which no sampler can be expected to beat. Effective sizes and network evaluations stand beside them."""
    rows, (least, largest) = [], levels
    grid, count = GridOptions(options.steps, least, largest), options.populations * options.particles
    some = truth(data, 1.0, data.seed + 1)[: options.rows].to(device)
    with torch.no_grad():
        learned = model.log_density(some.float(), torch.tensor(least, device=device)).double()
    away = learned + system.energy(some.double()) / data.temperature
    rows.append(Measurement("log_density_error", float(away.std()), "nats", "test", name))
    for gamma in (1.0, *options.cooling):
        split = f"γ = {gamma:g}"
        wanted = truth(data, gamma, data.seed + 1)
        floor = truth(data, gamma, data.seed + 2)
        spread = floor[:: max(1, len(floor) // count)][:count]
        rows += _labelled(energy_distance_rows(system, spread, wanted, "long chains"), split)
        for way, how in {**WAYS, TRUE_END: WAYS["exact weights, control"]}.items():
            target = gamma * composed(model)
            if way == TRUE_END:
                target = target + Corrected(model, system, 1 / data.temperature, gamma)
            sampler = ParticleSampler(target, grid, **how)  # type: ignore[arg-type]
            run = sampler.sample(options.populations, options.particles, seed=data.seed, device=device)
            pooled = run.weighted.pooled(run.log_z if run.weights != "none" else torch.zeros_like(run.log_z))
            particles, weights = pooled.particles[0].cpu(), pooled.weights[0].cpu()
            label = f"{name}, {way}"
            rows += _labelled(energy_distance_rows(system, particles, wanted, label, weights), split)
            share = float(weights.sum().square() / weights.square().sum()) / len(weights)
            rows.append(Measurement("effective_share", share, "share of particles", split, label))
            rows.append(Measurement("network_passes", run.units / len(weights), "a sample", split, label))
    return rows


def _labelled(rows: list[Measurement], split: str) -> list[Measurement]:
    return [Measurement(row.name, row.value, row.unit, split, row.model) for row in rows]
