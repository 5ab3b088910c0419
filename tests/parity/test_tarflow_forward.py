"""The reference implementation's forward numbers, from recorded outputs."""

import pytest
import torch

from tenfold.flows.density import denoise, log_prob, unit_prior_log_prob
from tenfold.flows.loss import discrete_log_prob, negative_log_likelihood
from tests.flows.helpers import fixture_flow

CASES = ["tarflow_uncond", "tarflow_cond", "tarflow_vp"]


def close(ours: torch.Tensor, theirs: torch.Tensor, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(ours, theirs, atol=tolerance, rtol=0, check_dtype=False)


@pytest.mark.parametrize("case", CASES)
def test_forward(fixtures, case):
    flow, ref = fixture_flow(fixtures / "image_flows" / f"{case}.npz")
    y = ref.get("y")
    close(flow.patchify(ref["x"]), ref["patches"])
    output = flow(ref["x"], y)
    close(output.z, ref["z"])
    close(output.logdet, ref["logdet"])
    tokens, weights = flow.patchify(ref["x"]), flow.condition_weights(y, len(ref["x"]))
    for k, block in enumerate(flow.blocks):
        tokens, _ = block(tokens, weights)
        close(tokens, ref[f"out/{k}"])
        close(output.blocks[k], ref[f"logdet_block/{k}"])


@pytest.mark.parametrize("case", ["tarflow_cond", "tarflow_vp"])
def test_dropped_and_absent_labels(fixtures, case):
    flow, ref = fixture_flow(fixtures / "image_flows" / f"{case}.npz")
    for suffix, labels in (("ydrop", ref["y_drop"]), ("ynone", None)):
        output = flow(ref["x"], labels)
        close(output.z, ref[f"z_{suffix}"])
        close(output.logdet, ref[f"logdet_{suffix}"])


@pytest.mark.parametrize("case", CASES)
def test_loss_and_gradients(fixtures, case):
    flow, ref = fixture_flow(fixtures / "image_flows" / f"{case}.npz")
    x = ref["x"].clone().requires_grad_(True)
    output = flow(x, ref.get("y"))
    loss = negative_log_likelihood(output.z, output.logdet)
    loss.backward()
    close(loss, ref["loss"])
    torch.testing.assert_close(x.grad, ref["grad_x"], rtol=1e-4, atol=1e-7)
    published = {"layers.": "attn_blocks.", "mlp.up": "mlp.main.0", "mlp.down": "mlp.main.2"}
    for name, parameter in flow.named_parameters():
        for ours, theirs in published.items():
            name = name.replace(ours, theirs)
        norm = torch.zeros(()) if parameter.grad is None else parameter.grad.norm()
        torch.testing.assert_close(norm, ref[f"gradnorm/{name}"], rtol=1e-4, atol=1e-6, check_dtype=False)


@pytest.mark.parametrize("case", CASES)
def test_denoising(fixtures, case):
    flow, ref = fixture_flow(fixtures / "image_flows" / f"{case}.npz")
    # The reference's score is the gradient of its training loss, which ignores the learned prior.
    cleaned = denoise(flow, ref["x"], float(ref["sigma"]), ref.get("y"), density=unit_prior_log_prob)
    close(cleaned, ref["denoised"], 1e-4)
    if case != "tarflow_vp":
        close(denoise(flow, ref["x"], float(ref["sigma"]), ref.get("y")), ref["denoised"], 1e-4)


@pytest.mark.parametrize("case", ["tarflow_uncond", "tarflow_cond"])
def test_bits_per_dim(fixtures, case):
    flow, ref = fixture_flow(fixtures / "image_flows" / f"{case}.npz")
    nats = discrete_log_prob(log_prob(flow, ref["x"], ref.get("y")), 64, 256)
    close(-nats / 64 / torch.log(torch.tensor(2.0)), ref["bpd_256"])
