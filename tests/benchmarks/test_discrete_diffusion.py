"""The benchmark of discrete diffusion: both sides agree, and the re-created form gives the recorded outputs."""

import torch

from benchmarks import discrete_diffusion
from benchmarks.reference_discrete_diffusion import udlm_loss
from tests.discrete_diffusion.world import reference


def test_the_published_form(fixtures):
    ref = reference(fixtures)
    t = ref["t"]
    found = udlm_loss(ref["logits_uniform"].log_softmax(-1), ref["x0"], ref["xt_uniform"], 1 - t, torch.ones(4))
    torch.testing.assert_close(found, ref["udlm_nelbo_per_token"], rtol=2e-5, atol=2e-5)


def test_records(monkeypatch):
    monkeypatch.setattr(discrete_diffusion, "VOCABULARY", 300)
    records = []
    discrete_diffusion.benchmarks(True, records.append)
    by_name = {record.name: record for record in records}
    assert set(by_name) == {"uniform-loss", "masked-head", "masked-head-step", "sampler-cached"}
    for record in records:
        assert record.ours > 0
        assert record.other > 0
        # Computed rows have an expectation; two rows of a quick run scatter about it.
        assert record.max_error < (0.25 if record.name == "sampler-cached" else 1e-4)
