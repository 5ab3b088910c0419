"""Schedules, masking paths and draws against their definitions."""

import pytest
import torch

from tenfold import discrete
from tenfold.discrete import Cosine, Geometric, Linear, LinearSigma, Polynomial

SCHEDULES = [Linear(), Linear(1e-3), Cosine(), Cosine(1e-3, 2), Polynomial(3.0), Geometric(), LinearSigma(1e-4, 15.0)]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
def test_derivative_and_weight(schedule: discrete.Schedule) -> None:
    t = torch.linspace(0.05, 0.95, 19, dtype=torch.float64, requires_grad=True)
    alpha = schedule.alpha(t)
    assert (alpha.diff() < 0).all()
    (slope,) = torch.autograd.grad(alpha.sum(), t)
    t = t.detach()
    torch.testing.assert_close(schedule.alpha_prime(t), slope)
    torch.testing.assert_close(discrete.likelihood_weight(schedule, t), -slope / (1 - schedule.alpha(t)))
    ends = schedule.alpha(torch.tensor([0.0, 1.0], dtype=torch.float64))
    assert ends[0] > 0.999
    assert ends[1] < 0.002


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
def test_posterior_follows_bayes(schedule: discrete.Schedule) -> None:
    s, t = schedule.alpha(torch.tensor(0.3)), schedule.alpha(torch.tensor(0.8))
    # masked at t: masked at s already (and ever after), or lost between s and t
    lost = s * (1 - t / s)
    torch.testing.assert_close(discrete.reveal_probability(s, t), lost / (1 - s + lost))


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
def test_total_noise_and_the_time_of_a_level(schedule: discrete.Schedule) -> None:
    t = torch.linspace(0.05, 0.95, 19, dtype=torch.float64)
    torch.testing.assert_close(discrete.sigma(schedule, t), -schedule.alpha(t).log())
    torch.testing.assert_close(discrete.time_of(schedule, schedule.alpha(t)), t)


def test_tokens_are_masked_independently() -> None:
    n, maskable = 200_000, torch.ones(1, 200_000, dtype=torch.bool)
    maskable[0, ::4] = False
    s = torch.tensor([0.7])
    first = discrete.mask_independently(maskable, s, torch.rand(1, n))
    assert not first[~maskable].any()
    assert first[maskable].float().mean() == pytest.approx(0.3, abs=0.005)


def test_exact_counts_are_uniform() -> None:
    maskable = torch.tensor([[False, True, True, True, True, False]]).expand(30_000, -1)
    masked = discrete.mask_exactly(maskable, torch.full((30_000,), 2), torch.rand(30_000, 6))
    assert masked.sum(1).unique().tolist() == [2]
    _, counts = masked.unique(dim=0, return_counts=True)
    assert len(counts) == 6
    assert ((counts - 5000).abs() < 4 * 65).all()  # four standard errors


def test_times_of_low_discrepancy() -> None:
    index = torch.arange(64, 128)
    assert torch.histc(discrete.stratified(0.3, index, 64), 64, 0, 1).tolist() == [1.0] * 64
    t = discrete.times(torch.tensor([0.0, 0.999999]), 1e-3)
    assert t.tolist() == pytest.approx([1.0, 1e-3], abs=1e-5)
    assert (t > 0).all()


def test_categorical_draws() -> None:
    weights = torch.tensor([0.0, 1.0, 0.0, 3.0, 0.0])
    u = torch.linspace(0, 1, 4001)[:-1]
    drawn = discrete.categorical(weights.expand(4000, -1), u)
    assert drawn.bincount(minlength=5).tolist() == [0, 1000, 0, 3000, 0]
    # Rounding at u just below 1 never leads to an outcome without weight.
    last = torch.nextafter(torch.tensor(1.0, dtype=torch.float64), torch.tensor(0.0, dtype=torch.float64))
    assert discrete.categorical(weights, last) == 3


def test_gumbel_draws() -> None:
    logits = torch.tensor([0.0, 1.0, 2.0])
    drawn = discrete.gumbel_argmax(logits.expand(60_000, -1), torch.rand(60_000, 3, dtype=torch.float64), 2.0)
    share = drawn.bincount(minlength=3) / 60_000
    torch.testing.assert_close(share, (logits / 2.0).softmax(-1), atol=0.01, rtol=0)
    assert discrete.gumbel_argmax(logits, torch.zeros(3), 0.0) == 2
