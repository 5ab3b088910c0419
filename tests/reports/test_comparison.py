"""Runs side by side."""

import json
from pathlib import Path
from typing import Any

import pytest

from tenfold import api
from tenfold.cli.main import main
from tenfold.errors import UsageError
from tenfold.reports.comparison import Side, common_measures, comparison_tables, settings_that_differ
from tenfold.runs.measurement import Measurement


def measured(value: float, error: float | None = None, name: str = "bits_per_dim") -> Measurement:
    return Measurement(name, value, "bits/dim", "test", "mine", error)


@pytest.mark.parametrize(
    ("first", "last", "said"),
    [
        (measured(2.0, 0.1), measured(1.0, 0.1), "-1.00 ± 0.14"),
        (measured(2.0, 0.1), measured(2.1, 0.1), "0.10 ± 0.14, within the noise"),
        (measured(2.0), measured(1.0, 0.1), "-1"),
        (measured(2.0), measured(float("inf")), ""),
    ],
)
def test_differences_say_what_is_noise(first: Measurement, last: Measurement, said: str) -> None:
    (line,) = common_measures([Side("a", {}, (first,)), Side("b", {}, (last,))])
    assert line.difference == said


def test_what_only_one_run_has_is_no_comparison() -> None:
    sides = [Side("a", {"x": 1}, (measured(1.0),)), Side("b", {"x": 1}, (measured(2.0, name="fid"),))]
    assert common_measures(sides) == []
    assert settings_that_differ(sides) == {}
    assert comparison_tables(sides) == []
    three = [*sides, Side("c", {"x": 1, "format": 2}, (measured(3.0),))]
    (line,) = common_measures(three)
    assert [row and row.value for row in line.rows] == [1.0, None, 3.0]
    assert line.difference == "+2"


def outcome(folder: Path, seed: int, value: float) -> Path:
    """What a worked example leaves."""
    (folder / "figures").mkdir(parents=True)
    (folder / "config.yaml").write_text(f"format: 1\nname: example-x\nsystem: tcsm\nworld: {{seed: {seed}, size: 3}}\n")
    row = measured(value, 0.01).to_dict()
    (folder / "evaluation.json").write_text(json.dumps({"metrics": [row]}))
    return folder


def test_the_verb_compares_folders_of_examples(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = outcome(tmp_path / "a", 0, 1.0), outcome(tmp_path / "b", 1, 1.5)
    assert api.holds_outcome(a)
    assert main(["report", str(a)]) == 0
    assert capsys.readouterr().out == f"{a / 'report.html'}\n"
    assert main(["report", str(a), str(b)]) == 0
    said = capsys.readouterr().out
    for word in ("last − first", "0.500 ± 0.014", "world.seed", "Bits per dimension, test (bits/dim)"):
        assert word in said
    assert "world.size" not in said
    assert main(["report", str(a), str(b), "--out", str(tmp_path / "both.html"), "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert found["reports"] == [str(tmp_path / "both.html")]
    assert found["settings"] == {"world.seed": [0, 1]}
    assert [row["value"] for row in found["measures"][0]["runs"]] == [1.0, 1.5]
    assert not api.holds_outcome(tmp_path)
    with pytest.raises(UsageError, match="holds no run"):
        api.report(tmp_path)
