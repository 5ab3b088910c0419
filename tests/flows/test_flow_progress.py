"""Long work tells how far it is, and every task that says how much there is ends with all of it done."""

import pytest
import torch

from tenfold import progress
from tenfold.data.images.config import ImageDataConfig
from tenfold.data.load import load_images
from tenfold.flows.classification import bayes_log_posterior, one_gradient_scores
from tenfold.flows.density import denoise, discrete_log_probs
from tenfold.flows.inpainting import inpaint
from tenfold.flows.jacobian import exact_conditioning, power_conditioning
from tenfold.flows.sampling import sample
from tenfold.flows.solvers.calibrate import calibrate
from tenfold.flows.solvers.plan import Plan
from tenfold.metrics.features import train_classifier
from tenfold.metrics.images import sample_metrics
from tenfold.tarflow.baselines import gaussian, train_spline_flow
from tenfold.tarflow.config import FlowObjective, TarFlowConfig
from tenfold.tarflow.evaluation import class_balanced
from tests.flows.helpers import random_flow


class Recorder(progress.Display):
    """Remembers the finished tasks instead of showing them."""

    def __init__(self) -> None:
        super().__init__()
        self.done: dict[str, list[tuple[float, float | None]]] = {}

    def update(self, task: progress.Meter) -> None:
        pass

    def finish(self, task: progress.Meter) -> None:
        super().finish(task)
        self.done.setdefault(task.name, []).append((task.done, task.total))


def told(run) -> dict[str, list[tuple[float, float | None]]]:
    """The tasks of a run: (done, total) by name."""
    recorder = Recorder()
    with progress.shown(display=recorder):
        run()
    for name, states in recorder.done.items():
        for done, total in states:
            assert total is None or done == pytest.approx(total), name
    return recorder.done


@pytest.fixture(scope="module")
def flow():
    return random_flow(TarFlowConfig(shape=(1, 8, 8), patch=2, width=16, head_size=8, blocks=2, layers=1, classes=3))


@pytest.fixture(scope="module")
def digits():
    return load_images(ImageDataConfig(source="digits", levels=17))


def pictures(count: int = 5) -> torch.Tensor:
    return torch.rand(count, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.mark.parametrize("solver", ["sequential", "jacobi", "gs", "frontier", "selective", "auto"])
def test_every_solver_counts_its_tokens(flow, solver):
    assert told(lambda: sample(flow, 2, solver=solver)) == {"tokens": [(30, 30)]}


def test_a_repaired_block_counts_once(flow):
    # So loose a tolerance fails the check of the exact solver, which the sequential one then finishes.
    plans = [Plan("jacobi", tol=1e-9, init="zeros"), Plan("frontier", tol=1e-9)]
    assert told(lambda: sample(flow, 2, solver=plans)) == {"tokens": [(30, 30)]}


def test_sampling_in_batches(flow):
    found = told(lambda: list(class_balanced(flow, 5, 0.5, FlowObjective("gaussian", 0.1), batch=2)))
    assert found["samples, guidance 0.5"] == [(3, 3)]
    assert found["tokens"] == [(30, 30)] * 3


def test_densities(flow):
    x = pictures()
    pixels = torch.zeros(5, 1, 8, 8, dtype=torch.int64)
    noise = lambda k: torch.rand(pixels.shape, generator=torch.Generator().manual_seed(k))  # noqa: E731
    assert told(lambda: discrete_log_probs(flow, pixels, 17, noise, draws=3)) == {"dequantisation": [(3, 3)]}
    assert told(lambda: bayes_log_posterior(flow, x, chunk=4)) == {"classes": [(4, 4)]}
    assert told(lambda: one_gradient_scores(flow, x, chunk=2)) == {"one-gradient classifier": [(3, 3)]}
    assert told(lambda: denoise(flow, x, 0.1, chunk=2)) == {"score": [(3, 3)]}
    assert told(lambda: exact_conditioning(flow, x[:1])) == {"Jacobians": [(2, 2)]}
    assert told(lambda: power_conditioning(flow, x[:1], iterations=1)) == {"conditioning": [(2, 2)]}
    mask = torch.zeros(1, 8, 8, dtype=torch.bool)
    mask[0, 0, 0] = True
    assert told(lambda: inpaint(flow, x[:1], mask, steps=3, warmup=2)) == {"inpainting": [(5, 5)]}


def test_chunks_change_no_value(flow):
    x = pictures()
    whole, parts = one_gradient_scores(flow, x), one_gradient_scores(flow, x, chunk=2)
    torch.testing.assert_close(whole, parts)


def test_calibration(flow):
    found = told(lambda: calibrate(flow, pictures(2), candidates=[Plan("jacobi")], repeats=2))
    assert found == {"calibration": [(2, 2)], "solvers against the clock": [(2, 2)] * 2}


def test_baselines(digits):
    found = told(lambda: gaussian(digits, draws=2))
    assert found["Gaussian mixture, components: 1"] == [(0, None)]
    assert found["dequantisation"] == [(2, 2)]
    assert found["reading images"] == [(3, 3)]  # 1,297 training images in chunks of 512
    pytest.importorskip("zuko")
    small = {"transforms": 1, "hidden": (8,), "batch_size": 4}
    assert told(lambda: train_spline_flow(digits, 1.0, steps=2, **small))["neural spline flow"] == [(2, 2)]
    assert told(lambda: train_spline_flow(digits, 0.05, **small))["neural spline flow"][0][1] == 0.05


def test_features_and_metrics(digits):
    found = told(lambda: train_classifier(digits, steps=3))
    assert found["classifier for features"] == [(3, 3)]
    assert found["features"] == [(3, 3)]
    real = torch.rand(40, 4, generator=torch.Generator().manual_seed(0))
    assert told(lambda: sample_metrics(lambda x: x, real, real + 0.1, "m", "s"))["KID"][0][1] >= 10
