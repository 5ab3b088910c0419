"""The solvers: exactness, agreement, guidance, overflow, records, bad input."""

import json
import math

import pytest
import torch

from tenfold.errors import TenfoldError, UsageError
from tenfold.flows.block import FlowBlock
from tenfold.flows.chain import Branches, ChainNetwork
from tenfold.flows.sampling import sample
from tenfold.flows.solvers.info import BlockInfo
from tenfold.flows.solvers.inversion import invert
from tenfold.flows.solvers.jacobi import segmented
from tenfold.flows.solvers.plan import Plan
from tenfold.flows.solvers.sequential import sequential
from tenfold.flows.solvers.static_step import compiled_stepper
from tenfold.tarflow.config import TarFlowConfig
from tenfold.tarflow.model import TarFlow
from tests.flows.helpers import linear_flow, random_flow

SOLVERS = [
    {"solver": "sequential"},
    {"solver": "jacobi"},
    {"solver": "gs", "segments": 3},
    {"solver": "frontier", "window": 2},
    {"solver": "frontier", "window": 5, "init": "zeros"},
    {"solver": "auto"},
]
PARALLEL = [options for options in SOLVERS if options["solver"] not in ("sequential", "auto")]
CLASSES = TarFlowConfig(shape=(1, 8, 6), patch=2, width=32, head_size=16, blocks=3, layers=2, classes=4)


def flow_and_noise(config=CLASSES, n=3, dtype=torch.float64, spread=0.3):
    flow = random_flow(config, spread=spread).to(dtype)
    noise = torch.randn(n, config.tokens, config.token_dim, generator=torch.Generator().manual_seed(1))
    return flow, noise.to(dtype)


@pytest.mark.parametrize("options", SOLVERS, ids=str)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-11)])
def test_inverse_both_ways(dtype, tolerance, options):
    flow, noise = flow_and_noise(dtype=dtype)
    labels = torch.tensor([0, 3, -1])
    x = sample(flow, 3, labels, noise=noise, **options)
    torch.testing.assert_close(flow.encode(x, labels), noise, atol=tolerance, rtol=0)
    data = torch.rand_like(x) * 2 - 1
    z = flow(data, labels).z
    tokens, _ = invert(flow, z, labels)
    torch.testing.assert_close(flow.unpatchify(tokens), data, atol=tolerance, rtol=0)


@pytest.mark.parametrize(
    "config",
    [
        TarFlowConfig(shape=(7, 3), width=32, head_size=16, blocks=2, layers=1),
        TarFlowConfig(shape=(1, 4), width=32, head_size=16, blocks=2, layers=1),
        TarFlowConfig(shape=(5, 2), width=32, head_size=16, blocks=2, layers=1, context=3),
        TarFlowConfig(shape=(2, 4, 6), patch=2, layout="channel_last", width=32, head_size=16, volume_preserving=True),
    ],
    ids=["vectors", "one-token", "context", "volume-preserving"],
)
@pytest.mark.parametrize("options", SOLVERS, ids=str)
def test_other_shapes(config, options):
    flow, noise = flow_and_noise(config)
    with torch.no_grad():
        flow.var.uniform_(0.5, 2.0) if config.volume_preserving else None
    condition = torch.randn(3, 3, dtype=torch.float64) if config.context else None
    x = sample(flow, 3, condition, noise=noise, **options)
    assert x.shape == (3, *config.shape)
    torch.testing.assert_close(flow.encode(x, condition), noise, atol=1e-11, rtol=0)


def network(flow: TarFlow, k: int, batch: int, weights=None) -> ChainNetwork:
    block = flow.blocks[k]
    assert isinstance(block, FlowBlock)
    return ChainNetwork(block, Branches(weights, None), None, batch, BlockInfo(k, "test"))


@torch.no_grad()
@pytest.mark.parametrize("init", ["v", "zeros", "first", "noise"])
def test_t_sweeps_make_t_slots_exact(init):
    flow, noise = flow_and_noise(TarFlowConfig(shape=(8, 2), width=32, head_size=16, blocks=1), spread=1.0)
    exact = sequential(network(flow, 0, 3), noise)
    for sweeps in (1, 3, 7):
        plan = Plan("jacobi", tol=1e-300, max_sweeps=sweeps, init=init)
        chain = segmented(network(flow, 0, 3), noise, plan)
        torch.testing.assert_close(chain[:, : sweeps + 1], exact[:, : sweeps + 1], atol=1e-12, rtol=0)
    torch.testing.assert_close(chain, exact, atol=1e-12, rtol=0)


@torch.no_grad()
def test_linear_block_needs_one_sweep_past_the_first_token():
    flow = linear_flow(0.7, 0.2, tokens=2)
    noise = torch.randn(4, 2, 1, dtype=torch.float64)
    net = network(flow, 0, 4)
    chain = segmented(net, noise, Plan("jacobi", max_sweeps=1))
    expected = torch.stack([noise[:, 0], noise[:, 1] * math.exp(0.2) + 0.7 * noise[:, 0]], dim=1)
    torch.testing.assert_close(chain, expected)


@torch.no_grad()
def test_linear_flow_samples_a_bivariate_gaussian():
    flow = linear_flow(0.7, 0.2, tokens=2)
    x = sample(flow, 40_000, generator=torch.Generator().manual_seed(3))[:, :, 0]
    expected = torch.tensor([[1.0, 0.7], [0.7, 0.49 + math.exp(0.4)]], dtype=torch.float64)
    torch.testing.assert_close(torch.cov(x.T), expected, atol=0.04, rtol=0)


@pytest.mark.parametrize("options", PARALLEL, ids=str)
@pytest.mark.parametrize("guided", [{}, {"guidance": 1.2}, {"guidance": 1.2, "rule": "starflow", "schedule": "linear"}])
def test_solvers_agree(guided, options):
    flow, noise = flow_and_noise(spread=0.45)
    labels = torch.tensor([0, 3, 1])
    expected = sample(flow, 3, labels, noise=noise, **guided)
    x, info = sample(flow, 3, labels, noise=noise, return_info=True, **guided, **options)
    torch.testing.assert_close(x, expected, atol=1e-9, rtol=0)
    assert all(block.converged and not block.fallback for block in info.blocks)
    assert info.max_residual < 1e-9


class Overflowing:
    """A block's ``predict`` that gives an infinite log-scale at one slot as long as it reads far-off tokens."""

    def __init__(self, block, slot):
        self.inner, self.slot, self.broken = block.predict, slot, 0

    def __call__(self, inputs, start, *rest):
        log_scale, shift = self.inner(inputs, start, *rest)
        position = self.slot - 1 - start
        if 0 <= position < inputs.shape[1] and self.broken < 3:
            self.broken += 1
            log_scale = log_scale.clone()
            log_scale[0, position:] = torch.inf
        return log_scale, shift


@pytest.mark.parametrize("options", PARALLEL, ids=str)
def test_solvers_agree_after_an_overflow(monkeypatch, options):
    flow, noise = flow_and_noise()
    expected = sample(flow, 3, torch.tensor([0, 3, 1]), noise=noise)
    monkeypatch.setattr(flow.blocks[0], "predict", Overflowing(flow.blocks[0], slot=4))
    x, info = sample(flow, 3, torch.tensor([0, 3, 1]), noise=noise, return_info=True, **options)
    torch.testing.assert_close(x, expected, atol=1e-9, rtol=0)
    assert info.repairs > 0


def overflowing_flow() -> TarFlow:
    """u_{i+1} = v_{i+1} exp(300 + ...): overflows double precision from the third token on."""
    flow = linear_flow(0.0, 0.0, tokens=5)
    with torch.no_grad():
        flow.blocks[0].proj_out.weight[0, 0] = 300.0  # a_{i+1} = 300 u_i
    return flow


@pytest.mark.parametrize("options", [o for o in SOLVERS if o["solver"] != "auto"], ids=str)
def test_overflow_is_an_error_that_says_where(options):
    noise = torch.zeros(3, 5, 1, dtype=torch.float64)
    noise[1] = 2.0  # sample 1: u_1 = 2 exp(600), then exp(300 · 2 exp(600)) overflows
    with pytest.raises(TenfoldError, match=r"block 0 overflows at token 2 .* of sample 1") as raised:
        sample(overflowing_flow(), 3, noise=noise, **options)
    assert not isinstance(raised.value, UsageError)


@pytest.mark.parametrize("options", SOLVERS, ids=str)
def test_no_guidance_in_four_ways(options):
    flow, noise = flow_and_noise()
    labels = torch.tensor([0, 3, 1])
    plain = sample(flow, 3, labels, noise=noise)
    for guided in (
        {"guidance": 0.0, "attn_temp": 0.5},
        {"guidance": 2.0, "blocks": 0},
        {"guidance": 2.0, "blocks": []},
    ):
        x, info = sample(flow, 3, labels, noise=noise, return_info=True, **guided, **options)
        torch.testing.assert_close(x, plain, atol=1e-11, rtol=0)
        assert not any(block.guided for block in info.blocks)
    free = sample(flow, 3, noise=noise, **options)
    with pytest.warns(UserWarning, match="guidance has no effect"):
        x, info = sample(flow, 3, noise=noise, guidance=2.0, return_info=True, **options)
    torch.testing.assert_close(x, free, atol=1e-11, rtol=0)
    assert info.warnings
    assert not any(block.guided for block in info.blocks)


@pytest.mark.parametrize("options", SOLVERS, ids=str)
def test_label_minus_one_is_no_label(options):
    flow, noise = flow_and_noise()
    none = sample(flow, 3, noise=noise, **options)
    dropped = sample(flow, 3, torch.full((3,), -1), noise=noise, **options)
    mean = sample(flow, 3, torch.full((3, 4), 0.25, dtype=torch.float64), noise=noise, **options)
    torch.testing.assert_close(dropped, none, atol=1e-12, rtol=0)
    torch.testing.assert_close(mean, none, atol=1e-12, rtol=0)


@pytest.mark.parametrize("options", SOLVERS, ids=str)
def test_a_sample_does_not_depend_on_its_batch(options):
    flow, noise = flow_and_noise(n=4)
    labels = torch.tensor([0, 3, 1, -1])
    guided = {"guidance": 1.5, "attn_temp": 0.7}
    once = sample(flow, 4, labels, noise=noise, **guided, **options)
    twice = sample(flow, 8, labels.repeat(2), noise=noise.repeat(2, 1, 1), **guided, **options)
    alone = sample(flow, 1, labels[2:3], noise=noise[2:3], **guided, **options)
    torch.testing.assert_close(twice, once.repeat(2, 1, 1, 1), atol=1e-10, rtol=0)
    torch.testing.assert_close(alone, once[2:3], atol=1e-10, rtol=0)


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("options", SOLVERS, ids=str)
def test_inputs_are_left_alone(options, n):
    flow, noise = flow_and_noise(n=n)
    before = noise.clone()
    x, info = sample(flow, n, noise=noise, certify=True, return_info=True, **options)
    torch.testing.assert_close(noise, before, atol=0, rtol=0)
    assert all(block.certificate.noise_error < 1e-9 for block in info.blocks)
    tokens, _ = invert(flow, noise)
    torch.testing.assert_close(noise, before, atol=0, rtol=0)
    torch.testing.assert_close(flow.unpatchify(tokens), x, atol=1e-11, rtol=0)


def test_partial_guidance_runs_one_branch_elsewhere():
    flow, noise = flow_and_noise()
    labels = torch.tensor([0, 3, 1])
    x, info = sample(flow, 3, labels, noise=noise, guidance=1.0, blocks="top", return_info=True)
    assert [block.guided for block in info.blocks] == [True, False, False]
    steps = 3 * CLASSES.tokens - 3
    assert info.calls == steps
    assert info.tokens == 4 * 3 * steps // 3
    assert not torch.allclose(x, sample(flow, 3, labels, noise=noise, guidance=1.0))
    listed = sample(flow, 3, labels, noise=noise, guidance=1.0, blocks=[0])
    torch.testing.assert_close(listed, x)


@pytest.mark.parametrize("options", SOLVERS, ids=str)
@pytest.mark.parametrize("way", ["weights", "autocast"])
def test_half_precision(options, way):
    flow, noise = flow_and_noise(dtype=torch.float32)
    options = {"guidance": 1.0, "attn_temp": 0.8, "noise": noise, **options}
    labels = torch.tensor([0, 3, -1])
    exact = sample(flow, 3, labels, **options)
    flow = flow.to(torch.bfloat16) if way == "weights" else flow
    with torch.autocast("cpu", torch.bfloat16, enabled=way == "autocast"):
        rough = sample(flow, 3, labels, **options)
    assert rough.dtype == torch.float32
    torch.testing.assert_close(rough, exact, atol=0.2, rtol=0)


@torch.no_grad()
def test_static_step_equals_the_quick_one():
    flow, noise = flow_and_noise()
    weights = flow.condition_weights(torch.tensor([0, 1, -1]), 3)
    net = network(flow, 2, 3, weights)
    expected = sequential(net, noise)
    net = network(flow, 2, 3, weights)
    step = compiled_stepper(net, compile=False)
    chain = noise.clone()
    for j in range(net.steps):
        log_scale, shift = step(chain[:, j], j)
        chain[:, j + 1] = noise[:, j + 1] * log_scale.exp() + shift
    torch.testing.assert_close(chain, expected, atol=1e-12, rtol=0)


def test_converged_samples_leave_the_batch():
    config = TarFlowConfig(shape=(32, 2), width=32, head_size=16, blocks=1)
    flow, noise = flow_and_noise(config, n=4)
    noise[1:] = 0.0  # alike, so that they converge together
    noise[0] *= 4.0
    _, info = sample(flow, 4, noise=noise, solver="jacobi", tol=1e-6, return_info=True)
    (block,) = info.blocks
    assert block.sweeps < 31
    assert block.tokens < block.calls * 4 * 31


def test_frontier_with_window_one_is_sequential():
    flow, noise = flow_and_noise(spread=0.45)
    _, info = sample(flow, 3, noise=noise, solver="frontier", window=1, tol=1e-300, return_info=True)
    assert all(block.sweeps == CLASSES.tokens - 1 for block in info.blocks)


def test_selective_is_labelled_approximate():
    flow, noise = flow_and_noise(spread=0.45)
    x, info = sample(flow, 3, noise=noise, solver="selective", return_info=True)
    assert [block.solver for block in info.blocks] == ["sequential", "jacobi", "jacobi"]
    assert not info.exact
    assert info.fallbacks == 0
    assert info.max_residual > 0
    assert torch.isfinite(x).all()


def test_record_is_json():
    flow, noise = flow_and_noise()
    _, info = sample(flow, 3, noise=noise, solver="frontier", return_info=True)
    record = json.loads(json.dumps(info.to_dict()))
    assert record["calls"] == sum(block["calls"] for block in record["blocks"])
    assert record["blocks"][0]["block"] == 2
    assert record["blocks"][0]["certificate"]["residual"] < 1e-9
    assert record["exact"] is True


def test_certificate_of_every_solver():
    flow, noise = flow_and_noise(spread=0.45)
    for options in SOLVERS:
        _, info = sample(flow, 3, noise=noise, certify=True, return_info=True, **options)
        for block in info.blocks:
            assert block.certificate is not None
            assert block.certificate.noise_error < 1e-9
            assert block.certificate.residual < 1e-9


def test_a_wrong_result_is_repaired_from_the_first_bad_token(monkeypatch):
    flow, noise = flow_and_noise(spread=0.45)
    expected = sample(flow, 3, noise=noise)
    import tenfold.flows.solvers.inversion as module

    def spoilt(*arguments):
        chain = segmented(*arguments)
        chain[1, 5] += 0.5
        return chain

    monkeypatch.setattr(module, "segmented", spoilt)
    x, info = sample(flow, 3, noise=noise, solver="jacobi", return_info=True)
    torch.testing.assert_close(x, expected, atol=1e-9, rtol=0)
    assert all("from slot 5" in block.fallback for block in info.blocks)
    assert info.max_residual < 1e-9


def test_modes_seeds_and_gradients():
    config = TarFlowConfig(shape=(1, 4, 4), width=32, head_size=16, blocks=2, dropout=0.5)
    flow = random_flow(config).float().train()
    draw = lambda: sample(flow, 2, generator=torch.Generator().manual_seed(5))  # noqa: E731
    x = draw()
    assert flow.training
    torch.testing.assert_close(draw(), x)
    flow.log_prob(x.requires_grad_(True)).sum().backward()
    assert x.grad is not None


def test_denoising_and_clipping():
    flow, noise = flow_and_noise()
    plain = sample(flow, 3, noise=noise)
    from tenfold.flows.density import denoise

    clean = sample(flow, 3, noise=noise, denoise_sigma=0.1, denoise_rate=0.9)
    torch.testing.assert_close(clean, denoise(flow, plain, 0.1, rate=0.9))
    clipped = sample(flow, 3, noise=noise, denoise_sigma=0.1, denoise_rate=0.9, clip=True)
    torch.testing.assert_close(clipped, clean.clamp(-1, 1))


def test_one_label_for_all():
    flow, noise = flow_and_noise()
    torch.testing.assert_close(sample(flow, 3, 2, noise=noise), sample(flow, 3, torch.full((3,), 2), noise=noise))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"n": 0}, "n is 0"),
        ({"noise": torch.zeros(2, 12, 4)}, r"shape \(2, 12, 4\)"),
        ({"noise": torch.full((3, 12, 4), torch.nan)}, "NaN or infinite"),
        ({"condition": torch.tensor([0, 4, 1])}, "label 4 is outside"),
        ({"condition": torch.tensor([0, -2, 1])}, "label -2 is outside"),
        ({"condition": torch.tensor([0, 1])}, "2 rows for a batch of 3"),
        ({"guidance": -1.0}, "guidance is -1"),
        ({"guidance": 1.0, "attn_temp": -0.5}, "attn_temp is -0.5"),
        ({"denoise_sigma": -0.1}, "denoise_sigma is -0.1"),
        ({"solver": "sequental"}, "did you mean 'sequential'"),
        ({"solver": "jacobi", "init": "zeroes"}, "did you mean 'zeros'"),
        ({"solver": "jacobi", "tol": 0.0}, "tol is 0"),
        ({"solver": "jacobi", "max_sweeps": 0}, "max_sweeps is 0"),
        ({"solver": "gs", "segments": 0}, "segments is 0"),
        ({"solver": [Plan()]}, "1 plans were given for a flow of 3"),
        ({"solver": "jacobi", "stop": "never"}, "stop is 'never'"),
    ],
    ids=str,
)
def test_bad_arguments(arguments, words):
    flow = TarFlow(CLASSES)
    with pytest.raises(UsageError, match=words):
        sample(flow, **({"n": 3} | arguments))


def test_labels_on_an_unconditional_flow():
    flow = TarFlow(TarFlowConfig(shape=(1, 4, 4), width=32, head_size=16))
    with pytest.raises(UsageError, match="unconditional"):
        sample(flow, 2, torch.tensor([0, 1]))
