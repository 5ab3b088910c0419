"""The worked examples: their truths, and what they are told for."""

import math
from pathlib import Path

import pytest
import torch

from tenfold.energy.closed_forms import quadrature_moments
from tenfold.energy.examples.events import PROBABILITY, energy_rare_event, half_space_probability, offset_of
from tenfold.energy.examples.heads import FINE, LEVELS, energy_heads
from tenfold.energy.examples.weights import LEAST, energy_weights, mixtures, problems


def test_the_truth_is_that_of_quadrature() -> None:
    sigma = torch.tensor(LEAST, dtype=torch.float64)
    box = torch.full((2,), 7.0, dtype=torch.float64)
    for problem in problems().values():
        found = quadrature_moments(lambda x, p=problem: p.target.log_density(x, sigma), -box, box, 301)
        assert float(found.log_z) == pytest.approx(problem.log_z, abs=1e-6)
        torch.testing.assert_close(found.mean, problem.mean, atol=1e-6, rtol=0)


def test_weights(tmp_path: Path) -> None:
    outcome = energy_weights(tmp_path, quick=True)
    assert set(outcome.captions) == {file.name for file in tmp_path.glob("*.png")}
    value = {(row.name, row.split, row.model): row.value for row in outcome.rows}
    assert len(value) == len(outcome.rows)
    for name in ("product", "square"):
        of = lambda key, way, n=name: value[key, f"{n}, T = 16, N = 64", way]  # noqa: E731
        # At 16 steps continuous weights are far off, and what they say is no matter of luck.
        assert abs(of("log_z_bias", "continuous weights")) > 2 * of("log_z_sd", "continuous weights")
        assert max(of("log_z_rmse", way) for way in ("exact weights", "exact weights, control")) < 1


def test_heads(tmp_path: Path) -> None:
    outcome = energy_heads(tmp_path, quick=True)
    assert set(outcome.captions) == {file.name for file in tmp_path.glob("*.png")}
    value = {(row.name, row.model): row.value for row in outcome.rows}
    starts, ends = (
        {name: sum(value[f"{what}_{s:g}", name] for s in LEVELS) for name in ("dot", "dot, denoising", "path")}
        for what in ("start_distance", "distance")
    )
    assert all(ends[name] < starts[name] for name in starts)
    assert starts["path"] < starts["dot"] == starts["dot, denoising"]
    # More nodes change nothing: what a path lacks is the teacher's curl.
    for sigma in LEVELS[1:]:
        path, fine = (value[f"start_distance_{sigma:g}", name] for name in ("path", f"path of {FINE} nodes"))
        assert path == pytest.approx(fine, rel=0.05)
    assert value["gradient_norm", "dot"] < value["gradient_norm", "dot, denoising"]


def test_rare_event(tmp_path: Path) -> None:
    outcome = energy_rare_event(tmp_path, quick=True)
    exact = [row for row in outcome.rows if row.name == "probability" and row.model == "exact weights"]
    assert exact
    for row in exact:
        assert row.standard_error is not None
        assert abs(row.value - PROBABILITY) < 4 * row.standard_error < 4 * PROBABILITY
    # An energy of digits: what is steered measures the same as what is not.
    ink = {row.model: row for row in outcome.rows if row.name == "ink_probability"}
    assert len(ink) == 3
    steered, *others = (ink[name] for name in sorted(ink, reverse=True))
    for row in others:
        assert abs(row.value - steered.value) < 4 * math.hypot(row.standard_error, steered.standard_error)
    assert 0 < steered.standard_error < steered.value < 1
    # By counting, one million plain samples would do: the offset is where it should be.
    density, normal = mixtures()[0].noised(LEAST), torch.tensor([1.0, 0.5], dtype=torch.float64)
    offset = offset_of(density, normal, PROBABILITY)
    assert half_space_probability(density, normal, offset) == pytest.approx(PROBABILITY, rel=1e-9)
    share = float((density.sample(1_000_000) @ normal >= offset).double().mean())
    assert share == pytest.approx(PROBABILITY, abs=5 * (PROBABILITY / 1e6) ** 0.5)
