"""The jobs behind results/: they name what exists, their files hold what they should, and nothing missing passes."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tenfold.api import catalogue
from tenfold.cli.main import main
from tenfold.runs.jobs import Analysis, Benchmark, Comparison, Training, Worked
from tests.test_docs import ROOT, results, tables

JOBS = catalogue.jobs()
COMPARISONS = {name: job for name, job in JOBS.items() if isinstance(job, Comparison)}
MADE = {file.stem: json.loads(file.read_text()) for file in sorted((ROOT / "results").glob("*.json"))}


def trainings() -> list[Training]:
    """All trainings, those inside comparisons too, each once."""
    alone = [job for job in JOBS.values() if isinstance(job, Training)]
    inside = [training for job in COMPARISONS.values() for training in job.variants.values()]
    return list({(t.recipe, t.options): t for t in [*alone, *inside]}.values())


def command_of(name: str) -> str:
    """The command of a job, as its file has it."""
    job = JOBS[name]
    if isinstance(job, Comparison):
        return " and ".join(training.command for training in job.variants.values())
    return job.command


def test_there_are_jobs_of_every_kind() -> None:
    assert len(JOBS) >= 40
    assert len(trainings()) >= 45
    assert len(COMPARISONS) >= 10
    for kind in (Training, Comparison, Benchmark, Worked, Analysis):
        assert any(isinstance(job, kind) for job in JOBS.values()), kind


@pytest.mark.parametrize("training", trainings(), ids=lambda t: " ".join([t.recipe, *t.options])[:60])
def test_trainings_are_accepted(training: Training, capsys: pytest.CaptureFixture[str]) -> None:
    assert training.recipe in catalogue.recipes()
    seed = [word for option in training.seeded for word in (option, "7")] if len(training.seeds) > 1 else []
    assert main(["train", training.recipe, *training.options, *seed, "--print-config"]) == 0
    assert capsys.readouterr().out.count("seed: 7\n") >= len(seed) // 2


def test_jobs_name_what_exists() -> None:
    for name, job in JOBS.items():
        before = getattr(job, "after", ())
        assert set([before] if isinstance(before, str) else before) - {""} <= set(JOBS), name
        if isinstance(job, Comparison):
            assert set(job.models) <= set(job.variants), name
            assert all(run.startswith(f"{job.after}-") for run in job.beside.values()), name
        elif isinstance(job, Analysis):
            assert job.run.startswith(f"{job.after}-"), name
        elif isinstance(job, Worked):
            assert catalogue.examples()[job.example].verb == job.verb, name
        elif isinstance(job, Benchmark):
            assert (ROOT / "benchmarks" / f"{job.room}.py").is_file(), name


def test_files_are_of_jobs_and_of_their_commands() -> None:
    assert len(MADE) >= 35
    assert set(MADE) <= set(JOBS)
    without_folder = {name: re.sub(r" --out \S+", "", made["command"]) for name, made in MADE.items()}
    assert without_folder == {name: re.sub(r" --out \S+", "", command_of(name)) for name in MADE}


@pytest.mark.parametrize("name", [name for name in COMPARISONS if name in MADE])
def test_files_of_comparisons_are_whole(name: str) -> None:
    job, rows = COMPARISONS[name], MADE[name]["metrics"]
    found = {(row["model"], row["name"]) for row in rows}
    models, metrics = {model for model, _ in found}, {metric for _, metric in found}
    assert [variant for variant in job.variants if (variant, job.metrics[0]) not in found] == []
    assert [model for model in [*job.baselines, *job.beside] if model not in models] == []
    assert [metric for metric in job.metrics if metric not in metrics] == []
    compared = {row["model"] for row in rows if not row["name"].startswith("difference_")}
    assert compared == {*job.variants, *job.baselines, *job.beside, *job.further}
    pairs = len(job.variants) * (len(job.variants) - 1) // 2
    assert sum(row["name"].startswith("difference_") for row in rows) == (pairs if job.differences else 0)


TWO = Comparison(
    {"one": Training("kjv-masked", seeds=(0,)), "two": Training("kjv-udlm", seeds=(0,))},
    ("bits", "accuracy"),
    models={"one": "kjv-masked", "two": "kjv-udlm"},
    baselines=("unigram",),
)


def rows_of(model: str, *names: str) -> list[dict[str, Any]]:
    return [{"name": name, "model": model, "value": 1.0} for name in names]


WHOLE = {
    "kjv-masked": [*rows_of("kjv-masked", "bits", "accuracy", "other"), *rows_of("unigram", "bits")],
    "kjv-udlm": [*rows_of("kjv-udlm", "bits"), *rows_of("unigram", "bits")],
}


def compared(monkeypatch: pytest.MonkeyPatch, found: dict[str, list[dict[str, Any]]]) -> list[tuple[str, str]]:
    """The rows of the comparison of ``TWO``, whose trainings measured ``found``."""
    monkeypatch.setattr(results, "trained", lambda name, job: {"command": job.command, "metrics": found[job.recipe]})
    return [(row["model"], row["name"]) for row in results.compared("name", TWO)["metrics"]]


def test_a_comparison_takes_what_it_names(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = [("unigram", "bits"), ("one", "bits"), ("one", "accuracy"), ("two", "bits")]
    assert compared(monkeypatch, WHOLE) == expected


def test_several_models_of_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    job = Comparison({"one": Training("kjv-masked", seeds=(0,))}, ("bits",), models={"one": {"2": "one", "1": "half"}})
    rows = [*rows_of("2", "bits", "accuracy"), *rows_of("1", "bits"), *rows_of("0", "bits")]
    monkeypatch.setattr(results, "trained", lambda name, job: {"command": job.command, "metrics": rows})
    found = results.compared("name", job)["metrics"]
    assert [(row["model"], row["name"]) for row in found] == [("one", "bits"), ("half", "bits")]
    assert job.further == ("half",)


@pytest.mark.parametrize(
    ("model", "name", "said"),
    [
        ("kjv-udlm", "bits", "two"),  # a variant without the metric that is compared
        ("kjv-masked", "accuracy", "accuracy"),  # a metric that nobody measured
        ("unigram", "bits", "unigram"),  # a baseline that is not there
    ],
)
def test_a_comparison_refuses_missing_rows(monkeypatch: pytest.MonkeyPatch, model: str, name: str, said: str) -> None:
    fewer = {
        recipe: [row for row in rows if (row["model"], row["name"]) != (model, name)] for recipe, rows in WHOLE.items()
    }
    with pytest.raises(SystemExit, match=said):
        compared(monkeypatch, fewer)


def test_unknown_results_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert results.main(["nothing"]) == 2
    assert "'nothing'" in capsys.readouterr().err


def test_stale_results_are_listed(tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        quiet = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", *quiet, *arguments], cwd=tmp_path, check=True, capture_output=True)

    def written(place: str, text: str) -> None:
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_text(text)
        git("add", "-A")
        git("commit", "-m", place)

    watched = {"old": ["tenfold/a"], "new": ["tenfold/a"], "lost": ["tenfold/b"]}
    git("init", "-q")
    written("tenfold/a/x.py", "1")
    written("results/old.json", "{}")
    assert tables.stale_results(tmp_path, watched) == []
    written("tenfold/a/x.py", "2")
    written("results/new.json", "{}")
    written("results/lost.json", '{"commit": "0000000000000000000000000000000000000000"}')
    written("results/nobody.json", "{}")
    lost, nobody, old = tables.stale_results(tmp_path, watched)
    assert lost == "results/lost.json: the commit that made it is not in this history"
    assert nobody == "results/nobody.json: no job makes it any more"
    assert re.fullmatch(r"results/old\.json: changed since [0-9a-f]{7}: tenfold/a/x\.py", old)


def test_every_result_is_watched() -> None:
    watched = tables.watched_files()
    assert set(watched) == set(JOBS)
    for name, places in watched.items():
        assert all((ROOT / place).exists() for place in places), name
    assert "benchmarks/flows.py" in watched["benchmark-flows"]
