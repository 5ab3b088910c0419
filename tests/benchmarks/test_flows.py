"""The flows benchmark runs on an untrained flow, and its records are consistent."""

import pytest
import torch

from benchmarks import flows
from benchmarks.trained import Setting
from tenfold.tarflow.config import TarFlowConfig
from tests.flows.helpers import random_flow
from tests.starflow.helpers import random_flow as random_latent_flow
from tests.starflow.helpers import small_config


@pytest.fixture
def setup(monkeypatch):
    config = TarFlowConfig(shape=(1, 8, 8), patch=2, width=32, head_size=16, blocks=2, layers=1, classes=10)
    flow = random_flow(config).float()
    images, labels = torch.rand(16, 1, 8, 8) * 2 - 1, torch.arange(16) % 10
    setting = Setting("tiny", "digits", config, 1, 1)
    monkeypatch.setattr(flows, "LONG", setting)
    latent = random_latent_flow(small_config(shape=(4, 4, 4), classes=10)).float()
    monkeypatch.setattr(flows, "trained", lambda which, _: (latent if which is flows.LATENT else flow, images, labels))


@pytest.mark.usefixtures("setup")
def test_all_records():
    records = []
    flows.benchmarks(True, records.append)
    by_name = {record.name: record for record in records}
    needed = {"sequential-plain", "sequential-guided", "train-step", "log-prob", "auto-b8", "frontier-32-b8"}
    assert needed <= by_name.keys()
    assert by_name["sequential-plain"].max_error < 1e-5
    assert by_name["sequential-guided"].max_error < 1e-4
    assert by_name["train-step"].max_error < 1e-5
    assert by_name["exact-calls"].other == 30
    assert by_name["exact-calls"].max_error < 1e-4
    for name in ("starflow-sequential", "starflow-sequential-guided"):
        assert by_name[name].max_error < 1e-4
        assert by_name[name].details["calls"] == 48
        # The published program runs a condition's prefix in a call of its own.
        assert by_name[name].details["other_calls"] == 49
    assert by_name["starflow-jacobi"].details["ours_error"] < 1e-4
    assert by_name["starflow-jacobi"].details["other_error"] < 0.5
    for record in records:
        assert record.ours > 0
        assert record.other > 0
        approximate = ("selective", "approximate", "starflow")
        if not any(word in record.name for word in approximate):
            assert record.max_error < 1e-3
