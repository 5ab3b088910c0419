"""Coupled estimates, losses, gradients, advantages and rewards against recorded outputs of the published code."""

import json
from pathlib import Path

import pytest
import torch

from tenfold.masked_lm.grpo.estimators import coupled_views, estimate
from tenfold.rl import advantages, fenced_program, format_reward, policy_loss
from tests.masked_lm.helpers import arrays, fixture_model


@pytest.mark.parametrize("number", [0, 1])
def test_estimates_losses_and_gradients(fixtures: Path, number: int) -> None:
    model, found = fixture_model(fixtures), arrays(fixtures, "coupled_grpo")
    prompts, completions = found["prompt_ids"], found["completion_ids"]
    t = found[f"iter{number}.mask_ratio"].float().expand(1, 4)
    views = coupled_views(found[f"iter{number}.mask"][None], t)
    recorded = found[f"iter{number}.views"]
    hidden = torch.cat([torch.zeros(3, 4, 7, dtype=torch.bool), views.hidden], 2)
    assert torch.equal(hidden, recorded == model.special.mask)
    torch.testing.assert_close(2 * views.weight[:, 0].double(), found[f"iter{number}.weights"], atol=1e-6, rtol=0)
    ours = estimate(model, prompts, completions, views, model.special.mask).log_p
    torch.testing.assert_close(ours, found["per_token_logps"][:, number], atol=5e-5, rtol=0)
    loss, metrics = policy_loss(
        ours,
        found["old_per_token_logps"][:, number],
        found["advantages"],
        found["completion_mask"].bool(),
        (float(found["epsilon"]),) * 2,
        float(found["beta"]),
        found["ref_per_token_logps"][:, number],
    )
    torch.testing.assert_close(loss.detach(), found[f"iter{number}.loss"], atol=0, rtol=1e-4)
    assert metrics["kl"] >= 0
    loss.backward()
    network = model.network
    for name, weight in (
        ("lm_head.weight", network.lm_head.weight),
        ("q0.weight", network.model.layers[0].self_attn.q_proj.weight),
    ):
        theirs = found[f"iter{number}.grad.{name}"]
        assert (weight.grad - theirs).abs().max() < 1e-3 * theirs.abs().max()


@pytest.mark.parametrize("scaled", [False, True])
def test_advantages(fixtures: Path, scaled: bool) -> None:
    found = arrays(fixtures, "coupled_grpo")
    for ours, theirs in (("leave_one_out", "loo"), ("mean", "mean")):
        expected = found[f"adv.{theirs}{'_scaled' if scaled else ''}"]
        torch.testing.assert_close(advantages(found["adv.rewards"], ours, scaled), expected, atol=1e-6, rtol=1e-6)


def test_format(fixtures: Path) -> None:
    cases = json.loads((fixtures / "masked_diffusion_lm" / "format_reward.json").read_text())
    assert len(cases) >= 12
    for case in cases:
        assert format_reward(case["text"]) == case["format_reward_code"], case
        assert fenced_program(case["text"]) == case["extracted"], case
