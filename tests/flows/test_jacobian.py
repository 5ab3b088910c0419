"""Singular values by Jacobian products against the brute-force decomposition."""

import pytest
import torch

from tenfold.flows.jacobian import exact_conditioning, power_conditioning
from tenfold.tarflow.config import TarFlowConfig
from tests.flows.helpers import random_flow


@pytest.mark.parametrize(
    ("method", "tolerance"),
    [(exact_conditioning, 1e-10), (lambda f, x: power_conditioning(f, x, iterations=20), 5e-2)],
    ids=["exact", "power"],
)
def test_extreme_singular_values(method, tolerance):
    flow = random_flow(TarFlowConfig(shape=(4, 2), blocks=2, width=32, head_size=16, layers=1), spread=0.3)
    x = torch.randn(3, 4, 2, dtype=torch.float64)
    report = method(flow, x)
    for row in range(3):
        jacobian = torch.func.jacrev(lambda v: flow(v.unsqueeze(0)).z.flatten())(x[row]).reshape(8, 8)
        values = torch.linalg.svdvals(jacobian)
        torch.testing.assert_close(report.largest[row], values[0], rtol=tolerance, atol=0)
        torch.testing.assert_close(report.smallest[row], values[-1], rtol=tolerance, atol=0)
    tokens = flow.patchify(x)
    for k, block in enumerate(flow.blocks):
        jacobian = torch.func.jacrev(lambda v, b=block: b(v)[0].flatten())(tokens[:1]).reshape(8, 8)
        values = torch.linalg.svdvals(jacobian)
        torch.testing.assert_close(report.block_largest[k, 0], values[0], rtol=tolerance, atol=0)
        torch.testing.assert_close(report.block_smallest[k, 0], values[-1], rtol=tolerance, atol=0)
        tokens = block(tokens)[0]
    assert torch.equal(report.digits_lost, (report.largest / report.smallest).log10())
