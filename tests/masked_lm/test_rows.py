"""A row means the sample: its tokens and its score do not depend on the batch, its neighbours, or padding."""

import json

import pytest
import torch

from tenfold.masked_lm import (
    FileJob,
    GenerationOptions,
    MaskedAnalysis,
    Request,
    complete_file,
    complete_texts,
    create_completion,
    diffusion_generate,
    mdm_nll,
)
from tenfold.masked_lm.analysis.study import _orders
from tests.masked_lm.generating import prompts, random_model

RANKED = {"alg": "entropy", "temperature": 0.8}
RULES = {
    "origin": {"alg": "origin", "temperature": 0.8},
    "origin-steps": {"alg": "origin", "temperature": 0.8, "steps": 4},
    "topk": RANKED | {"top_p": 0.9, "top_k": 40},
    "ranks": {"alg": "maskgit_plus", "temperature": 0.8, "alg_temp": 0.5},
    "reference": RANKED | {"schedule": "reference", "steps": 4},
    "threshold": RANKED | {"threshold": 0.4},
    "carry": RANKED | {"threshold": 0.9, "carry": True},
    "factor": RANKED | {"factor": 1.0},
    "entropy-bound": RANKED | {"gamma": 1.0},
    "remdm": {"strategy": "remdm", "eta": 0.3, "temperature": 0.8},
    "remdm-confidence": {"strategy": "remdm", "sigma": "confidence", "eta": 0.3, "temperature": 0.8},
    "speculative": {"strategy": "self_speculative", "alg": "entropy"},
    "greedy": {"alg": "topk_margin"},
    "greedy-threshold": {"alg": "entropy", "threshold": 0.4},
}
CACHES = ("none", "prefix", "dual", "delayed", "block_delayed", "adaptive")
CASES = [(rule, "none", None) for rule in RULES]
CASES += [(rule, "none", 3) for rule in RULES if "remdm" not in rule and "steps" not in RULES[rule]]
CASES += [
    (rule, cache, block)
    for rule, block in (("origin", None), ("threshold", 3), ("greedy-threshold", 3), ("topk", None))
    for cache in CACHES[1:]
]
# Lengths of prompts and of what is new that differ, the end of a row among others' middles.
REQUESTS = [Request("a", None, 7), Request("def f(x):", None, 4), Request("bcd", "end", 5)]


@pytest.fixture(scope="module")
def model():
    return random_model()


@pytest.mark.parametrize(("rule", "cache", "block"), CASES)
def test_a_text_alone_is_the_text_in_a_list(model, rule, cache, block):
    options = GenerationOptions(**RULES[rule], cache=cache, block_length=block, refresh=2 if cache != "none" else 0)
    found, _ = complete_texts(model, [REQUESTS[2], Request("before", None, 5), *REQUESTS[:2]], options, seed=3)
    alone = [complete_texts(model, [request], options, seed=3)[0][0] for request in REQUESTS]
    assert [*found[2:], found[0]] == alone


@pytest.mark.parametrize(("rule", "shift"), [(rule, i % 2 > 0) for i, rule in enumerate(RULES) if rule != "reference"])
def test_rows_of_tokens_follow_their_own_draws(rule, shift):
    model, given = random_model(shift=shift), prompts(5)
    given[3] = given[1]

    def made(rows, **more):
        return diffusion_generate(model, rows, max_new_tokens=6, seed=1, **RULES[rule], **more).sequences

    whole = made(given)
    assert torch.equal(made(given[2:3]), whole[2:3])
    assert torch.equal(made(given[1:]), whole[1:])
    assert torch.equal(made(given[3:4], samples=[1]), whole[3:4])
    padded = torch.cat([torch.full((5, 3), 256), given], dim=1)
    mask = (padded != 256).long()
    assert torch.equal(made(padded, attention_mask=mask)[:, 3:], whole)
    if "speculative" not in rule and "greedy" not in rule:
        assert not torch.equal(whole[1], whole[3])  # equal prompts are told apart
        assert not torch.equal(
            diffusion_generate(model, given, max_new_tokens=6, seed=2, **RULES[rule]).sequences, whole
        )


def test_several_samples_of_a_prompt_are_those_of_one_by_one(model):
    given = prompts(2)
    several = diffusion_generate(model, given, max_new_tokens=8, num_return_sequences=3, seed=1, **RANKED).sequences
    for row, sample in ((0, 0), (0, 2), (1, 1)):
        single = diffusion_generate(model, given[row : row + 1], max_new_tokens=8, samples=[sample], seed=1, **RANKED)
        assert torch.equal(single.sequences[0], several[3 * row + sample])


def test_a_generator_and_the_global_seed_give_one_seed(model):
    given = prompts(3)
    first = [
        diffusion_generate(
            model, given[n:], max_new_tokens=6, generator=torch.Generator().manual_seed(4), **RANKED
        ).sequences[-1]
        for n in (0, 1, 2)
    ]
    torch.manual_seed(4)
    first.append(diffusion_generate(model, given, max_new_tokens=6, **RANKED).sequences[-1])
    assert all(torch.equal(row, first[0]) for row in first[:3])


@pytest.mark.parametrize("batch", [1, 3])
def test_files_and_endpoints_do_not_know_their_batch(model, tmp_path, batch):
    lines = [{"prompt": p} | ({"suffix": "end"} if p == "b" else {}) for p in ("a", "bc", "b", "a", "dddd")]
    file = tmp_path / "x.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    options = GenerationOptions(**RANKED)
    made = complete_file(model, file, tmp_path / "y.jsonl", FileJob(6, 2, batch, 7), options)
    texts = [json.loads(line)["completion"] for line in made.read_text().split("\n")[:-1]]
    whole = complete_file(model, file, tmp_path / "z.jsonl", FileJob(6, 2, 10, 7), options)
    assert made.read_bytes() == whole.read_bytes()
    assert len(set(texts)) == 10
    same = create_completion(model, "bc", max_tokens=6, temperature=0.8, top_p=None, n=2, seed=7)
    assert [choice["text"] for choice in same["choices"]] == texts[2:4]
    several = create_completion(model, ["q", "bc"], max_tokens=6, temperature=0.8, top_p=None, n=2, seed=7)
    assert [choice["text"] for choice in several["choices"][2:]] == texts[2:4]


@pytest.mark.parametrize("estimator", ["count", "time"])
def test_a_score_is_of_the_row(model, estimator):
    rows = prompts(6, 10)
    whole = mdm_nll(model, rows, 4, estimator, seed=2, batch=4)
    for part in (slice(3, 4), slice(2, 6)):
        found = mdm_nll(model, rows[part], 4, estimator, seed=2, batch=1)
        torch.testing.assert_close(found.nats, whole.nats[part], rtol=1e-5, atol=1e-5)
    padded = torch.nn.functional.pad(rows, (0, 4), value=256)
    real = torch.arange(14).expand(6, -1) < 10
    found = mdm_nll(model, padded, 4, estimator, real=real, seed=2)
    torch.testing.assert_close(found.nats, whole.nats, rtol=1e-4, atol=1e-4)
    twice = mdm_nll(model, rows[:1].expand(2, -1), 4, estimator, seed=2)
    assert twice.nats[0] != twice.nats[1]
    torch.testing.assert_close(twice.nats[:1], whole.nats[:1], rtol=1e-5, atol=1e-5)


def test_orders_do_not_know_their_batch(model):
    found = [_orders(model, prompts(5), MaskedAnalysis(tokens=8, batch=batch, seed=3), 0.7)[0] for batch in (1, 2, 5)]
    assert found[0] == found[1] == found[2]
