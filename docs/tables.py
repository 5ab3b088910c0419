"""Write the generated parts of README.md and docs/*.md: tables and texts of results/*.json, and the systems' state.

A part stands between markers; filters (see ``chosen``) choose rows, and of texts the numbers are given::

    <!-- table: results/digits.json split=test -->
    <!-- end -->
    <!-- texts: results/infilling.json bodies 0 3 -->
    <!-- end -->

``python docs/tables.py`` writes all of them; ``--check`` only tells which ones differ, and exits with 1. ``--stale``
lists the results whose room has changed since they were made, for whoever decides what is to be redone.
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PART = re.compile(r"(<!-- (table|texts|systems)(?:: ?([^\n]*?))? ?-->\n)(.*?)(<!-- end -->)", re.DOTALL)
METRIC_COLUMNS = ("name", "model", "split", "value", "unit", "draws", "seeds", "note")
_NUMBERS = ("value", "ours", "other", "ratio", "max_error", "ours_error", "other_error")
RECORD_COLUMNS = ("name", "ours", "other", "unit", "ratio", "max_error", "ours_error", "other_error", "sizes")


def documents() -> list[Path]:
    """The files that may hold generated parts."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def written(text: str) -> str:
    """The text of a document with every generated part made anew."""

    def part(match: re.Match[str]) -> str:
        made = {"systems": lambda _: systems(), "table": table, "texts": texts}[match[2]](match[3])
        return f"{match[1]}{made}{match[5]}"

    return PART.sub(part, text)


def table(instruction: str) -> str:
    """The Markdown table that "results/x.json key=value ..." asks for."""
    name, *filters = instruction.split()
    content = content_of(name)
    wanted = dict(f.split("=", 1) for f in filters)
    kind, columns = ("records", RECORD_COLUMNS) if "records" in content else ("metrics", METRIC_COLUMNS)
    rows = [r for r in content[kind] if all(chosen(r, key, value) for key, value in wanted.items())]
    if not rows:
        raise SystemExit(f"{instruction}: no such rows")
    if kind == "records":
        rows, said = [{**errors_of(row), **row} for row in rows], remarks(rows, bool(content.get("quick")))
    else:
        said = spread(rows, own_spread(Path(name).stem))
    command = content.get("command")
    shown, same = varying(columns, rows)
    sentences = same + ([f"Measured by `{command}`."] if command else []) + said
    return markdown(shown, rows) + (f"\n{' '.join(sentences)}\n" if sentences else "")


def varying(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[str]]:
    """The columns in which rows differ, with those of numbers, and a sentence of what is the same in all of them.

    >>> varying(("name", "model", "value"), [{"name": "a", "model": m, "value": 1.0} for m in "xy"])
    (['model', 'value'], ['In every row: name a.'])
    >>> varying(("name", "value"), [{"name": "a", "value": 1.0}])
    (['name', 'value'], [])
    """
    filled = [column for column in columns if any(row.get(column) not in (None, "") for row in rows)]
    same = {c for c in filled if c not in _NUMBERS and len({figure(row.get(c)) for row in rows}) == 1}
    if len(rows) < 2 or not same:
        return filled, []
    if not [c for c in filled if c not in same and c not in _NUMBERS]:  # something must tell the rows apart
        same.discard(filled[0])
    told = ", ".join(f"{c.replace('_', ' ')} {figure(rows[0].get(c))}" for c in filled if c in same)
    return [c for c in filled if c not in same], [f"In every row: {told}."] if told else []


def spread(rows: Sequence[Mapping[str, Any]], own: str = "") -> list[str]:
    """What ± is over in a table, and which of its rows one training stands for: sentences to write below it.

    ``own`` is what the job itself says of its ±. Rows that ``results/run.py`` averaged carry their number of seeds.

    >>> spread([{"value": 1.0, "standard_error": 0.1, "seeds": 3}])
    ['± is the standard error between 3 seeds.']
    >>> spread([{"value": 1.0, "seeds": 1}])
    ['One seed: what another training would give is not measured.']
    >>> spread([{"value": 1.0}])
    []
    """
    told = [row for row in rows if row.get("standard_error") is not None]
    trained = {row["seeds"] for row in rows if "seeds" in row}
    within = own or "over what one run averages (test samples, draws or repeats)"
    if not trained:
        return [f"± is the standard error {within}."] if told else []
    between = sorted({row["seeds"] for row in told if row.get("seeds", 1) > 1})
    counts = " or ".join(map(str, between))
    alone = any(row.get("seeds", 1) == 1 for row in told)
    said = []
    if between:
        rest = f"; with one seed, {within}" if alone else ""
        said = [f"± is the standard error between {counts} seeds{rest}."]
    elif told:
        said = [f"± is the standard error {within}."]
    if trained == {1}:
        said.append("One seed: what another training would give is not measured.")
    return said


def own_spread(job: str) -> str:
    """What a job says that its ± is over; empty where it leaves that to its seeds."""
    from tenfold.api.catalogue import jobs

    return str(getattr(jobs().get(job), "spread", ""))


def errors_of(row: Mapping[str, Any]) -> dict[str, float]:
    """The errors of both sides of a benchmark's record, by the names of the columns.

    >>> errors_of({"details": {"ours_error": 1e-9, "other_error": 1e-6, "calls": 3}})
    {'ours_error': 1e-09, 'other_error': 1e-06}
    """
    details = row.get("details", {})
    return {side: details[side] for side in ("ours_error", "other_error") if side in details}


def remarks(rows: Sequence[Mapping[str, Any]], quick: bool = False) -> list[str]:
    """What a reader of benchmarks must know: rows that were not run at the size they stand for, and short runs.

    >>> remarks([{"name": "count", "details": {"other": "extrapolated from N = 1e+07"}}, {"name": "b"}])
    ['Not run but extrapolated: `count` (other: extrapolated from N = 1e+07).']
    """
    found = []
    for row in rows:
        details = {"note": row.get("note", ""), **row.get("details", {})}
        found += [f"`{row['name']}` ({k}: {v})" for k, v in details.items() if "extrapolated" in str(v)]
    said = [f"Not run but extrapolated: {', '.join(found)}."] if found else []
    return said + (["Short run (`--quick`): numbers are rough."] if quick else [])


def texts(instruction: str) -> str:
    """The texts that "results/x.json key number ..." asks for, as blocks."""
    name, key, *numbers = instruction.split()
    content = content_of(name)
    blocks = [f"```text\n{content[key][int(number)].rstrip()}\n```\n" for number in numbers]
    return "\n".join([*blocks, f"Written by `{content['command']}`.\n"])


def content_of(name: str) -> dict[str, Any]:
    """A file of results."""
    if not (ROOT / name).exists():
        raise SystemExit(f"{name} does not exist; make it with 'python results/run.py {Path(name).stem}'")
    content: dict[str, Any] = json.loads((ROOT / name).read_text())
    return content


def chosen(row: dict[str, Any], key: str, value: str) -> bool:
    """Whether a row passes one filter: ``key=value``, with _ for spaces in the value and || between values of which one
    will do, or ``prefix=`` and ``without=`` of the beginning of its name."""
    if key in ("prefix", "without"):
        return row["name"].startswith(value) is (key == "prefix")
    return str(row.get(key)).replace(" ", "_") in value.replace(" ", "_").split("||")


def systems() -> str:
    """The table of the ten systems and their state."""
    from tenfold.api.catalogue import ten

    lines = ["| system | what it is | paper | state |", "|---|---|---|---|"]
    for name, s in ten().items():
        number = s.paper.removeprefix("arXiv:")
        lines.append(f"| `{name}` | {s.title} | [{number}](https://arxiv.org/abs/{number}) | {s.state} |")
    return "\n".join(lines) + "\n"


def markdown(columns: Iterable[str], rows: list[dict[str, Any]]) -> str:
    """Rows as a Markdown table."""
    shown = list(columns)
    titles = [c.replace("_", " ") for c in shown]
    lines = [f"| {' | '.join(titles)} |", "|" + "---|" * len(shown)]
    lines += [f"| {' | '.join(cell(row, column) for column in shown)} |" for row in rows]
    return "\n".join(lines) + "\n"


def cell(row: dict[str, Any], column: str) -> str:
    """One value as text; a measured value with its standard error."""
    value = row.get(column)
    text = figure(value)
    if column == "value" and row.get("standard_error") is not None:
        text += f" ± {row['standard_error']:.2g}"
    return text.replace("|", "\\|")


def figure(value: Any) -> str:
    """A number with four significant digits or so; lists and dictionaries on one line.

    >>> figure(2.123456), figure(0.00001234), figure({"T": 256}), figure(None)
    ('2.123', '1.23e-05', 'T 256', '')
    """
    if value is None:
        return ""
    if isinstance(value, bool | int | str):
        return str(value)
    if isinstance(value, float):
        return f"{value:.4g}" if value == 0 or 1e-3 <= abs(value) < 1e5 else f"{value:.2e}"
    if isinstance(value, dict):
        return ", ".join(f"{k} {figure(v)}" for k, v in value.items())
    return ", ".join(figure(v) for v in value)


def stale_results(root: Path, watched: Mapping[str, Sequence[str]]) -> list[str]:
    """A line for every file of results of which something that it is ``watched`` for, by its name, has changed since:
    since the commit that the file tells, or else since the one that wrote the file."""
    lines = []
    for file in sorted((root / "results").glob("*.json")):
        content = json.loads(file.read_text())
        if file.stem not in watched:
            lines.append(f"results/{file.name}: no job makes it any more")
            continue
        place = f"results/{file.name}"
        since = content.get("commit") or git(root, "log", "-1", "--format=%H", "--", place)
        if not since or not git(root, "rev-parse", "--verify", "--quiet", f"{since}^{{commit}}"):
            lines.append(f"{place}: the commit that made it is not in this history")
            continue
        changed = git(root, "diff", "--name-only", since, "--", *watched[file.stem]).splitlines()
        if changed:
            some = ", ".join(changed[:3]) + (f" and {len(changed) - 3} more" if len(changed) > 3 else "")
            lines.append(f"{place}: changed since {since[:7]}: {some}")
    return lines


def watched_files() -> dict[str, list[str]]:
    """What each job's results depend on: its room, and its benchmark."""
    from tenfold.api.catalogue import jobs, rooms_of_jobs
    from tenfold.runs.jobs import Benchmark

    files = {name: [f"tenfold/{room}"] for name, room in rooms_of_jobs().items()}
    for name, job in jobs().items():
        if isinstance(job, Benchmark):
            files[name] += [f"benchmarks/{job.room}.py", "benchmarks/harness.py"]
    return files


def git(root: Path, *arguments: str) -> str:
    """What git says; empty where it fails."""
    return subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=False).stdout.strip()


def main(arguments: list[str]) -> int:
    """Write, or with --check compare, or with --stale list the results that may be out of date."""
    if "--stale" in arguments:
        print("\n".join(stale_results(ROOT, watched_files()) or ["every result is newer than its room"]))
        return 0
    stale = [path for path in documents() if written(path.read_text()) != path.read_text()]
    for path in stale:
        if "--check" in arguments:
            print(f"{path.relative_to(ROOT)}: a table differs from its source; run 'make docs'", file=sys.stderr)
        else:
            path.write_text(written(path.read_text()))
            print(f"wrote {path.relative_to(ROOT)}")
    return int(bool(stale) and "--check" in arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
