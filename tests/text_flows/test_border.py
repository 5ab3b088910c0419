"""What enters by the face of text flows and of their bijectors: right, or one sentence. A name of the face that is in
no table must be excused."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import tenfold.text_flows as face
from tenfold.text_flows import MixtureCDF, MixtureRosenblatt, TextFlow, TextFlowConfig
from tenfold.text_flows.options import TextFlowSampling
from tests.sweeping import refused, same, sweep

torch.manual_seed(11)
SHAPE: dict[str, Any] = {"vocabulary": 4, "dim": 2, "width": 16, "heads": 2, "hidden": 8, "length": 6}
MODEL = TextFlow(TextFlowConfig(**SHAPE, components=(4,), layers=(1,))).eval().requires_grad_(False)
STACK = TextFlow(
    TextFlowConfig(**SHAPE, couplings=("mix-d", "mix-1"), components=(4, 2), layers=(1, 1), patch=2)
).requires_grad_(False)
TOKENS, INDEX = torch.tensor([[0, 1, 2, 3], [3, 1, 0, 2]]), torch.tensor([5, 2])
POINTS = torch.randn(2, 4, 2).to(torch.bfloat16).float()  # what half precision holds too
LOGITS, MEAN, SCALE = torch.tensor([0.5, -0.25, 0.0]), torch.tensor([-1.0, 0.25, 2.0]), torch.tensor([0.5, 1.0, 0.25])
PLANE, LINE = torch.tensor([[-1.0, 0.5], [0.25, 0.0], [2.0, 1.5]]), torch.tensor([-3.0, 0.5, 2.25, 8.0])


def drawn(name: str) -> Callable[..., Any]:
    """A function of the face on the model."""
    return lambda **given: getattr(face, name)(MODEL, **given)


# Callable, arguments, those that may hold −∞ or be left out, and those whose number of axes is free.
ENTRIES: dict[str, tuple[Callable[..., Any], dict[str, Any], tuple[str, ...], tuple[str, ...]]] = {
    "TextFlow": (MODEL, {"tokens": TOKENS, "noise": POINTS}, (), ()),
    "TextFlow with patches": (STACK, {"tokens": TOKENS[:, :3], "noise": POINTS}, (), ()),
    "TextFlow.log_density": (STACK.log_density, {"z": POINTS}, (), ()),
    "TextFlow.states": (STACK.states, {"z": POINTS}, (), ()),
    "collapsed": (drawn("collapsed"), {"tokens": TOKENS, "noise": POINTS}, (), ()),
    "log_weights": (drawn("log_weights"), {"tokens": TOKENS, "draws": 2, "index": INDEX}, ("index",), ()),
    "elbo": (lambda tokens: face.elbo(MODEL, tokens, 2).nats, {"tokens": TOKENS}, (), ()),
    "importance_bound": (lambda tokens: face.importance_bound(MODEL, tokens, 2).nats, {"tokens": TOKENS}, (), ()),
    "encode_text": (drawn("encode_text"), {"tokens": TOKENS, "index": INDEX}, ("index",), ()),
    "decode_noise": (
        lambda u, rows: face.decode_noise(MODEL, u, TextFlowSampling(decode="sample"), rows).states,
        {"u": POINTS, "rows": INDEX}, ("rows",), (),
    ),
    "invert_flow": (lambda u: face.invert_flow(STACK, u, 0).latents, {"u": POINTS}, (), ()),
    "fill_between": (
        lambda left, right: face.fill_between(MODEL, left, right, 2, 2, candidates=3).tokens,
        {"left": TOKENS[0, :2], "right": TOKENS[1, :2]}, (), (),
    ),
    "MixtureCDF": (
        lambda logits, mean, scale, z: MixtureCDF(logits, mean, scale).forward(z),
        {"logits": LOGITS, "mean": MEAN, "scale": SCALE, "z": LINE}, (), ("logits", "mean", "scale", "z"),
    ),
    "MixtureCDF.log_prob": (MixtureCDF(LOGITS, MEAN, SCALE).log_prob, {"z": LINE}, (), ("z",)),
    "MixtureCDF.inverse": (MixtureCDF(LOGITS, MEAN, SCALE, "logit").inverse, {"u": LINE}, (), ("u",)),
    "MixtureRosenblatt": (
        lambda logits, mean, scale, z: MixtureRosenblatt(logits, mean, scale).forward(z),
        {"logits": LOGITS, "mean": PLANE, "scale": SCALE, "z": PLANE}, (), ("logits", "z"),
    ),
    "MixtureRosenblatt.log_prob": (MixtureRosenblatt(LOGITS, PLANE, SCALE).log_prob, {"z": PLANE}, (), ("z",)),
    "MixtureRosenblatt.inverse": (MixtureRosenblatt(LOGITS, PLANE, SCALE).inverse, {"u": PLANE}, (), ("u",)),
}  # fmt: skip
# Settings, results, the trainer, weights of folders; ``mixed`` and ``unmixed`` of anything are below.
EXCUSED = {
    *("LikelihoodBound", "TextFlowConfig", "Inverted", "from_autoregressive", "to_autoregressive", "TextFlowTask"),
    *("mixed", "unmixed", "MaskedMixtures", "tabular_flows", "Filled"),
}


def test_every_name_of_the_face_is_swept_or_excused() -> None:
    assert {name.partition(".")[0].partition(" ")[0] for name in ENTRIES} | EXCUSED == set(face.__all__)


@pytest.mark.parametrize("name", ENTRIES)
def test_tensors(name: str) -> None:
    function, given, unknown, free = ENTRIES[name]
    sweep(function, given, unknown, free)


def test_channels_of_any_kind() -> None:
    for use, goal in ((face.mixed, [0, 2, 1, 3]), (face.unmixed, [0, 2, 1, 3])):
        for x in (torch.arange(4), [0, 1, 2, 3], np.arange(4, dtype=np.uint8), torch.arange(4).half()):
            same(use(x), torch.tensor(goal).to(torch.as_tensor(x).dtype))
        for bad in ([1, 2, 3], [], torch.tensor(5.0), [[1, 2], [3]], ["a", "b"], "ab", torch.zeros(3, 0)):
            refused(lambda bad=bad, use=use: use(bad), bad)


def test_nothing_but_an_empty_batch_is_empty() -> None:
    assert MODEL.log_density(POINTS[:0]).shape == (0, 4)
    assert face.encode_text(MODEL, TOKENS[:0]).shape == (0, 4, 2)
    assert face.invert_flow(MODEL, POINTS[:0]).latents.shape == (0, 4, 2)
    assert face.log_weights(MODEL, TOKENS[:0], 3).shape == (3, 0)
    assert MixtureCDF(LOGITS, MEAN, SCALE).inverse(LINE[:0]).shape == (0,)
    assert MixtureRosenblatt(LOGITS, PLANE, SCALE).inverse(PLANE[:0]).shape == (0, 2)


@pytest.mark.parametrize(
    "bad",
    [
        lambda: MODEL.log_density(POINTS[:, :0]),
        lambda: MODEL.log_density(torch.zeros(1, 7, 2)),
        lambda: STACK.log_density(POINTS[:, :3]),
        lambda: MODEL.states(POINTS.repeat(1, 1, 2)),
        lambda: MODEL(TOKENS, POINTS[:1]),
        lambda: MODEL(TOKENS, POINTS[:, :3]),
        lambda: MODEL(TOKENS + 4, POINTS),
        lambda: MODEL(TOKENS - 1, POINTS),
        lambda: MODEL(TOKENS[:, :0], POINTS[:, :0]),
        lambda: MODEL.freeze(1),
        lambda: STACK.freeze(2),
        lambda: face.collapsed(STACK, TOKENS, POINTS),
        lambda: face.log_weights(MODEL, TOKENS, 0),
        lambda: face.log_weights(MODEL, TOKENS, 1.5),
        lambda: face.log_weights(MODEL, TOKENS, math.nan),
        lambda: face.log_weights(MODEL, TOKENS, True),
        lambda: face.log_weights(MODEL, TOKENS, 1, batch=0),
        lambda: face.log_weights(MODEL, TOKENS, 1, seed=0.5),
        lambda: face.log_weights(MODEL, TOKENS, 1, index=[1]),
        lambda: face.log_weights(MODEL, TOKENS, 1, index=[1, -1]),
        lambda: face.elbo(MODEL, TOKENS, draws="many"),
        lambda: face.importance_bound(MODEL, TOKENS, draws=-1),
        lambda: face.importance_bound(MODEL, TOKENS, 2, batch=2.5),
        lambda: face.encode_text(MODEL, TOKENS, seed=math.nan),
        lambda: face.encode_text(MODEL, TOKENS, index=[[1, 2]]),
        lambda: face.decode_noise(MODEL, POINTS, TextFlowSampling(), [1, 2, 3]),
        lambda: face.invert_flow(MODEL, POINTS, -1),
        lambda: face.invert_flow(MODEL, POINTS, 1.5),
        lambda: face.invert_flow(MODEL, POINTS, tolerance=0.0),
        lambda: face.invert_flow(MODEL, POINTS, tolerance=math.nan),
        lambda: face.invert_flow(MODEL, POINTS, root=-1e-6),
        lambda: face.invert_flow(MODEL, POINTS, root=math.nan),
        lambda: face.fill_between(MODEL, [0], [1], 0),
        lambda: face.fill_between(MODEL, [0], [1], 5),
        lambda: face.fill_between(MODEL, [0], [], 2),
        lambda: face.fill_between(MODEL, [9], [1], 2),
        lambda: face.fill_between(MODEL, [0], [1], 2, candidates=math.nan),
        lambda: face.fill_between(STACK, [0], [1], 2),
        lambda: face.from_autoregressive("/nowhere", log_scale=math.nan),
        lambda: face.from_autoregressive("/nowhere", log_scale=-8.0),
        lambda: face.from_autoregressive("/nowhere/at/all"),
        lambda: face.to_autoregressive(STACK),
        lambda: MixtureCDF(LOGITS, MEAN, -SCALE),
        lambda: MixtureCDF(LOGITS, MEAN, SCALE, outer=5),
        lambda: MixtureCDF(torch.tensor(0.5), MEAN, SCALE),
        lambda: MixtureCDF(LOGITS, MEAN, SCALE).inverse(LINE, tolerance=math.nan),
        lambda: MixtureCDF(LOGITS, MEAN, SCALE).inverse(LINE, tolerance=2.0),
        lambda: MixtureRosenblatt(LOGITS, PLANE[:2], SCALE),
        lambda: MixtureRosenblatt(LOGITS, PLANE[:, :0], SCALE),
        lambda: MixtureRosenblatt(LOGITS.expand(2, 3), PLANE, SCALE).log_prob(PLANE),
    ],
)
def test_values(bad: Callable[[], object]) -> None:
    refused(bad, "it")


def test_a_half_precise_model_reads_its_own_noise() -> None:
    half = TextFlow(MODEL.config).bfloat16()
    assert half(TOKENS, POINTS.bfloat16()).bound().dtype == torch.float32
    assert half.log_density(POINTS.bfloat16()).isfinite().all()
