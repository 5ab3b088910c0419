"""Rare events: a half-space that holds 2e-4 of a Gaussian mixture, and digits with much ink (``ink``).

Particles are steered into it and their weights take the steering back. Exact weights measure the density itself, base
weights the discretised sampler; drawing from the sampler and counting, at the same number of network evaluations, is
what both are compared with.
"""

import math
from collections.abc import Callable
from pathlib import Path

import torch

from tenfold.energy.closed_forms.gaussian_mixtures import GaussianMixture
from tenfold.energy.composition.constraints import InHalfSpace
from tenfold.energy.examples.ink import ink_rows
from tenfold.energy.examples.weights import LEAST, mixtures
from tenfold.energy.feynman_kac.events import event_probability
from tenfold.energy.feynman_kac.options import GridOptions
from tenfold.figures import panels
from tenfold.runs.measurement import Measurement
from tenfold.runs.outcome import Outcome

PROBABILITY, LARGEST = 2e-4, 20.0


def half_space_probability(density: GaussianMixture, normal: torch.Tensor, offset: float) -> float:
    """P(⟨a, x⟩ ≥ c) = Σ w_k Φ((⟨a, m_k⟩ − c)/√(aᵀ C_k a))."""
    spread = torch.einsum("i,kij,j->k", normal, density.covariances, normal).sqrt()
    return float(density.weights @ torch.special.ndtr((density.means @ normal - offset) / spread))


def offset_of(density: GaussianMixture, normal: torch.Tensor, probability: float) -> float:
    """c with P(⟨a, x⟩ ≥ c) = ``probability``, by bisection."""
    low, high = -100.0, 100.0
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if half_space_probability(density, normal, middle) > probability else (low, middle)
    return (low + high) / 2


def energy_rare_event(
    figures: Path, quick: bool = False, progress: Callable[[float], None] = lambda done: None
) -> Outcome:
    """The example "energy-rare-event"."""
    model, normal = mixtures()[0], torch.tensor([1.0, 0.5], dtype=torch.float64)
    last = model.noised(LEAST)
    offset = offset_of(last, normal, PROBABILITY)
    event = lambda x: x.double() @ normal >= offset  # noqa: E731
    populations, particles, rows = (16, 64, []) if quick else (32, 256, [])
    curves: dict[str, list[tuple[int, float, float]]] = {"exact": [], "base": []}
    steps = (16, 64) if quick else (25, 50, 100, 200)
    for number, count in enumerate(steps):
        grid = GridOptions(steps=count, sigma_min=LEAST, sigma_max=LARGEST)
        for weights in ("exact", "base"):
            found = event_probability(
                model, event, InHalfSpace(normal, offset), weights=weights, grid=grid, populations=populations,
                particles=particles, dtype=torch.float64,
            )  # fmt: skip
            curves[weights].append((count, found.probability, found.standard_error))
            split = f"T = {count}"
            rows.append(
                Measurement("probability", found.probability, "", split, f"{weights} weights", found.standard_error,
                            populations, found.law)
            )  # fmt: skip
            # As many plain samples as cost as much: T + 1 forward passes of a score each.
            plain = found.units / (count + 1)
            ratio = PROBABILITY * (1 - PROBABILITY) / plain / found.standard_error**2
            rows.append(
                Measurement("variance_ratio", ratio, "", split, f"{weights} weights", note="of counting at equal cost")
            )
        progress((number + 1) / (len(steps) + 2))
    rows.append(Measurement("probability", PROBABILITY, "", "exact", "closed form"))
    rows += ink_rows(quick)
    progress(1.0)
    path = panels.draw(
        [
            panels.Panel(
                "probability of the half-space",
                "steps T",
                "estimate / truth",
                [
                    *(
                        panels.Curve([t for t, *_ in points], [p / PROBABILITY for _, p, _ in points], name, "both", i)
                        for i, (name, points) in enumerate(curves.items())
                    ),
                    panels.Curve(steps, [1.0] * len(steps), "truth", "dashed"),
                ],
            ),
            panels.Panel(
                "relative standard error",
                "steps T",
                "standard error / truth",
                [
                    panels.Curve([t for t, *_ in points], [e / PROBABILITY for *_, e in points], name, "both", i)
                    for i, (name, points) in enumerate(curves.items())
                ],
                yscale="log",
            ),
        ],
        figures / "rare-event.png",
    )
    caption = (
        f"A half-space of probability {PROBABILITY:g} under a mixture of Gaussians: exact weights measure the density "
        "at any number of steps, base weights the discretised sampler, whose law comes closer as T grows."
    )
    told = {"system": "energy", "probability": PROBABILITY, "offset": offset, "norm": math.hypot(1.0, 0.5)}
    return Outcome(rows, {path.name: caption}, told)
