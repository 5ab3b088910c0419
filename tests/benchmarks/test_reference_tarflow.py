"""The re-created reference algorithm gives the recorded outputs of the published program."""

import pytest
import torch

from benchmarks.reference_tarflow import ReferenceTarFlow
from tests.flows.helpers import fixture_flow

CASES = ["tarflow_uncond", "tarflow_cond", "tarflow_vp"]


def close(ours, theirs, tolerance):
    torch.testing.assert_close(ours, theirs, atol=tolerance, rtol=0, check_dtype=False)


@pytest.mark.parametrize("case", CASES)
def test_forward_and_loss(fixtures, case):
    flow, ref = fixture_flow(fixtures / "image_flows" / f"{case}.npz")
    reference = ReferenceTarFlow(flow)
    z, logdet = reference.forward(ref["x"], ref.get("y"))
    close(z, ref["z"], 1e-5)
    close(logdet, ref["logdet"], 1e-5)
    close(reference.loss(ref["x"], ref.get("y")), ref["loss"], 1e-5)
    if "y_drop" in ref:
        close(reference.forward(ref["x"], ref["y_drop"])[0], ref["z_ydrop"], 1e-5)


@pytest.mark.parametrize("case", CASES)
def test_sampling(fixtures, case):
    flow, ref = fixture_flow(fixtures / "image_flows" / f"{case}.npz")
    reference = ReferenceTarFlow(flow)
    close(reference.sample(ref["noise"], ref.get("y")), ref["rev_plain"], 1e-4)
    for name in ref:
        if name.startswith("rev_cfg/"):
            _, what, schedule = name.split("/")
            x = reference.sample(ref["noise"], ref["y"], float(ref["guidance"]), what, linear=schedule == "annealed")
            close(x, ref[name], 1e-4)
    x = reference.sample(ref["noise"], None, float(ref["guidance_attn"]), tau=float(ref["attn_temp"]), linear=True)
    close(x, ref["rev_attn_temp"], 1e-4)
