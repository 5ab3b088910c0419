"""Whatever users hand to a flow: every entry point that reads inputs, noise or conditions, over values and types."""

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import tenfold.flows as face
from tenfold.errors import UsageError
from tenfold.flows.flow import Flow
from tenfold.flows.inpainting import inpaint
from tenfold.nn.config import LayerConfig
from tenfold.starflow.config import StarFlowConfig
from tenfold.starflow.model import StarFlow
from tenfold.tarflow.config import TarFlowConfig
from tenfold.tarflow.model import TarFlow

LAYER = LayerConfig(width=32, head_size=32, rotary="interleaved", dropout=0.4)
CONFIGS = {
    "images": TarFlowConfig(shape=(1, 4, 4), width=16, head_size=16, blocks=2, layers=1, classes=3, dropout=0.4),
    "vectors": TarFlowConfig(shape=(4, 2), width=16, head_size=16, blocks=2, layers=1),
    "latents": StarFlowConfig(shape=(2, 4, 4), layers=(1, 1), shallow=LAYER, deep=LAYER, classes=3),
}


def flow_of(name: str) -> Flow:
    """With random output layers, in training mode, which no evaluation may heed."""
    torch.manual_seed(0)
    flow: Flow = StarFlow(CONFIGS[name]) if name == "latents" else TarFlow(CONFIGS[name])
    with torch.no_grad():
        for block in flow.blocks:
            block.proj_out.weight.normal_(std=0.05)
            block.proj_out.bias.normal_(std=0.1)
    return flow.train()


FLOWS = {name: flow_of(name) for name in CONFIGS}
MASK = {name: torch.ones(config.shape, dtype=torch.bool) for name, config in CONFIGS.items()}


def inputs(name: str, count: int = 3) -> Tensor:
    return torch.rand(count, *CONFIGS[name].shape, generator=torch.Generator().manual_seed(1)) * 2 - 1


# Entry points that read x (b, *shape): (flow, x) to a tensor of b rows.
OF_INPUTS: dict[str, Callable[[Flow, Any], Tensor]] = {
    "Flow.log_prob": lambda flow, x: flow.eval().log_prob(x),
    "Flow.encode": lambda flow, x: flow.encode(x),
    "Flow.forward": lambda flow, x: flow.eval()(x).z,
    "log_prob": lambda flow, x: face.log_prob(flow.eval(), x),
    "log_probs": lambda flow, x: face.log_probs(flow, x),
    "log_prob_mixture": lambda flow, x: face.log_prob_mixture(flow, x)[0],
    "bayes_log_posterior": lambda flow, x: face.bayes_log_posterior(flow, x),
    "one_gradient_scores": lambda flow, x: face.one_gradient_scores(flow, x),
    "token_nll": lambda flow, x: face.token_nll(flow, x),
    "score": lambda flow, x: face.score(flow, x),
    "denoise": lambda flow, x: face.denoise(flow, x, 0.1),
    "block_inputs": lambda flow, x: face.block_inputs(flow, x)[-1],
    "conditioning": lambda flow, x: face.conditioning(flow, x).largest,
    "calibrate": lambda flow, x: torch.zeros(face.calibrate(flow, x, repeats=1, candidates=()).batch),
}
NEED_CLASSES = {"log_prob_mixture", "bayes_log_posterior", "one_gradient_scores"}
NEED_ROWS = {"conditioning", "calibrate"}
# Those that read noise (b, T, D).
OF_NOISE: dict[str, Callable[[Flow, Any], Tensor]] = {
    "Flow.decode": lambda flow, z: flow.decode(z),
    "sample": lambda flow, z: face.sample(flow, 2, noise=z),
    "draw_samples": lambda flow, z: face.draw_samples(flow, 2, noise=z)[0],
    "rsample": lambda flow, z: face.rsample(flow, 2, noise=z),
    "invert": lambda flow, z: face.invert(flow, z)[0],
    "invert_states": lambda flow, z: face.invert_states(flow, z)[0][-1],
    "reverse_pass": lambda flow, z: face.reverse_pass(flow, [torch.zeros_like(z)] * 3, noise=z)[-1],
}
# Parts of the face that read neither, or are tried below or elsewhere.
ELSEWHERE = {
    "Context", "FlowBlock", "Denoising", "Flow", "Guidance", "FlowOutput", "Auto", "Selective", "SamplingInfo", "Plan",
    "second_derivatives",
    "load_calibration", "save_calibration", "negative_log_likelihood", "importance_bound", "discrete_log_probs",
    "bits_per_dim_rows", "dequantise", "to_levels", "to_unit_range", "inpaint",
    "FlowDistribution",  # tests/flows/test_distribution.py
}  # fmt: skip


def test_every_name_of_the_face_is_tried() -> None:
    assert set(face.__all__) == (set(OF_INPUTS) | set(OF_NOISE) | ELSEWHERE) - {
        n for n in (*OF_INPUTS, *OF_NOISE) if "." in n
    }
    methods = {name for name, value in vars(Flow).items() if inspect.isfunction(value) and not name.startswith("_")}
    assert methods == {"log_prob", "encode", "decode", "sample", "read_extras", "save_pretrained"}


def cases(with_classes: bool = True) -> list[Any]:
    return [
        pytest.param(flow, entry, id=f"{flow}-{entry}")
        for flow in CONFIGS
        for entry in OF_INPUTS
        if flow != "vectors" or entry not in NEED_CLASSES
    ]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "entry"), cases())
def test_inputs(name: str, entry: str) -> None:
    flow, x = FLOWS[name], inputs(name)

    def call(values: Any) -> Tensor:
        flow.train()
        return OF_INPUTS[entry](flow, values).detach()

    expected = call(x)
    for other in (
        x.double(), x.numpy(), x.tolist(), x.transpose(-1, -2).contiguous().transpose(-1, -2), x.double().numpy()[::1],
        x.expand(2, *x.shape)[0],
    ):  # fmt: skip
        torch.testing.assert_close(call(other), expected, atol=2e-4, rtol=1e-3, check_dtype=False)
    if x.ndim == 4:
        last = x.contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(call(last), expected, atol=2e-4, rtol=1e-3)
    for half in (x.half(), x.bfloat16()):
        found = call(half)
        assert found.dtype == torch.float32 or entry == "calibrate"
        torch.testing.assert_close(found, call(half.float()), atol=2e-4, rtol=1e-3)
    if entry not in NEED_ROWS:
        assert len(call(x[:0])) == 0
    for value in (np.nan, np.inf, -np.inf):
        bad = x.clone()
        bad[1].view(-1)[-1] = value
        with pytest.raises(UsageError, match=r"row 1 of the input holds NaN or infinite values \(1 of 3 rows do\)"):
            call(bad)
    if name != "vectors":
        with pytest.raises(UsageError, match=r"the input reaches 25\d.*rescale it first"):
            call((x / x.abs().max() + 1) * 127.5 if name == "images" else x / x.abs().max() * 257)
    for wrong in ((x * 100).to(torch.uint8), x > 0, x + 0j, "abc", [[1.0], [2.0, 3.0]], x[0], x[:, :0]):
        with pytest.raises(UsageError) as error:
            call(wrong)
        assert "\n" not in str(error.value)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("entry", OF_NOISE)
@pytest.mark.parametrize("name", CONFIGS)
def test_noise(name: str, entry: str) -> None:
    flow, config = FLOWS[name], CONFIGS[name]
    z = torch.randn(2, config.tokens, config.token_dim)

    def call(values: Any) -> Tensor:
        flow.train()
        return OF_NOISE[entry](flow, values).detach()

    expected = call(z)
    if entry != "reverse_pass":  # whose own context is zero here
        flow.eval()
        torch.testing.assert_close(flow.unpatchify(expected) if "invert" in entry else expected, flow.decode(z))
        for other in (z.numpy(), z.tolist()):
            torch.testing.assert_close(call(other), expected)
    torch.testing.assert_close(call(z.double()), expected, atol=2e-4, rtol=1e-3, check_dtype=False)
    assert call(z.half()).dtype == torch.float32
    bad = z.clone()
    bad[1, 0, 0] = np.nan
    with pytest.raises(UsageError, match="row 1 of the noise holds NaN"):
        call(bad)
    for wrong in (z.long(), z[..., :-1], z[0]):
        with pytest.raises(UsageError):
            call(wrong)


CONDITIONED: dict[str, Callable[[Flow, Tensor, Any], Tensor]] = {
    "log_prob": lambda flow, x, c: flow.eval().log_prob(x, c),
    "encode": lambda flow, x, c: flow.encode(x, c),
    "log_probs": lambda flow, x, c: face.log_probs(flow, x, c, chunk=2),
    "score": lambda flow, x, c: face.score(flow, x, c, chunk=2),
    "denoise": lambda flow, x, c: face.denoise(flow, x, 0.1, c),
    "token_nll": lambda flow, x, c: face.token_nll(flow, x, c),
    "block_inputs": lambda flow, x, c: face.block_inputs(flow, x, c)[-1],
    "conditioning": lambda flow, x, c: face.conditioning(flow, x, c).largest,
    "sample": lambda flow, x, c: flow.sample(3, c, generator=torch.Generator().manual_seed(0)),
    "rsample": lambda flow, x, c: face.rsample(flow, 3, c, generator=torch.Generator().manual_seed(0)),
    "inpaint": lambda flow, x, c: (
        inpaint(
            flow, x, torch.ones(flow.config.shape), c, steps=1, warmup=1, generator=torch.Generator().manual_seed(0)
        ).x
    ),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("entry", CONDITIONED)
@pytest.mark.parametrize("name", ["images", "latents"])
def test_conditions(name: str, entry: str) -> None:
    flow, x = FLOWS[name], inputs(name)
    call = lambda condition: CONDITIONED[entry](flow, x, condition).detach()  # noqa: E731
    labels = torch.tensor([2, 0, 1])
    expected = call(labels)
    for kind in (torch.int8, torch.int16, torch.int32, torch.uint8):
        assert torch.equal(call(labels.to(kind)), expected)
    for other in (labels.tolist(), labels.numpy(), labels.numpy().astype(np.uint16)):
        assert torch.equal(call(other), expected)
    mixtures = torch.eye(3)[labels]
    for other in (mixtures, mixtures.double(), mixtures.tolist()):
        torch.testing.assert_close(call(other), expected, atol=1e-4, rtol=1e-3, check_dtype=False)
    for wrong, words in (
        (labels[:2], r"2 rows|shape \(2,\)"),
        (labels + 1, r"label 3 is outside \[-1, 3\)"),
        (labels == 0, "give integers"),
        (mixtures * np.nan, "NaN"),
        ("abc", "no array of numbers"),
    ):
        with pytest.raises(UsageError, match=words):
            call(wrong)


def test_no_flow_heeds_dropout_but_in_training() -> None:
    for name, flow in FLOWS.items():
        z = torch.randn(2, CONFIGS[name].tokens, CONFIGS[name].token_dim)
        x = flow.train().decode(z)
        for values in (face.rsample(flow, 2, noise=z), flow.unpatchify(face.reverse_pass(flow, x)[-1])):
            torch.testing.assert_close(values, x, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(flow.encode(x), z, atol=1e-4, rtol=1e-4)
        assert flow.training
        assert torch.equal(flow.log_prob(x), flow.log_prob(x)) == (name == "vectors")  # the training computation


@pytest.mark.parametrize("name", CONFIGS)
def test_second_derivatives_are_right_or_refused(name: str) -> None:
    flow, config = flow_of(name).double().eval(), CONFIGS[name]
    z = torch.randn(1, config.tokens, config.token_dim, dtype=torch.float64, requires_grad=True)
    x = torch.rand(1, *config.shape, dtype=torch.float64, requires_grad=True)
    every = lambda z: face.rsample(flow, 1, noise=z, derivatives="all").sin().sum()  # noqa: E731
    first = lambda z: face.rsample(flow, 1, noise=z).sin().sum()  # noqa: E731
    direction = torch.randn_like(z)
    torch.testing.assert_close(torch.autograd.grad(every(z), z), torch.autograd.grad(first(z), z))
    with pytest.raises(UsageError, match="derivatives='all'"):
        torch.autograd.functional.hvp(first, z, direction)
    for function, point, along in ((every, z, direction), (lambda x: flow.log_prob(x).sum(), x, torch.randn_like(x))):
        _, found = torch.autograd.functional.hvp(function, point, along)
        ahead, back = (torch.autograd.functional.vjp(function, point + h * along)[1] for h in (1e-5, -1e-5))
        torch.testing.assert_close(found, (ahead - back) / 2e-5, atol=1e-6, rtol=1e-5)


def test_the_hessian_by_torch_func_too() -> None:
    flow, x = FLOWS["images"].eval(), inputs("images", 1)
    density = lambda x: flow.log_prob(x).sum()  # noqa: E731
    torch.testing.assert_close(torch.func.hessian(density)(x), torch.autograd.functional.hessian(density, x))


def test_the_hessian_in_the_weights() -> None:
    flow = flow_of("images").double().eval()
    weights = [p for p in flow.parameters() if p.requires_grad]
    directions, x = [torch.randn_like(p) for p in weights], inputs("images", 2).double()

    def gradient() -> list[torch.Tensor]:
        found = torch.autograd.grad(flow.log_prob(x).sum(), weights, create_graph=True, materialize_grads=True)
        return list(found)

    with face.second_derivatives():
        slope = sum((g * d).sum() for g, d in zip(gradient(), directions, strict=True))
        product = torch.autograd.grad(slope, weights, materialize_grads=True)
    ends = []
    for h in (1e-5, -1e-5):
        with torch.no_grad():
            for p, d in zip(weights, directions, strict=True):
                p.add_(d, alpha=h)
        ends.append([g.detach() for g in gradient()])
        with torch.no_grad():
            for p, d in zip(weights, directions, strict=True):
                p.sub_(d, alpha=h)
    for found, ahead, back in zip(product, *ends, strict=True):
        torch.testing.assert_close(found, (ahead - back) / 2e-5, atol=1e-4, rtol=1e-4)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("solver", ["sequential", "jacobi", "gs", "selective", "frontier"])
@pytest.mark.parametrize("name", CONFIGS)
def test_a_seed_means_the_sample(name: str, solver: str) -> None:
    flow = FLOWS[name]
    draw = lambda n, g: flow.sample(n, generator=g, solver=solver)  # noqa: E731
    seeded = lambda: torch.Generator().manual_seed(7)  # noqa: E731
    together, generator = draw(8, seeded()), seeded()
    torch.testing.assert_close(draw(3, seeded()), together[:3], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(torch.cat([draw(n, generator) for n in (3, 1, 4)]), together, atol=1e-4, rtol=1e-4)


def test_a_row_of_inpainting_does_not_depend_on_the_others() -> None:
    flow, x = FLOWS["images"], inputs("images")

    def fill(x: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(0)
        return inpaint(flow, x, MASK["images"].float(), method="mala", steps=3, warmup=2, generator=generator).x

    torch.testing.assert_close(fill(x[:2]), fill(x)[:2], atol=1e-4, rtol=1e-4)
    x[:, 0, 0, 0] = np.nan
    assert fill(x).isfinite().all()  # what is filled is not looked at
    for wrong, words in (({"steps": -1}, "steps is -1"), ({"step": 0.0}, "step 0.0")):
        with pytest.raises(UsageError, match=words):
            inpaint(flow, inputs("images"), MASK["images"], **wrong)
    with pytest.raises(UsageError, match="mark the pixels"):
        inpaint(flow, inputs("images"), MASK["images"] * 0.5)


def test_levels_and_their_integers() -> None:
    pixels, noise = torch.tensor([[0, 16]]), torch.zeros(1, 2)
    for kind in (torch.uint8, torch.int8, torch.int16, torch.int32, torch.uint16):
        assert torch.equal(face.dequantise(pixels.to(kind), 17, noise), face.dequantise(pixels, 17, noise))
        assert torch.equal(face.to_unit_range(pixels.to(kind), 17), torch.tensor([[-1.0, 1.0]]))
    for function in (lambda p: face.dequantise(p, 17, noise), lambda p: face.to_unit_range(p, 17)):
        with pytest.raises(UsageError, match=r"pixel value 17 is outside \[0, 17\)"):
            function(pixels + 1)
        with pytest.raises(UsageError, match="integer levels"):
            function(pixels.float())
    with pytest.raises(UsageError, match="NaN"):
        face.to_levels(torch.tensor([[np.nan]]), 256)
    with pytest.raises(UsageError, match="NaN"):
        face.importance_bound(torch.tensor([[np.nan]]), 1)
    for levels in (1, 0, -3):
        with pytest.raises(UsageError, match="levels is"):
            face.to_unit_range(pixels * 0, levels)
