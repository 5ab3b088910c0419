"""Heads, starts and losses on the digits: how near an energy comes to its teacher in a fifth of the teacher's steps.

One denoiser of the 8x8 digits, without classes, is the teacher of energies that differ in one thing at a time: the
head, what the network starts from, or whether they learn from the teacher or from the data."""

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tenfold.energy import loss
from tenfold.energy.config import BackboneConfig, DenoisingConfig, EnergyConfig
from tenfold.energy.evaluation.denoising import evaluated, noised
from tenfold.energy.evaluation.measure import denoiser_of
from tenfold.energy.model import DenoisingModel, EnergyModel
from tenfold.energy.options import DIGITS, DenoisingObjective
from tenfold.energy.worlds.rows import SampleWorld, image_world
from tenfold.figures.panels import Curve, Panel, draw
from tenfold.runs.measurement import Measurement
from tenfold.runs.outcome import Outcome
from tenfold.training.streams import Draws

LEVELS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
FINE = 16
_FEW = ("dot", "dot, denoising", "path")
_BATCH, _WARM_UP, _RATE, _EMA, _CLIP, _LAST = 128, 100, 1e-3, 0.98, 10.0, 200


@dataclass(frozen=True)
class Student:
    """An energy: its head, whether it starts as the teacher, and whether it learns from it."""

    head: str = "dot"
    scale: float = 0.5
    start: bool = True
    distil: bool = True


STUDENTS = {
    "dot": Student(),
    "dot, denoising": Student(distil=False),
    "dot, random start": Student(start=False),
    "dot, κ = 1": Student(scale=1.0),
    "norm": Student("norm"),
    "path": Student("path"),
}


def fit(
    model: nn.Module, wanted: Callable[[Tensor, Tensor, Tensor], Tensor], world: SampleWorld, steps: int, seed: int
) -> list[float]:
    """Adam on the scaled error of D(x_σ, σ) against ``wanted(clean, noisy, sigma)``, with a linear decay; the model
    ends as its moving average. The gradient norms."""
    model.train()
    config: Any = model.config
    data = torch.as_tensor(world.some("train", len(world.train))[0])
    denoise, objective = denoiser_of(model), DenoisingObjective()  # type: ignore[arg-type]
    parameters = list(model.parameters())
    averages = [p.detach().clone() for p in parameters]
    optimizer, norms = torch.optim.Adam(parameters, _RATE), []
    for step in range(steps):
        draws, index = Draws(seed, step), torch.arange(_BATCH)
        clean = data[draws.integers("row", index, len(data))]
        levels = draws.normal("level", index)
        sigma = loss.noise_levels(levels, objective.level_mean, objective.level_std, config.sigma_min, config.sigma_max)
        noisy = clean + sigma.view(-1, 1, 1, 1) * draws.normal("noise", index, tuple(clean.shape[1:]))
        value = loss.error(denoise(noisy, sigma, None), wanted(clean, noisy, sigma), sigma, config.data_scale).mean()
        optimizer.zero_grad()
        value.backward()
        norms.append(float(nn.utils.clip_grad_norm_(parameters, _CLIP)))
        for group in optimizer.param_groups:
            group["lr"] = _RATE * min(1.0, (step + 1) / _WARM_UP, (steps - step) / max(1, steps - _WARM_UP))
        optimizer.step()
        decay = min(_EMA, (1 + step) / (10 + step))
        for average, parameter in zip(averages, parameters, strict=True):
            average.lerp_(parameter.detach(), 1 - decay)
    for average, parameter in zip(averages, parameters, strict=True):
        parameter.data.copy_(average)
    model.eval()
    return norms


def distances(model: nn.Module, teacher: nn.Module, x: Tensor, draws: int = 2) -> tuple[list[float], list[float]]:
    """By level on the same noise: the scaled distance to the teacher's denoiser, and the mean squared error."""
    found: tuple[list[float], list[float]] = ([], [])
    scale: Any = model.data_scale
    for sigma in LEVELS:
        level, near, right = torch.full((len(x),), sigma), 0.0, 0.0
        for k in range(draws):
            noisy = noised(x, sigma, k)
            own, other = (evaluated(denoiser_of(one), noisy, sigma, None) for one in (model, teacher))  # type: ignore[arg-type]
            near += float(loss.error(own, other, level, scale).mean()) / draws
            right += float((own - x).square().mean()) / draws
        found[0].append(near)
        found[1].append(right)
    return found


def energy_heads(figures: Path, quick: bool = False, progress: Callable[[float], None] = lambda done: None) -> Outcome:
    """The example "energy-heads": rows are means over three seeds of the teacher and its students."""
    seeds, steps = (1, (60, 30)) if quick else (3, (2500, 500))
    world = image_world(DIGITS)
    x = world.some("test", 64 if quick else len(world.test))[0]
    students = {name: one for name, one in STUDENTS.items() if name in _FEW or not quick}
    values: dict[tuple[str, str], list[float]] = {}
    done = 0
    for seed in range(seeds):
        torch.manual_seed(seed)
        config = DenoisingConfig(shape=(1, 8, 8), data_scale=0.752, network=BackboneConfig(width=32 if quick else 160))
        teacher = DenoisingModel(config)
        fit(teacher, lambda clean, noisy, sigma: clean, world, steps[0], seed)
        said = silent(teacher)
        # Whether what a path's start lacks is its quadrature, or the teacher's curl, which no quadrature removes.
        fine: Any = EnergyModel(EnergyConfig(**{**vars(config), "head": "path", "nodes": FINE}))
        fine.start_from(teacher)
        for sigma, distance in zip(LEVELS, distances(fine, teacher, x)[0], strict=True):
            values.setdefault((f"start_distance_{sigma:g}", f"path of {FINE} nodes"), []).append(distance)
        for sigma, error in zip(LEVELS, distances(teacher, teacher, x)[1], strict=True):
            values.setdefault((f"denoising_mse_{sigma:g}", "teacher"), []).append(error)
        for name, student in students.items():
            torch.manual_seed(seed)
            made: Any = EnergyModel(EnergyConfig(**{**vars(config), "head": student.head, "scale": student.scale}))
            if student.start:
                made.start_from(teacher)
            before = distances(made, teacher, x)[0]
            aim = said if student.distil else (lambda clean, noisy, sigma: clean)
            norms = fit(made, aim, world, steps[1], seed + 1000)
            after, errors = distances(made, teacher, x)
            for i, sigma in enumerate(LEVELS):
                values.setdefault((f"start_distance_{sigma:g}", name), []).append(before[i])
                values.setdefault((f"distance_{sigma:g}", name), []).append(after[i])
                values.setdefault((f"denoising_mse_{sigma:g}", name), []).append(errors[i])
            values.setdefault(("gradient_norm", name), []).append(statistics.fmean(norms[-_LAST:]))
            done += 1
            progress(done / (seeds * len(students)))
    rows = [_row(name, model, found) for (name, model), found in values.items()]
    mean = {key: statistics.fmean(found) for key, found in values.items()}
    panels = [
        Panel(title, "σ", "scaled squared distance",
              [Curve(LEVELS, [mean[f"{what}_{s:g}", name] for s in LEVELS], name, "both") for name in students],
              xscale="log", yscale="log")
        for title, what in (("Before training", "start_distance"), ("After", "distance"))
    ]  # fmt: skip
    picture = draw(panels, figures / "heads.png")
    caption = (
        f"Squared distance of energies to their teacher's denoiser on test digits, before and after {steps[1]} steps."
    )
    return Outcome(rows, {picture.name: caption}, {"system": "energy", "seeds": seeds, "steps": list(steps)})


def silent(teacher: nn.Module) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """What a teacher's denoiser says of noisy samples, without gradients, as ``fit`` wants it."""

    def said(clean: Tensor, noisy: Tensor, sigma: Tensor) -> Tensor:
        with torch.no_grad():
            found: Tensor = teacher(noisy, sigma)
        return found

    return said


def _row(name: str, model: str, found: list[float]) -> Measurement:
    error = statistics.stdev(found) / math.sqrt(len(found)) if len(found) > 1 else None
    return Measurement(name, statistics.fmean(found), "", "test", model, error, note="± over seeds of the teacher")
