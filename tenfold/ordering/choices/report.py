"""Scored items as a folder: the page, its numbers, and a log with a line for every option."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tenfold.figures import write_captions
from tenfold.files import disk_errors, json_text, write_json
from tenfold.ordering.choices.measuring import ChoiceResults, draw_choices
from tenfold.ordering.choices.reranking import Reranked
from tenfold.ordering.choices.scoring import ChoiceScores
from tenfold.reports import write_report
from tenfold.runs.run_folder import RunFolder, provenance
from tenfold.settings.arguments import read_arguments


@read_arguments
def report_choices(
    scores: ChoiceScores,
    results: ChoiceResults,
    out: str | os.PathLike[str],
    facts: Mapping[str, Any] | None = None,
    reranked: Reranked | None = None,
) -> Path:
    """Write ``evaluation.json``, ``data.json`` (all results), ``choices.jsonl`` (every option with all of its sums),
    figures and ``report.html``; the page's path. ``facts`` are shown with the settings; ``reranked`` is a row of its
    own.

    Raises UsageError for a folder that holds a run already."""
    folder = RunFolder(out)
    folder.refuse_existing_run()
    made = provenance()
    with disk_errors(str(out)):
        folder.figures.mkdir(parents=True, exist_ok=True)
        captions = draw_choices(results, folder.figures)
        folder.start({"name": "score-choices", "system": "ordering", **vars(scores.scoring), **(facts or {})})
        folder.write_evaluation([*results.measurements(), *([] if reranked is None else [reranked.measurement()])])
        folder.write_provenance(**made)
        write_captions(folder.figures, captions)
        write_json(
            folder.path / "data.json",
            {**results.to_dict(), **({} if reranked is None else {"reranked": reranked.to_dict()})},
        )
        lines = (json_text(record) for record in scores.log())
        (folder.path / "choices.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return write_report(folder.path)
