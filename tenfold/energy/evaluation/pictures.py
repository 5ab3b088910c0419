"""The pictures of a report: two energies composed first."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from tenfold import progress
from tenfold.energy.density import Density
from tenfold.energy.evaluation.compositions import Judged
from tenfold.energy.evaluation.denoising import error_rows, noised
from tenfold.energy.evaluation.measure import TEACHER, denoiser_of
from tenfold.energy.evaluation.ranking import log_densities
from tenfold.energy.feynman_kac.result import ParticleRun
from tenfold.energy.generation import generate
from tenfold.energy.model import EnergyModel
from tenfold.energy.noise import karras_grid
from tenfold.energy.options import EnergyEvaluation
from tenfold.energy.worlds.rows import SampleWorld
from tenfold.figures.images import image_grid
from tenfold.figures.panels import Curve, Panel
from tenfold.figures.panels import draw as panels
from tenfold.figures.series import lines
from tenfold.figures.style import write_captions

_SHOWN = 12
_TITLES = {"and": "AND", "not": "NOT", "cold": "COLD"}


def draw(
    models: Mapping[str, Any],
    compositions: Mapping[str, Judged],
    world: SampleWorld,
    options: EnergyEvaluation,
    directory: Path,
    device: torch.device,
) -> list[Path]:
    """All pictures that fit the models, the first of which is measured; PNG files with captions beside them."""
    directory.mkdir(parents=True, exist_ok=True)
    first = next(iter(models.values()))
    captions: dict[str, str] = {}
    if compositions:
        captions |= _compositions(compositions, options, directory)
    captions |= _errors(models, world, options, directory, device)
    if world.images is not None:
        captions |= _samples(models, options, directory, device)
    if world.known is not None and isinstance(first, EnergyModel):
        captions |= _agreement(first, world.known, world, directory, device)
        if first.shape == (2,):
            captions |= _plane(first, world.known, directory, device)
    write_captions(directory, captions)
    return [directory / name for name in captions]


def _compositions(found: Mapping[str, Judged], options: EnergyEvaluation, directory: Path) -> dict[str, str]:
    """AND, NOT and low temperature by every method, and what happened to the particles' weights."""
    rows, titles = [], []
    for name, (_, _, runs) in found.items():
        for method, run in runs.items():
            drawn = run.weighted.resample(max(1, math.ceil(_SHOWN / options.populations))).particles
            rows.append(drawn.transpose(0, 1).flatten(0, 1)[:_SHOWN])
            titles.append(f"{_TITLES[name]}, {method}")
    shown = min(map(len, rows))
    images = torch.cat([row[:shown] for row in rows]).clamp(-1, 1).float().cpu()
    image_grid(images, directory / "compositions.png", columns=shown, row_titles=titles)
    weights = [_weight_panel(f"{_TITLES[name]}: {words}", runs) for name, (words, _, runs) in found.items()]
    panels(weights, directory / "weights.png", columns=3)
    words = "; ".join(f"{_TITLES[name]} is {words}" for name, (words, _, _) in found.items())
    captions = {
        "compositions.png": f"Two energies composed, without weights (plain guidance) and with them. {words}. One "
        "particle, drawn by its weight, of each population in turn.",
        "weights.png": "Effective size of the particles, before resampling, as noise falls (mean over populations).",
    }
    return captions | _over_time(found["and"].runs, directory)


def _weight_panel(title: str, runs: Mapping[str, ParticleRun]) -> Panel:
    size = next(iter(runs.values())).log_weights.shape[1]
    curves = [
        Curve(run.sigma[1:].cpu(), run.ess.double().mean(1).cpu(), method)
        for method, run in runs.items()
        if run.weights != "none"
    ]
    return Panel(title, "σ", f"effective size, of {size}", curves, xscale="log", ylim=(0, 1.05 * size))


def _over_time(runs: Mapping[str, ParticleRun], directory: Path) -> dict[str, str]:
    """How many lines of the first generation are left, and the estimate of log Z."""
    curves, evidence = [], []
    for method, run in runs.items():
        if run.weights == "none":
            continue
        sigma = run.sigma.cpu()
        roots = run.lines.cpu()  # (t + 1, m, n)
        alive = torch.tensor([[len(pop.unique()) for pop in level] for level in roots], dtype=torch.float64)
        curves.append(Curve(sigma[: len(alive)], alive.mean(1), method))
        centred = run.log_path.cpu() - run.log_path.cpu().mean(1, keepdim=True)
        evidence.append(Curve(sigma, centred.std(1), method))
    panels(
        [
            Panel("Genealogy", "σ", "ancestors of the last generation", curves, xscale="log"),
            Panel("Evidence", "σ", "s.d. of log Z over populations, nats", evidence, xscale="log"),
        ],
        directory / "particles.png",
    )
    text = "AND: particles at each noise level that the final ones descend from, and log Z over populations."
    return {"particles.png": text}


def _errors(
    models: Mapping[str, Any], world: SampleWorld, options: EnergyEvaluation, directory: Path, device: torch.device
) -> dict[str, str]:
    config = next(iter(models.values())).config
    x, label = (part.to(device) for part in world.some("test", options.rows))
    denoisers = {name: denoiser_of(model) for name, model in models.items()}
    told = label if config.classes else None
    reference = TEACHER if TEACHER in models else ""
    levels = [float(s) for s in torch.logspace(math.log10(0.03), math.log10(5), 10)]
    rows = error_rows(denoisers, x, told, levels, config.data_scale, 1, reference)
    curves = {
        name: (levels, [row.value for row in rows if row.model == name and row.name.startswith("denoising")])
        for name in models
    }
    lines(curves, directory / "denoising.png", "σ", "mean squared error per dimension", log=(True, True))
    captions = {"denoising.png": "Error of the denoised test samples by noise level."}
    if reference and len(models) > 1:
        distances = {
            name: (levels, [row.value for row in rows if row.model == name and row.name.startswith("distance")])
            for name in models
            if name != reference
        }
        lines(distances, directory / "distance.png", "σ", "squared distance to the teacher", log=(True, True))
        captions["distance.png"] = "Distance to the teacher's denoiser, in the scale of the network's output."
    return captions


def _samples(
    models: Mapping[str, Any], options: EnergyEvaluation, directory: Path, device: torch.device
) -> dict[str, str]:
    captions, columns = {}, 10
    for name, model in progress.track(models.items(), "pictures of samples", "models"):
        config = model.config
        grid = karras_grid(options.steps, config.sigma_min, config.sigma_max)
        classes = range(min(10, config.classes)) if config.classes else [None] * 3
        parts = [generate(model.given(label), columns, grid, k, device) for k, label in enumerate(classes)]
        file = f"samples-{name.replace(' ', '-')}.png"
        image_grid(torch.cat(parts).clamp(-1, 1).cpu(), directory / file, columns=columns)
        captions[file] = f"Samples of {name}, one class a row, by the probability flow; the same noise for every model."
    return captions


def _agreement(
    model: EnergyModel, known: Density, world: SampleWorld, directory: Path, device: torch.device
) -> dict[str, str]:
    shown = []
    x = world.some("test", 1000)[0].to(device)
    for level in (0.2, 0.5, 1.0):
        sigma = level * model.data_scale
        noisy = noised(x, sigma, 0)
        true = log_densities(known, noisy.double(), sigma).cpu()
        own = log_densities(model.given(None), noisy, sigma).double().cpu()
        true, own = true - true.mean(), own - own.mean()
        ends = [float(true.min()), float(true.max())]
        shown.append(
            Panel(f"σ = {level:g} σ_d", "log p of the closed form", "of the energy",
                  [Curve(ends, ends, style="dashed"), Curve(true, own, style="points")])
        )  # fmt: skip
    panels(shown, directory / "log-density.png", columns=3)
    return {
        "log-density.png": "Log-densities of noisy test samples around their mean, against the closed form, in nats."
    }


def _plane(model: EnergyModel, known: Density, directory: Path, device: torch.device) -> dict[str, str]:
    side = 64
    axis = torch.linspace(-2.2, 2.2, side)
    points = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1).view(-1, 2).to(device)
    images, titles = [], []
    for level in (0.1, 0.3, 1.0):
        for name, density in (("closed form", known), ("energy", model.given(None))):
            logs = log_densities(density, points, level * model.data_scale)
            images.append((logs - logs.max()).exp().view(1, side, side).flip(1).cpu())
            titles.append(f"{name}, σ = {level:g} σ_d")
    image_grid(torch.stack(images), directory / "density.png", columns=2, titles=titles, low=0, high=1, width=500)
    return {"density.png": "Densities in the plane, of the closed form and of the energy, each in units of its peak."}
