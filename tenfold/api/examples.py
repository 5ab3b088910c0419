"""Worked examples by name: each fills a run folder with measurements, figures and a self-contained report."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tenfold.api import catalogue
from tenfold.api.runs import Run, open_run
from tenfold.errors import UsageError, suggest
from tenfold.reports import worked
from tenfold.runs.measurement import Measurement
from tenfold.runs.sampled_loss import SampledLoss


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
    known = catalogue.examples()
    if name not in known:
        raise UsageError(f"there is no example {name!r}{suggest(name, known)}")
    return worked.run_example(known[name], name, out, quick, progress, options, catalogue.system_of_example(name))


def losses_of(run: Run | str | os.PathLike[str]) -> list[SampledLoss]:
    """The loss of a trained run as a function of the uniform numbers that it draws, for the example "samplers".

    Raises UsageError for a run of a system that draws none."""
    task = open_run(run).trained()
    if not hasattr(task, "sampled_losses"):
        raise UsageError(f"{run} holds no model whose loss draws times or noise; give a flow's or a diffusion's run")
    found: list[SampledLoss] = task.sampled_losses()
    return found
