"""The benchmark of mixtures runs, and both sides agree."""

from benchmarks import text_flows


def test_records() -> None:
    records = [text_flows.memory_record(16, 32, 3), *text_flows.inverse_records(5, 40, 1)]
    assert [record.name for record in records] == [
        "rosenblatt-memory",
        "inverse-bisection-5",
        "inverse-bisection-fast-5",
    ]
    assert records[0].max_error is not None
    assert records[0].max_error < 1e-4
    for record in records[1:]:
        assert record.max_error is not None
        assert record.max_error < 1e-8
        assert record.ours > 0
        assert record.other > 0
