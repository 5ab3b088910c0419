"""Singular values by Jacobian products against the brute-force decomposition."""

import torch

from tenfold.flows.conditioning import conditioning
from tenfold.flows.config import TarFlowConfig
from tests.flows.helpers import random_flow


def test_extreme_singular_values():
    flow = random_flow(TarFlowConfig(shape=(5, 2), blocks=3, width=32, head_size=16, layers=1), spread=0.3)
    x = torch.randn(3, 5, 2, dtype=torch.float64)
    report = conditioning(flow, x, iterations=100)
    for row in range(3):
        jacobian = torch.func.jacrev(lambda v: flow(v.unsqueeze(0)).z.flatten())(x[row]).reshape(10, 10)
        values = torch.linalg.svdvals(jacobian)
        torch.testing.assert_close(report.largest[row], values[0], rtol=1e-3, atol=0)
        torch.testing.assert_close(report.smallest[row], values[-1], rtol=1e-3, atol=0)
    tokens = flow.patchify(x)
    for k, block in enumerate(flow.blocks):
        jacobian = torch.func.jacrev(lambda v, b=block: b(v)[0].flatten())(tokens[:1]).reshape(10, 10)
        values = torch.linalg.svdvals(jacobian)
        torch.testing.assert_close(report.block_largest[k, 0], values[0], rtol=1e-3, atol=0)
        torch.testing.assert_close(report.block_smallest[k, 0], values[-1], rtol=1e-3, atol=0)
        tokens = block(tokens)[0]
    assert torch.equal(report.digits_lost, (report.largest / report.smallest).log10())
