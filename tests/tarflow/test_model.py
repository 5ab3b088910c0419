"""Invariants of the flow as a map: Jacobian, causality, layouts, conditions, precision."""

import hypothesis
import hypothesis.strategies as st
import pytest
import torch

from tenfold.errors import UsageError
from tenfold.tarflow.config import TarFlowConfig
from tenfold.tarflow.model import TarFlow
from tests.flows.helpers import random_flow

SMALL = dict(width=32, head_size=16, layers=1)


@pytest.mark.parametrize(
    "config",
    [
        TarFlowConfig(shape=(1, 4, 6), patch=2, blocks=3, **SMALL),
        TarFlowConfig(shape=(3, 4, 4), patch=2, blocks=2, layout="channel_last", **SMALL),
        TarFlowConfig(shape=(5, 3), blocks=3, **SMALL),
        TarFlowConfig(shape=(1, 4, 4), patch=2, blocks=2, volume_preserving=True, **SMALL),
        TarFlowConfig(shape=(1, 3), blocks=2, **SMALL),
    ],
)
def test_logdet_is_the_jacobians(config):
    flow = random_flow(config)
    x = torch.rand(2, *config.shape, dtype=torch.float64) * 2 - 1
    logdet = flow(x).logdet
    for row in range(2):
        jacobian = torch.func.jacrev(lambda v: flow(v.unsqueeze(0)).z.flatten())(x[row])
        expected = torch.linalg.slogdet(jacobian.reshape(config.dimensions, -1)).logabsdet
        torch.testing.assert_close(logdet[row] * config.dimensions, expected, atol=1e-9, rtol=0)


@pytest.mark.parametrize("reverse", [False, True])
def test_block_is_triangular_in_its_order(reverse):
    flow = random_flow(TarFlowConfig(shape=(6, 2), blocks=2, **SMALL))
    block = flow.blocks[int(reverse)]
    u = torch.randn(1, 6, 2, dtype=torch.float64)
    jacobian = torch.func.jacrev(lambda v: block.order(block(block.order(v))[0]))(u).reshape(6, 2, 6, 2)
    for i in range(6):
        assert jacobian[i, :, i + 1 :].abs().max() == 0 if i < 5 else True
        off_diagonal = jacobian[i, :, i] - torch.diag(torch.diagonal(jacobian[i, :, i]))
        assert off_diagonal.abs().max() == 0
    assert jacobian[5, :, :5].abs().max() > 1e-4


def test_parameters_do_not_see_later_tokens():
    flow = random_flow(TarFlowConfig(shape=(6, 2), blocks=1, **SMALL))
    block = flow.blocks[0]
    u = torch.randn(1, 6, 2, dtype=torch.float64)
    changed = u.clone()
    changed[:, 3:] += 1.0
    for before, after in zip(block.parameters_of(u, None), block.parameters_of(changed, None), strict=True):
        torch.testing.assert_close(before[:, :4], after[:, :4], atol=0, rtol=0)
        assert (before[:, 4:] - after[:, 4:]).abs().max() > 1e-6


@hypothesis.settings(max_examples=25, deadline=None)
@hypothesis.given(
    channels=st.sampled_from([1, 3]),
    rows=st.integers(1, 4),
    columns=st.integers(1, 4),
    patch=st.integers(1, 3),
    layout=st.sampled_from(["channel_first", "channel_last"]),
)
def test_patchify_round_trip(channels, rows, columns, patch, layout):
    config = TarFlowConfig(shape=(channels, rows * patch, columns * patch), patch=patch, layout=layout, **SMALL)
    with torch.device("meta"):
        flow = TarFlow(config)
    x = torch.arange(2 * config.dimensions, dtype=torch.float32).reshape(2, *config.shape)
    tokens = flow.patchify(x)
    assert tokens.shape == (2, config.tokens, config.token_dim)
    assert torch.equal(flow.unpatchify(tokens), x)
    first = x[:, :, :patch, :patch]
    ordered = first if layout == "channel_first" else first.permute(0, 2, 3, 1)
    assert torch.equal(tokens[:, 0], ordered.flatten(1))


def test_conditions_of_every_kind():
    flow = random_flow(TarFlowConfig(shape=(1, 4, 4), patch=2, blocks=2, classes=3, **SMALL))
    x = torch.randn(2, 1, 4, 4, dtype=torch.float64)
    mean = torch.full((2, 3), 1 / 3, dtype=torch.float64)
    none = flow(x).z
    torch.testing.assert_close(flow(x, torch.tensor([-1, -1])).z, none, atol=1e-12, rtol=0)
    torch.testing.assert_close(flow(x, mean).z, none, atol=1e-12, rtol=0)
    one_hot = torch.nn.functional.one_hot(torch.tensor([2, 0]), 3).double()
    torch.testing.assert_close(flow(x, torch.tensor([2, 0])).z, flow(x, one_hot).z, atol=1e-12, rtol=0)
    assert (flow(x, torch.tensor([2, 0])).z - none).abs().max() > 1e-4


def test_continuous_context():
    flow = random_flow(TarFlowConfig(shape=(4, 2), blocks=2, context=5, **SMALL))
    x, context = torch.randn(3, 4, 2, dtype=torch.float64), torch.randn(3, 5, dtype=torch.float64)
    assert (flow(x, context).z - flow(x).z).abs().max() > 1e-4
    torch.testing.assert_close(flow.decode(flow.encode(x, context), context), x, atol=1e-10, rtol=0)
    with pytest.raises(UsageError, match=r"\(3, 4\).*expects \(3, 5\)"):
        flow(x, context[:, :4])


def test_new_flow_starts_near_the_identity():
    flow = TarFlow(TarFlowConfig(shape=(1, 4, 4), patch=2, **SMALL)).double()
    with torch.no_grad():
        for block in flow.blocks:
            assert not block.proj_out.weight.any()
            block.proj_out.bias.zero_()
    x = torch.randn(2, 1, 4, 4, dtype=torch.float64)
    assert torch.equal(flow(x).z, flow.patchify(x))
    normal = torch.distributions.Normal(0.0, 1.0).log_prob(x).sum(dim=(1, 2, 3))
    torch.testing.assert_close(flow.log_prob(x), normal, atol=1e-12, rtol=0)


def test_half_precision_keeps_likelihood_in_float32():
    flow = random_flow(TarFlowConfig(shape=(1, 4, 4), patch=2, **SMALL)).float()
    x = torch.rand(8, 1, 4, 4)
    full = flow(x)
    with torch.autocast("cpu", torch.bfloat16):
        half = flow(x)
    assert half.logdet.dtype == torch.float32
    torch.testing.assert_close(half.logdet, full.logdet, atol=2e-2, rtol=0)


def test_parameter_gradients_are_right():
    flow = random_flow(TarFlowConfig(shape=(3, 2), blocks=2, classes=2, width=8, head_size=4, layers=1))
    x = torch.randn(2, 3, 2, dtype=torch.float64)
    names = ["blocks.0.proj_in.weight", "blocks.1.class_embed", "blocks.1.proj_out.bias", "blocks.0.pos_embed"]
    parameters = dict(flow.named_parameters())

    def value(*chosen: torch.Tensor) -> torch.Tensor:
        state = {**parameters, **dict(zip(names, chosen, strict=True))}
        output = torch.func.functional_call(flow, state, (x, torch.tensor([0, 1])))
        return output.z.square().mean() - output.logdet.mean()

    chosen = tuple(parameters[name].detach().clone().requires_grad_(True) for name in names)
    assert torch.autograd.gradcheck(value, chosen)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (dict(patch=3), "cannot be cut into 3x3"),
        (dict(width=40, head_size=16), "width 40 is not a multiple of head_size 16"),
        (dict(shape=(8,)), "shape is (8,)"),
        (dict(blocks=0), "blocks is 0"),
        (dict(classes=2, context=3), "not both"),
    ],
)
def test_bad_geometry(change, words):
    with pytest.raises(UsageError) as error:
        TarFlowConfig(**{**dict(shape=(1, 8, 8), width=32, head_size=16), **change})
    assert words in str(error.value)


def test_bad_inputs():
    flow = random_flow(TarFlowConfig(shape=(1, 4, 4), patch=2, classes=3, **SMALL)).float()
    with pytest.raises(UsageError, match=r"\(2, 3, 4, 4\).*expects \(batch, 1, 4, 4\)"):
        flow(torch.zeros(2, 3, 4, 4))
    with pytest.raises(UsageError, match=r"torch\.uint8.*dequantise"):
        flow(torch.zeros(2, 1, 4, 4, dtype=torch.uint8))
    with pytest.raises(UsageError, match=r"label 3 is outside \[-1, 3\)"):
        flow(torch.zeros(2, 1, 4, 4), torch.tensor([0, 3]))
    with pytest.raises(UsageError, match="2 rows for a batch of 1"):
        flow(torch.zeros(1, 1, 4, 4), torch.tensor([0, 1]))
    broken = torch.zeros(3, 1, 4, 4)
    broken[1, 0, 2, 2] = float("nan")
    for verb in (flow.log_prob, flow.encode):
        with pytest.raises(UsageError, match=r"row 1 of the input holds NaN or infinite values \(1 of 3"):
            verb(broken)
    unconditional = TarFlow(TarFlowConfig(shape=(1, 4, 4), patch=2, **SMALL))
    with pytest.raises(UsageError, match="unconditional"):
        unconditional(torch.zeros(1, 1, 4, 4), torch.tensor([0]))
