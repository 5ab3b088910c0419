"""The dynamics benchmark on tiny systems: its records are consistent, and a missing peer is named."""

import sys

import pytest

from benchmarks import quasiperiodic_dynamics as module


def test_records(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    make = module.system
    monkeypatch.setattr(module, "system", lambda sites, reach: make(63 if reach == 20 else 101, 6))
    monkeypatch.setattr(module, "TIME", 5.0)
    monkeypatch.setitem(sys.modules, "quspin", None)
    monkeypatch.setitem(sys.modules, "qutip", None)
    records = []
    module.benchmarks(True, records.append)
    found = {record.name: record for record in records}
    assert {"evolution-scipy", "times-100-against-last", "times-100-scipy-interval", "stencil-against-fft"} <= set(
        found
    )
    for record in records:
        assert record.max_error is not None
        assert record.max_error <= 1e-12
        assert record.ours > 0
        assert record.other > 0
    assert found["evolution-scipy"].details["other_error"] < 1e-10
    skipped = capsys.readouterr().err
    assert "skipped: quspin" in skipped
    assert "tenfold[benchmarks]" in skipped
