"""Worked examples by name: each fills a run folder with measurements, figures and a self-contained report."""

import os
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from tenfold.errors import UsageError, suggest
from tenfold.reports import worked
from tenfold.runs.measurement import Measurement
from tenfold.runs.sampled_loss import SampledLoss
from tenfold.runs.system import Example

# name -> (verb, "module:function", what it shows); the function is called with (figures folder, quick, progress).
EXAMPLES: dict[str, tuple[str, str, str]] = {
    "slabs": (
        "discrepancy",
        "tenfold.quasiperiodic.examples.slabs:run",
        "slab deviations against N^{1−1/b}, b = 1, 2, 3",
    ),
    "bad-set": ("discrepancy", "tenfold.quasiperiodic.examples.bad_sets:run", "hits of a set of small determinants"),
    "samplers": ("discrepancy", "tenfold.quasiperiodic.examples.samplers:run", "variance of losses by time sampler"),
    "aubry-andre": (
        "dynamics",
        "tenfold.quasiperiodic.examples.transition:run",
        "the localisation transition on one page: moments, Lyapunov exponents, Green's functions, profiles",
    ),
    "log-power": (
        "dynamics",
        "tenfold.quasiperiodic.examples.log_power:run",
        "two frequencies, long range, t to 1e5: log-power fit and model comparison",
    ),
    "expected": (
        "dynamics",
        "tenfold.quasiperiodic.examples.expected:run",
        "closed forms and independently computed values, each in its range",
    ),
    "scale": (
        "dynamics",
        "tenfold.quasiperiodic.examples.scale:run",
        "cost against size: boxes to 1e6 sites, d = 2, t to 1e5",
    ),
    "tcsm-worlds": (
        "analyse",
        "tenfold.discrete_diffusion.examples.worlds:run",
        "post-training of discrete diffusion on 64 sequences, where every optimum is known",
    ),
}


def run_example(
    name: str,
    out: str | os.PathLike[str],
    quick: bool = False,
    progress: Callable[[float], None] = lambda done: None,
    options: Mapping[str, Any] | None = None,
) -> tuple[Path, list[Measurement]]:
    """Run a worked example into the folder ``out`` (evaluation.json, figures/, data.json, report.html); returns the
    page and the measurements.

    Raises UsageError for an unknown name, or a folder that holds a run already."""
    if name not in EXAMPLES:
        raise UsageError(f"there is no example {name!r}{suggest(name, EXAMPLES)}")
    verb, place, about = EXAMPLES[name]
    module, _, function = place.partition(":")
    example = Example(verb, about, lambda: getattr(import_module(module), function))
    return worked.run_example(example, name, out, quick, progress, options, "quasiperiodic")


def losses_of(run: str | os.PathLike[str]) -> list[SampledLoss]:
    """The loss of a trained run as a function of the uniform numbers that it draws, for the example "samplers".

    Raises UsageError for a run of a system that draws none."""
    from tenfold import api

    task = api.trained_task(run)
    if not hasattr(task, "sampled_losses"):
        raise UsageError(f"{run} holds no model whose loss draws times or noise; give a flow's or a diffusion's run")
    found: list[SampledLoss] = task.sampled_losses()
    return found
