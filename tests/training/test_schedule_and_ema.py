"""Learning rate and averaging against their closed forms."""

import math

import pytest
import torch
from torch import nn

from tenfold.errors import UsageError
from tenfold.training.config import TrainingConfig
from tenfold.training.ema import Ema
from tenfold.training.schedule import ema_decay, learning_rate_factor


def test_learning_rate_closed_form() -> None:
    config = TrainingConfig(steps=101, warmup_steps=20, initial_fraction=0.1, final_fraction=0.02)
    factor = [learning_rate_factor(step, config) for step in range(101)]
    assert factor[0] == pytest.approx(0.1)
    assert factor[10] == pytest.approx(0.55)
    assert factor[20] == pytest.approx(1.0)
    assert factor[60] == pytest.approx(0.02 + 0.98 / 2)
    assert factor[80] == pytest.approx(0.02 + 0.98 * 0.5 * (1 + math.cos(0.75 * math.pi)))
    assert factor[100] == pytest.approx(0.02)
    assert max(factor) == factor[20]
    assert factor[:21] == sorted(factor[:21])
    assert factor[20:] == sorted(factor[20:], reverse=True)


def test_learning_rate_without_warmup_and_of_one_step() -> None:
    assert learning_rate_factor(0, TrainingConfig(steps=1, warmup_steps=0)) == pytest.approx(1.0)
    config = TrainingConfig(steps=2, warmup_steps=0, final_fraction=0.5)
    assert [learning_rate_factor(s, config) for s in (0, 1)] == pytest.approx([1.0, 0.5])


def test_ema_decay_warms_up() -> None:
    assert ema_decay(0, 0.99) == pytest.approx(0.1)
    assert ema_decay(90, 0.99) == pytest.approx(0.91)
    assert ema_decay(10_000, 0.99) == 0.99


def test_ema_closed_form() -> None:
    module = nn.Linear(2, 2)
    module.bias.requires_grad_(False)
    initial = module.weight.detach().clone()
    ema = Ema({"m": module}, 0.9)
    assert set(ema.shadow["m"]) == {"weight"}
    expected = initial.clone()
    for step in range(30):
        with torch.no_grad():
            module.weight.add_(1.0)
        ema.update(step)
        d = min(0.9, (1 + step) / (10 + step))
        expected = d * expected + (1 - d) * module.weight.detach()
    assert torch.allclose(ema.shadow["m"]["weight"], expected, atol=1e-5)
    # Constant weights are their own average, however long it is taken.
    still = nn.Linear(2, 2)
    ema = Ema({"m": still}, 0.9)
    for step in range(10):
        ema.update(step)
    assert torch.equal(ema.shadow["m"]["weight"], still.weight)


def test_ema_applies_and_restores_exactly() -> None:
    module = nn.Linear(3, 3)
    ema = Ema({"m": module}, 0.5)
    with torch.no_grad():
        module.weight.mul_(3.7)
    ema.update(0)
    live, average = module.weight.detach().clone(), ema.shadow["m"]["weight"].clone()
    assert not torch.equal(live, average)
    with ema.applied():
        assert torch.equal(module.weight, average)
        assert torch.equal(ema.shadow["m"]["weight"], live)
    assert torch.equal(module.weight, live)
    assert torch.equal(ema.shadow["m"]["weight"], average)


@pytest.mark.parametrize(
    ("field", "value"),
    [("steps", 0), ("batch_size", -1), ("learning_rate", 0.0), ("clip", 0.0), ("ema", 1.0), ("threads", -1),
     ("learning_rate", float("nan")), ("keep_last", 0), ("validate_every", -2)],
)  # fmt: skip
def test_settings_out_of_range(field: str, value: float) -> None:
    with pytest.raises(UsageError, match=rf"train\.{field} is {value}; give"):
        TrainingConfig(**{field: value})
