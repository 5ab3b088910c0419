"""What weights cost and what they bring: products and powers of Gaussian mixtures, whose integrals are known.

Two mixtures of four Gaussians in the plane stand for two models. Their product, and the square of the first, are
sampled with the same random numbers in four ways; the error of log Z tells how far each is from the truth, over steps
and over particles.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from tenfold.energy.closed_forms.gaussian_mixtures import GaussianMixture, product_at
from tenfold.energy.composition.algebra import Composition, composed
from tenfold.energy.feynman_kac.options import ControlOptions, GridOptions, ResamplingOptions, WeightOptions
from tenfold.energy.feynman_kac.result import ParticleRun
from tenfold.energy.feynman_kac.sampler import ParticleSampler
from tenfold.figures import panels
from tenfold.runs.measurement import Measurement
from tenfold.runs.outcome import Outcome

LARGEST, LEAST = 40.0, 0.02
STEPS, PARTICLES = (16, 32, 64, 128, 256), (64, 256, 1024)
WAYS: dict[str, dict[str, Any]] = {
    "guidance alone": {"weights": WeightOptions("none"), "resampling": ResamplingOptions(threshold=0.0)},
    "continuous weights": {"weights": WeightOptions("continuous")},
    "exact weights": {"control": ControlOptions("none")},
    "exact weights, control": {"control": ControlOptions("ecg")},
}
"""How a composition is sampled, by what tables and pictures call it."""


@dataclass(frozen=True)
class Problem:
    """A composition, the true log Z at the last level, and the true mean."""

    target: Composition
    log_z: float
    mean: Float[Tensor, " d"]


def mixtures(seed: int = 0) -> tuple[GaussianMixture, GaussianMixture]:
    """Two mixtures of four round Gaussians in the plane."""
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    scale = lambda: 0.3 + 0.3 * torch.rand(4, generator=generator, dtype=torch.float64)  # noqa: E731
    made = [
        GaussianMixture(torch.ones(4), 1.5 * draw(4, 2), scale().square()[:, None, None] * torch.eye(2).double())
        for _ in range(2)
    ]
    return made[0], made[1]


def problems(seed: int = 0) -> dict[str, Problem]:
    """The product of both, and the square of the first."""
    one, other = mixtures(seed)
    found = {}
    for name, target, pair in (
        ("product", composed(one) & composed(other), (one, other)),
        ("square", 2.0 * composed(one), (one, one)),
    ):
        log_z, density = product_at(*pair, LEAST)
        found[name] = Problem(target, float(log_z), density.mean)
    return found


def measured(problem: Problem, run: ParticleRun) -> dict[str, float]:
    """Bias, spread and root mean square error of log Z over populations, and the error of the weighted mean."""
    error = run.log_z.double().cpu() - problem.log_z
    off = (run.weighted.mean().cpu() - problem.mean).norm(dim=1)
    return {
        "log_z_bias": float(error.mean()),
        "log_z_sd": float(error.std()),
        "log_z_rmse": float(error.square().mean().sqrt()),
        "mean_error": float(off.square().mean().sqrt()),
    }


def _cases(quick: bool) -> dict[str, list[tuple[int, int]]]:
    """What is varied: sizes, (steps, particles)."""
    steps, particles, usual = ((8, 16), (16, 64), (16, 64)) if quick else (STEPS, PARTICLES, (64, 256))
    return {"steps": [(count, usual[1]) for count in steps], "particles": [(usual[0], count) for count in particles]}


def energy_weights(
    figures: Path, quick: bool = False, progress: Callable[[float], None] = lambda done: None
) -> Outcome:
    """The example "energy-weights"."""
    populations = 8 if quick else 64
    cases, rows, found = _cases(quick), [], {}
    sizes = sorted({size for points in cases.values() for size in points})
    for done, (steps, particles) in enumerate(sizes):
        grid = GridOptions(steps=steps, sigma_min=LEAST, sigma_max=LARGEST)
        for name, problem in problems().items():
            for way, how in WAYS.items():
                run = ParticleSampler(problem.target, grid, **how).sample(populations, particles, dtype=torch.float64)
                errors = found[name, way, steps, particles] = measured(problem, run)
                keys = ("mean_error",) if way == "guidance alone" else tuple(errors)
                note = f"{run.units / (populations * particles):.0f} evaluations a particle"
                rows += [
                    Measurement(key, errors[key], "" if key == "mean_error" else "nats",
                                f"{name}, T = {steps}, N = {particles}", way, draws=populations, note=note)
                    for key in keys
                ]  # fmt: skip
        progress((done + 1) / len(sizes))
    captions = {}
    labels = {"steps": "steps T", "particles": "particles N"}
    for axis, (what, label) in enumerate(labels.items()):
        pictures = [
            panels.Panel(
                title,
                label,
                "nats" if key == "log_z_rmse" else "distance",
                [
                    panels.Curve(
                        [size[axis] for size in cases[what]],
                        [found[name, way, *size][key] for size in cases[what]],
                        way,
                        "both",
                        colour,
                    )
                    for colour, way in enumerate(WAYS)
                    if not (key == "log_z_rmse" and way == "guidance alone")
                ],
                "log",
                "log",
            )
            for name in ("product", "square")
            for key, title in (
                ("log_z_rmse", f"{name}: error of log Z"),
                ("mean_error", f"{name}: error of the mean"),
            )
        ]
        path = panels.draw(pictures, figures / f"weights-over-{what}.png")
        captions[path.name] = (
            f"Root mean square errors over {populations} populations, against {label} (the other is "
            f"{cases[what][0][1 - axis]}): exact weights are unbiased at any number of steps, continuous ones only in "
            "their limit, and control narrows both."
        )
    return Outcome(rows, captions, {"system": "energy", "sigma": [LEAST, LARGEST], "populations": populations})
