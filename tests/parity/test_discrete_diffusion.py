"""Objectives of discrete diffusion against recorded outputs of published code (MDLM, SEDD, UDLM, flow matching)."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from tenfold import api
from tenfold.discrete import (
    Geometric,
    Linear,
    MaskSource,
    Polynomial,
    UniformSource,
    bounds,
    noisy_ratios,
    sigma,
)
from tenfold.discrete.paths import carried_over
from tenfold.discrete_diffusion import read_published
from tenfold.errors import UsageError
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


def published(fixtures: Path, which: str) -> dict[str, Tensor]:
    """A network's weights under their published names."""
    with np.load(fixtures / "discrete_diffusion" / "reference_weights.npz") as file:
        return {
            name.partition("/")[2]: torch.from_numpy(file[name])
            for name in file.files
            if name.startswith(f"{which}_weights/")
        }


@pytest.mark.parametrize("which", ["mdlm", "sedd"])
@torch.no_grad()
def test_networks(fixtures: Path, ref: dict[str, Tensor], which: str, tmp_path: Path) -> None:
    save_file(published(fixtures, which), tmp_path / "model.safetensors")
    model = read_published(tmp_path / "model.safetensors", which, time=True)
    assert (model.config.heads, model.config.layers, model.config.width, model.config.vocabulary) == (4, 2, 32, V)
    noisy, t = ref["xt_mask"], ref["t"]
    torch.testing.assert_close(sigma(model.schedule, t), ref["sigma"])
    if which == "mdlm":
        hidden, condition = model.network(noisy, ref["sigma"])
        ours = model.network.output_layer(hidden.flatten(0, 1), condition.repeat_interleave(8, 0)).view(4, 8, V + 1)
        torch.testing.assert_close(ours, ref["mdlm_net_output"], atol=1e-4, rtol=1e-4)
    else:
        torch.testing.assert_close(model.log_ratios(noisy, t), ref["sedd_net_output"], atol=1e-4, rtol=1e-4)


def test_training_checkpoints(fixtures: Path, tmp_path: Path) -> None:
    """Lightning's layout: a prefix, and averaged weights as a list in the order of the parameters."""
    tensors = published(fixtures, "mdlm")
    parameters = {name: tensor for name, tensor in tensors.items() if name != "rotary_emb.inv_freq"}
    whole = {
        "state_dict": {f"backbone.{name}": tensor for name, tensor in tensors.items()},
        "ema": {"decay": 0.9999, "shadow_params": [tensor + 1 for tensor in parameters.values()] + [torch.tensor(0.0)]},
    }
    torch.save(whole, tmp_path / "last.ckpt")
    plain, averaged = (read_published(tmp_path / "last.ckpt", "mdlm", ema=ema) for ema in (False, True))
    for name, tensor in parameters.items():
        assert torch.equal(plain.network.state_dict()[name], tensor)
        assert torch.equal(averaged.network.state_dict()[name], tensor + 1)
    whole["ema"]["shadow_params"].pop(3)
    torch.save(whole, tmp_path / "last.ckpt")
    with pytest.raises(UsageError, match=r"averaged weights of .* do not match .*--ema false"):
        read_published(tmp_path / "last.ckpt", "mdlm")


def test_checkpoints_that_do_not_fit(fixtures: Path, tmp_path: Path) -> None:
    tensors = published(fixtures, "mdlm")
    missing = {name: tensor for name, tensor in tensors.items() if name != "blocks.1.norm2.weight"}
    for state, sentence in (
        (missing, "missing blocks.1.norm2.weight"),
        ({**tensors, "more": torch.zeros(1)}, "extra more"),
        ({"weight": torch.zeros(2)}, "no checkpoint of MDLM, SEDD or UDLM"),
        ({**tensors, "rotary_emb.inv_freq": torch.ones(4)}, "not powers of 10000"),
    ):
        save_file(state, tmp_path / "model.safetensors")
        with pytest.raises(UsageError, match=sentence):
            read_published(tmp_path / "model.safetensors", "mdlm")


def test_conversion(fixtures: Path, tmp_path: Path) -> None:
    save_file(published(fixtures, "sedd"), tmp_path / "model.safetensors")
    model = api.convert("discrete-diffusion", tmp_path / "model.safetensors", tmp_path / "out", kind="sedd")
    again = api.load(tmp_path / "out")
    noisy, time = torch.tensor([[11, 3, 11]]), torch.tensor([0.4])
    assert torch.equal(model.log_ratios(noisy, time), again.log_ratios(noisy, time))
