"""Objectives of discrete diffusion against recorded outputs of published code (MDLM, SEDD, UDLM, flow matching)."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from tenfold import discrete_bounds as bounds
from tenfold.discrete import Geometric, Linear, Polynomial, sigma_prime
from tenfold.discrete_paths import MaskSource, UniformSource, carried_over, noisy_ratios, velocity
from tests.discrete_diffusion.world import reference

V = 11
MASK, UNIFORM = MaskSource(V), UniformSource(V)


def close(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=2e-5, atol=2e-5, check_dtype=False)


@pytest.fixture
def ref(fixtures: Path) -> dict[str, Tensor]:
    return reference(fixtures)


def levels(ref: dict[str, Tensor], schedule: object = None) -> tuple[Tensor, Tensor]:
    """α and −α', in float64."""
    t = ref["t"].double()
    schedule = schedule or Linear(1e-3)
    return schedule.alpha(t), -schedule.alpha_prime(t)


def posterior(ref: dict[str, Tensor]) -> Tensor:
    return carried_over(ref["logits_mask"][..., :V].log_softmax(-1), ref["xt_mask"], MASK)


def test_masked_posterior(ref: dict[str, Tensor]) -> None:
    close(posterior(ref).exp(), ref["mdlm_subs_logprobs"].exp()[..., :V])
    assert (ref["mdlm_subs_logprobs"][..., V] < -1e5).all()


def test_mdlm(ref: dict[str, Tensor]) -> None:
    alpha, rate = levels(ref)
    loss = bounds.masked(posterior(ref), ref["x0"], ref["xt_mask"], alpha, rate, MASK)
    close(loss, ref["mdlm_nelbo_per_token"])


def test_d3pm(ref: dict[str, Tensor]) -> None:
    t = ref["d3pm_t"].double()
    loss = bounds.finite_steps(ref["mdlm_d3pm_logprobs"], ref["x0"], ref["xt_mask"], 1 - t + 1 / 50, 1 - t, 50, MASK)
    close(loss, ref["mdlm_d3pm_loss_T50"])


def test_score_entropy_with_masks(ref: dict[str, Tensor]) -> None:
    alpha, _ = levels(ref)
    for scores, loss in (
        ("mdlm_sedd_logscore", "mdlm_score_entropy"),
        ("sedd_logscore_absorb", "sedd_absorb_score_entropy"),
    ):
        ours = bounds.score_entropy(ref[scores], ref["x0"], ref["xt_mask"], alpha, alpha, MASK)  # per unit of σ
        close(ours, ref[loss])


def test_scores_of_a_masked_posterior(ref: dict[str, Tensor]) -> None:
    alpha, _ = levels(ref)
    ours = noisy_ratios(posterior(ref), ref["xt_mask"], alpha, MASK)
    hidden = MASK.active(ref["xt_mask"])
    close(ours[hidden], ref["mdlm_get_score_from_subs"][hidden])


def test_score_entropy_with_uniform_noise(ref: dict[str, Tensor]) -> None:
    schedule, t = Geometric(1e-3, 5.0), ref["t"].double()
    torch.testing.assert_close(sigma_prime(schedule, t).float(), ref["sedd_uniform_dsigma"], rtol=2e-5, atol=0)
    alpha = schedule.alpha(t)
    ours = bounds.score_entropy(
        ref["sedd_logscore_uniform"], ref["x0"], ref["xt_uniform_geometric"], alpha, alpha, UNIFORM
    )
    close(ours, ref["sedd_uniform_score_entropy"])


def test_udlm(ref: dict[str, Tensor]) -> None:
    t = ref["t"].double()  # its loss has α = 1 − t and α' = −1, whatever the noise
    ours = bounds.uniform(
        ref["logits_uniform"].log_softmax(-1), ref["x0"], ref["xt_uniform"], 1 - t, torch.ones_like(t)
    )
    close(ours, ref["udlm_nelbo_per_token"])


@pytest.mark.parametrize("power", [1.0, 2.0])
def test_flow_matching(ref: dict[str, Tensor], power: float) -> None:
    # Its polynomial paths have κ = (1 − t)ⁿ of our time t.
    alpha, rate = levels(ref, Polynomial(power))
    name = f"poly{power:.0f}"
    ours = bounds.generalised_kl(
        ref["logits_uniform"].log_softmax(-1), ref["x0"], ref["xt_uniform"], alpha, rate, UNIFORM
    )
    close(ours, ref[f"fm_gkl_uniform_{name}"])
    ours = bounds.generalised_kl(ref["logits_mask"].log_softmax(-1), ref["x0"], ref["xt_mask"], alpha, rate, MASK)
    close(ours, ref[f"fm_gkl_mask_{name}"])
    ours = velocity(ref["logits_uniform"].log_softmax(-1), ref["xt_uniform"], alpha, UNIFORM) * rate[:, None, None]
    close(ours, ref[f"fm_velocity_uniform_{name}"])
