"""What every generation keeps to, whatever its options."""

import pytest
import torch

from tenfold.masked_lm.decoding.options import REFERENCE
from tenfold.masked_lm.decoding.sampling import diffusion_generate
from tests.masked_lm.generating import prompts, random_model

ALGS = ["origin", "maskgit_plus", "topk_margin", "entropy"]
RULES = {
    "entropy": {"alg": "entropy"},
    "published": {"alg": "entropy", "steps": 5, **REFERENCE},
    "origin": {"alg": "origin", "temperature": 1.0, "steps": 6},
    "blocks": {"alg": "maskgit_plus", "block_length": 4},
    "threshold": {"alg": "maskgit_plus", "threshold": 0.2},
    "factor": {"alg": "maskgit_plus", "factor": 1.0},
    "entropy-bound": {"alg": "entropy", "gamma": 0.5},
    "rank-drawn": {"alg": "topk_margin", "alg_temp": 0.3, "temperature": 0.7, "top_p": 0.9},
    "remdm": {"strategy": "remdm", "steps": 8, "eta": 0.3, "temperature": 1.0},
    "speculative": {"alg": "entropy", "strategy": "self_speculative"},
    "prefix": {"alg": "entropy", "cache": "prefix", "block_length": 4},
    "dual": {"alg": "entropy", "cache": "dual", "block_length": 4, "threshold": 0.3},
    "delayed": {"alg": "entropy", "cache": "delayed", "steps": 6},
    "block-delayed": {"alg": "entropy", "cache": "block_delayed", "block_length": 4, "threshold": 0.3},
    "window": {"alg": "entropy", "cache": "block_delayed", "block_length": 6, "window": 1},
    "adaptive": {"alg": "entropy", "cache": "adaptive", "steps": 6},
}


@pytest.fixture(scope="module", params=[True, False], ids=["shifted", "unshifted"])
def model(request):
    return random_model(shift=request.param)


def generate(model, prompt, *arguments, **options):
    return diffusion_generate(
        model, prompt, *arguments, max_new_tokens=12, generator=torch.Generator().manual_seed(0), **options
    )


@pytest.mark.parametrize("rule", RULES)
def test_prompts_stay_and_every_mask_is_revealed_for_good(model, rule):
    prompt = prompts(3)
    found = generate(model, prompt, output_history=True, **RULES[rule])
    mask = model.special.mask
    assert torch.equal(found.sequences[:, :6], prompt)
    assert not (found.sequences == mask).any()
    assert (found.order[:, :6] == -1).all()
    assert (found.order[:, 6:] >= 0).all()
    assert found.probability[:, 6:].isfinite().all()
    assert found.generated.tolist() == [
        next((i for i, t in enumerate(row) if t == model.special.pad), 12) for row in found.completions.tolist()
    ]
    for before, after in zip(found.history, found.history[1:], strict=False):
        if rule != "remdm":
            assert torch.equal(before[before != mask], after[before != mask])
    for step, after in enumerate(found.history):
        assert torch.equal((after == mask)[:, 6:], found.order[:, 6:] > step) or rule == "remdm"


def test_remasking_takes_tokens_back(model):
    found = generate(model, prompts(), output_history=True, **RULES["remdm"])
    before, after = torch.stack(found.history[:-1]), torch.stack(found.history[1:])
    assert ((before != model.special.mask) & (after == model.special.mask)).any()


@pytest.mark.parametrize("sigma", ["cap", "rescale", "confidence", "loop"])
def test_remasking_without_strength_is_the_reverse_process(model, sigma):
    options = {"temperature": 1.0, "steps": 8}
    plain = generate(model, prompts(), alg="origin", **options)
    # The loop's times are its own, so only its absence of going back can be compared.
    found = generate(model, prompts(), strategy="remdm", sigma=sigma, eta=0.0, output_history=True, **options)
    if sigma == "loop":
        assert (found.history[-1] != model.special.mask).all()
    else:
        assert torch.equal(found.sequences, plain.sequences)


@pytest.mark.parametrize(
    ("alg", "schedule"),
    [("origin", "exact"), *((alg, schedule) for alg in ALGS[1:] for schedule in ("exact", "reference"))],
)
def test_counts_of_a_row_are_its_own(model, alg, schedule):
    x = torch.cat([prompts(3, 6), prompts(3, 10, 5)], dim=1)
    mask = model.special.mask
    x[0, 7:9], x[1, 6:14], x[2, [5, 9, 15]] = mask, mask, mask
    given = x != mask
    found = generate(model, x, infill=True, alg=alg, schedule=schedule, steps=4, output_history=True)
    assert not (found.sequences == mask).any()
    assert torch.equal(found.sequences[given], x[given])
    if alg != "origin":
        revealed = [[int((found.order[row] == step).sum()) for step in range(4)] for row in range(3)]
        assert [sum(row) for row in revealed] == [2, 8, 3]
        if schedule == "exact":
            assert revealed == [[1, 1, 0, 0], [2, 2, 2, 2], [1, 1, 1, 0]]


def test_the_published_count_leaves_masks_where_rows_differ_but_overwrites_nothing():
    model = random_model()
    x = prompts(2, 12)
    mask = model.special.mask
    x[0, 4:12], x[1, 4:6] = mask, mask
    found = generate(model, x, infill=True, alg="entropy", steps=3, **REFERENCE)
    assert torch.equal(found.sequences[:, :4], x[:, :4])
    assert torch.equal(found.sequences[1, 6:], x[1, 6:])
    assert (found.sequences[0] == mask).any()


@pytest.mark.parametrize("cache", ["none", "prefix", "dual", "delayed", "block_delayed", "adaptive"])
@pytest.mark.parametrize("length", [1, 5])
def test_left_padding_changes_nothing(model, cache, length):
    prompt = prompts(1, 6)
    # A cache that is refreshed after a number of passes is so for all rows: they must take as many.
    options = {"threshold": 0.25} if cache in ("none", "prefix", "dual", "block_delayed") else {"steps": 6}
    options |= {"alg": "entropy", "cache": cache, "block_length": 6}
    alone = generate(model, prompt, **options)
    both = torch.cat([torch.cat([torch.full((1, length), 7), prompt], dim=1), prompts(1, 6 + length, 9)])
    mask = torch.ones_like(both)
    mask[0, :length] = 0
    padded = generate(model, both, mask, **options)
    assert torch.equal(padded.completions[0], alone.completions[0])
    torch.testing.assert_close(padded.confidence[0, length:], alone.confidence[0], atol=1e-5, rtol=0, equal_nan=True)


def test_rows_may_change_places(model):
    prompt, order = prompts(4), torch.tensor([2, 0, 3, 1])
    for rule in (
        "entropy",
        "published",
        "threshold",
        "factor",
        "entropy-bound",
        "dual",
        "delayed",
        "block-delayed",
        "window",
        "adaptive",
        "speculative",
    ):
        straight, mixed = generate(model, prompt, **RULES[rule]), generate(model, prompt[order], **RULES[rule])
        assert torch.equal(straight.sequences[order], mixed.sequences), rule


@pytest.mark.parametrize("alg", ALGS[1:])
def test_as_many_steps_as_tokens_reveal_one_each(model, alg):
    for steps in (None, 12, 20):
        found = generate(model, prompts(), alg=alg, steps=steps)
        assert found.order[:, 6:].sort(dim=1).values.tolist() == [list(range(12))] * 2
        assert (found.nfe, found.token_forwards) == (12, 12 * 2 * 18)


def test_one_block_is_no_block(model):
    for options in ({"alg": "entropy"}, {"alg": "maskgit_plus", "threshold": 0.2}):
        plain, block = generate(model, prompts(), **options), generate(model, prompts(), block_length=12, **options)
        assert torch.equal(plain.sequences, block.sequences)
        assert torch.equal(plain.order, block.order)


def test_blocks_are_filled_from_the_left(model):
    found = generate(model, prompts(), alg="entropy", block_length=4, steps=6)
    last = found.order[:, 6:].reshape(2, 3, 4).amax(dim=2)
    first = found.order[:, 6:].reshape(2, 3, 4).amin(dim=2)
    assert (first[:, 1:] > last[:, :-1]).all()


def test_more_is_revealed_for_lower_thresholds_and_higher_factors(model):
    def passes(name, values):
        return [generate(model, prompts(1), alg="maskgit_plus", **{name: value}).nfe for value in values]

    counts = passes("threshold", [1.0, 0.6, 0.3, 0.1, 1e-9])
    assert counts == sorted(counts, reverse=True)
    assert (counts[0], counts[-1]) == (12, 1)
    counts = passes("factor", [0.0, 0.5, 1.0, 3.0, 13.0])
    assert counts == sorted(counts, reverse=True)
    assert (counts[0], counts[-1]) == (12, 1)


def test_no_joint_entropy_is_one_token_a_pass(model):
    stepwise, bound = generate(model, prompts(), alg="entropy"), generate(model, prompts(), alg="entropy", gamma=0.0)
    assert torch.equal(stepwise.sequences, bound.sequences)
    assert torch.equal(stepwise.order, bound.order)


@pytest.mark.parametrize("draft", [1, 2, 5, 30])
@pytest.mark.parametrize("alg", ALGS[1:])
def test_self_speculation_is_stepwise_decoding(model, alg, draft):
    prompt = prompts(3)
    mask = torch.ones_like(prompt)
    mask[1, :2] = 0
    for options in ({}, {"block_length": 4}, {"stop_ids": (11, 98)}):
        stepwise = generate(model, prompt, mask, alg=alg, **options)
        found = generate(model, prompt, mask, alg=alg, strategy="self_speculative", draft=draft, **options)
        assert torch.equal(found.sequences, stepwise.sequences)
        ours, theirs = (part.order[:, 6:].argsort(dim=1, stable=True) for part in (found, stepwise))
        assert torch.equal(ours, theirs)
        torch.testing.assert_close(found.confidence, stepwise.confidence, atol=1e-5, rtol=0, equal_nan=True)
        assert found.nfe <= stepwise.nfe + (len(options) and 3) + 1


def test_drafts_that_hold_save_passes():
    model = random_model(2)
    with torch.no_grad():  # what is predicted depends on the position alone, so every draft holds
        for layer in model.network.model.layers:
            layer.self_attn.v_proj.weight.zero_()
            layer.self_attn.v_proj.bias.zero_()
    x = prompts(1, 14)
    x[0, 1::2] = model.special.mask
    stepwise = diffusion_generate(model, x, infill=True, alg="entropy")
    found = diffusion_generate(model, x, infill=True, alg="entropy", strategy="self_speculative", draft=4)
    assert torch.equal(found.sequences, stepwise.sequences)
    assert stepwise.nfe == 7
    assert found.nfe == 3  # the first pass, four tokens, three tokens


def test_the_mask_is_never_proposed_unless_asked_for(model):
    loud = random_model(4, shift=model.logit_shift)
    with torch.no_grad():
        loud.network.lm_head.weight[loud.special.mask] *= 40
    options = {"alg": "maskgit_plus", "steps": 4}
    assert not (generate(loud, prompts(), **options).sequences == loud.special.mask).any()
    assert (generate(loud, prompts(), suppress_mask=False, **options).sequences == loud.special.mask).any()


def test_an_end_token_ends_its_row(model):
    plain = generate(model, prompts(), alg="entropy", block_length=2)
    ends = tuple({int(plain.completions[0, 3]), int(plain.completions[1, 4])})
    found = generate(model, prompts(), alg="entropy", block_length=2, stop_ids=ends)
    assert found.nfe < plain.nfe
    for row, (ours, theirs) in enumerate(zip(found.completions.tolist(), plain.completions.tolist(), strict=True)):
        place = next(i for i, token in enumerate(theirs) if token in ends)
        assert ours[: place + 1] == theirs[: place + 1]
        assert set(ours[place + 1 :]) <= {model.special.pad}
        assert int(found.generated[row]) == place


@pytest.mark.parametrize("rule", ["entropy", "threshold", "remdm", "speculative", "dual"])
def test_committed_tokens_come_in_order_and_once(model, rule):
    told = {0: [], 1: []}
    found = generate(model, prompts(), on_commit=lambda row, tokens: told[row].append(tokens), **RULES[rule])
    for row, parts in told.items():
        assert [token for part in parts for token in part] == found.completions[row].tolist()
    assert len(told[0]) > 1 or rule != "dual"
    assert len(told[0]) == 1 or rule != "remdm"  # nothing is sure before the end


def test_several_sequences_of_one_prompt(model):
    found = generate(model, prompts(2), alg="entropy", temperature=1.5, num_return_sequences=3)
    assert len(found.sequences) == 6
    assert torch.equal(found.sequences[:3, :6], prompts(2)[:1].expand(3, -1))
    assert len({tuple(row) for row in found.completions[:3].tolist()}) == 3


def test_a_hook_sees_the_shifted_logits_and_decides(model):
    def only(step, x, logits):
        assert logits.shape == (*x.shape, model.vocab_size)
        return torch.full_like(logits, -5.0).index_fill(-1, torch.tensor([65]), 5.0)

    found = generate(model, prompts(), alg="entropy", steps=3, generation_logits_hook_func=only)
    assert (found.completions == 65).all()


def test_given_numbers_choose_tokens():
    model = random_model()
    options = {"alg": "maskgit_plus", "temperature": 1.0, "steps": 1}
    numbers = torch.full((24,), 0.3, dtype=torch.float64)
    found = generate(model, prompts(), token_uniforms=[numbers], **options)
    again = diffusion_generate(model, prompts(), max_new_tokens=12, token_uniforms=[numbers], **options)
    assert torch.equal(found.sequences, again.sequences)
    other = diffusion_generate(model, prompts(), max_new_tokens=12, token_uniforms=[numbers + 0.4], **options)
    assert not torch.equal(found.sequences, other.sequences)
