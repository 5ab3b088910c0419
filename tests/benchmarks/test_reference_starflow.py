"""The re-created STARFlow samplers against recorded outputs of the published program."""

import pytest
import torch

from benchmarks.reference_starflow import ReferenceStarFlow
from tests.starflow.helpers import fixture_flow


@pytest.mark.parametrize("grid", ["8x8", "6x10"])
def test_text_model(fixtures, grid):
    flow, ref = fixture_flow(fixtures, "starflow_text")
    flow = flow.like(ref[f"{grid}/x"])
    reference, noise = ReferenceStarFlow(flow), flow.patchify(ref[f"{grid}/noise"])
    text, null, weight = ref["y"], ref["y_uncond"], float(ref["w_guidance"])

    def close(ours: torch.Tensor, name: str) -> None:
        torch.testing.assert_close(ours, ref[f"{grid}/{name}"], atol=1e-4, rtol=0)

    close(reference.sample(noise, text), "rev_plain")
    close(reference.sample(noise, text, null, weight), "rev_cfg")
    # The published stop rule to the letter, stale cache entries included.
    close(reference.sample(noise, text, jacobi=True, most=64), "jacobi_plain_th0.001")
    close(reference.sample(noise, text, null, weight, jacobi=True, most=64), "jacobi_cfg_th0.001")


def test_flow_without_start_token(fixtures):
    flow, ref = fixture_flow(fixtures, "starflow_exp_nosos")
    x = ReferenceStarFlow(flow.like(ref["8x8/x"])).sample(flow.like(ref["8x8/x"]).patchify(ref["8x8/noise"]))
    torch.testing.assert_close(x, ref["8x8/rev_plain"], atol=1e-4, rtol=0)
