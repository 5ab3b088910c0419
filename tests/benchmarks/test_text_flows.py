"""The benchmark of mixtures runs, and both sides agree."""

from typing import Any

from benchmarks import text_flows


def test_records() -> None:
    records = [text_flows.memory_record(16, 32, 3), *text_flows.inverse_records(5, 40, 1)]
    records.append(text_flows.zuko_record(5, 40, 1))
    assert [record.name for record in records] == [
        "rosenblatt-memory",
        "inverse-bisection-5",
        "inverse-bisection-fast-5",
        "inverse-zuko-5",
    ]
    assert records[-1].details["other_residual"] < 1e-5
    assert records[0].max_error is not None
    assert records[0].max_error < 1e-4
    for record in records[1:]:
        assert record.max_error is not None
        assert record.max_error < 1e-8
        assert record.ours > 0
        assert record.other > 0


def test_records_of_flows() -> None:
    step = text_flows.step_record(1, 2)
    assert step.ours > 0
    assert step.other > 0
    small: dict[str, Any] = {"width": 16, "heads": 2, "length": 8, "hidden": 16}
    flows = [text_flows.TextFlow(text_flows.TextFlowConfig(patch=patch, **small)) for patch in (4, 1)]
    jacobi = text_flows.jacobi_record("jacobi-calls", flows[1], 2)
    assert jacobi.other == 8
    assert jacobi.ours <= 8
    assert set(jacobi.details["calls_in_blocks"]) == {"2", "4"}
    assert jacobi.max_error is not None
    assert jacobi.max_error < 1e-2
    assert text_flows.patch_record((flows[0], flows[1]), 2).ratio == 4
