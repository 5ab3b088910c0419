"""A rare event of a learned density: digits with far more ink than usual, under an energy distilled on the spot.

Nobody knows the probability. Particles that are steered into the event are compared with particles of the same energy
that are not, at equal network evaluations, and with many more of the latter."""

from dataclasses import replace

import torch

from tenfold.energy.composition.constraints import InHalfSpace
from tenfold.energy.composition.rewards import RewardPath, reward
from tenfold.energy.config import BackboneConfig, DenoisingConfig, EnergyConfig
from tenfold.energy.examples.heads import fit, silent
from tenfold.energy.feynman_kac.calibration import calibrate
from tenfold.energy.feynman_kac.events import EventProbability, event_probability
from tenfold.energy.feynman_kac.options import ControlOptions, GridOptions
from tenfold.energy.model import DenoisingModel, EnergyModel
from tenfold.energy.options import DIGITS
from tenfold.energy.worlds.rows import SampleWorld, image_world
from tenfold.runs.measurement import Measurement

DEVIATIONS = 3.0
"""Of the ink of training images above its mean, where the event begins."""
_SIDE, _MORE = 8, 8


def learned(world: SampleWorld, quick: bool, seed: int = 0) -> EnergyModel:
    """An energy of the digits without classes, distilled from a denoiser."""
    width, steps = (24, (60, 30)) if quick else (160, (2500, 500))
    config = DenoisingConfig(shape=(1, _SIDE, _SIDE), data_scale=0.752, network=BackboneConfig(width=width))
    torch.manual_seed(seed)
    teacher, energy = DenoisingModel(config), EnergyModel(EnergyConfig(**vars(config)))
    fit(teacher, lambda clean, noisy, sigma: clean, world, steps[0], seed)
    energy.start_from(teacher)
    fit(energy, silent(teacher), world, steps[1], seed + 1000)
    return energy.requires_grad_(False)


def ink_rows(quick: bool) -> list[Measurement]:
    """The probability of much ink by particles that are steered into it and by such that are not, at equal cost and at
    eight times as much; standard errors over populations, and the ratio of variances at equal cost."""
    world = image_world(DIGITS)
    data = world.some("train", len(world.train))[0]
    normal = torch.full((1, _SIDE, _SIDE), 1 / _SIDE**2, dtype=torch.float64)
    ink = lambda x: (x.double() * normal).flatten(1).sum(1)  # noqa: E731
    usual = ink(data)
    offset = float(usual.mean() + DEVIATIONS * usual.std())
    populations, particles, steps = (8, 16, 8) if quick else (32, 128, 64)
    grid = GridOptions(steps=steps, sigma_min=0.05, sigma_max=20.0)
    energy = learned(world, quick)
    density = calibrate(
        energy.given(None), replace(grid, steps=2 * steps), particles=2 * particles, control=ControlOptions("none")
    )

    def asked(steering: RewardPath, populations: int, seed: int) -> EventProbability:
        return event_probability(
            density, lambda x: ink(x) >= offset, steering, grid=grid, populations=populations, particles=particles,
            seed=seed,
        )  # fmt: skip

    steered = asked(InHalfSpace(normal, offset), populations, 1)
    nothing = reward(lambda x: 0 * x.flatten(1).sum(1), "annealed")
    free = asked(nothing, populations, 2)
    split = f"ink above {offset:.3f}, T = {steps}"
    rows = [
        _row("steered particles", steered, split),
        _row("particles as they are", free, split),
        _row(f"particles as they are, {_MORE} times as many", asked(nothing, _MORE * populations, 3), split),
    ]
    cost = steered.units / free.units
    ratio = free.standard_error**2 / cost / max(steered.standard_error**2, 1e-300)
    note = f"of particles as they are at equal cost; one of the steered costs {cost:.2f}"
    return [*rows, Measurement("ink_variance_ratio", ratio, "", split, "steered particles", note=note)]


def _row(model: str, found: EventProbability, split: str) -> Measurement:
    note = f"{found.units} network evaluations"
    return Measurement(
        "ink_probability", found.probability, "", split, model, found.standard_error, len(found.estimates), note
    )
