"""The benchmark harness: records, files, pairing. Nothing here is asserted on wall-clock time."""

import json

import pytest

from benchmarks.harness import Record, main, paired


def test_ratio_is_above_one_where_ours_is_better():
    assert Record("x", ours=2.0, other=6.0, unit="seconds").ratio == 3.0
    assert Record("x", 2.0, 6.0, "calls").to_dict()["ratio"] == 3.0


def test_runs_alternate_after_a_warm_up():
    order = []
    paired(lambda: order.append("a"), lambda: order.append("b"), repeats=3, warm_up=1)
    assert "".join(order) == "ab" + "ab" + "ba" + "ab"


def test_the_file_holds_machine_versions_and_records(tmp_path, capsys):
    def benchmarks(quick, emit):
        assert quick
        emit(Record("thing", 1.0, 2.5, "seconds", 1e-6, {"batch": 8}))

    file = tmp_path / "new" / "out.json"
    assert main("room", benchmarks, arguments=["--quick", "--json", str(file)]) == 0
    result = json.loads(file.read_text())
    assert result["records"][0]["ratio"] == 2.5
    assert result["records"][0]["sizes"] == {"batch": 8}
    assert {"cpu", "cores", "threads"} <= result["machine"].keys()
    assert {"python", "torch"} <= result["versions"].keys()
    assert result["seeds"] == [0]
    assert result["command"] == "python -m benchmarks.room --quick"
    assert "ratio   2.50" in capsys.readouterr().out
    assert list(file.parent.iterdir()) == [file]


def test_unknown_options_are_refused():
    with pytest.raises(SystemExit) as stop:
        main("room", lambda quick, emit: None, arguments=["--fast"])
    assert stop.value.code == 2
