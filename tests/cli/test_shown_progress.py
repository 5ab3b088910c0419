"""Commands show how far they are, on standard error and nowhere else."""

import re
from pathlib import Path

import numpy as np
import pytest

from tenfold import progress


@pytest.fixture
def lines(tenfold, monkeypatch: pytest.MonkeyPatch):
    """Run a line that must succeed; returns what it said about its progress, without waiting between lines."""
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_LINES", 0.0)
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_UPDATES", 0.0)

    def run(*arguments: object) -> str:
        done = tenfold(*arguments)
        assert done.code == 0, done.err
        assert "eta" not in done.out
        return done.err

    return run


def test_sampling(lines, runs, tmp_path: Path) -> None:
    line = ("sample", runs["likelihood"], "--num", 2, "--solver", "sequential", "--out", tmp_path)
    assert re.search(r"^sampling > tokens 29/30  \S+ tokens/s  eta 0:0\d$", lines(*line), re.MULTILINE)


def test_scoring(lines, runs, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((3, 1, 8, 8), np.uint8))
    told = lines("score", runs["likelihood"], tmp_path / "x.npy", "--draws", 3)
    assert re.search(r"^scoring > noise 2/3  \S+ draws/s  eta 0:0\d$", told, re.MULTILINE)


def test_evaluation_and_report(lines, runs) -> None:
    options = ("--evaluation.draws", 3, "--evaluation.importance", 3, "--evaluation.baselines", "false")
    told = lines("evaluate", runs["likelihood"], *options)
    for task in ("dequantisation 2/3", "Jacobians 1/2", "tokens 7/30"):
        assert f"evaluating > {task}" in told
    assert "writing the report > tokens 7/30" in lines("report", runs["likelihood"])


def test_nothing_is_said_of_what_is_quick(tenfold, runs, tmp_path: Path) -> None:
    assert tenfold("sample", runs["likelihood"], "--num", 2, "--out", tmp_path).err == ""
