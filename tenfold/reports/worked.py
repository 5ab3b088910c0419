"""Worked examples: a function's measurements and figures as a run folder with a self-contained report."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tenfold.figures.style import write_captions
from tenfold.files import write_json
from tenfold.reports.html import write_report
from tenfold.runs.measurement import Measurement
from tenfold.runs.run_folder import RunFolder, provenance
from tenfold.runs.system import Example


def run_example(
    example: Example,
    name: str,
    out: str | os.PathLike[str],
    quick: bool = False,
    progress: Callable[[float], None] = lambda done: None,
    options: Mapping[str, Any] | None = None,
    system: str = "",
) -> tuple[Path, list[Measurement]]:
    """Run a worked example into the folder ``out`` (evaluation.json, figures/, data.json, report.html); returns the
    page and the measurements.

    Args:
        name: the example's, in the folder's settings and on the page.
        progress: called with the fraction done.
        options: the example's own.
        system: the one that it belongs to.

    Raises UsageError for a folder that holds a run already."""
    folder = RunFolder(out)
    folder.refuse_existing_run()
    facts = provenance()
    folder.figures.mkdir(parents=True, exist_ok=True)
    found = example.run()(folder.figures, quick, progress, **(options or {}))
    folder.start({"name": f"example-{name}", "system": system, "quick": quick, **found.settings})
    folder.write_evaluation(found.rows)
    folder.write_provenance(**facts)
    write_captions(folder.figures, found.captions)
    if found.data:
        write_json(folder.path / "data.json", found.data)
    return write_report(folder.path), found.rows
