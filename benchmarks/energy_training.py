"""What a step of training costs: an energy's, distilled from a denoiser, against the denoiser's own.

``distil-step``: the same network, batch and samples; ``other`` is the denoiser's step, so that the ratio is below 1: an
energy is differentiated before its loss is. The errors are those of both sides against float64.
"""

import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.harness import Record, main, paired
from tenfold.api.catalogue import recipe
from tenfold.energy import DenoisingModel, EnergyModel
from tenfold.energy.loss import error

BATCHES = {"energy-digits": 128, "energy-mnist": 16}


def training_step(
    model: nn.Module,
    denoise: Callable[[Tensor, Tensor], Tensor],
    wanted: Callable[[Tensor, Tensor], Tensor],
    x: Tensor,
    sigma: Tensor,
) -> Callable[[], Tensor]:
    """One update of AdamW on the scaled squared distance to ``wanted``; returns the loss."""
    optimizer = torch.optim.AdamW(model.parameters(), 1e-5, fused=True)
    scale: Any = model.data_scale

    def step() -> Tensor:
        value = error(denoise(x, sigma), wanted(x, sigma), sigma, scale).mean()
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        return value.detach()

    return step


def distil_step(name: str, head: str, repeats: int) -> Record:
    """A denoiser's step over an energy's that includes the teacher's pass, in the networks of a recipe."""
    torch.manual_seed(0)
    pipeline: Any = recipe(name)
    config = replace(pipeline.energy.model, head=head)
    teacher, student = DenoisingModel(pipeline.teacher.model), DenoisingModel(pipeline.teacher.model)
    energy = EnergyModel(config)
    energy.start_from(teacher)
    x, sigma = torch.randn(BATCHES[name], *config.shape), torch.rand(BATCHES[name]) + 0.1
    label = torch.zeros(len(x), dtype=torch.int64)

    def said(x: Tensor, sigma: Tensor) -> Tensor:
        with torch.no_grad():
            found: Tensor = teacher(x, sigma, label)
        return found

    errors = [_error(model, x, sigma, label) for model in (energy, student)]
    ours = training_step(energy, lambda x, s: energy(x, s, label).denoised, said, x, sigma)
    other = training_step(student, lambda x, s: student(x, s, label), lambda x, s: x, x, sigma)
    seconds = paired(ours, other, repeats, warm_up=2)
    return Record(
        "distil-step" if head == "dot" and name == "energy-digits" else f"distil-step-{name}-{head}",
        *seconds,
        "s",
        max_error=max(errors),
        sizes={
            "recipe": name,
            "head": head,
            "batch": len(x),
            "parameters": sum(p.numel() for p in energy.parameters()),
        },
        details={"ours_error": errors[0], "other_error": errors[1]},
        note="other is one step of the denoiser itself; ours asks the teacher and goes back through a gradient",
    )


def _error(model: Any, x: Tensor, sigma: Tensor, label: Tensor) -> float:
    """The largest difference of a denoiser in float32 from the same in float64, over the largest value."""

    def denoised(model: Any, x: Tensor, sigma: Tensor) -> Tensor:
        found = model(x, sigma, label)
        out: Tensor = found.denoised if isinstance(model, EnergyModel) else found
        return out.detach()

    one = denoised(model, x, sigma)
    double = type(model)(model.config).double()
    double.load_state_dict(model.state_dict())
    exact = denoised(double, x.double(), sigma.double())
    return float((one - exact).abs().max() / exact.abs().max())


def benchmarks(quick: bool, emit: Callable[[Record], None]) -> None:
    """All records."""
    repeats = 5 if quick else 41
    emit(distil_step("energy-digits", "dot", repeats))
    emit(distil_step("energy-digits", "path", repeats))
    emit(distil_step("energy-mnist", "dot", 3 if quick else 11))


if __name__ == "__main__":
    sys.exit(main("energy_training", benchmarks))
