"""The re-created loops give the recorded outputs of the published programs."""

import json

import pytest
import torch

from benchmarks.reference_masked_lm import dream_generate, llada_generate, sample_rows
from tests.masked_lm.generating import FOLDER, arrays, fixture_model


def cases(name):
    return json.loads((FOLDER / f"{name}.json").read_text())


@pytest.fixture(scope="module")
def model():
    return fixture_model()


@pytest.mark.parametrize("case", [c for c in cases("generate_meta") if c["alg"] != "origin"], ids=lambda c: c["key"])
def test_dream(model, case):
    ref = arrays("generate")
    options = {name: case.get(name) for name in ("top_p", "top_k")}
    found = dream_generate(model, ref["prompt"], 16, case["steps"], case["alg"], **options)
    assert torch.equal(torch.stack(found), ref[f"{case['key']}.history"])


@pytest.mark.parametrize("case", cases("llada_semi_ar_meta"), ids=lambda c: c["key"])
def test_llada(model, case, monkeypatch):
    monkeypatch.setattr(model, "logit_shift", False)
    ref, (block, steps, threshold) = arrays("llada_semi_ar"), case["key"].split(".", 2)
    limit = None if threshold == "thrNone" else float(threshold.removeprefix("thr"))
    found, passes = llada_generate(
        model, ref["prompt"], 16, int(steps.removeprefix("steps")), int(block.removeprefix("block")), limit
    )
    assert torch.equal(found, ref[f"{case['key']}.sequences"])
    assert passes == case["nfe"]


def test_rows():
    ref = arrays("sample_tokens")
    for alg in ("maskgit_plus", "topk_margin", "entropy"):
        confidence, token = sample_rows(ref["logits"], 0.0, 0.9, 3, alg)
        torch.testing.assert_close(confidence, ref[f"t0_p9k3.{alg}.confidence"], atol=1e-6, rtol=0)
        assert torch.equal(token, ref[f"t0_p9k3.{alg}.x0"])
