"""The benchmark of scoring choices: both sides agree."""

import pytest

from benchmarks import ordering


def test_records(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ordering, "QUESTION", (40, 60))
    monkeypatch.setattr(ordering, "OPTION", (4, 9))
    records: list = []
    ordering.benchmarks(True, records.append)
    by_name = {record.name: record for record in records}
    assert list(by_name) == ["forward-tokens", "forward-seconds", "reverse-pruning", "packing"]
    assert by_name["forward-tokens"].max_error < 1e-3
    assert by_name["forward-tokens"].ratio > 1.5
    assert by_name["reverse-pruning"].max_error == 0
    assert by_name["reverse-pruning"].ratio >= 1
    assert by_name["packing"].max_error == 0
