"""The benchmark of masked language models runs on tiny ones, and its records are consistent."""

import pytest

from benchmarks import masked_lm
from tenfold.errors import UsageError
from tests.masked_lm.generating import random_model

BATCHES = ["batch8", "batch8-delayed", "batch8-window", "batch8-uncached"]


@pytest.fixture
def small(monkeypatch):
    model = random_model()  # an untrained one's ranks are within rounding of each other
    texts = [[(i * i + 7 * j) % 96 + 32 for i in range(300)] for j in range(8)]
    monkeypatch.setattr(masked_lm, "loaded", lambda source: model)
    monkeypatch.setattr(masked_lm, "held_out", lambda model: texts)
    monkeypatch.setattr(masked_lm, "LENGTH", 64)
    strategies = {name: choices for name, choices in masked_lm.STRATEGIES.items() if name in ("blocks", "threshold")}
    monkeypatch.setattr(masked_lm, "STRATEGIES", strategies)
    return model


def test_all_records(small, tmp_path):
    records = []
    masked_lm.benchmarks("a", "b", str(tmp_path / "quality.png"))(True, records.append)
    by_name = {record.name: record for record in records}
    assert set(by_name) == {
        "dual-threshold", *BATCHES, "self-speculative", "quality-passes", "exact", "exact-greedy",
    }  # fmt: skip
    assert len({by_name[name].details["token_forwards"] for name in BATCHES}) == 4
    for name in ("exact", "exact-greedy"):
        assert by_name[name].max_error < 1e-4
        assert by_name[name].details["greedy_histories_equal"]
    assert by_name["self-speculative"].details["equal"] == by_name["self-speculative"].details["prompts"] == 4
    assert by_name["self-speculative"].ours <= by_name["self-speculative"].other == 4 * 8
    assert by_name["dual-threshold"].details["other_nfe"] == 32
    assert by_name["dual-threshold"].details["holes"] == 2 * 2
    assert len(by_name["quality-passes"].details["points"]) == 2
    assert len(by_name["quality-passes"].details["oracle"]) == 12
    assert (tmp_path / "quality.png").stat().st_size > 1000


def test_a_missing_model_is_named():
    with pytest.raises(UsageError, match=r"runs/nowhere does not exist"):
        masked_lm.loaded("runs/nowhere")


def test_single_records(small):
    records = []
    masked_lm.benchmarks("a", "b", "", "batch8")(True, records.append)
    masked_lm.benchmarks("a", "none", "", "exact")(True, records.append)
    assert [record.name for record in records] == BATCHES
    with pytest.raises(UsageError, match="did you mean 'exact'"):
        masked_lm.benchmarks("a", "b", "", "exakt")
