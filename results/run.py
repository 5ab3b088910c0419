"""Redo everything under results/: ``python results/run.py [NAME ...]`` (all without names; hours).

The rooms list the jobs (``results.py`` in each). A benchmark job runs ``python -m benchmarks.ROOM``, an example job a
worked example; a training job trains a recipe with several seeds into ``runs/results/`` and stores every measured value
as mean and standard error over the seeds.
Interrupted trainings go on where they stopped, finished ones are not repeated: delete ``runs/results`` to start over.
"""

import json
import math
import platform
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import combinations
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from tenfold.api.catalogue import jobs
from tenfold.discrete_diffusion.pictures import loss_against_compute
from tenfold.figures import lines
from tenfold.runs.jobs import Analysis, Benchmark, Comparison, Job, Training, Worked
from tenfold.runs.run_folder import RunFolder

ROOT = Path(__file__).resolve().parent.parent
RUNS = ROOT / "runs" / "results"
JOBS = jobs()


def make(name: str, job: Job) -> dict[str, Any]:
    """What a job's file of results holds."""
    if isinstance(job, Training):
        return trained(name, job)
    if isinstance(job, Comparison):
        return compared(name, job)
    if isinstance(job, Benchmark):
        return benchmarked(name, job)
    return worked(name, job) if isinstance(job, Worked) else analysed(name, job)


def trained(name: str, job: Training) -> dict[str, Any]:
    """Train, measure, and average over the seeds."""
    evaluations, facts = [], {}
    for seed in job.seeds:
        folder = RUNS / f"{name}-{seed}"
        if not (folder / "evaluation.json").exists():
            tenfold(*arguments(job, folder, seed))
        evaluations.append(json.loads((folder / "evaluation.json").read_text())["metrics"])
        # A run of several stages has its provenance in the folders of the stages.
        found = [folder / "provenance.json", *sorted(folder.glob("*/provenance.json"))]
        facts = json.loads(next(file for file in found if file.exists()).read_text())
    kept = {key: facts[key] for key in ("versions", "threads", "processes", "device") if key in facts}
    return {
        "command": job.command,
        **kept,
        **commit_of(facts),
        "seeds": list(job.seeds),
        "metrics": averaged(evaluations),
    }


def arguments(job: Training, folder: Path, seed: int) -> list[str]:
    """The arguments of ``tenfold`` that train or resume one seed."""
    if (folder / "config.yaml").exists():
        return ["train", "--resume", str(folder)]
    chosen = [part for option in job.seeded for part in (option, str(seed))] if len(job.seeds) > 1 else []
    return ["train", job.recipe, "--out", str(folder), *job.options, *chosen]


def compared(name: str, job: Comparison) -> dict[str, Any]:
    """Train and average each variant."""
    if job.after:
        make(job.after, JOBS[job.after])
    rows, made = [], {}
    for variant, training in job.variants.items():
        made = trained(f"{name}-{variant}", training)
        found = [row for row in made["metrics"] if row["name"] in job.metrics]
        models = job.models.get(variant, "")
        own = [row for row in found if models == row["model"] or (not models and row["model"].startswith("starflow"))]
        if variant == next(iter(job.variants)):
            rows += [row for row in found if row["model"] in job.baselines]
        rows += [{**row, "model": variant} for row in own]
        if not isinstance(models, str):
            rows += [{**row, "model": models[row["model"]]} for row in found if row["model"] in models]
    for other, run in job.beside.items():
        evaluation = averaged([json.loads((RUNS / run / "evaluation.json").read_text())["metrics"]])
        recipe = json.loads((RUNS / run / "model" / "config.json").read_text())["name"]
        found = [row for row in evaluation if row["name"] in job.metrics and row["model"] == recipe]
        rows = [{**row, "model": other} for row in found] + rows
    refuse_gaps(name, job, rows)
    if job.differences:
        rows += differences([row for row in rows if row["name"] == job.metrics[0] and row["model"] in job.variants])
    if job.compute:
        folders = {other: RUNS / run for other, run in job.beside.items()}
        folders |= {variant: RUNS / f"{name}-{variant}-0" for variant in job.variants}
        loss_against_compute(folders, ROOT / "docs" / "images" / f"{name}-compute.png", job.compute, job.unit)
    if job.curve:
        draw_curves(name, job)
    commands = [training.command for training in job.variants.values()]
    seeds = sorted({seed for training in job.variants.values() for seed in training.seeds})
    return {**made, "command": " and ".join(commands), "seeds": seeds, "metrics": rows}


def draw_curves(name: str, job: Comparison) -> None:
    """The mean over seeds of a metric of each variant's training, against the share of its steps: trainings that are
    given one time are compared at equal times."""
    stage, metric = job.curve.split("/")
    curves: dict[str, tuple[list[float], list[float]]] = {}
    for variant, training in job.variants.items():
        runs = [RunFolder(RUNS / f"{name}-{variant}-{seed}" / stage).read_metrics() for seed in training.seeds]
        found = [[r for r in run if r.get("kind") == "train" and metric in r] for run in runs]
        steps = [record["step"] for record in found[0]]
        means = [fmean(record[metric] for record in records) for records in zip(*found, strict=True)]
        curves[variant] = ([step / steps[-1] for step in steps], means)
    lines(curves, ROOT / "docs" / "images" / f"{name}-{metric}.png", "share of the training time", metric)


def refuse_gaps(name: str, job: Comparison, rows: list[dict[str, Any]]) -> None:
    """Raises SystemExit where a variant lacks the first metric, nothing has another, or a model beside them is missing.

    >>> job = Comparison({"a": Training("recipe")}, ("bits",), baselines=("b",))
    >>> refuse_gaps("it", job, [{"model": "a", "name": "bits"}])
    Traceback (most recent call last):
    SystemExit: it: there is no b
    """
    found = {(row["model"], row["name"]) for row in rows}
    models, metrics = {model for model, _ in found}, {metric for _, metric in found}
    gaps = [f"{variant} has no {job.metrics[0]}" for variant in job.variants if (variant, job.metrics[0]) not in found]
    gaps += [f"nothing has {metric}" for metric in job.metrics if metric not in metrics]
    gaps += [f"there is no {model}" for model in (*job.baselines, *job.beside) if model not in models]
    if gaps:
        raise SystemExit(f"{name}: {'; '.join(gaps)}")


def benchmarked(name: str, job: Benchmark) -> dict[str, Any]:
    """Run it and add the command to what it wrote."""
    file = RUNS / f"{name}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    line = [f"benchmarks.{job.room}", *job.options]
    subprocess.run([sys.executable, "-m", *line, "--json", str(file)], cwd=ROOT, check=True)
    return {**json.loads(file.read_text()), "command": job.command}


def worked(name: str, job: Worked) -> dict[str, Any]:
    """Run it, unless it was run before, and keep its measurements."""
    for other in job.after:
        make(other, JOBS[other])
    folder = RUNS / name
    if not (folder / "evaluation.json").exists():
        tenfold(job.verb, "--example", job.example, *job.options, "--out", str(folder))
    if job.picture:
        shutil.copy(folder / "figures" / job.picture, ROOT / "docs" / "images" / f"{name}.png")
    facts = json.loads((folder / "provenance.json").read_text())
    metrics = json.loads((folder / "evaluation.json").read_text())["metrics"]
    about = {"versions": facts["versions"], **commit_of(facts), "seeds": seeds_in(RunFolder(folder).load_config())}
    return {"command": job.command, **about, "metrics": metrics}


def analysed(name: str, job: Analysis) -> dict[str, Any]:
    """Run it, unless it was run before, and keep its measurements."""
    if job.after:
        make(job.after, JOBS[job.after])
    folder = RUNS / name
    if not (folder / "evaluation.json").exists():
        tenfold("analyse", str(RUNS / job.run), *job.options, "--out", str(folder))
    for picture in job.pictures:
        shutil.copy(folder / "figures" / picture, ROOT / "docs" / "images" / f"{name}-{picture}")
    facts, rows, data = (
        json.loads((folder / f"{file}.json").read_text()) for file in ("provenance", "evaluation", "data")
    )
    about = {"versions": facts["versions"], **commit_of(facts), "seeds": seeds_in(RunFolder(folder).load_config())}
    found = {"command": job.command, **about, "metrics": rows["metrics"]}
    if "samples" in data:
        found["samples"] = ["\n".join([f"{label}:", *texts]) for label, texts in data["samples"].items()]
    return found | ({"bodies": data["bodies"]} if "bodies" in data else {})


def commit_of(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The commit that a run's provenance tells, and whether files differed from it; nothing where it tells none.

    >>> commit_of({"git": {"commit": "1f2e", "changed": True}})
    {'commit': '1f2e', 'changed': True}
    """
    return dict(facts.get("git") or {})


def seeds_in(settings: Mapping[str, Any]) -> list[int]:
    """The seeds among settings, however deep.

    >>> seeds_in({"seed": 3, "train": {"seed": 1, "steps": 9}})
    [1, 3]
    """
    inner = (seed for value in settings.values() if isinstance(value, Mapping) for seed in seeds_in(value))
    return sorted({*inner, *([settings["seed"]] if isinstance(settings.get("seed"), int) else [])})


def differences(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every two rows subtracted, with the standard error of the difference and what it says.

    >>> two = [{"name": "a", "model": m, "value": v, "standard_error": 0.1} for m, v in (("x", 2.0), ("y", 1.0))]
    >>> [(row["model"], row["value"], row["note"]) for row in differences(two)]
    [('x − y', 1.0, 'more than twice the standard error')]
    """
    result = []
    for one, other in combinations(rows, 2):
        difference = one["value"] - other["value"]
        error = math.hypot(one["standard_error"], other["standard_error"])
        clear = abs(difference) > 2 * error
        note = "more than twice the standard error" if clear else "within the noise between seeds"
        names = {"name": f"difference_{one['name']}", "model": f"{one['model']} − {other['model']}", "note": note}
        result.append({**one, **names, "value": difference, "standard_error": error})
    return result


def tenfold(*arguments: str) -> None:
    """Run the command; its failure ends everything."""
    subprocess.run([sys.executable, "-m", "tenfold.cli.main", *arguments], cwd=ROOT, check=True)


def averaged(evaluations: Iterable[list[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Rows of several seeds as one row each: the mean, and the standard error between the seeds.

    >>> averaged([[{"name": "a", "value": 1.0}], [{"name": "a", "value": 3.0}]])
    [{'name': 'a', 'value': 2.0, 'standard_error': 1.0, 'seeds': 2}]
    """
    rows: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for evaluation in evaluations:
        seen: Counter[tuple[Any, ...]] = Counter()  # rows that differ in their note only are told apart by order
        for row in evaluation:
            key = tuple(row.get(k) for k in ("name", "model", "split", "unit"))
            rows.setdefault((*key, seen[key]), []).append(row)
            seen[key] += 1
    result = []
    for alike in rows.values():
        values = [row["value"] for row in alike]
        merged = {**alike[0], "value": fmean(values)}
        if len(values) > 1:
            merged["standard_error"] = stdev(values) / math.sqrt(len(values))
        notes = dict.fromkeys(row["note"] for row in alike if row.get("note"))
        if notes:
            merged["note"] = " / ".join(notes)
        result.append({**merged, "seeds": len(values)})
    return result


def main(names: list[str]) -> int:
    """Do the named jobs, or all."""
    unknown = [name for name in names if name not in JOBS]
    if unknown:
        print(f"there is no result {unknown[0]!r}; choose from {', '.join(JOBS)}", file=sys.stderr)
        return 2
    for name in names or JOBS:
        print(f"results/{name}.json", file=sys.stderr)
        content = {
            "machine": {"system": platform.system(), "machine": platform.machine()},
            **make(name, JOBS[name]),
        }
        (ROOT / "results" / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
