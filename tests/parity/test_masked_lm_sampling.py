"""The reference samplers' sequences, histories and pass counts, from recorded outputs."""

import json

import pytest
import torch

from tenfold.errors import UsageError
from tenfold.masked_lm.decoding.options import REFERENCE, GenerationOptions
from tenfold.masked_lm.decoding.proposals import filtered, propose
from tenfold.masked_lm.decoding.sampling import diffusion_generate, published_generate
from tenfold.masked_lm.decoding.schedules import reference_counts
from tenfold.masked_lm.decoding.strategies import above_threshold, best, by_factor
from tests.masked_lm.generating import FOLDER, arrays, fixture_model

LENGTH = 16
FILTERS = {"t0": {}, "t0_p7": {"top_p": 0.7}, "t0_k5": {"top_k": 5}, "t0_p9k3": {"top_p": 0.9, "top_k": 3}}


def listed(name):
    return json.loads((FOLDER / f"{name}.json").read_text())


def ids(item):
    return item["key"]


@pytest.fixture(scope="module")
def model():
    return fixture_model()


@pytest.mark.parametrize("alg", ["maskgit_plus", "topk_margin", "entropy"])
@pytest.mark.parametrize("filters", FILTERS)
def test_proposals(filters, alg):
    ref = arrays("sample_tokens")
    found = propose(ref["logits"], alg, **FILTERS[filters])
    torch.testing.assert_close(found.confidence, ref[f"{filters}.{alg}.confidence"], atol=1e-6, rtol=0)
    assert torch.equal(found.tokens, ref[f"{filters}.{alg}.x0"])


@pytest.mark.parametrize("temperature", ["0.2", "1.2"])
def test_tempered_and_filtered_distributions(temperature):
    ref = arrays("sample_tokens")
    for name, options in (("p0.95", {"top_p": 0.95}), ("k7", {"top_k": 7})):
        found = filtered(ref["logits"], float(temperature), **options).softmax(dim=-1)
        torch.testing.assert_close(found, ref[f"probs.T{temperature}.{name}"], atol=1e-6, rtol=0)


def test_transfer_counts():
    recorded = listed("transfer_counts")
    assert len(recorded) == 16
    for key, counts in recorded.items():
        length, steps = map(int, key.split("/"))
        assert reference_counts(length, steps) == counts, key


@pytest.mark.parametrize("case", listed("generate_meta"), ids=ids)
def test_every_step_of_the_published_sampler(model, case):
    ref, key = arrays("generate"), case["key"]
    options = {name: value for name, value in case.items() if name in GenerationOptions.__dataclass_fields__}
    uniforms = [ref[f"{key}.uniforms.{i}"] for i in range(case["steps"])] if case["alg"] == "origin" else None
    found = diffusion_generate(
        model, ref["prompt"], max_new_tokens=LENGTH, uniforms=uniforms, output_history=True, **REFERENCE, **options
    )
    assert torch.equal(torch.stack(found.history), ref[f"{key}.history"])
    assert torch.equal(found.sequences, ref[f"{key}.sequences"])


def test_left_padded_prompts(model):
    ref = arrays("generate")
    found = diffusion_generate(
        model, ref["entropy.padded.prompt"], ref["entropy.padded.attention_mask"], max_new_tokens=LENGTH, steps=8,
        alg="entropy", output_history=True, **REFERENCE,
    )  # fmt: skip
    assert torch.equal(torch.stack(found.history), ref["entropy.padded.history"])


def test_the_published_call(model):
    ref = arrays("generate")
    given = {"max_new_tokens": LENGTH, "steps": 8, "alg": "entropy", "mask_token_id": 95}
    found = published_generate(model, ref["prompt"], output_history=True, return_dict_in_generate=True, **given)
    assert torch.equal(torch.stack(found.history), ref["entropy.steps8.t0.history"])
    assert torch.equal(published_generate(model, ref["prompt"], **given), ref["entropy.steps8.t0.sequences"])
    with pytest.raises(UsageError, match="mask_token_id is 3, but the model's mask is 95"):
        published_generate(model, ref["prompt"], **{**given, "mask_token_id": 3})
    with pytest.raises(UsageError, match="did you mean 'alg_temp'"):
        published_generate(model, ref["prompt"], alg_tmp=1.0, **given)


def test_a_hook_that_forces_a_token(model):
    ref = arrays("generate")

    def force(step, x, logits):
        assert (step is None) == (logits is None)
        x = x.clone()
        x[:, 10] = 5
        return x

    found = diffusion_generate(
        model, ref["prompt"], max_new_tokens=LENGTH, steps=8, alg="entropy", generation_tokens_hook_func=force,
        **REFERENCE,
    )  # fmt: skip
    assert torch.equal(found.sequences, ref["entropy.hook_pos10_tok5.sequences"])


@pytest.mark.parametrize("case", [c for c in listed("fast_dllm_dream_meta") if "nfe" in c], ids=ids)
def test_published_block_caches(model, case):
    ref = arrays("fast_dllm_dream")
    rule = {"threshold": case["threshold"], "alg": "maskgit_plus"} if case["alg"] != "entropy" else {"alg": "entropy"}
    found = diffusion_generate(
        model, ref["prompt"], max_new_tokens=LENGTH, steps=LENGTH, block_length=case["block_length"],
        cache="dual" if case["dual_cache"] else "prefix", first_token="reference", **REFERENCE, **rule,
    )  # fmt: skip
    assert torch.equal(found.sequences, ref[f"{case['key']}.sequences"])
    assert (found.nfe, found.token_forwards) == (case["nfe"], case["token_forwards"])


@pytest.mark.parametrize("case", [c for c in listed("fast_dllm_dream_meta") if "steps_used" in c], ids=ids)
def test_published_threshold_with_what_was_held_back(model, case):
    ref, key = arrays("fast_dllm_dream"), case["key"]
    steps, threshold = int(key.split(".")[1].removeprefix("steps")), float(key.split("thr")[1])
    found = diffusion_generate(
        model, ref["prompt"], max_new_tokens=LENGTH, steps=steps, threshold=threshold, carry=True, alg="maskgit_plus",
        suppress_mask=False, output_history=True,
    )  # fmt: skip
    assert found.nfe == case["steps_used"]
    assert torch.equal(torch.stack(found.history), ref[f"{key}.history"])


@pytest.mark.parametrize("case", listed("llada_semi_ar_meta"), ids=ids)
def test_blocks_of_a_model_without_shift(model, case, monkeypatch):
    monkeypatch.setattr(model, "logit_shift", False)
    ref, (block, steps, threshold) = arrays("llada_semi_ar"), case["key"].split(".", 2)
    options = {} if threshold == "thrNone" else {"threshold": float(threshold.removeprefix("thr"))}
    found = diffusion_generate(
        model, ref["prompt"], max_new_tokens=LENGTH, steps=int(steps.removeprefix("steps")), alg="maskgit_plus",
        block_length=int(block.removeprefix("block")), suppress_mask=False, **options,
    )  # fmt: skip
    assert torch.equal(found.sequences, ref[f"{case['key']}.sequences"])
    assert found.nfe == case["nfe"]


def test_reveal_rules():
    ref = arrays("llada_semi_ar")
    mask = ref["rule.mask"]
    found = propose(ref["rule.logits"].flatten(0, 1))
    probability = found.probability.reshape(mask.shape).masked_fill(~mask, -torch.inf)
    tokens = torch.where(mask, found.tokens.reshape(mask.shape), ref["rule.x"])
    assert torch.equal(tokens, ref["rule.x0"])
    for threshold in (0.9, 0.5):
        transfer = above_threshold(probability, probability, threshold)
        assert torch.equal(transfer, ref[f"rule.thr{threshold}.transfer"])
    assert torch.equal(best(probability, torch.tensor([2, 3, 1])), ref["rule.topk_2_3_1.transfer"])
    for factor in (0.5, 1.0, 2.0):
        assert torch.equal(by_factor(probability, factor), ref[f"rule.factor{factor}.transfer"])
