"""Everything that is measured of denoisers and energies, side by side."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from tenfold.energy.evaluation.denoising import Denoise, curl_rows, error_rows
from tenfold.energy.evaluation.images import outlier_rows, sample_rows
from tenfold.energy.evaluation.ranking import agreement_rows, score_error_rows
from tenfold.energy.model import EnergyModel, Preconditioned
from tenfold.energy.options import EnergyEvaluation
from tenfold.energy.worlds.rows import SampleWorld
from tenfold.runs.measurement import Measurement

TEACHER = "teacher"
AGREEMENT = (0.2, 0.5, 1.0)
"""Noise levels, in units of σ_d, at which log-densities are compared with closed forms."""


def denoiser_of(model: Preconditioned) -> Denoise:
    """D(x, σ, label) of a denoiser or an energy."""

    def denoise(x: Tensor, sigma: Tensor, label: Tensor | None) -> Tensor:
        found: Any = model(x, sigma, label)
        denoised: Tensor = found.denoised if isinstance(model, EnergyModel) else found
        return denoised

    return denoise


def measure(
    models: Mapping[str, Any],
    world: SampleWorld,
    options: EnergyEvaluation,
    device: torch.device,
    before: Mapping[str, Any] | None = None,
) -> list[Measurement]:
    """Rows of all ``models`` (one may be called "teacher") on the test split: denoising error and distance to the
    teacher by noise level (of models ``before`` their training too), relative curl, agreement with a closed form, FID
    of samples, AUROC."""
    config = next(iter(models.values())).config
    x, label = (part.to(device) for part in world.some("test", options.rows))
    told = label if config.classes else None
    denoisers = {name: denoiser_of(model) for name, model in models.items()}
    untrained = {name: denoiser_of(model) for name, model in (before or {}).items()}
    reference = TEACHER if TEACHER in models else ""
    rows = error_rows({**denoisers, **untrained}, x, told, options.levels, config.data_scale, options.draws, reference)
    few = x[: options.probes], None if told is None else told[: options.probes]
    rows += curl_rows(denoisers, *few, options.levels)
    energies: dict[str, Any] = {
        name: model.given(None) for name, model in models.items() if isinstance(model, EnergyModel)
    }
    if world.known is not None and energies:
        levels = [level * config.data_scale for level in AGREEMENT]
        rows += agreement_rows(energies, world.known, x, levels)
        rows += score_error_rows({name: model.given(None) for name, model in models.items()}, world.known, x, levels)
    given = {name: one.given for name, one in models.items() if config.classes}
    rows += sample_rows(given, world, options, (config.sigma_min, config.sigma_max), device)
    ranks = {
        name: (lambda x, sigma, one=one: one.log_density(x, torch.tensor(sigma, device=x.device)))
        for name, one in energies.items()
    }
    if ranks:
        rows += outlier_rows(ranks, world, config.data_scale, device)
    rows += [
        Measurement("parameters", sum(p.numel() for p in model.parameters()), "", "", name)
        for name, model in models.items()
    ]
    return rows
