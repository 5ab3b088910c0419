"""Passes with caches: what is computed, and that a fresh cache says what a full pass says."""

import pytest
import torch

from tenfold.masked_lm.decoding.options import GenerationOptions
from tenfold.masked_lm.decoding.sampling import diffusion_generate, passes
from tests.masked_lm.generating import prompts, random_model

CACHES = ["prefix", "dual", "delayed", "block_delayed", "adaptive"]


@pytest.fixture(scope="module", params=[(True, "qwen2"), (False, "llama")], ids=["qwen2-shifted", "llama-unshifted"])
def model(request):
    shift, family = request.param
    return random_model(shift=shift, family=family)


def half_done(model, padded):
    """A sequence of 18 with some of its last 12 masked, its padding, and the positions that count its tokens."""
    x = prompts(2, 18, 4)
    x[:, 6:] = torch.where(
        torch.rand(2, 12, generator=torch.Generator().manual_seed(1)) < 0.6, model.special.mask, x[:, 6:]
    )
    x[:, 8] = model.special.mask
    if not padded:
        return x, None, None
    mask = torch.ones_like(x)
    mask[0, :3] = 0
    return x, mask, (mask.cumsum(dim=1) - 1).clamp(min=1)


@pytest.mark.parametrize("cache", CACHES)
@pytest.mark.parametrize("padded", [False, True])
@torch.no_grad()
def test_an_unchanged_sequence_has_the_same_logits(model, cache, padded):
    """The second pass computes a part and takes the rest from the first."""
    x, mask, positions = half_done(model, padded)
    full = passes(model, GenerationOptions(alg="entropy"), mask, positions, 6)
    options = GenerationOptions(alg="entropy", cache=cache, refresh=100, share=0.5)
    kept = passes(model, options, mask, positions, 6)
    kept.begin_block(8, 14)
    wanted = x == model.special.mask
    wanted[:, 14:] = False
    wanted[:, :8] = False
    expected = full.logits(x, wanted)
    for _ in range(3):
        torch.testing.assert_close(kept.logits(x, wanted), expected, atol=1e-5, rtol=1e-5)
    assert kept.nfe == 3
    assert kept.token_forwards < 3 * x.numel()


@pytest.mark.parametrize("cache", CACHES)
@torch.no_grad()
def test_what_is_computed_anew_sees_the_new_tokens(model, cache):
    x, _, _ = half_done(model, False)
    options = GenerationOptions(alg="entropy", cache=cache, refresh=100, share=1.0)
    kept = passes(model, options, None, None, 6)
    kept.begin_block(8, 14)
    wanted = x == model.special.mask
    wanted[:, 14:] = False
    wanted[:, :8] = False
    first = kept.logits(x, wanted)
    x[:, 8] = 65
    wanted[:, 8] = False
    second = kept.logits(x, wanted)
    exact = passes(model, GenerationOptions(alg="entropy"), None, None, 6).logits(x, wanted)
    rows = (x == model.special.mask)[:, 8:14]
    assert rows.any()
    old = first[1:][: len(second)]
    # Nearer to the truth than what the cache started from, though not equal to it.
    assert (second - exact).abs().mean() < (old - exact).abs().mean()


@pytest.mark.parametrize("cache", CACHES)
@pytest.mark.parametrize("padded", [False, True])
def test_refreshed_in_every_pass_it_is_no_cache(model, cache, padded):
    prompt = prompts(2, 6)
    mask = torch.ones_like(prompt)
    mask[0, : 3 if padded else 0] = 0
    options = {"alg": "entropy", "max_new_tokens": 12, "block_length": 4, "steps": 6}
    plain = diffusion_generate(model, prompt, mask, **options)
    found = diffusion_generate(model, prompt, mask, cache=cache, refresh=1, prompt_refresh=1, **options)
    assert torch.equal(found.sequences, plain.sequences)
    torch.testing.assert_close(found.confidence, plain.confidence, atol=1e-5, rtol=0, equal_nan=True)
    assert found.token_forwards == plain.token_forwards


def test_cost_of_each_cache(model):
    """Two blocks of six, one token a pass, a batch of two rows of 18."""
    cost = {}
    for cache in ("none", *CACHES):
        found = diffusion_generate(model, prompts(2, 6), max_new_tokens=12, alg="entropy", block_length=6, cache=cache)
        assert found.nfe == 12
        cost[cache] = found.token_forwards
    assert cost["none"] == 12 * 36
    assert cost["prefix"] == 2 * 36 + 5 * 24 + 5 * 12
    assert cost["dual"] == 2 * 36 + 10 * 12
    assert cost["delayed"] < cost["none"]
    assert 2 * 36 < cost["block_delayed"] < cost["dual"]
    # Passes 0 and 8 compute everything and the response, the others a quarter of it.
    assert cost["adaptive"] == 36 + 24 + 10 * 2 * 3


@pytest.mark.parametrize("cache", ["delayed", "block_delayed"])
def test_a_window_computes_the_masks_near_what_was_revealed(model, cache):
    options = {"max_new_tokens": 12, "alg": "entropy", "block_length": 6, "cache": cache}
    whole, few, all_of_it = (diffusion_generate(model, prompts(2, 6), window=w, **options) for w in (0, 1, 12))
    assert few.nfe == whole.nfe == 12
    assert few.token_forwards < whole.token_forwards
    assert torch.equal(all_of_it.sequences, whole.sequences)
    assert all_of_it.token_forwards == whole.token_forwards


@torch.no_grad()
def test_a_window_of_one_computes_what_was_revealed_and_its_neighbours():
    model = random_model(shift=False)
    x = torch.full((1, 12), model.special.mask)
    options = GenerationOptions(alg="entropy", cache="delayed", window=1, refresh=100)
    kept = passes(model, options, None, None, 0)
    kept.hidden(x)
    x[0, 5] = 65
    kept.hidden(x)
    assert kept.token_forwards == 12 + 3
    exact = passes(model, GenerationOptions(alg="entropy"), None, None, 0)
    far, near = kept.rows[0, 0], kept.rows[0, 4]
    assert torch.equal(far, exact.hidden(torch.full_like(x, model.special.mask))[0, 0])
    assert not torch.equal(near, exact.hidden(torch.full_like(x, model.special.mask))[0, 4])


def test_the_first_token_of_a_block_is_predicted_from_the_full_pass():
    model = random_model()
    options = {"alg": "maskgit_plus", "max_new_tokens": 12, "block_length": 4, "cache": "dual"}
    published = diffusion_generate(model, prompts(), first_token="reference", **options)
    first = published.order[:, 6:].reshape(2, 3, 4)
    assert (first.argmin(dim=2) == 0).all()  # whether sure or not
    own = diffusion_generate(model, prompts(), **options)
    assert (own.order[:, 6:].reshape(2, 3, 4).argmin(dim=2) != 0).any()
