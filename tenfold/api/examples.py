"""Worked examples by name: each fills a run folder with measurements, figures and a self-contained report."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tenfold.api import catalogue
from tenfold.api.runs import Run, open_run
from tenfold.errors import UsageError, suggest
from tenfold.figures import write_captions
from tenfold.files import write_json
from tenfold.reports import write_report
from tenfold.runs.measurement import Measurement
from tenfold.runs.run_folder import RunFolder, provenance
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
    folder = RunFolder(out)
    folder.refuse_existing_run()
    facts = provenance()
    folder.figures.mkdir(parents=True, exist_ok=True)
    found = known[name].run()(folder.figures, quick, progress, **(options or {}))
    folder.start({"name": f"example-{name}", "system": "quasiperiodic", "quick": quick, **found.settings})
    folder.write_evaluation(found.rows)
    folder.write_provenance(**facts)
    write_captions(folder.figures, found.captions)
    if found.data:
        write_json(folder.path / "data.json", found.data)
    return write_report(folder.path), found.rows


def losses_of(run: Run | str | os.PathLike[str]) -> list[SampledLoss]:
    """The loss of a trained run as a function of the uniform numbers that it draws, for the example "samplers".

    Raises UsageError for a run of a system that draws none."""
    task = open_run(run).trained()
    if not hasattr(task, "sampled_losses"):
        raise UsageError(f"{run} holds no model whose loss draws times or noise; give a flow's or a diffusion's run")
    found: list[SampledLoss] = task.sampled_losses()
    return found
