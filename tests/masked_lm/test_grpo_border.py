"""What enters the views, estimates and bounds of policy gradients: right, or one sentence."""

import math
from typing import Any

import pytest
import torch

from tenfold.masked_lm.grpo import bounds, estimators
from tests.masked_lm.helpers import tiny
from tests.sweeping import refused, sweep

torch.manual_seed(7)
COMPLETIONS = torch.tensor([[40, 50, 60], [41, 51, 61]])
PROMPTS = torch.tensor([[10, 20, 30, 31], [11, 21, 31, 32]])
MASKS = torch.tensor([[[True, False, True], [False, True, False]]])
TIMES = torch.tensor([[0.25, 0.5]])
UNIFORMS = torch.tensor([[0.125, 0.25, 0.5, 0.75], [0.5, 0.25, 0.125, 0.0]])
HIDDEN = torch.tensor([[[True, False, True], [True, True, False]], [[True, True, False], [False, True, True]]])
WEIGHT = torch.tensor([[0.5, 1.0], [0.25, 1.5]])
VIEWS = estimators.coupled_views(MASKS, TIMES)
MODEL = tiny()


def numbers(purpose: str, shape: tuple[int, ...]) -> torch.Tensor:
    return torch.linspace(0, 0.99, 2 * math.prod(shape)).view(2, *shape)


def log_loss(*given: Any) -> torch.Tensor:
    with torch.no_grad():
        return MODEL(*given)


ENTRIES: dict[str, tuple[Any, dict[str, Any]]] = {
    "sandwich": (bounds.sandwich, {"advantage": torch.tensor([0.5, -0.25])}),
    "count_views": (
        bounds.count_views,
        {"uniforms": torch.tensor([[[0.25, 0.5, 0.75]], [[0.5, 0.0, 0.125]]]), "offset": torch.tensor([[0.5], [0.25]])},
    ),
    "upper_bound": (
        bounds.upper_bound, {"each": -torch.rand(2, 2, 3), "hidden": HIDDEN, "weight": WEIGHT, "power": 1.5}
    ),
    "full_views": (estimators.full_views, {"completions": COMPLETIONS}),
    "d1_views": (estimators.d1_views, {"completions": COMPLETIONS, "uniforms": UNIFORMS}),
    "coupled_views": (estimators.coupled_views, {"masks": MASKS, "t": TIMES}),
    "decoupled_views": (estimators.decoupled_views, {"masks": MASKS, "others": MASKS.flip(1), "t": TIMES}),
    "draw_views": (
        estimators.draw_views,
        {"kind": "coupled", "prompts": PROMPTS, "completions": COMPLETIONS, "uniforms": numbers},
    ),
    "estimate": (
        estimators.estimate,
        {"forward": log_loss, "prompts": PROMPTS, "completions": COMPLETIONS, "views": VIEWS, "mask": 257},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ENTRIES)
def test_tensors(name: str) -> None:
    sweep(*ENTRIES[name])


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("sandwich", {"mixture": math.nan}),
        ("sandwich", {"power": 0.9}),
        ("count_views", {"uniforms": torch.ones(2, 1, 3)}),
        ("count_views", {"uniforms": torch.zeros(2, 0, 3)}),
        ("count_views", {"uniforms": torch.zeros(2, 1, 0)}),
        ("count_views", {"offset": torch.full((2, 1), 1.5)}),
        ("upper_bound", {"power": 0.0}),
        ("upper_bound", {"weight": -WEIGHT}),
        ("upper_bound", {"weight": 0 * WEIGHT}),
        ("d1_views", {"share": 1.5}),
        ("d1_views", {"share": math.nan}),
        ("d1_views", {"uniforms": -UNIFORMS}),
        ("coupled_views", {"t": TIMES * 4}),
        ("coupled_views", {"normalised": "perhaps"}),
        ("coupled_views", {"masks": MASKS[:0], "t": TIMES[:0]}),
        ("decoupled_views", {"masks": MASKS[:0], "others": MASKS[:0], "t": TIMES[:0]}),
        ("draw_views", {"kind": "cuopled"}),
        ("draw_views", {"pairs": 0}),
        ("draw_views", {"pairs": 1.5}),
        ("draw_views", {"least": 0.5}),
        ("estimate", {"mask": 1.5}),
        ("estimate", {"real": torch.ones(2, 3, dtype=torch.bool)}),
        ("estimate", {"views": VIEWS._replace(hidden=VIEWS.hidden[:, :1])}),
        ("estimate", {"views": VIEWS._replace(hidden=VIEWS.hidden.float())}),
        ("estimate", {"views": VIEWS._replace(weight=VIEWS.weight * math.nan)}),
        ("estimate", {"views": VIEWS._replace(weight=VIEWS.weight[:1])}),
        ("estimate", {"views": VIEWS._replace(prompt=torch.ones(2, 9, dtype=torch.bool))}),
        ("estimate", {"views": VIEWS._replace(sandwich=bounds.Sandwich(torch.zeros(3), 1.5))}),
    ],
)
def test_values(name: str, wrong: dict[str, Any]) -> None:
    function, given = ENTRIES[name]
    refused(lambda: function(**{**given, **wrong}), wrong)


def test_what_is_not_hidden_may_be_anything() -> None:
    function, given = ENTRIES["upper_bound"]
    spoilt = given["each"].masked_fill(~HIDDEN, -math.inf)
    assert torch.equal(function(**{**given, "each": spoilt}), function(**given))
