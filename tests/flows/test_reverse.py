"""Differentiable inverses."""

import pytest
import torch

from tenfold.errors import UsageError
from tenfold.flows.sampling import sample
from tenfold.flows.solvers.reverse import block_inputs, reverse_pass, rsample
from tenfold.tarflow.config import TarFlowConfig
from tests.flows.helpers import linear_flow, random_flow

IMAGE = TarFlowConfig(shape=(1, 4, 4), patch=2, width=16, head_size=8, blocks=2, layers=1, classes=3)
CONTEXT = TarFlowConfig(shape=(4, 2), width=16, head_size=8, blocks=3, layers=1, context=2)
VOLUME = TarFlowConfig(shape=(3, 2), width=16, head_size=8, blocks=2, layers=1, volume_preserving=True)


@pytest.mark.parametrize("config", [IMAGE, CONTEXT, VOLUME], ids=["classes", "context", "volume-preserving"])
def test_reverse_pass_equals_the_cached_states(config):
    flow = random_flow(config)
    x = torch.randn(3, *config.shape, dtype=torch.float64)
    condition = torch.randn(3, 2, dtype=torch.float64) if config.context else None
    cache = block_inputs(flow, x, condition)
    states = reverse_pass(flow, cache, condition)
    for state, cached in zip(states, reversed(cache), strict=True):
        torch.testing.assert_close(state, cached, atol=1e-12, rtol=0)
    torch.testing.assert_close(flow.unpatchify(reverse_pass(flow, x, condition)[-1]), x)
    torch.testing.assert_close(cache[-1], flow(x, condition).z)


def test_reverse_pass_has_gradients_along_the_generative_direction():
    flow = random_flow(IMAGE)
    x = torch.randn(2, 1, 4, 4, dtype=torch.float64)
    noise = flow(x).z.detach().requires_grad_(True)
    data = reverse_pass(flow, x, noise=noise)[-1]
    data.square().sum().backward()
    assert noise.grad.abs().min() > 0
    assert flow.blocks[0].proj_out.weight.grad.abs().sum() > 0
    with pytest.raises(UsageError, match="2 states"):
        reverse_pass(flow, block_inputs(flow, x)[:2])


@pytest.mark.parametrize("config", [IMAGE, CONTEXT, VOLUME], ids=["classes", "context", "volume-preserving"])
def test_rsample_gradients(config):
    flow = random_flow(config, spread=0.4)
    noise = torch.randn(2, config.tokens, config.token_dim, dtype=torch.float64, requires_grad=True)
    condition = None
    if config.context:
        condition = torch.randn(2, 2, dtype=torch.float64, requires_grad=True)
    elif config.classes:
        condition = torch.randn(2, 3, dtype=torch.float64).softmax(1).requires_grad_(True)
    torch.testing.assert_close(rsample(flow, 2, condition, noise=noise), sample(flow, 2, condition, noise=noise))
    inputs = (noise,) if condition is None else (noise, condition)
    run = lambda noise, condition=None: rsample(flow, 2, condition, noise=noise)  # noqa: E731
    assert torch.autograd.gradcheck(run, inputs)


def test_rsample_gradients_in_the_parameters():
    flow = random_flow(IMAGE, spread=0.4)
    noise = torch.randn(2, 4, 4, dtype=torch.float64)
    names = ["blocks.0.proj_out.bias", "blocks.1.proj_in.weight", "blocks.1.layers.0.attention.qkv.bias"]
    weights = [flow.get_parameter(name) for name in names]

    def run(*values):
        return torch.func.functional_call(
            _Sampler(flow, noise),
            {f"flow.{n}": v for n, v in zip(names, values, strict=True)},
            (torch.tensor([0, 2]),),
        )

    assert torch.autograd.gradcheck(run, tuple(w.detach().clone().requires_grad_(True) for w in weights))


class _Sampler(torch.nn.Module):
    def __init__(self, flow, noise):
        super().__init__()
        self.flow, self.noise = flow, noise

    def forward(self, labels):
        return rsample(self.flow, 2, labels, noise=self.noise)


def test_rsample_of_a_linear_flow_in_closed_form():
    flow = linear_flow(0.7, 0.2, tokens=2)
    noise = torch.randn(1, 2, 1, dtype=torch.float64, requires_grad=True)
    x = rsample(flow, 1, noise=noise)
    (slope,) = torch.autograd.grad(x[0, 1, 0], noise)
    expected = torch.tensor([[[0.7], [torch.exp(torch.tensor(0.2, dtype=torch.float64))]]], dtype=torch.float64)
    torch.testing.assert_close(slope, expected)


def test_rsample_matches_pathwise_moments():
    # d E[x_2²] / d(coefficient) = 2 c for x_2 = c z_1 + e^s z_2
    flow = linear_flow(0.7, 0.2, tokens=2)
    x = rsample(flow, 20_000, generator=torch.Generator().manual_seed(0))
    x[:, 1].square().mean().backward()
    assert flow.blocks[0].proj_out.weight.grad[1, 0] == pytest.approx(1.4, abs=0.05)
