"""Bounds of log-probabilities (SPG): by enumeration of every mask and every order."""

import itertools
import math

import pytest
import torch

from tenfold.errors import UsageError
from tenfold.masked_lm.grpo.bounds import count_views, sandwich, upper_bound
from tenfold.masked_lm.grpo.estimators import draw_views, estimate, full_views
from tests.masked_lm.helpers import tiny

L = 4
PROMPT, COMPLETION = torch.tensor([[10, 20, 30]]), torch.tensor([[40, 50, 60, 70]])


@pytest.fixture(scope="module")
def each() -> tuple[torch.Tensor, torch.Tensor]:
    """Every mask that hides something, (15, 1, L), and log p of what it hides under a model with strong opinions."""
    torch.manual_seed(3)
    model = tiny().double()
    for parameter in model.parameters():
        parameter.data *= 3
    masks = torch.tensor(list(itertools.product([False, True], repeat=L)))[1:, None]
    found = []
    for mask in masks:
        views = full_views(COMPLETION)._replace(hidden=mask[None], weight=torch.ones(1, 1).double())
        with torch.no_grad():
            found.append(estimate(model, PROMPT, COMPLETION, views, model.special.mask).log_p)
    return masks, torch.stack(found)


def weights(masks: torch.Tensor) -> torch.Tensor:
    """Chance of each mask, times L/n."""
    number = masks.sum(-1)
    choices = torch.tensor([math.comb(L, n) for n in number.flatten().tolist()]).view_as(number)
    return (1 / (L * choices) * L / number).double()


def test_bounds_hold_for_the_exact_probability(each: tuple[torch.Tensor, torch.Tensor]) -> None:
    masks, log_p = each
    by_mask = {tuple(mask[0].tolist()): values[0] for mask, values in zip(masks, log_p, strict=True)}
    orders = []
    for order in itertools.permutations(range(L)):
        hidden, total = [True] * L, 0.0
        for place in order:
            total += float(by_mask[tuple(hidden)][place])
            hidden[place] = False
        orders.append(total)
    exact = float(torch.tensor(orders).double().logsumexp(0) - math.log(len(orders)))
    weight = weights(masks)
    whole = torch.where(masks, weight[..., None], 0.0).sum(0)
    torch.testing.assert_close(whole, torch.ones_like(whole))  # the weights of a token have mean 1
    lower = float((weight[..., None] * log_p).sum())
    assert lower == pytest.approx(sum(orders) / len(orders), abs=1e-5)  # the mean over orders of their chain rules
    upper = {power: float(upper_bound(log_p, masks, weight, power).sum()) for power in (1.0, 1.5, float(L), 16.0)}
    values = list(upper.values())
    assert lower < values[0] < values[1] < values[2] < values[3]  # a power mean rises with its power
    assert lower < exact - 1e-3
    assert exact + 1e-3 < upper[float(L)]


def test_views_of_numbers_have_these_weights() -> None:
    """Over the draws, a mask comes as often as it should, whatever the number of views."""
    generator = torch.Generator().manual_seed(0)
    draws = 6000
    hidden, weight = count_views(
        torch.rand(draws, 3, L, generator=generator), torch.rand(draws, 1, generator=generator)
    )
    number = hidden.sum(-1)
    assert number.min() == 1
    assert number.max() == L
    torch.testing.assert_close(weight * number * 3, torch.full_like(weight, float(L)))
    share = torch.where(hidden, weight[..., None], 0.0).sum(0)
    error = share.std(0) / draws**0.5
    assert ((share.mean(0) - 1).abs() < 5 * error).all()
    spread = torch.bincount(number.flatten(), minlength=L + 1)[1:] / number.numel()
    assert ((spread - 1 / L).abs() < 0.02).all()
    assert (number.sort(0).values == number).all()  # a stratum each


def test_the_mixture_is_for_worse_completions() -> None:
    model = tiny().eval()
    torch.manual_seed(0)
    prompts, completions = torch.randint(256, (2, 3)), torch.randint(256, (2, 6))
    views = draw_views("spg", prompts, completions, lambda _, shape: torch.rand(2, *shape), pairs=2)
    assert views.hidden.shape == (5, 2, 6)

    def log_p(mixture: float, power: float = 1.5) -> torch.Tensor:
        chosen = views._replace(sandwich=sandwich(torch.tensor([0.7, -0.7]), mixture, power))
        return estimate(model, prompts, completions, chosen, model.special.mask).log_p

    plain = estimate(model, prompts, completions, views, model.special.mask).log_p
    whole, half = log_p(1.0), log_p(0.5)
    assert torch.equal(whole[0], plain[0])
    torch.testing.assert_close(half[1], (plain[1] + whole[1]) / 2)
    covered = views.covered()[1] > 0
    assert (whole[1] - plain[1])[covered].abs().min() > 0
    assert (whole[1][~covered] == 0).all()
    whole[1].sum().backward()
    assert all(bool(p.grad.isfinite().all()) for p in model.parameters() if p.grad is not None)


def test_gradients_of_the_upper_bound() -> None:
    torch.manual_seed(0)
    each = -torch.rand(3, 2, 4, dtype=torch.float64) - 0.1
    hidden = torch.rand(3, 2, 4) < 0.5
    hidden[:, 0, 1] = False  # in no view
    each = torch.where(hidden, each, 0.0).requires_grad_()
    weight = torch.rand(3, 2, dtype=torch.float64) + 0.5
    assert torch.autograd.gradcheck(lambda x: upper_bound(x, hidden, weight, 1.5), (each,))
    far = torch.where(hidden, -2000.0, 0.0).double()
    assert upper_bound(far, hidden, weight, 1.5).isfinite().all()


def test_bad_bounds() -> None:
    for mixture, power in ((-0.1, 1.5), (1.1, 1.5), (float("nan"), 1.5), (0.5, 0.9), (0.5, float("inf"))):
        with pytest.raises(UsageError, match=r"a share of the upper bound in|expected a number"):
            sandwich(torch.ones(2), mixture, power)
