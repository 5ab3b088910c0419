"""Masks of a batch: how many, keyed by what, weighed how; and what is told a network."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tenfold.discrete_diffusion import DiffusionConfig, DiffusionObjective, DiscreteDiffusion, Masks, Noise
from tenfold.errors import UsageError
from tenfold.training.streams import Draws

CONFIG = DiffusionConfig(vocabulary=6, width=16, layers=1, heads=2, length=12)
CLEAN = torch.randint(6, (8, 12), generator=torch.Generator().manual_seed(0))
INDEX = torch.arange(8)


def test_masks_are_spread_over_their_number_and_weighed() -> None:
    noisy, hidden, weight = Masks(CONFIG, 8)(CLEAN, INDEX, Draws(0, 3))
    assert torch.equal(noisy, torch.where(hidden, 6, CLEAN))
    torch.testing.assert_close(weight, 12 / hidden.sum(1))
    # One in each of eight strata of the numbers of masks.
    strata = ((hidden.sum(1) - 0.5) * 8 / 12).long()
    assert sorted(strata.tolist()) == list(range(8))


def test_masks_are_keyed_by_the_sample_and_the_purpose() -> None:
    masks = Masks(CONFIG, 8)
    whole = masks(CLEAN, INDEX, Draws(0, 3))
    for rows in (slice(2, 5), [7, 0]):
        part = masks(CLEAN[rows], INDEX[rows], Draws(0, 3))
        assert torch.equal(part.hidden, whole.hidden[rows])
    assert not torch.equal(masks(CLEAN, INDEX, Draws(0, 3), "other").hidden, whole.hidden)
    assert not torch.equal(masks(CLEAN, INDEX, Draws(0, 4)).hidden, whole.hidden)


def test_a_prompt_is_never_masked() -> None:
    hidden, weight = Masks(CONFIG, 8).places(INDEX, 12, Draws(0, 0), given=5)
    assert not hidden[:, :5].any()
    torch.testing.assert_close(weight, 7 / hidden.sum(1))


def test_networks_are_told_the_time_at_which_as_many_are_masked() -> None:
    told: list[Tensor] = []

    class Told(DiscreteDiffusion):
        def forward(self, noisy: Tensor, time: Tensor, rows: Tensor | None = None) -> Tensor:  # type: ignore[override]
            told.append(time)
            return super().forward(noisy, time, rows)

    config = replace(CONFIG, time=True, epsilon=1e-3, schedule="cosine")
    masks, network = Masks(config, 8), Told(config)
    noisy, hidden, weight = masks(CLEAN, INDEX, Draws(0, 0))
    every, alone = masks.predict(network, noisy, hidden), masks.predict(network, noisy, hidden, masks_only=True)
    torch.testing.assert_close(every[hidden], alone)
    torch.testing.assert_close(network.schedule.alpha(told[0]), 1 - 1 / weight, atol=1e-3, rtol=0)
    assert not masks.frozen(network, noisy, hidden).requires_grad


@pytest.mark.parametrize("changes", [{"source": "uniform"}, {"output": "scores"}])
def test_other_models_are_refused(changes: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="for masked models of probabilities"):
        Masks(replace(CONFIG, **changes), 8)  # type: ignore[arg-type]


@pytest.mark.parametrize("source", ["mask", "uniform"])
def test_the_weight_of_the_bound_is_that_of_the_noise(source: str) -> None:
    """Rate / (1 − α): L / l where the number of masks is drawn, −α'/(1 − α) at a time."""
    config = replace(CONFIG, source=source, epsilon=1e-3)
    noise = Noise(config, DiffusionObjective(times="count" if source == "mask" else "stratified"), 8)
    seen = noise(CLEAN, INDEX, Draws(0, 0))
    weight = seen.rate / (1 - seen.alpha)
    if source == "mask":
        torch.testing.assert_close(weight, 12 / (seen.noisy == 6).sum(1))
    else:
        torch.testing.assert_close(weight, 1 / seen.time.double(), rtol=1e-6, atol=0)  # a linear schedule
