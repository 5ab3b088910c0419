"""Scores of a flow: the values of its density, on every kind of input."""

import math

import numpy as np
import pytest
import torch

from tenfold.data.images.inputs import read_inputs
from tenfold.errors import TenfoldError, UsageError
from tenfold.flows.density import log_prob, log_prob_mixture
from tenfold.flows.evaluation import bits_per_dim_rows
from tenfold.tarflow.config import FlowObjective, FlowScoring, TarFlowConfig
from tenfold.tarflow.evaluation import score
from tests.flows.helpers import random_flow

UNIFORM, GAUSSIAN = FlowObjective("uniform"), FlowObjective("gaussian", 0.3)
SHAPE = (1, 4, 4)


def flow_of(classes: int = 0):
    return random_flow(TarFlowConfig(shape=SHAPE, patch=2, width=16, head_size=8, blocks=2, layers=1, classes=classes))


def pixels(count: int = 7) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 5, (count, *SHAPE))


@pytest.mark.parametrize("classes", [0, 3])
def test_the_mean_is_what_evaluation_says(classes):
    flow = flow_of(classes)
    found = score(flow, read_inputs(pixels(), SHAPE, 5), UNIFORM, 5, FlowScoring(draws=4), "m")
    row = bits_per_dim_rows(flow, torch.from_numpy(pixels()), None, 5, "uniform", "m", "test", draws=4)[0]
    log_p, bits = found.summary
    assert bits.name == "bits_per_dim"
    assert bits.value == pytest.approx(row.value, rel=1e-6)
    # The change of scale from [−1, 1] to [0, 5).
    assert bits.value == pytest.approx((-log_p.value / 16 + math.log(2.5)) / math.log(2), rel=1e-9)
    assert ("averaged over 3 classes" in found.note) == (classes == 3)


def test_floats_are_taken_as_they_are():
    flow, x = flow_of(3), np.random.default_rng(1).uniform(-1, 1, (5, *SHAPE)).astype(np.float32)
    inputs = read_inputs(x, SHAPE, 5)
    found = score(flow, inputs, UNIFORM, 5, FlowScoring(), "m")
    with torch.no_grad():
        truth = log_prob_mixture(flow, torch.from_numpy(x).to(flow.var))[0]
        given = log_prob(flow, torch.from_numpy(x).to(flow.var), torch.full((5,), 2))
    assert list(found.columns) == ["log_prob"]
    assert found.names == tuple(str(i) for i in truth.argsort().tolist())
    assert [v[0] for v in found.values] == pytest.approx(truth.sort().values.tolist(), rel=1e-6)
    one = score(flow, inputs, UNIFORM, 5, FlowScoring(classes=2), "m")
    assert [v[0] for v in one.values] == pytest.approx(given.sort().values.tolist(), rel=1e-6)
    assert "p(x|y = 2)" in one.note


def test_gaussian_noise_gives_no_bits_unless_forced_and_then_another_name():
    flow, inputs = flow_of(), read_inputs(pixels(), SHAPE, 5)
    plain = score(flow, inputs, GAUSSIAN, 5, FlowScoring(draws=3), "m")
    assert list(plain.columns) == ["log_prob"]
    with pytest.raises(UsageError, match=r"trained with Gaussian noise.*--force"):
        score(flow, inputs, GAUSSIAN, 5, FlowScoring(draws=3, bits_per_dim=True), "m")
    forced = score(flow, inputs, GAUSSIAN, 5, FlowScoring(draws=3, bits_per_dim=True, force=True), "m")
    assert forced.columns == {"log_prob": "nats", "noisy_density": "bits/dim of noisy data"}
    assert forced.values[0][1] == pytest.approx((-plain.values[0][0] / 16 + math.log(2)) / math.log(2))


def test_bits_of_floats_are_refused():
    inputs = read_inputs(np.zeros((1, *SHAPE)), SHAPE, 5)
    for force in (False, True):
        with pytest.raises(UsageError, match="integer pixels, but the input holds floats"):
            score(flow_of(), inputs, UNIFORM, 5, FlowScoring(bits_per_dim=True, force=force), "m")


def test_the_seed_decides_the_noise():
    flow, inputs = flow_of(), read_inputs(pixels(), SHAPE, 5)
    a, b, c = (score(flow, inputs, GAUSSIAN, 5, FlowScoring(seed=s, draws=2), "m").values for s in (0, 0, 1))
    assert a == b != c


def test_rows_that_are_not_finite_are_named_and_an_overflow_too():
    x = np.zeros((3, *SHAPE), np.float32)
    x[1, 0, 2, 3] = np.inf
    with pytest.raises(UsageError, match="row 1 of the input holds NaN or infinite"):
        score(flow_of(), read_inputs(x, SHAPE, 5), UNIFORM, 5, FlowScoring(), "m")
    x[1, 0, 2, 3] = 3e38
    with pytest.raises(TenfoldError, match=r"log p of 1 is .*overflows"):
        score(flow_of().float(), read_inputs(x, SHAPE, 5), UNIFORM, 5, FlowScoring(), "m")


def test_options_out_of_range():
    with pytest.raises(UsageError, match="draws is 0"):
        FlowScoring(draws=0)
    with pytest.raises(UsageError, match="force belongs to bits_per_dim"):
        FlowScoring(force=True)


@pytest.mark.parametrize("objective", [UNIFORM, GAUSSIAN], ids=["uniform", "gaussian"])
def test_an_image_has_its_value_whatever_is_scored_beside_it(objective: FlowObjective) -> None:
    flow, images, options = flow_of(), pixels(), FlowScoring(draws=2)
    scored = lambda x: score(flow, read_inputs(x, SHAPE, 5), objective, 5, options, "m")  # noqa: E731
    values = lambda s: {name: row[0] for name, row in zip(s.names, s.values, strict=True)}  # noqa: E731
    whole, part = values(scored(images)), values(scored(images[2:]))
    assert part == pytest.approx({str(i): whole[str(i + 2)] for i in range(len(images) - 2)}, rel=1e-5)
