"""Sampling a trained model: its classes by name, targets composed of them, and log Z of each."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tenfold import progress
from tenfold.energy.composition.expression import parse_target
from tenfold.energy.density import Score
from tenfold.energy.feynman_kac.calibration import calibrate
from tenfold.energy.feynman_kac.options import (
    ControlOptions,
    GridOptions,
    MoveOptions,
    ResamplingOptions,
    WeightOptions,
)
from tenfold.energy.feynman_kac.result import ParticleRun
from tenfold.energy.feynman_kac.sampler import ParticleSampler
from tenfold.energy.model import EnergyModel, Preconditioned
from tenfold.energy.normaliser import Normaliser
from tenfold.energy.options import EnergySampling
from tenfold.energy.worlds.rows import to_pixels
from tenfold.errors import UsageError
from tenfold.figures.images import image_grid
from tenfold.files import check_writable, disk_errors, json_text, write_output
from tenfold.settings.arguments import read_arguments
from tenfold.training.streams import key_of

PILOT = 256
WHOLE = "all"
"""What the model without a class is called in a target."""


def by_name(model: Any) -> dict[str, Score]:
    """The densities that a target may name: the classes, and "all"."""
    config = model.config
    names = config.class_names or tuple(f"class{label}" for label in range(config.classes))
    return {WHOLE: model.given(None), **{name: model.given(label) for label, name in enumerate(names)}}


def grid_of(model: Preconditioned, steps: int) -> GridOptions:
    """Noise levels over the range that the model was trained on."""
    return GridOptions(steps=steps, sigma_min=model.config.sigma_min, sigma_max=model.config.sigma_max)


@read_arguments
def measured_normaliser(
    model: EnergyModel, label: int | None = None, particles: int = 64, steps: int = 64, seed: int = 0
) -> Normaliser:
    """log Z(σ) of a class's energy, from noise to the least level: see ``feynman_kac.calibrate``."""
    given, device = model.given(label), next(model.parameters()).device
    given.normaliser, given.normalised = None, False
    found = calibrate(
        given, grid_of(model, steps), particles=particles, seed=key_of(seed, label) >> 1,
        control=ControlOptions(kind="none"), device=str(device),
    )  # fmt: skip
    return Normaliser(*(tuple(part.tolist()) for part in (found.sigma, found.log_z, found.standard_error)))


def sampler_of(target: Any, model: Preconditioned, options: EnergySampling) -> ParticleSampler:
    """The particle sampler that the options describe."""
    plain = options.method == "plain"
    return ParticleSampler(
        target,
        grid_of(model, options.steps),
        weights=WeightOptions(kind="none" if plain else options.weights),
        resampling=ResamplingOptions(threshold=0.5 if options.method == "smc" else 0.0),
        moves=MoveOptions(moves=options.moves),
        control=ControlOptions(kind=options.control, pilot=PILOT),
    )


def draw(model: Any, options: EnergySampling) -> ParticleRun:
    """Particles of a target of the model's classes, or of the model itself, with their weights.

    Raises UsageError for targets that name no class, and for weights of a model that is no energy."""
    if options.target:
        target: Any = parse_target(options.target, by_name(model))
    else:
        target = model.given(options.classes)
    if options.method != "plain" and not isinstance(model, EnergyModel):
        raise UsageError(
            "weights need an energy, and this model is a denoiser; choose --method plain, or distil an energy from it"
        )
    device = next(model.parameters()).device
    return sampler_of(target, model, options).sample(
        options.populations, options.particles, options.seed, device=device, chunk=options.chunk
    )


def write_samples(model: Any, options: EnergySampling, levels: int, folder: Path) -> list[Path]:
    """``samples.npz`` (particles, log weights, effective sizes, log Z by level; integer pixels of images),
    ``samples.json`` (how they were made, and what is uncertain), and a picture of images: one row a population, drawn
    by the weights."""
    check_writable(folder, "samples", folder=True)
    run = draw(model, options)
    is_image = len(model.config.shape) == 3
    arrays: dict[str, Any] = {
        "particles": run.particles, "log_weights": run.log_weights, "sigma": run.sigma, "ess": run.ess,
        "log_z_path": run.log_path, "unique_ancestors": run.unique,
    }  # fmt: skip
    if is_image:
        arrays["pixels"] = to_pixels(run.particles.flatten(0, 1), levels).unflatten(0, tuple(run.log_weights.shape))
    pairs: Any = {name: value.cpu().numpy() for name, value in arrays.items()}
    path, files = folder / "samples.npz", []
    with disk_errors(str(path)):
        folder.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(path, **pairs)
    if is_image:
        files.append(heaviest(run, folder / "samples.png"))
    evidence = run.evidence
    told = {
        "options": vars(options),
        "law": run.law,
        "log_z": evidence.log_z,
        "log_z_standard_error": evidence.standard_error,
        "effective_size": run.weighted.effective_size.tolist(),
        "unique_ancestors": run.unique.tolist(),
        "network_evaluations": run.units,
        "warnings": list(run.warnings),
    }
    return [*files, path, write_output(folder / "samples.json", json_text(told, indent=2) + "\n")]


def heaviest(run: ParticleRun, path: Path, columns: int = 16, rows: int = 8) -> Path:
    """Particles as images, one row a population, drawn by their weights."""
    count = min(columns, run.log_weights.shape[1])
    drawn = run.weighted.resample(count).particles[:rows]
    return image_grid(drawn.flatten(0, 1).clamp(-1, 1).float().cpu(), path, columns=count)


def keep_normalisers(model: EnergyModel, particles: int, steps: int, labels: Sequence[int]) -> None:
    """Measure and keep log Z of classes."""
    for label in progress.track(labels, "calibrating", "classes"):
        model.normalisers[label] = measured_normaliser(model, label, particles, steps)


def log_density_at(
    model: EnergyModel, x: Float[Tensor, "n *shape"], sigma: float, label: int | None, chunk: int
) -> Float[Tensor, " n"]:
    """log p_σ(x | label) in chunks: up to a constant unless the class was calibrated."""
    density, level = model.given(label), torch.tensor(sigma, dtype=x.dtype, device=x.device)
    parts = progress.track(x.split(chunk), "log densities", "chunks")
    return torch.cat([density.log_density(part, level) for part in parts])
