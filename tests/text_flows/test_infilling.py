"""Texts between two sides: against the enumeration of all middles."""

import itertools

import torch

from tenfold.text_flows import TextFlow, TextFlowConfig, fill_between
from tenfold.text_flows.bounds import collapsed_terms

V = 3
SHAPE = {"vocabulary": V, "dim": 2, "width": 16, "heads": 2, "length": 6, "components": (V,), "layers": (1,)}


def narrow() -> TextFlow:
    """Letters that no noise turns, so that all middles can be weighed exactly; predictions with strong opinions."""
    torch.manual_seed(4)
    model = TextFlow(TextFlowConfig(**SHAPE, log_scale=-7.0)).double().eval().requires_grad_(False)
    model.tokens.mean.copy_(torch.tensor([[0.0, 2.0], [2.0, 0.0], [-2.0, -1.0]]))
    head = model.chain[0].head
    head.weight.copy_(torch.randn(head.weight.shape))
    return model


def exact(model: TextFlow, left: list[int], right: list[int], hole: int) -> torch.Tensor:
    """p(middle | both sides) of all V^hole middles in order."""
    middles = torch.tensor(list(itertools.product(range(V), repeat=hole)))
    sides = (torch.tensor(side, dtype=torch.long).expand(len(middles), -1) for side in (left, right))
    whole = torch.cat([next(sides), middles, next(sides)], 1)
    return collapsed_terms(model, model.tokens.mean[whole]).sum(1).softmax(0)


def test_the_law_of_the_middle() -> None:
    model, num = narrow(), 300
    for left, right in (([0, 2], [1, 1]), ([], [2])):
        found = fill_between(model, left, right, 2, num, candidates=16, seed=1)
        assert found.tokens.shape == (num, len(left) + 2 + len(right))
        assert bool((found.tokens[:, : len(left)] == torch.tensor(left)).all())
        assert bool((found.tokens[:, len(left) + 2 :] == torch.tensor(right)).all())
        middle = found.tokens[:, len(left) : len(left) + 2]
        shares = torch.bincount(middle[:, 0] * V + middle[:, 1], minlength=V * V) / num
        expected = exact(model, left, right, 2)
        assert 0.5 * float((shares - expected).abs().sum()) < 0.1
        alone = exact(model, left, [], 2)  # what the left side alone would write is another law
        assert 0.5 * float((alone - expected).abs().sum()) > 0.15
        assert bool((found.effective >= 1).all())
        assert bool((found.effective <= 16).all())


def test_a_text_has_its_own_draws() -> None:
    model = narrow()
    whole = fill_between(model, [0], [1], 3, 5, candidates=4, seed=2)
    few = fill_between(model, [0], [1], 3, 3, candidates=4, seed=2, batch=4)
    assert torch.equal(whole.tokens[:3], few.tokens)
    torch.testing.assert_close(whole.effective[:3], few.effective)
