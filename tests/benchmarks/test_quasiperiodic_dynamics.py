"""The dynamics benchmark on tiny systems: its records are consistent, and a missing peer is named."""

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
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


def test_quspin_keeps_its_object(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[Any, complex]] = []

    def make(matrix: Any, a: complex) -> SimpleNamespace:
        made.append((matrix, a))
        return SimpleNamespace(dot=lambda state: a * (matrix @ state))

    tools = ModuleType("quspin.tools.evolution")
    tools.ExpmMultiplyParallel = make  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "quspin.tools.evolution", tools)
    box = module.system(31, 6)
    peer = module.quspin_peer(box)
    expected = -1j * module.TIME * (box.dense() @ module.start(box))
    for _ in range(3):
        np.testing.assert_allclose(peer(), expected, atol=1e-10)
    assert len(made) == 1
