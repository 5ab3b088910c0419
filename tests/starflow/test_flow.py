"""STARFlow's network as a density and a sampler: closed forms and invariants."""

import copy
import math

import pytest
import torch

from tenfold import hub
from tenfold.errors import UsageError
from tenfold.flows.chain import Branches, ChainNetwork
from tenfold.flows.density import token_nll
from tenfold.flows.sampling import sample
from tenfold.flows.solvers.info import BlockInfo
from tenfold.flows.solvers.reverse import reverse_pass, rsample
from tenfold.flows.solvers.sequential import sequential
from tenfold.flows.solvers.static_step import compiled_stepper
from tenfold.nn.config import LayerConfig
from tenfold.starflow.block import SOFTPLUS_ONE, log_softplus
from tenfold.starflow.model import StarFlow
from tests.starflow.helpers import LLM, SMALL, random_flow, small_config

TEXT = {"text_tokens": 3, "text_dim": 5}
CONFIGS = {
    "classes": small_config(classes=3),
    "text": small_config(**TEXT),
    "text-everywhere": small_config(condition="all", **TEXT),
    "no-start": small_config(start_token=False, scale="exp", soft_clip=0.0, final_norm=False, order="R2L"),
    "two-blocks": small_config(layers=(1, 2), order="R2L", classes=2),
    "patches": small_config(shape=(1, 4, 4), patch=2, layers=(1, 1)),
    "one-token": small_config(shape=(3, 1, 1), classes=2),
    "one-token-no-start": small_config(shape=(3, 1, 1), start_token=False),
    "language-model": small_config(deep=LLM, deep_positions="line", **TEXT),
}
SOLVERS = [
    {"solver": "jacobi"},
    {"solver": "jacobi", "init": "zeros"},
    {"solver": "gs", "segments": 3},
    {"solver": "frontier", "window": 3},
]
every_config = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())


def condition_for(config, batch=2):
    if config.classes:
        return torch.arange(batch) % config.classes
    return torch.randn(batch, 2, config.text_dim, dtype=torch.float64) if config.text_tokens else None


@every_config
def test_logdet_is_the_jacobians(config):
    flow, condition = random_flow(config), condition_for(config)
    x = torch.randn(2, *config.shape, dtype=torch.float64)
    output = flow(x, condition)
    for row in range(2):
        given = None if condition is None else condition[row : row + 1]
        jacobian = torch.autograd.functional.jacobian(lambda v, y=given: flow(v[None], y).z.flatten(), x[row])
        _, expected = torch.linalg.slogdet(jacobian.reshape(config.dimensions, config.dimensions))
        torch.testing.assert_close(output.logdet[row] * config.dimensions, expected, atol=1e-9, rtol=0)
    log_prob = flow.log_prob(x, condition)
    torch.testing.assert_close(-token_nll(flow, x, condition).sum(dim=1), log_prob)
    expected = torch.distributions.Normal(0.0, 1.0).log_prob(output.z).sum(dim=(1, 2))
    torch.testing.assert_close(log_prob, expected + output.logdet * config.dimensions)


@pytest.mark.parametrize("rule", ["starflow", "tarflow"])
@pytest.mark.parametrize("schedule", ["const", "linear"])
@every_config
def test_all_solvers_agree_under_guidance(config, schedule, rule):
    flow, condition = random_flow(config), condition_for(config)
    noise = torch.randn(2, config.tokens, config.token_dim, dtype=torch.float64)
    options = {"noise": noise, "schedule": schedule, "rule": rule, "guidance": 1.5 if condition is not None else 0.0}
    x, info = sample(flow, 2, condition, return_info=True, **options)
    if condition is None:
        torch.testing.assert_close(flow.encode(x), noise, atol=1e-11, rtol=0)
    else:
        # Blocks that do not see the condition run one branch.
        assert [block.guided for block in info.blocks] == [flow.blocks[b.block].conditional for b in info.blocks]
        assert float((sample(flow, 2, condition, noise=noise) - x).abs().max()) > 1e-4 or config.tokens == 1
    for solver in SOLVERS:
        torch.testing.assert_close(sample(flow, 2, condition, **solver, **options), x, atol=1e-10, rtol=0)


@every_config
def test_round_trip_and_gradients(config):
    flow, condition = random_flow(config), condition_for(config)
    noise = torch.randn(2, config.tokens, config.token_dim, dtype=torch.float64)
    x = flow.decode(noise, condition)
    torch.testing.assert_close(flow.encode(x, condition), noise, atol=1e-10, rtol=0)
    torch.testing.assert_close(flow.unpatchify(reverse_pass(flow, x, condition)[-1]), x, atol=1e-10, rtol=0)
    torch.testing.assert_close(rsample(flow, 2, condition, noise=noise), x, atol=1e-10, rtol=0)


def test_rsample_has_the_gradients_of_finite_differences():
    flow = random_flow(small_config(shape=(2, 2, 2), layers=(1, 1), classes=2))
    noise = torch.randn(1, 4, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda z: rsample(flow, 1, torch.tensor([1]), noise=z), noise, atol=1e-6)


def test_the_first_token_is_transformed_with_a_start_token_only():
    x = torch.randn(1, 2, 3, 4, dtype=torch.float64)
    for config in (CONFIGS["classes"], CONFIGS["no-start"]):
        flow = random_flow(config)
        block, tokens = flow.blocks[0], flow.patchify(x)
        moved = block.order(block(tokens, None)[0])[:, 0] - block.order(tokens)[:, 0]
        assert bool((moved.abs() > 1e-6).all()) is config.start_token


def test_fresh_softplus_flow_with_zero_bias_is_the_identity():
    flow = StarFlow(small_config()).double()
    with torch.no_grad():
        for block in flow.blocks:
            block.proj_out.bias.zero_()
    x = torch.randn(2, 2, 3, 4, dtype=torch.float64)
    output = flow(x)
    torch.testing.assert_close(output.z, flow.patchify(x))
    torch.testing.assert_close(output.logdet, torch.zeros(2, dtype=torch.float64))


def test_log_softplus():
    x = torch.tensor([-200.0, -60.0, -30.0, -29.9, -1.0, 0.0, 3.0, 80.0], dtype=torch.float64, requires_grad=True)
    value = log_softplus(x)
    expected = torch.where(x < -25, x, torch.log(torch.log1p(torch.exp(x.clamp(max=30.0)))))
    expected = torch.where(x > 25, x.log(), expected)
    torch.testing.assert_close(value, expected, atol=1e-11, rtol=1e-11)
    assert bool(torch.isfinite(torch.autograd.grad(value.sum(), x)[0]).all())
    single = log_softplus(torch.tensor([-200.0, -100.0]))
    assert single.tolist() == [-200.0, -100.0]
    assert log_softplus(torch.tensor(SOFTPLUS_ONE, dtype=torch.float64)).item() == pytest.approx(0.0, abs=1e-12)


def test_no_label_in_four_ways():
    flow = random_flow(CONFIGS["classes"])
    x = torch.randn(2, 2, 3, 4, dtype=torch.float64)
    expected = flow.log_prob(x)
    torch.testing.assert_close(flow.log_prob(x, torch.tensor([-1, -1])), expected)
    both = flow.log_prob(x, torch.tensor([-1, 2]))
    torch.testing.assert_close(both[0], expected[0])
    one_hot = torch.nn.functional.one_hot(torch.tensor([2, 2]), 3).double()
    torch.testing.assert_close(both[1], flow.log_prob(x, one_hot)[1])


def test_short_texts_are_padded_and_none_is_the_null_text():
    flow = random_flow(CONFIGS["text"])
    x, text = torch.randn(2, 2, 3, 4, dtype=torch.float64), torch.randn(2, 2, 5, dtype=torch.float64)
    padded = torch.cat([text, torch.zeros(2, 1, 5, dtype=torch.float64)], dim=1)
    torch.testing.assert_close(flow.log_prob(x, text), flow.log_prob(x, padded))
    torch.testing.assert_close(flow.log_prob(x), flow.log_prob(x, flow.null_text.expand(2, -1, -1)))
    assert float((flow.log_prob(x) - flow.log_prob(x, text)).abs().min()) > 1e-6


@pytest.mark.parametrize("name", ["classes", "text", "language-model"])
def test_other_shapes_on_the_same_weights(name):
    config = CONFIGS[name]
    flow = random_flow(config)
    assert flow.at(3, 4) is flow
    view = flow.at(2, 6)
    assert view.config.extent == pytest.approx(math.sqrt(12))
    x, condition = torch.randn(2, 2, 2, 6, dtype=torch.float64), condition_for(config)
    # A flow that is given latents of another shape takes the view itself, and trains the same parameters.
    torch.testing.assert_close(flow.log_prob(x, condition), view.log_prob(x, condition))
    flow.log_prob(x, condition).sum().backward()
    assert all(p.grad is not None for p in flow.blocks[0].parameters())
    assert [id(p) for p in view.parameters()] == [id(p) for p in flow.parameters()]
    images = view.sample(3, condition_for(config, 3), guidance=1.0, generator=torch.Generator().manual_seed(0))
    assert images.shape == (3, 2, 2, 6)
    noise = torch.randn(2, 12, 2, dtype=torch.float64)
    torch.testing.assert_close(view.encode(view.decode(noise, condition), condition), noise, atol=1e-10, rtol=0)
    copied = copy.deepcopy(flow)
    torch.testing.assert_close(copied.log_prob(x, condition), view.log_prob(x, condition))


def test_positions_scale_with_the_extent_of_training():
    config = small_config(shape=(2, 4, 4))
    flow = StarFlow(config)
    block, wide = flow.blocks[0], flow.at(2, 8).blocks[0]
    torch.testing.assert_close(block.rotary(0, 4), wide.rotary(0, 4))  # the same area: the same step
    large = flow.at(8, 8).blocks[0]
    torch.testing.assert_close(large.rotary(2, 1), block.rotary(1, 1))  # twice the side: half the step
    assert block.rotary(0, 17).shape == (2, 17, 16)


@pytest.mark.parametrize("name", ["classes", "text", "no-start"])
@torch.no_grad()
def test_the_static_step_is_the_sequential_sampler(name):
    config = CONFIGS[name]
    flow, condition = random_flow(config), condition_for(config)
    block = flow.blocks[-1]
    noise = block.chain(torch.randn(2, config.tokens, 2, dtype=torch.float64))
    branches = Branches(flow.condition_weights(condition, 2))
    expected = sequential(ChainNetwork(block, branches, None, 2, BlockInfo(2, "test")), noise)
    net = ChainNetwork(block, branches, None, 2, BlockInfo(2, "test"))
    step = compiled_stepper(net, compile=False)
    chain = noise.clone()
    for j in range(net.steps):
        log_scale, shift = step(chain[:, j], j)
        chain[:, j + 1] = chain[:, j + 1] * log_scale.exp() + shift
    torch.testing.assert_close(chain, expected)


def test_guidance_of_chosen_blocks():
    flow = random_flow(CONFIGS["text-everywhere"])
    text = condition_for(flow.config)
    for blocks, guided in (("all", [True] * 3), ("top", [True, False, False]), ([1], [False, True, False])):
        _, info = flow.sample(2, text, guidance=2.0, blocks=blocks, return_info=True)
        assert [block.guided for block in info.blocks] == guided


def test_default_rule_follows_the_scale():
    text = condition_for(CONFIGS["text"])
    flow = random_flow(CONFIGS["text"])
    noise = torch.randn(2, 12, 2, dtype=torch.float64)
    own = flow.sample(2, text, noise=noise, guidance=2.0)
    torch.testing.assert_close(own, flow.sample(2, text, noise=noise, guidance=2.0, rule="starflow"))
    assert random_flow(CONFIGS["no-start"]).default_rule == "tarflow"


def test_half_precision():
    flow = random_flow(CONFIGS["classes"])
    x, y = torch.randn(4, 2, 3, 4), torch.tensor([0, 1, 2, -1])
    exact = flow.log_prob(x.double(), y)
    half = flow.to(torch.bfloat16)
    torch.testing.assert_close(half.log_prob(x.bfloat16(), y).double(), exact, atol=1.0, rtol=0.05)
    assert bool(torch.isfinite(half.sample(4, y, guidance=2.0).float()).all())


def test_save_and_load(tmp_path):
    for name in ("text", "language-model"):
        flow = random_flow(CONFIGS[name]).float()
        hub.save_pretrained(flow, tmp_path / name)
        loaded = hub.from_pretrained(StarFlow, tmp_path / name)
        assert loaded.config == flow.config
        x, text = torch.randn(2, 2, 3, 4), condition_for(flow.config).float()
        assert torch.equal(loaded.log_prob(x, text), flow.log_prob(x, text))
        assert torch.equal(loaded.null_text, flow.null_text)


REFUSED = [
    (lambda: random_flow(CONFIGS["text"]).log_prob(torch.zeros(1, 3, 3, 4)), "(batch, 2, height, width)"),
    (lambda: random_flow(CONFIGS["patches"]).log_prob(torch.zeros(1, 1, 3, 4)), "3x4 cannot be cut"),
    (lambda: random_flow(CONFIGS["text"]).sample(1, torch.zeros(1, 4, 5)), "4 tokens, but this flow takes 3"),
    (lambda: random_flow(CONFIGS["text"]).sample(1, torch.zeros(1, 2, 6)), "(batch, tokens, 5)"),
    (lambda: StarFlow(CONFIGS["text"]).sample(1), "null text is missing"),
    (lambda: StarFlow(CONFIGS["text"]).sample(1, torch.zeros(1, 2, 5), guidance=1.0), "null text is missing"),
    (lambda: StarFlow(CONFIGS["text"]).set_null_text(torch.full((2, 5), math.nan)), "null text holds NaN"),
    (lambda: StarFlow(CONFIGS["classes"]).set_null_text(torch.zeros(2, 5)), "takes no text"),
    (lambda: StarFlow(CONFIGS["classes"]).sample(1, torch.tensor([3])), "label 3 is outside [-1, 3)"),
    (lambda: StarFlow(small_config()).sample(1, 0), "unconditional"),
    (lambda: small_config(classes=2, deep=LayerConfig(width=32, head_size=16, rotary="half")), "wider than 16"),
    (lambda: small_config(shallow=LayerConfig(width=32, head_size=32)), "shallow.rotary is none"),
    (lambda: small_config(layers=()), "layers is ()"),
    (lambda: small_config(text_tokens=3), "set both"),
    (lambda: small_config(classes=2, **TEXT), "not both"),
    (lambda: small_config(soft_clip=-1.0), "soft_clip is -1.0"),
    (lambda: small_config(shape=(2, 3, 4), patch=2), "3x4 cannot be cut"),
    (lambda: LayerConfig(width=96, head_size=32, kv_heads=2), "3 heads cannot share 2"),
    (lambda: LayerConfig(width=40, head_size=32), "width 40 is not a multiple"),
]


@pytest.mark.parametrize(("run", "sentence"), REFUSED, ids=[sentence for _, sentence in REFUSED])
def test_bad_input(run, sentence):
    with pytest.raises(UsageError) as error:
        run()
    assert sentence in str(error.value)
    assert SMALL.plain
    assert not LLM.plain
