"""Scores: their order, their means, and the files they are written to."""

import csv
import json
import math
from pathlib import Path

import pytest

from tenfold.errors import UsageError
from tenfold.runs.scores import Scores, check_target


def found() -> Scores:
    columns = {"log_prob": ("nats", [-1.0, -4.0, -1.0]), "bits_per_dim": ("bits/dim", [2.0, 5.0, 3.0])}
    return Scores.ranked("flow", ["b", "a", "c"], columns, "a note")


def test_the_least_likely_comes_first_and_equals_keep_their_order() -> None:
    assert found().names == ("a", "b", "c")
    assert found().values == ((-4.0, 5.0), (-1.0, 2.0), (-1.0, 3.0))


def test_means_have_standard_errors() -> None:
    first, second = found().summary
    assert (first.name, first.unit, first.value, first.model, first.note) == ("log_prob", "nats", -2.0, "flow", "N = 3")
    assert first.standard_error == pytest.approx(math.sqrt((4 + 1 + 1) / 2 / 3))
    assert second.value == pytest.approx(10 / 3)
    (only,) = Scores.ranked("flow", ["a"], {"log_prob": ("nats", [1.0])}).summary
    assert only.standard_error is None


def test_files_hold_every_row(tmp_path: Path) -> None:
    found().write(tmp_path / "new" / "a.csv")
    rows = list(csv.DictReader((tmp_path / "new" / "a.csv").open()))
    assert rows[0] == {"rank": "1", "name": "a", "log_prob": "-4.0", "bits_per_dim": "5.0"}
    assert len(rows) == 3
    found().write(tmp_path / "a.json")
    content = json.loads((tmp_path / "a.json").read_text())
    assert content["scores"][2] == {"rank": 3, "name": "c", "log_prob": -1.0, "bits_per_dim": 3.0}
    assert content["units"] == {"log_prob": "nats", "bits_per_dim": "bits/dim"}
    assert content["note"] == "a note"


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"ends in '.txt'; scores are written to .csv or .json"):
        check_target(Path("a.txt"))
    (tmp_path / "a.csv").mkdir()
    with pytest.raises(UsageError, match="is a folder"):
        check_target(tmp_path / "a.csv")
