"""Run folders as one self-contained HTML page: pictures inlined, no scripts, nothing loaded from elsewhere.

A page is made of a run's files alone (``config.yaml``, ``metrics.jsonl``, ``evaluation.json``, ``figures/``,
``provenance.json``), whatever system wrote them; what is missing or half-written is left out.
"""

import base64
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from tenfold.errors import UsageError
from tenfold.figures import curves
from tenfold.figures.theme import INK_ALONE
from tenfold.files import write_output
from tenfold.reports.measures import Headline, headlines
from tenfold.reports.style import STYLE
from tenfold.reports.tables import format_value, metric_html, title_of
from tenfold.runs.measurement import Measurement
from tenfold.runs.run_folder import RunFolder

CURVES = "training-curves.png"
_MOST_RECORDS = 5000  # of a kind: more than a picture has pixels
_HEAD = 1024  # bytes of a PNG before its pixels: what it says of itself


@dataclass
class RunFiles:
    """What a report shows of a run."""

    folder: Path
    name: str
    system: str = ""
    settings: str = ""
    records: list[dict[str, Any]] = field(default_factory=list)
    rows: list[Measurement] = field(default_factory=list)
    figures: list[tuple[Path, str]] = field(default_factory=list)
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def own(self) -> set[str]:
        """Names of the models that the run itself trained, as its rows call them."""
        models = {row.model for row in self.rows}
        if models == {""}:  # rows of one model need not name it
            return models
        return {self.name} & models or {next((row.model for row in self.rows if row.model), "")} - {""}


def write_report(run_folder: str | os.PathLike[str]) -> Path:
    """Write ``report.html`` of a run, of any system, and its training curves; returns the page's path.

    Raises UsageError for a folder that holds no run."""
    folder = Path(run_folder)
    run = read_run(folder)
    return _write(folder / "report.html", run.name, _lead(run), [run])


def write_joint_report(
    runs: Sequence[str | os.PathLike[str]], out: str | os.PathLike[str], title: str = "tenfold"
) -> Path:
    """Write one page about several runs: their measurements in common tables, then a section a run.

    Raises UsageError without runs, or for a folder that holds none."""
    if not runs:
        raise UsageError("a joint report needs at least one run folder, but none was given")
    read = [read_run(Path(run)) for run in runs]
    names = ", ".join(run.name for run in read)
    return _write(Path(out), title, f"{len(read)} runs: {names}", read)


def read_run(folder: Path) -> RunFiles:
    """A run's files; draws its training curves into ``figures/`` first.

    Raises UsageError for a folder without any of a run's files."""
    known = ("config.yaml", "metrics.jsonl", "evaluation.json", "provenance.json", "figures")
    if not folder.is_dir() or not any((folder / name).exists() for name in known):
        raise UsageError(f"{folder} holds no run (none of {', '.join(known)}); give a run folder")
    settings = _text(folder / "config.yaml")
    name, system = _names(settings, folder)
    run = RunFolder(folder)
    records = run.read_metrics(_MOST_RECORDS)
    curves(records, folder / "figures" / CURVES)
    return RunFiles(
        folder,
        name,
        system,
        settings,
        records,
        run.read_evaluation() if run.evaluation.exists() else [],
        _figures(folder / "figures"),
        run.read_provenance(),
    )


# --- reading ----------------------------------------------------------------------------------------------


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(_text(path) or "{}")
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _names(settings: str, folder: Path) -> tuple[str, str]:
    import yaml

    try:
        values = yaml.safe_load(settings)
    except yaml.YAMLError:
        values = None
    values = values if isinstance(values, dict) else {}
    name = values.get("recipe") or values.get("name") or folder.resolve().name
    return str(name), str(values.get("system", ""))


def _figures(folder: Path) -> list[tuple[Path, str]]:
    captions = _json(folder / "captions.json")
    shown = sorted((*folder.glob("*.png"), *folder.glob("*.txt"))) if folder.is_dir() else []
    paths = {path.name: path for path in shown}
    # The captions' order is the order in which the system wants to be read; curves close the section.
    order = [name for name in captions if name in paths]
    order += [name for name in paths if name not in captions and name != CURVES]
    order += [CURVES] if CURVES in paths and CURVES not in captions else []
    fallback = {CURVES: "Training: metrics over steps."}
    return [
        (
            paths[name],
            str(captions.get(name) or fallback.get(name, title_of(Path(name).stem.replace("-", "_")))),
        )
        for name in order
    ]


# --- writing ----------------------------------------------------------------------------------------------


def _write(path: Path, title: str, lead: str, runs: list[RunFiles]) -> Path:
    return write_output(path, _page(title, lead, runs))


def _page(title: str, lead: str, runs: list[RunFiles]) -> str:
    joint = len(runs) > 1
    rows = _distinct(runs)
    own = set().union(*(run.own for run in runs))
    body = [_headline(run, joint) for run in runs] if any(run.rows for run in runs) else []
    if rows:
        body.append(f'<section id="results"><h2>Results</h2>{_spread(rows)}{metric_html(rows, own)}</section>')
    for i, run in enumerate(runs):
        heading = f"<h2>{escape(run.name)}<small>{escape(_lead(run))}</small></h2>" if joint else ""
        body.append(f'<section id="run-{i}">{heading}{_pictures(run, joint)}{_background(run)}</section>')
    links = [f'<a href="#run-{i}">{escape(run.name)}</a>' for i, run in enumerate(runs)]
    nav = f'<nav><a href="#results">Results</a>{"".join(links)}</nav>' if joint and rows else ""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n<body>"
        f'<header class="top"><h1>{escape(title)}</h1><p class="lead">{escape(lead)}</p>{nav}</header>\n'
        f"<main>{''.join(body)}</main>\n"
        f"<footer>{escape(_footer(runs))}</footer></body></html>\n"
    )


def _spread(rows: list[Measurement]) -> str:
    if all(row.standard_error is None for row in rows):
        return ""
    return (
        '<p class="lead">± is one standard error over what a value is the mean of (test samples, draws or repeats) for '
        "one trained model; how much another seed would change it is not in it.</p>"
    )


def _distinct(runs: list[RunFiles]) -> list[Measurement]:
    # Runs on the same data repeat their baselines; equal rows are shown once.
    return list(dict.fromkeys(row for run in runs for row in run.rows))


def _lead(run: RunFiles) -> str:
    parts = [run.system] if run.system else []
    if run.records:
        parts.append(f"{int(run.records[-1]['step']):,} steps")
    seconds = [r["seconds"] for r in run.records if isinstance(r.get("seconds"), int | float)]
    if seconds:
        total = seconds[-1]
        parts.append(f"{total:.0f} s of training" if total < 600 else f"{total / 60:.0f} min of training")
    if isinstance(run.provenance.get("started"), str):
        parts.append(run.provenance["started"].replace("T", " ")[:16])
    return " · ".join(parts)


def _headline(run: RunFiles, joint: bool) -> str:
    cards = [_card(found) for found in headlines(run.rows, run.own)]
    if not cards:
        return ""
    heading = f"<h2>{escape(run.name)}</h2>" if joint else ""
    return f'{heading}<div class="cards">{"".join(cards)}</div>'


def _card(found: Headline) -> str:
    row, other = found.row, found.baseline
    value, _, error = format_value(row.value, row.standard_error).partition(" ± ")
    title = title_of(row.name) + (", the worst" if found.worst else "")
    notes = [f"± {error}"] if error else []
    notes += [row.split] if row.split else []
    beside = ""
    if other is not None:
        # An exact value has as many digits as the estimate that it stands beside.
        number = format_value(other.value, other.standard_error or row.standard_error).partition(" ± ")[0]
        beside = f'<span class="note">{escape(f"{other.model}: {number}")}</span>'
    unit = f' <span class="unit">{escape(row.unit)}</span>' if row.unit else ""
    return (
        f'<div class="card stat"><span class="name">{escape(title)}</span><b>{escape(value)}{unit}</b>'
        f'<span class="note">{escape(", ".join(notes))}</span>{beside}</div>'
    )


def _pictures(run: RunFiles, joint: bool) -> str:
    if not run.figures:
        return ""
    figures = []
    for path, caption in run.figures:
        if path.suffix == ".txt":
            text = f"<pre>{escape(_text(path))}</pre>"
            figures.append(f'<figure class="wide">{text}<figcaption>{escape(caption)}</figcaption></figure>')
            continue
        data = path.read_bytes()
        width, height = _png_size(data)
        mark = ' class="wide"' if width > max(1000, 1.3 * height) else ""
        # Lines and letters may change their lightness with the theme; pixels of data and their colours may not.
        kind = ' class="ink"' if INK_ALONE.encode() in data[:_HEAD] else ""
        figures.append(
            f'<figure{mark}><div class="scroll"><img{kind} alt="{escape(caption)}" width="{width}" height="{height}" '
            f'src="data:image/png;base64,{base64.b64encode(data).decode()}"></div>'
            f"<figcaption>{escape(caption)}</figcaption></figure>"
        )
    heading = "" if joint else "<h2>Pictures</h2>"
    return f'{heading}<div class="figures">{"".join(figures)}</div>'


def _png_size(data: bytes) -> tuple[int, int]:
    # Width and height are the first two fields of the first chunk (IHDR).
    if data[:8] != b"\x89PNG\r\n\x1a\n" or len(data) < 24:
        return 1, 1
    return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")


def _background(run: RunFiles) -> str:
    parts = []
    facts = "".join(
        f"<dt>{escape(title_of(key))}</dt><dd>{escape(_plain(value))}</dd>"
        for key, value in run.provenance.items()
        if value not in (None, "", [], {})
    )
    if facts:
        parts.append(f"<details><summary>Where this comes from</summary><dl>{facts}</dl></details>")
    if run.settings:
        parts.append(f"<details><summary>Settings</summary><pre>{escape(run.settings)}</pre></details>")
    return "".join(parts)


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_plain(part)}" for key, part in value.items())
    if isinstance(value, list):
        separator = " " if all(isinstance(part, str) for part in value) else "; "
        return separator.join(_plain(part) for part in value)
    return str(value)


def _footer(runs: list[RunFiles]) -> str:
    versions: dict[str, Any] = {}
    for run in runs:
        found = run.provenance.get("versions")
        versions = found if isinstance(found, dict) and not versions else versions
    version = f" {versions['tenfold']}" if "tenfold" in versions else ""
    return f"Written by tenfold{version} from the files of the run{'s' if len(runs) > 1 else ''}."
