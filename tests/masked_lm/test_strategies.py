"""Rules of what is revealed, against direct computations."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tenfold.masked_lm.decoding import strategies
from tenfold.masked_lm.decoding.proposals import filtered, gumbel_proposals, nucleus, propose
from tenfold.masked_lm.decoding.schedules import exact_quotas, reference_quotas, times

NONE = -math.inf


def rows(values):
    return torch.tensor(values, dtype=torch.float32)


@given(st.lists(st.integers(0, 60), min_size=1, max_size=4), st.integers(1, 80))
def test_quotas_add_up(masks, steps):
    planned = exact_quotas(torch.tensor(masks), steps)
    assert planned.sum(dim=0).tolist() == masks
    assert (planned.amax(dim=0) - planned.amin(dim=0) <= 1).all()
    left, taus = torch.tensor(masks), times(steps)
    for step in range(steps):
        left = left - reference_quotas(left, step, taus)
        assert (left >= 0).all()
    assert (left == 0).all()


def test_the_batch_mean_is_the_published_count():
    taus = times(4)
    assert reference_quotas(torch.tensor([8, 2]), 3, taus, "batch").tolist() == [5, 2]
    assert reference_quotas(torch.tensor([8, 2]), 3, taus).tolist() == [8, 2]


def test_equal_scores_go_from_left_to_right():
    assert strategies.best(rows([[0.5, 0.7, 0.7, 0.7]]), torch.tensor([2])).tolist() == [[False, True, True, False]]


def test_thresholds_beyond_the_range_of_options():
    score = rows([[0.2, NONE, 0.6, 0.4], [NONE, NONE, 0.1, NONE]])
    assert strategies.above_threshold(score, score, 1.5).sum(dim=1).tolist() == [1, 1]
    assert strategies.above_threshold(score, score, 0.0).sum(dim=1).tolist() == [3, 1]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0.01, 0.999), min_size=1, max_size=7), st.floats(0, 3))
def test_factor_and_entropy_bound(values, limit):
    score = rows([values])
    ordered = sorted(score[0].tolist(), reverse=True)
    n = 1
    while n < len(ordered) and ordered[n] >= torch.tensor(1 - torch.tensor(limit) / (n + 2)):
        n += 1
    assert int(strategies.by_factor(score, limit).sum()) == n
    entropy = 1 - score
    nats = [1 - value for value in ordered]
    largest = max(k for k in range(1, len(nats) + 1) if k == 1 or sum(nats[:k]) - max(nats[:k]) <= limit + 1e-6)
    smallest = max(k for k in range(1, len(nats) + 1) if k == 1 or sum(nats[:k]) - max(nats[:k]) <= limit - 1e-6)
    assert smallest <= int(strategies.by_entropy_bound(score, entropy, limit).sum()) <= largest


def test_rows_without_masks_reveal_nothing():
    empty = torch.full((2, 3), NONE)
    assert not strategies.by_factor(empty, 2.0).any()
    assert not strategies.by_entropy_bound(empty, torch.full((2, 3), math.inf), 9.0).any()
    assert not strategies.above_threshold(empty, empty, 0.0).any()


def test_ranks_drawn_without_putting_back():
    """Pairs drawn one after the other, against the probabilities of both orders."""
    score = rows([[0.1, 0.9, 0.4, NONE]]).expand(40_000, -1)
    uniforms = torch.rand(score.shape, dtype=torch.float64)
    chosen = strategies.drawn_by_rank(score, torch.full((40_000,), 2), 0.5, uniforms)
    assert not chosen[:, 3].any()
    w = (score[0, :3] / 0.5).softmax(dim=0).tolist()
    for a, b in itertools.combinations(range(3), 2):
        expected = w[a] * w[b] / (1 - w[a]) + w[b] * w[a] / (1 - w[b])
        seen = float((chosen[:, a] & chosen[:, b]).double().mean())
        assert seen == pytest.approx(expected, abs=5 * math.sqrt(expected * (1 - expected) / 40_000))


@pytest.mark.parametrize("kind", ["cap", "rescale", "loop"])
def test_remasking_keeps_the_revealed_share(kind):
    """α_t (1 − σ) + (1 − α_t) · reveal = α_s, with 0 ≤ σ ≤ σ_max."""
    loop, nothing = (0.6, 0.2, 0.7), torch.zeros(1, 1)
    taus = torch.linspace(0.98, 0.02, 23).tolist()
    for t, s in itertools.pairwise(taus):
        a, b = (strategies.alpha(time, kind, loop) for time in (t, s))
        sigma = strategies.sigmas(kind, 0.4, t, s, loop, nothing, nothing.bool())
        assert 0 <= float(sigma) <= strategies.largest_sigma(a, b)
        assert float(a * (1 - sigma) + (1 - a) * strategies.remasked_reveal(a, b, sigma)) == pytest.approx(b)
        if kind == "loop":
            assert (float(sigma) > 0) == (t <= 0.6 and s >= 0.2)


def test_confident_tokens_go_back_less_often():
    psi, revealed = rows([[0.9, 0.2, 0.5]]), torch.tensor([[True, True, False]])
    sigma = strategies.sigmas("confidence", 1.0, 0.5, 0.4, (0.6, 0.2, 0.7), psi, revealed)
    assert sigma[0, 1] > sigma[0, 0] > 0
    assert sigma[0, 2] == 0


def test_proposals_follow_the_filtered_distribution():
    logits = torch.randn(1, 6, generator=torch.Generator().manual_seed(2)) * 2
    goal = filtered(logits, 0.8, top_p=0.9).softmax(dim=-1)[0]
    uniforms = (torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000
    found = propose(logits.expand(20_000, -1), "maskgit_plus", 0.8, top_p=0.9, uniforms=uniforms)
    share = torch.bincount(found.tokens, minlength=6) / 20_000
    torch.testing.assert_close(share, goal, atol=1e-3, rtol=0)
    torch.testing.assert_close(found.probability, goal[found.tokens])
    assert (share[goal == 0] == 0).all()


@pytest.mark.parametrize("options", [{}, {"top_k": 3}, {"temperature": 0.2}, {"temperature": 3.0}])
def test_a_nucleus_is_the_filtered_distribution(options):
    logits = torch.randn(5, 700, generator=torch.Generator().manual_seed(2)) * torch.tensor([0.1, 1, 3, 6, 12])[:, None]
    heat = options.get("temperature", 0.0)
    goal = filtered(logits, heat, 0.9, options.get("top_k")).softmax(dim=-1)
    for size in (16, 700):
        values, ids, covered = nucleus(logits, heat, 0.9, options.get("top_k"), size)
        dense = torch.zeros_like(logits).scatter_(1, ids, values.softmax(dim=-1))
        torch.testing.assert_close(dense[covered], goal[covered], atol=1e-6, rtol=1e-5)
        assert covered.any()
        assert covered.all() == (size == 700)
    # Rows of both kinds, put together again.
    uniforms = torch.rand(5, dtype=torch.float64) if heat else None
    some, all_ = (propose(logits, "entropy", heat, 0.9, options.get("top_k"), uniforms, size=n) for n in (16, 700))
    assert torch.equal(some.tokens, all_.tokens)
    torch.testing.assert_close(some.confidence, all_.confidence)
    torch.testing.assert_close(some.confidence, (goal * (goal + 1e-10).log()).sum(dim=-1), atol=1e-5, rtol=1e-5)


def test_entropy_with_dropped_tokens_is_finite():
    logits = torch.tensor([[4.0, 1.0, -2.0, -torch.inf]])
    for options in ({}, {"top_k": 1}, {"top_p": 0.5}, {"temperature": 0.01}):
        found = propose(logits, "entropy", entropy=True, **options)
        p = filtered(logits, **options).softmax(dim=-1)
        expected = -(p * (p + 1e-10).log()).sum(dim=-1)
        torch.testing.assert_close(found.entropy, expected, atol=1e-6, rtol=0)
        assert torch.equal(found.confidence, -found.entropy)


def test_gumbel_form():
    logits = torch.randn(1, 5, generator=torch.Generator().manual_seed(2))
    many = logits.expand(30_000, -1)
    found = gumbel_proposals(many, 0.7, torch.rand(many.shape, dtype=torch.float64))
    share = torch.bincount(found.tokens, minlength=5) / 30_000
    torch.testing.assert_close(share, (logits / 0.7).softmax(dim=-1)[0], atol=0.015, rtol=0)
    torch.testing.assert_close(found.confidence, logits.softmax(dim=-1)[0, found.tokens])
    assert torch.equal(gumbel_proposals(logits, 0.0, torch.rand(1, 5)).tokens, logits.argmax(dim=-1))
