"""Advantages, surrogate, penalty and loss: closed forms, gradients, bad input."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some

from tenfold.errors import UsageError
from tenfold.rl import advantages, policy_loss, reference_penalty, surrogate, until_end


@settings(deadline=None)
@given(some.integers(2, 7), some.integers(0, 10**6), some.booleans())
def test_advantages(size: int, seed: int, scaled: bool) -> None:
    rewards = torch.randn(3, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    mean, other = (advantages(rewards, kind, scaled) for kind in ("mean", "leave_one_out"))
    torch.testing.assert_close(other, mean * size / (size - 1))
    torch.testing.assert_close(other.sum(1), torch.zeros(3, dtype=torch.float64), atol=1e-9, rtol=0)
    if not scaled:
        for i in range(size):
            rest = torch.cat([rewards[:, :i], rewards[:, i + 1 :]], 1).mean(1)
            torch.testing.assert_close(other[:, i], rewards[:, i] - rest)


@settings(deadline=None)
@given(some.floats(-1e6, 1e6), some.integers(2, 9), some.booleans())
def test_equal_rewards_say_nothing(value: float, size: int, scaled: bool) -> None:
    assert torch.equal(advantages(torch.full((2, size), value), "mean", scaled), torch.zeros(2, size))


def test_bad_rewards() -> None:
    with pytest.raises(UsageError, match="a group has 1 completion; advantages compare at least 2"):
        advantages(torch.zeros(3, 1))
    for wrong in (torch.nan, torch.inf):
        with pytest.raises(UsageError, match="every completion needs a finite reward"):
            advantages(torch.tensor([[1.0, wrong]]))


def test_until_the_first_end() -> None:
    tokens = torch.tensor([[1, 2, 7, 7, 8], [8, 1, 1, 1, 1], [1, 1, 1, 1, 1]])
    assert until_end(tokens, (7, 8)).long().tolist() == [[1, 1, 1, 0, 0], [1, 0, 0, 0, 0], [1, 1, 1, 1, 1]]


def drawn(seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    log_p = normal(3, 5)
    valid = torch.rand(3, 5, generator=generator) < 0.8
    return {"log_p": log_p, "old": log_p + 0.4 * normal(3, 5), "advantage": normal(3), "valid": valid,
            "reference": log_p + 0.4 * normal(3, 5)}  # fmt: skip


def test_gradient_of_the_loss_by_finite_differences() -> None:
    given = drawn()
    log_p = given.pop("log_p").requires_grad_()

    def loss(x: torch.Tensor) -> torch.Tensor:
        return policy_loss(
            x, given["old"], given["advantage"], given["valid"], (0.3, 0.5), 0.1, given["reference"]
        ).loss

    assert torch.autograd.gradcheck(loss, (log_p,), eps=1e-7)
    loss(log_p).backward()
    assert (log_p.grad[~given["valid"]] == 0).all()
    assert (log_p.grad[given["valid"]] != 0).any()


def test_the_first_gradient_is_reinforce() -> None:
    """ρ = 1 and KL = 0 where the policy is the old one and the reference."""
    given = drawn()
    log_p = given["log_p"].requires_grad_()
    now = log_p.detach()
    loss, metrics = policy_loss(log_p, now, given["advantage"], given["valid"], (0.2, 0.2), 0.5, now)
    assert metrics["kl"] == 0
    assert metrics["ratio"] == 1
    assert metrics["clipped_low"] == metrics["clipped_high"] == 0
    expected = -(given["advantage"][:, None] * given["valid"]) / given["valid"].sum()
    torch.testing.assert_close(torch.autograd.grad(loss, log_p)[0], expected)


def test_clipping() -> None:
    """Beyond the clip in the direction of the advantage nothing is gained; back from it everything is."""
    log_p = torch.log(torch.tensor([[0.4, 0.8, 1.0, 1.4, 2.0]]))
    zero = torch.zeros(1, 5)
    up, down = (surrogate(log_p, zero, torch.tensor([a]), 0.3, 0.5)[0] for a in (1.0, -1.0))
    torch.testing.assert_close(up, torch.tensor([0.4, 0.8, 1.0, 1.4, 1.5]))
    torch.testing.assert_close(down, -torch.tensor([0.7, 0.8, 1.0, 1.4, 2.0]))
    _, metrics = policy_loss(log_p.repeat(2, 1), zero.repeat(2, 1), torch.tensor([1.0, -1.0]),
                             torch.tensor([[True] * 5, [True] * 4 + [False]]), (0.3, 0.5))  # fmt: skip
    assert float(metrics["clipped_high"]) == float(metrics["clipped_low"]) == pytest.approx(1 / 9)
    torch.testing.assert_close(metrics["ratio"], torch.tensor((5.6 + 3.6) / 9))


def test_the_penalty_estimates_kl() -> None:
    p, q = torch.tensor([0.5, 0.3, 0.2]).double(), torch.tensor([0.2, 0.3, 0.5]).double()
    each = reference_penalty(p.log()[None], q.log()[None])[0]
    assert (each >= 0).all()
    torch.testing.assert_close((p * each).sum(), (p * (p / q).log()).sum())


def test_parts_of_a_batch_add_up() -> None:
    given = drawn()
    whole = policy_loss(**given, clip=(0.2, 0.2), beta=0.1).loss
    count = given["valid"].sum() / 3
    parts = [policy_loss(**{k: v[i : i + 1] for k, v in given.items()}, clip=(0.2, 0.2), beta=0.1, count=count).loss
             for i in range(3)]  # fmt: skip
    torch.testing.assert_close(torch.stack(parts).mean(), whole)


def test_bad_losses() -> None:
    given = drawn()
    with pytest.raises(UsageError, match=r"beta is 0.1, but there are no estimates of a reference"):
        policy_loss(**given | {"reference": None}, clip=(0.2, 0.2), beta=0.1)
    with pytest.raises(UsageError, match="no token of the completions is valid"):
        policy_loss(**given | {"valid": torch.zeros(3, 5, dtype=torch.bool)}, clip=(0.2, 0.2))
