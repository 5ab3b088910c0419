"""A rare event of a learned density: digits with far more ink than usual, under an energy distilled on the spot.

Nobody knows the probability. What is measured is the law of the energy's discretised sampler: by particles that are
steered into the event and weighed ("base" weights), and by as many samples that are counted, at equal network
evaluations, and by several times as many of those. Exact weights are of no use here: in 64 dimensions an energy that
was learned level by level gives populations whose estimates differ by orders of magnitude."""

import torch

from tenfold.energy.composition.constraints import InHalfSpace
from tenfold.energy.composition.rewards import RewardPath, reward
from tenfold.energy.config import BackboneConfig, DenoisingConfig, EnergyConfig
from tenfold.energy.examples.heads import fit, silent
from tenfold.energy.feynman_kac.events import EventProbability, event_probability
from tenfold.energy.feynman_kac.options import GridOptions
from tenfold.energy.model import DenoisingModel, EnergyModel
from tenfold.energy.options import DIGITS
from tenfold.energy.worlds.rows import SampleWorld, image_world
from tenfold.runs.measurement import Measurement

DEVIATIONS = 3.0
"""Of the ink of training images above its mean, where the event begins."""
_SIDE, _MORE = 8, 4


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
    """The probability of much ink by particles that are steered into it and by samples that are counted, at equal cost
    and at four times as much; standard errors over populations, and the ratio of variances at equal cost."""
    world = image_world(DIGITS)
    data = world.some("train", len(world.train))[0]
    normal = torch.full((1, _SIDE, _SIDE), 1 / _SIDE**2, dtype=torch.float64)
    ink = lambda x: (x.double() * normal).flatten(1).sum(1)  # noqa: E731
    usual = ink(data)
    offset = float(usual.mean() + DEVIATIONS * usual.std())
    populations, particles, steps = (8, 16, 8) if quick else (32, 64, 48)
    grid = GridOptions(steps=steps, sigma_min=0.05, sigma_max=20.0)
    energy = learned(world, quick).given(None)

    def asked(steering: RewardPath, populations: int, seed: int) -> EventProbability:
        return event_probability(
            energy, lambda x: ink(x) >= offset, steering, weights="base", grid=grid, populations=populations,
            particles=particles, seed=seed,
        )  # fmt: skip

    steered = asked(InHalfSpace(normal, offset), populations, 1)
    nothing = reward(lambda x: 0 * x.flatten(1).sum(1), "annealed")
    free = asked(nothing, populations, 2)
    split = f"ink above {offset:.3f}, T = {steps}"
    rows = [
        _row("steered particles", steered, split),
        _row("counted samples", free, split),
        _row(f"counted samples, {_MORE} times as many", many := asked(nothing, _MORE * populations, 3), split),
    ]
    # Of counting: p(1 − p)/n with p of the larger run, as few counts tell little of their own spread.
    counting = many.probability * (1 - many.probability) / (populations * particles) * free.units / steered.units
    ratio = counting / max(steered.standard_error**2, 1e-300)
    note = "of counting at equal cost"
    return [*rows, Measurement("ink_variance_ratio", ratio, "", split, "steered particles", note=note)]


def _row(model: str, found: EventProbability, split: str) -> Measurement:
    note = f"{found.units} network evaluations"
    return Measurement(
        "ink_probability", found.probability, "", split, model, found.standard_error, len(found.estimates), note
    )
