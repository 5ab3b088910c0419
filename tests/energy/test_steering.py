"""Recorded weights of Feynman-Kac steering, and recorded rates of a guidance sampler."""

import pytest
import torch
from torch import Tensor

from tenfold.energy.closed_forms import GaussianMixture
from tenfold.energy.composition import guidance
from tenfold.energy.feynman_kac.steering import log_potential, unsteered
from tenfold.energy.feynman_kac.steps import NoiseStep, rate
from tenfold.energy.foreign.fkc import fkc_guidance
from tenfold.errors import UsageError
from tests.energy.forms import close, recorded

NAMES = {"diff": "difference", "max": "max", "add": "sum", "rt": "immediate"}


@pytest.mark.parametrize("name", list(NAMES))
def test_recorded_weights(name: str) -> None:
    """Resampling after steps 0, 2, 4, 6 and 8; the reference caps weights at 1e10, which "sum" reaches at the last."""
    ref, strength, potential = recorded("fk_steering"), 2.0, NAMES[name]
    past = unsteered(torch.zeros(12, dtype=torch.float64), potential)
    for number, step in enumerate((0, 2, 4, 6) if name == "add" else (0, 2, 4, 6, 8)):
        rewards = (0.5 * ref[f"{name}_every_latents_in"][step] + 0.1 * step).sum(1)
        log, past = log_potential(rewards, past, potential, strength, False)
        close(log.exp(), ref[f"{name}_every_w"][number], 1e-10)
        past = past.chosen(ref[f"{name}_every_idx"][number])


@pytest.mark.parametrize("potential", NAMES.values())
def test_all_potentials_end_at_the_same_weight(potential: str) -> None:
    rewards = torch.randn(6, 9, dtype=torch.float64)
    past, total = unsteered(rewards[0], potential), torch.zeros(9, dtype=torch.float64)
    for k in range(6):
        log, past = log_potential(rewards[k], past, potential, 1.5, k == 5)
        total = total + log
    close(total, 1.5 * rewards[5])
    with pytest.raises(UsageError, match="did you mean"):
        unsteered(rewards[0], potential + "s")


def test_recorded_rates_of_guidance() -> None:
    ref = recorded("fkc_cfg_sampler")
    uncond, cond = mixtures_of(ref)
    target, levels = guidance(uncond, cond, float(ref["guidance"])), ref["t_steps"]
    x = ref["init_noise"] * levels[0]
    for k in range(11):
        found = target.evaluate(x[:, :, 0, 0], levels[k], "score", parts=True)
        rates = rate(found.score, found.scores, target.powers(levels[k]))
        span = NoiseStep(levels[k], levels[k + 1])
        # The reference steps by 2 t dt, we by the difference of squares.
        close(rates * 2 * span.sigma * (span.sigma - span.sigma_next), -ref["da_raw"][k] * sign(ref), 1e-8)
        x = ref["x_pre"][k][ref["choice"][k]]


def mixtures_of(ref: dict[str, Tensor]) -> tuple[GaussianMixture, GaussianMixture]:
    """The unconditional and the conditional one."""
    return tuple(  # type: ignore[return-value]
        GaussianMixture(ref[f"{k}_weights"], ref[f"{k}_means"], ref[f"{k}_covs"]) for k in ("uncond", "cond")
    )


def test_a_recorded_run_of_guidance() -> None:
    """The published sampler step by step: increments, ancestors, particles."""
    ref = {name: value.squeeze(-1).squeeze(-1) if value.ndim >= 4 else value
           for name, value in recorded("fkc_cfg_sampler").items()}  # fmt: skip
    weight, levels = float(ref["guidance"]), ref["t_steps"]
    how = (levels, ref["init_noise"] * levels[0], ref["noise"], ref["u"])
    run = fkc_guidance(*mixtures_of(ref), weight, *how)
    assert torch.equal(run.ancestors, ref["choice"])
    for ours, name in ((run.increments, "da_raw"), (run.proposed, "x_pre"), (run.particles, "final_x")):
        close(ours, ref[name], 1e-9)
    with pytest.raises(UsageError, match="12 draws of noise and 10 uniforms were given for 12 steps; give 12 and 11"):
        fkc_guidance(*mixtures_of(ref), weight, *how[:3], ref["u"][1:])
    with pytest.raises(UsageError, match="do not fall"):
        fkc_guidance(*mixtures_of(ref), weight, levels.flip(0), *how[1:])


def sign(ref) -> float:
    """Its dt is negative, and its increment −w(w − 1)‖s_u − s_c‖² t dt."""
    return -1.0 if float(ref["da_raw"].sum()) > 0 else 1.0


def test_recorded_rates_of_compositions() -> None:
    ref = recorded("composition")
    a, b = (GaussianMixture(ref[f"{k}_weights"], ref[f"{k}_means"], ref[f"{k}_covs"]) for k in "ab")
    w = float(ref["cfg_w"])
    for i, sigma in enumerate(ref["sigma"]):
        for target, key in ((a & b, "product"), (guidance(b, a, w), "cfg")):
            found = target.evaluate(ref["x"][i], sigma, "score", parts=True)
            rates = rate(found.score, found.scores, target.powers(sigma))
            close(2 * rates, ref[f"{key}_rate_per_half_g2"][i])
