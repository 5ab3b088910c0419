"""Networks: what an output may depend on, views, chosen rows, folders, and what is refused."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tenfold.discrete import MaskSource, noisy_ratios, posterior_from_leave_one_out
from tenfold.discrete.bounds import masked
from tenfold.discrete_diffusion import Autoregressive, AutoregressiveConfig, DiffusionConfig, DiscreteDiffusion
from tenfold.discrete_diffusion import ScoreNetwork as Scores
from tenfold.errors import UsageError

SMALL: dict[str, Any] = {"vocabulary": 7, "width": 32, "layers": 2, "heads": 2, "length": 12}
CONFIGS = {
    "transformer": DiffusionConfig(**SMALL),
    "learned-mixing": DiffusionConfig(**SMALL, positions="learned", local_mixing=3),
    "told": DiffusionConfig(**SMALL, time=True, schedule="cosine", epsilon=1e-3),
    "uniform": DiffusionConfig(**SMALL, source="uniform", view="leave_one_out", time=True, epsilon=1e-3),
    "dit": DiffusionConfig(**SMALL, network="dit", time=True, condition_width=16, epsilon=1e-3),
    "hollow": DiffusionConfig(**SMALL, network="hollow", source="uniform", view="leave_one_out", epsilon=1e-3),
    "inside": DiffusionConfig(**SMALL, mask=3),
    "scores": DiffusionConfig(**SMALL, output="scores", time=True, epsilon=1e-3),
    "uniform-scores": DiffusionConfig(
        **SMALL, source="uniform", view="leave_one_out", output="scores", time=True, epsilon=1e-3
    ),
}


def made(name: str) -> DiscreteDiffusion:
    model = DiscreteDiffusion(CONFIGS[name]).eval()
    with torch.no_grad():  # published networks begin with zeros
        for p in model.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return model


def noisy_of(model: DiscreteDiffusion, batch: int = 3) -> torch.Tensor:
    clean = torch.randint(1, 3, (batch, 12))
    return model.source.noise(clean, torch.full((batch,), 0.5), torch.rand(batch, 12), torch.rand(batch, 12))


@pytest.mark.parametrize("name", CONFIGS)
@torch.no_grad()
def test_outputs_are_probabilities_and_rows_are_rows(name: str) -> None:
    model = made(name)
    noisy, time = noisy_of(model), torch.tensor([0.2, 0.5, 0.9])
    found = model(noisy, time)
    torch.testing.assert_close(found.exp().sum(-1), torch.ones(3, 12))
    chosen = torch.rand(3, 12) < 0.4
    torch.testing.assert_close(model(noisy, time, chosen), found[chosen])
    if isinstance(model.source, MaskSource):
        kept = noisy != model.source.mask
        assert (found[kept].gather(-1, noisy[kept][:, None]) == 0).all()
        if model.source.mask < 7:
            assert (found[~kept][:, model.source.mask] == -torch.inf).all()
    if not model.time_conditioned:
        assert torch.equal(model(noisy), found)
    else:
        assert not torch.allclose(model(noisy, time.flip(0))[0], found[0])


@pytest.mark.parametrize("mixing", [0, 3])
@torch.no_grad()
def test_a_hollow_output_does_not_see_its_token(mixing: int) -> None:
    model = DiscreteDiffusion(replace(CONFIGS["hollow"], local_mixing=mixing)).eval()
    tokens = torch.randint(7, (1, 12))
    for i in range(12):
        other = tokens.clone()
        other[0, i] = (tokens[0, i] + 1) % 7
        change = (model(tokens) - model(other)).abs().amax(-1)[0]
        assert change[i] == 0
        assert (change[torch.arange(12) != i] > 0).all()


@pytest.mark.parametrize("mixing", [0, 3])
@torch.no_grad()
def test_an_autoregressive_output_sees_the_left_only(mixing: int) -> None:
    model = Autoregressive(AutoregressiveConfig(**SMALL, local_mixing=mixing)).eval()
    tokens = torch.randint(7, (1, 12))
    for i in range(11):
        other = tokens.clone()
        other[0, i] = (tokens[0, i] + 1) % 7
        change = (model(tokens) - model(other)).abs().amax(-1)[0]
        assert (change[: i + 1] == 0).all()
        assert (change[i + 1 :] > 0).all()
    assert model.log_prob(tokens).item() == pytest.approx(
        sum(model(tokens)[0, i, tokens[0, i]].item() for i in range(12)), abs=1e-4
    )


@torch.no_grad()
def test_autoregressive_draws_have_their_law() -> None:
    model = Autoregressive(AutoregressiveConfig(vocabulary=3, width=16, layers=1, heads=2, length=2)).eval()
    law = torch.tensor([model.log_prob(torch.tensor([[a, b]])).exp().item() for a in range(3) for b in range(3)])
    drawn = model.sample(20_000)
    shares = torch.bincount(drawn[:, 0] * 3 + drawn[:, 1], minlength=9) / 20_000
    chi_square = (20_000 * (shares - law) ** 2 / law).sum()
    assert chi_square < 26.1  # 8 degrees of freedom, p = 1e-3


@pytest.mark.parametrize("name", ["scores", "uniform-scores"])
@torch.no_grad()
def test_scores_and_their_probabilities_agree(name: str) -> None:
    """The ratios of the probabilities that come of scores are the scores, up to normalisation."""
    model = made(name)
    noisy, time = noisy_of(model), torch.tensor([0.2, 0.5, 0.9])
    ratios = Scores(model)(noisy, time)
    assert (ratios.gather(-1, noisy[..., None]) == 0).all()
    alpha = model.schedule.alpha(time)
    again = noisy_ratios(
        posterior_from_leave_one_out(model(noisy, time), noisy, alpha, model.source), noisy, alpha, model.source
    )
    if name == "scores":
        hidden = model.source.active(noisy)
        ours, theirs = (x[hidden][:, :7] for x in (ratios.exp(), again))
        torch.testing.assert_close(ours / ours.sum(-1, keepdim=True), theirs / theirs.sum(-1, keepdim=True))
    else:
        # Levels below the noise are no probabilities and are lost; the rest is in proportion.
        levels = ratios.softmax(-1) - (1 - alpha)[:, None, None] / 7
        fine = (levels > 0).all(-1)
        torch.testing.assert_close(again[fine], ratios.exp()[fine], rtol=1e-3, atol=1e-4)


def test_fresh_scores_are_right_in_size() -> None:
    model = DiscreteDiffusion(replace(CONFIGS["scores"], network="dit"))  # begins with zeros
    noisy, time = torch.full((2, 3), 7), torch.tensor([0.3, 0.8])
    alpha = model.schedule.alpha(time)
    expected = (alpha / (1 - alpha) / 7)[:, None, None].expand(2, 3, 7)
    torch.testing.assert_close(model.log_ratios(noisy, time).exp()[..., :7], expected)


@pytest.mark.parametrize("name", ["transformer", "dit", "hollow"])
def test_low_precision_is_finite_at_both_ends(name: str) -> None:
    model = DiscreteDiffusion(CONFIGS[name])
    noisy, time = noisy_of(model, 2), torch.tensor([1e-3, 1 - 1e-3])
    with torch.autocast("cpu", torch.bfloat16):
        found = model(noisy, time, torch.ones_like(noisy, dtype=torch.bool))
    assert found.float().isfinite().any(-1).all()
    assert not found.isnan().any()


def test_gradients_of_the_masked_loss_come_from_masks_only() -> None:
    model = made("transformer")
    noisy = torch.tensor([[7, 1, 2, 7]])
    clean, half, one = torch.tensor([[0, 1, 2, 3]]), torch.tensor([0.5]), torch.ones(1)
    log_probs = model(noisy)
    log_probs.retain_grad()
    masked(log_probs, clean, noisy, half, one, MaskSource(7)).sum().backward()
    assert log_probs.grad is not None
    assert log_probs.grad[0, 1:3].abs().sum() == 0
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("name", ["transformer", "dit", "uniform"])
def test_losses_in_parts(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = made(name)
    noisy, time, clean = noisy_of(model), torch.tensor([0.2, 0.5, 0.9]), torch.randint(7, (3, 12))
    rows = torch.rand(3, 12) < 0.6
    found = []
    for at_once in (2**24, 5 * 7):  # five rows at a time
        monkeypatch.setattr("tenfold.discrete_diffusion.networks.model._NUMBERS_AT_ONCE", at_once)
        nll = model(noisy, time, rows, lambda p, which: -p.gather(-1, clean[rows][which][:, None])[:, 0].clamp(min=-50))
        weights = torch.linspace(0, 1, len(nll))
        gradients = torch.autograd.grad((weights * nll).sum(), list(model.parameters()), allow_unused=True)
        found.append([nll.detach(), *(g for g in gradients if g is not None)])
    expected = -model(noisy, time)[rows].gather(-1, clean[rows][:, None])[:, 0].clamp(min=-50)
    torch.testing.assert_close(found[0][0], expected.detach())
    for whole, parts in zip(*found, strict=True):
        torch.testing.assert_close(parts, whole)
    with pytest.raises(UsageError, match="losses in parts are of chosen rows"):
        model(noisy, time, None, lambda p, which: p)


def test_folders(tmp_path: Path) -> None:
    for name in ("uniform", "dit"):
        model = made(name)
        model.save_pretrained(tmp_path / name)
        again = DiscreteDiffusion.from_pretrained(tmp_path / name)
        noisy, time = noisy_of(model), torch.rand(3)
        assert torch.equal(model(noisy, time), again(noisy, time))
        assert again.config == model.config


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"width": 30, "heads": 4}, "model.width 30 over 4 heads"),
        ({"local_mixing": 4}, "model.local_mixing is 4"),
        ({"network": "hollow", "source": "uniform"}, "set --model.view leave_one_out"),
        ({"network": "dit", "local_mixing": 3}, "has rotary positions and no local mixing"),
        ({"source": "uniform", "mask": 3}, "a uniform source has no mask"),
        ({"output": "scores", "source": "uniform"}, "set --model.view leave_one_out"),
        ({"alphabet": "abc"}, "has 3 characters, but model.vocabulary is 7"),
        ({"epsilon": 1.0}, "model.epsilon is 1.0"),
        ({"position_std": 0.0}, "model.position_std is 0.0"),
    ],
)
def test_what_does_not_go_together(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        DiffusionConfig(**{**SMALL, **changes})


def test_what_the_model_refuses() -> None:
    with pytest.raises(UsageError, match="give a time for each sequence"):
        made("told")(torch.zeros(1, 4, dtype=torch.long))
    with pytest.raises(UsageError, match="a sequence of 13 tokens exceeds the 12"):
        made("transformer")(torch.zeros(1, 13, dtype=torch.long))
    with pytest.raises(UsageError, match="predicts probabilities, not scores"):
        made("transformer").log_ratios(torch.zeros(1, 4, dtype=torch.long), torch.rand(1))
