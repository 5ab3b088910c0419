"""Calibration: metrics by definition, the saved file, and what "auto" makes of it."""

import json
from dataclasses import replace

import pytest
import torch

from tenfold.errors import UsageError
from tenfold.flows.guidance import Guidance
from tenfold.flows.sampling import sample
from tenfold.flows.solvers.calibrate import calibrate, convergence_ranking_metric, initial_guess_metric
from tenfold.flows.solvers.calibration import FILE, Calibration, Timing, load_calibration, save_calibration
from tenfold.flows.solvers.plan import Plan
from tenfold.tarflow.config import TarFlowConfig
from tests.flows.helpers import linear_flow, random_flow

CONFIG = TarFlowConfig(shape=(6, 2), width=32, head_size=16, blocks=2, layers=1, classes=3)


def calibrated(**options):
    flow = random_flow(CONFIG).float()
    x, y = torch.randn(4, 6, 2), torch.tensor([0, 1, 2, 0])
    flow.calibration = calibrate(flow, x, y, repeats=1, **options)
    return flow


@torch.no_grad()
def test_metrics_of_a_linear_block():
    # u_2 = c u_1 + exp(s) v_2: one sweep from v misses nothing, because v_1 = u_1
    flow = linear_flow(0.7, 0.2, tokens=3)
    x = torch.randn(5, 3, 1, dtype=torch.float64)
    block = flow.blocks[0]
    v = block(x, None)[0]
    igm = initial_guess_metric(block, x, None)
    off = 0.7 * (v - x)[:, 1, 0].mean().abs()  # F(v) − u at the third token; at the second nothing is missed
    assert igm["v"] == pytest.approx(float(off), abs=1e-12)
    assert igm["zeros"] == pytest.approx(float(0.7 * x[:, 1].mean().abs()), abs=1e-12)
    data, scale, shift, total = convergence_ranking_metric(block, x, None)
    scaled = x.clone()
    scaled[:, 1:] *= torch.exp(torch.tensor(-0.2))
    assert data == pytest.approx(float(scaled.mean(dim=0).norm()), abs=1e-7)
    assert (scale, shift) == pytest.approx((0.0, 0.7))
    assert total == pytest.approx(data * scale + shift)


def test_measurements_are_complete():
    calibration = calibrated().calibration
    assert [block.block for block in calibration.blocks] == [1, 0]
    assert sum(block.crm_share for block in calibration.blocks) == pytest.approx(1.0)
    for block in calibration.blocks:
        assert block.steps == 5
        assert all(0 <= count <= 5 for count in block.sweeps.values())
        assert block.sequential_seconds > 0
        assert all(timing.max_error < 1e-4 and timing.calls >= 1 for timing in block.timings)


def test_round_trip_through_json(tmp_path):
    calibration = calibrated().calibration
    path = save_calibration(calibration, tmp_path)
    assert path.name == FILE
    assert load_calibration(tmp_path) == calibration
    assert Calibration.from_dict(json.loads(json.dumps(calibration.to_dict()))) == calibration
    assert load_calibration(tmp_path / "nowhere") is None


@pytest.mark.parametrize("text", ["{", '{"blocks": 3}', "[]", '{"blocks": [], "batch": 1}'])
def test_broken_files(tmp_path, text):
    (tmp_path / FILE).write_text(text)
    with pytest.raises(UsageError, match="calibrate again"):
        load_calibration(tmp_path)


def auto(flow, n=4, **options):
    noise = torch.randn(n, 6, 2, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(n) % 3
    x, info = sample(flow, n, labels, noise=noise, solver="auto", return_info=True, **options)
    torch.testing.assert_close(x, sample(flow, n, labels, noise=noise, **options), atol=1e-5, rtol=0)
    return [block.solver for block in info.blocks], [block.reason for block in info.blocks]


def test_without_calibration_auto_is_sequential():
    solvers, reasons = auto(random_flow(CONFIG).float())
    assert solvers == ["sequential", "sequential"]
    assert reasons == ["not calibrated: sequential"] * 2


def with_times(flow, seconds):
    """The calibration with a made-up time of one frontier plan for every block, where sequential takes 1 s."""
    timing = Timing(Plan("frontier", window=4), seconds, 3, 12, 0.0)
    blocks = [replace(b, sequential_seconds=1.0, timings=(timing,)) for b in flow.calibration.blocks[:1]]
    rest = [replace(b, sequential_seconds=1.0, timings=()) for b in flow.calibration.blocks[1:]]
    flow.calibration = replace(flow.calibration, blocks=(*blocks, *rest))
    return flow


def test_auto_takes_the_quickest_solver_of_each_block():
    solvers, reasons = auto(with_times(calibrated(), 0.5))
    assert solvers == ["frontier", "sequential"]
    assert "frontier took 0.5 s, sequential 1 s" in reasons[0]


def test_auto_takes_no_solver_that_overflowed():
    flow = with_times(calibrated(), 0.5)
    first, second = flow.calibration.blocks
    first = replace(first, timings=(replace(first.timings[0], max_error=float("nan")),))
    flow.calibration = replace(flow.calibration, blocks=(first, second))
    assert auto(flow)[0] == ["sequential", "sequential"]


def test_auto_needs_a_margin():
    assert auto(with_times(calibrated(), 0.95))[0] == ["sequential", "sequential"]


@pytest.mark.parametrize(
    ("change", "options", "words"),
    [
        ({"machine": {"device": "cpu: another"}}, {}, "calibrated with device cpu: another"),
        ({"batch": 64}, {}, "batches of 64, not 4"),
        ({}, {"guidance": 1.0}, "guidance 0, not 1"),
    ],
)
def test_auto_says_why_it_ignores_a_calibration(change, options, words):
    flow = with_times(calibrated(), 0.5)
    flow.calibration = replace(flow.calibration, **change)
    solvers, reasons = auto(flow, **options)
    assert solvers == ["sequential", "sequential"]
    assert all(words in reason for reason in reasons)


def test_guided_calibration():
    flow = with_times(calibrated(guidance=Guidance(1.5)), 0.5)
    assert flow.calibration.guidance == 1.5
    assert auto(flow, guidance=1.0)[0] == ["frontier", "sequential"]
    assert "calibrated with guidance 1.5, not 3" in auto(flow, guidance=3.0)[1][0]
