"""Estimates of log-probabilities: their means and variances by enumeration of all masks, padding, bad input."""

import itertools
from pathlib import Path

import pytest
import torch

from tenfold.errors import UsageError
from tenfold.masked_lm.grpo.estimators import (
    Estimate,
    coupled_views,
    d1_views,
    decoupled_views,
    draw_views,
    estimate,
    full_views,
    require_same_views,
    spread_out,
)
from tests.masked_lm.helpers import arrays, fixture_model, tiny

L, T = 4, 0.3


@pytest.fixture(scope="module")
def enumerated() -> dict[str, torch.Tensor]:
    """Every mask of one completion, its probability at time T, and the estimates of a model."""
    torch.manual_seed(3)
    model = tiny().double()
    for parameter in model.parameters():  # logits that differ
        parameter.data *= 3
    prompt, completion = torch.tensor([[10, 20, 30]]), torch.tensor([[40, 50, 60, 70]])
    masks = torch.tensor(list(itertools.product([False, True], repeat=L)))[:, None]  # (16, 1, L)
    chance = torch.where(masks[:, 0], T, 1 - T).double().prod(1)

    def log_p(hidden: torch.Tensor) -> torch.Tensor:
        views = full_views(completion)._replace(hidden=hidden[None], weight=torch.ones(1, 1, dtype=torch.float64))
        with torch.no_grad():
            return estimate(model, prompt, completion, views, model.special.mask).log_p[0]

    each = torch.stack([log_p(mask) for mask in masks])  # 0 where nothing is hidden
    coupled = []
    for mask in masks:
        views = coupled_views(mask[None], torch.full((1, 1), T, dtype=torch.float64))
        with torch.no_grad():
            coupled.append(estimate(model, prompt, completion, views, model.special.mask).log_p[0])
    return {"masks": masks[:, 0], "chance": chance, "each": each.double(), "coupled": torch.stack(coupled).double()}


def moments(values: torch.Tensor, chance: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    mean = chance @ values
    return mean, chance @ (values - mean).square()


def test_coupled_means_and_variances_by_enumeration(enumerated: dict[str, torch.Tensor]) -> None:
    """E = (l_full + E l_t/t + E l_{1−t}/(1−t)) / 2 for coupled and decoupled alike; of the coupled one the variance is
    less for every token, and for their sum."""
    masks, chance, each = (enumerated[name] for name in ("masks", "chance", "each"))
    full = each[-1]
    assert masks[-1].all()
    other = torch.where(masks, 1 - T, T).double().prod(1)  # probability of a mask at 1 − T
    one, one_variance = moments(each / T, chance)
    two, two_variance = moments(each / (1 - T), other)
    expected = (full + one + two) / 2
    mean, variance = moments(enumerated["coupled"], chance)
    torch.testing.assert_close(mean, expected, atol=1e-5, rtol=1e-6)
    decoupled = (one_variance + two_variance) / 4  # independent
    assert (variance < decoupled / 2).all()
    of_sum = moments(enumerated["coupled"].sum(1), chance)[1]
    decoupled_sum = (moments(each.sum(1) / T, chance)[1] + moments(each.sum(1) / (1 - T), other)[1]) / 4
    assert of_sum < decoupled_sum


def test_views_cover_every_token_twice() -> None:
    masks = torch.rand(3, 2, 6) < 0.5
    t = torch.rand(3, 2) * 0.6 + 0.2
    views = coupled_views(masks, t)
    assert torch.equal(views.covered(), torch.full((2, 6), 4))  # the full view, and one of each pair
    assert torch.equal(views.hidden[1:4], ~views.hidden[4:])
    torch.testing.assert_close(coupled_views(masks, t, True).weight, views.weight * 4 / 7)


@torch.no_grad()
def test_expected_weights_add_to_one_when_normalised() -> None:
    completions = torch.zeros(4000, 3, dtype=torch.long)
    generator = torch.Generator().manual_seed(0)

    def uniforms(purpose: str, shape: tuple[int, ...]) -> torch.Tensor:
        return torch.rand(len(completions), *shape, generator=generator)

    for kind in ("coupled", "decoupled"):
        for pairs in (1, 2):
            for stratified in (False, True):
                views = draw_views(kind, completions, completions, uniforms, pairs, 0.2, stratified, True)
                whole = (views.weight[..., None] * views.hidden).sum(0)
                error = whole.std() / whole.numel() ** 0.5
                assert abs(whole.mean() - 1) < 5 * error, (kind, pairs)


def test_stratified_masks() -> None:
    numbers = torch.rand(500, 8)
    found = spread_out(numbers, torch.rand(500, 1))
    assert torch.equal((found * 8).long().sort(1).values, torch.arange(8).expand(500, -1))
    for t in (0.2, 0.5, 0.77):
        counts = (found < t).sum(1)
        assert (counts - 8 * t).abs().max() < 1
        assert abs((found < t).float().mean() - t) < 0.03
    assert float(spread_out(torch.rand(3, 5), torch.full((3, 1), 1 - 2.0**-24)).max()) < 1


@torch.no_grad()
def test_padding_on_the_left_changes_nothing(fixtures: Path) -> None:
    model, found = fixture_model(fixtures), arrays(fixtures, "coupled_grpo")
    prompts, completions = found["prompt_ids"], found["completion_ids"]
    views = coupled_views(found["iter0.mask"][None], torch.full((1, 4), 0.4))
    mask = model.special.mask
    plain = estimate(model, prompts, completions, views, mask).log_p
    padded = torch.cat([torch.full((4, 3), model.special.pad), prompts], 1)
    real = torch.arange(10).expand(4, -1) >= 3
    torch.testing.assert_close(estimate(model, padded, completions, views, mask, real).log_p, plain, atol=1e-5, rtol=0)
    assert (estimate(model, padded, completions, views, mask).log_p - plain).abs().max() > 1e-3


@torch.no_grad()
def test_d1_hides_some_of_the_prompt(fixtures: Path) -> None:
    model, found = fixture_model(fixtures), arrays(fixtures, "coupled_grpo")
    prompts, completions = found["prompt_ids"], found["completion_ids"]
    all_of_it = estimate(
        model, prompts, completions, d1_views(completions, torch.full((4, 7), 0.99)), model.special.mask
    )
    full = estimate(model, prompts, completions, full_views(completions), model.special.mask)
    assert torch.equal(all_of_it.log_p, full.log_p)
    some = estimate(model, prompts, completions, d1_views(completions, torch.zeros(4, 7)), model.special.mask)
    blank = torch.full_like(prompts, model.special.mask)
    torch.testing.assert_close(
        some.log_p, estimate(model, blank, completions, full_views(completions), model.special.mask).log_p
    )


def test_estimates_of_other_views_are_refused() -> None:
    completions, t = torch.zeros(2, 5, dtype=torch.long), torch.full((1, 2), 0.5)
    masks = torch.rand(1, 2, 5) < 0.5
    one = Estimate(torch.zeros(2, 5), coupled_views(masks, t))
    require_same_views(one, Estimate(torch.ones(2, 5), coupled_views(masks.clone(), t.clone())))
    others = [
        coupled_views(~masks, t),
        coupled_views(masks, t + 0.1),
        full_views(completions),
        coupled_views(masks, t)._replace(prompt=torch.zeros(2, 3, dtype=torch.bool)),
        decoupled_views(masks, masks, t),
    ]
    for views in others:
        with pytest.raises(UsageError, match="of different masks; draw the views once"):
            require_same_views(one, Estimate(torch.zeros(2, 5), views))


def test_bad_views() -> None:
    completions = torch.zeros(2, 5, dtype=torch.long)
    for t in (0.0, 1.0):
        with pytest.raises(UsageError, match=r"times of a pair lie in \(0, 1\), but one is"):
            coupled_views(torch.zeros(1, 2, 5, dtype=torch.bool), torch.full((1, 2), t))
    for pairs, least in ((0, 0.2), (1, 0.0), (1, 0.5), (1, float("nan"))):
        with pytest.raises(UsageError, match=r"give at least 1, and a time in|expected a number"):
            draw_views("coupled", completions, completions, lambda p, s: torch.rand(2, *s), pairs, least)
