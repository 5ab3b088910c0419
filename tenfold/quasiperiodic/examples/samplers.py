"""How much the sampler of times (and of noise) lowers the variance of a loss estimate.

Each mode of ``ShiftSampler`` estimates the same mean from the same number of points; the table gives the variance with
independent points over the variance with the mode's. All modes are unbiased, which the table checks too.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int
from scipy.special import ndtri
from sklearn.datasets import load_digits

from tenfold.figures import lines
from tenfold.runs.measurement import Measurement
from tenfold.runs.outcome import Outcome
from tenfold.runs.sampled_loss import SampledLoss
from tenfold.shifts import ShiftSampler
from tenfold.shifts.sampler import MODES

TIMES = MODES
Loss = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Design:
    """``batches`` batches of ``batch`` points a mean, ``repeats`` means a variance."""

    batch: int
    batches: int
    repeats: int


def means(loss: Loss, dim: int, mode: str, design: Design) -> Float64[np.ndarray, " repeats"]:
    """The estimates of E loss(U), U uniform on [0, 1)^dim, one a seed."""
    found = np.empty(design.repeats)
    for seed in range(design.repeats):
        sampler = ShiftSampler(dim, mode, seed)
        points = np.concatenate([sampler.next(design.batch) for _ in range(design.batches)])
        found[seed] = loss(points).mean()
    return found


def variance_rows(loss: Loss, dim: int, modes: tuple[str, ...], design: Design, split: str) -> list[Measurement]:
    """A row a mode: Var(iid) / Var(mode), with the standard error of a ratio of two variances; and one row with the
    largest difference of a mode's mean from iid's, in standard errors."""
    samples = {mode: means(loss, dim, mode, design) for mode in modes}
    base = samples["iid"].var(ddof=1)
    note = f"{design.batches} batches of {design.batch}"
    rows, worst = [], 0.0
    for mode, values in samples.items():
        if mode == "iid":
            continue
        ratio = float(base / values.var(ddof=1))
        error = ratio * math.sqrt(4 / (design.repeats - 1))
        rows.append(Measurement("variance_reduction", ratio, "iid / mode", split, mode, error, design.repeats, note))
        spread = math.sqrt((base + values.var(ddof=1)) / design.repeats)
        worst = max(worst, abs(float(values.mean() - samples["iid"].mean())) / spread)
    rows.append(Measurement("largest_bias", worst, "standard errors", split, "all modes", None, design.repeats))
    return rows


def smooth(points: Float64[np.ndarray, "n dim"]) -> Float64[np.ndarray, " n"]:
    """sin²(πt) + e^{−3t}: a loss that depends on time alone."""
    t = points[:, 0]
    return np.sin(np.pi * t) ** 2 + np.exp(-3 * t)


class DigitsDenoiser:
    """Noise prediction on scikit-learn's 1797 digits, pixels/8 − 1: z = α x + σ ε with α = cos(πt/2),
    σ = sin(πt/2) + 0.01, and the posterior mean of x under the empirical distribution with kernel variance
    σ² + 0.05 α²."""

    def __init__(self) -> None:
        self.images = load_digits().data / 8.0 - 1.0
        self.squares = (self.images**2).sum(axis=1)

    def loss(
        self, t: Float64[np.ndarray, " n"], which: Int[np.ndarray, " n"], noise: Float64[np.ndarray, "n 64"]
    ) -> Float64[np.ndarray, " n"]:
        """Mean squared error of the predicted noise, for times, image indices and noise."""
        found = np.empty(len(t))
        for begin in range(0, len(t), 1024):
            part = slice(begin, begin + 1024)
            alpha, sigma = np.cos(np.pi * t[part] / 2)[:, None], np.sin(np.pi * t[part] / 2)[:, None] + 0.01
            z = alpha * self.images[which[part]] + sigma * noise[part]
            logits = (2 * alpha * (z @ self.images.T) - alpha**2 * self.squares) / (2 * (sigma**2 + 0.05 * alpha**2))
            weights = np.exp(logits - logits.max(axis=1, keepdims=True))
            clean = weights @ self.images / weights.sum(axis=1, keepdims=True)
            found[part] = (((z - alpha * clean) / sigma - noise[part]) ** 2).mean(axis=1)
        return found

    def table(
        self, times: Float64[np.ndarray, " t"], draws: int, common: bool, seed: int = 0
    ) -> Float64[np.ndarray, " t"]:
        """L(t), the mean loss at each time: from ``common`` images and noise at all times, which makes it smooth, or
        from new ones at each, which leaves it as rough as the draws are few."""
        generator = np.random.default_rng(seed)
        found, which, noise = [], np.empty(0, int), np.empty(0)
        for t in times:
            if not len(which) or not common:
                which = generator.integers(len(self.images), size=draws)
                noise = generator.standard_normal((draws, 64))
            found.append(self.loss(np.full(draws, t), which, noise).mean())
        return np.array(found)


class NoisyMixture:
    """Noise prediction in one dimension: data from four Gaussians, exact posterior mean but for a time that is 10 %
    off, all randomness (time, noise, component, spread) from uniform numbers."""

    centres = np.array([-1.5, -0.5, 0.4, 1.6])
    weights = np.array([0.2, 0.3, 0.35, 0.15])
    spread = 0.15

    def joint(self, points: Float64[np.ndarray, "n 4"]) -> Float64[np.ndarray, " n"]:
        """The loss as a function on [0, 1)^4: time, noise, component, position in the component."""
        u = np.clip(points, 2.0**-53, 1 - 2.0**-53)
        component = np.searchsorted(np.cumsum(self.weights)[:-1], u[:, 2], side="right")
        data = self.centres[component] + self.spread * ndtri(u[:, 3])
        return self._error(u[:, 0], data, ndtri(u[:, 1]))

    def time_and_noise(self, seed: int) -> Loss:
        """The loss as a function of time and noise on [0, 1)², or of time alone, the rest drawn independently."""
        generator = np.random.default_rng(seed)

        def loss(points: Float64[np.ndarray, "n d"]) -> Float64[np.ndarray, " n"]:
            rest = generator.random((len(points), 4 - points.shape[1]))
            return self.joint(np.concatenate([points, rest], axis=1))

        return loss

    time_only = time_and_noise

    def _error(
        self, t: Float64[np.ndarray, " n"], data: Float64[np.ndarray, " n"], noise: Float64[np.ndarray, " n"]
    ) -> Float64[np.ndarray, " n"]:
        alpha, sigma = np.cos(np.pi * t / 2), np.sin(np.pi * t / 2) + 0.01
        z = alpha * data + sigma * noise
        seen, wide = np.cos(np.pi * 0.9 * t / 2)[:, None], np.sin(np.pi * 0.9 * t / 2)[:, None] + 0.01
        variance = (seen * self.spread) ** 2 + wide**2
        logits = np.log(self.weights) - 0.5 * (z[:, None] - seen * self.centres) ** 2 / variance
        posterior = np.exp(logits - logits.max(axis=1, keepdims=True))
        posterior /= posterior.sum(axis=1, keepdims=True)
        predicted = (posterior * wide * (z[:, None] - seen * self.centres) / variance).sum(axis=1)
        return (predicted - noise) ** 2


def run(figures: Path, quick: bool, progress: Callable[[float], None], losses: Sequence[SampledLoss] = ()) -> Outcome:
    """Tables on a smooth integrand, on the digits' loss over time, on the full digits' loss, jointly with noise in low
    dimension, and on ``losses`` of trained models."""
    digits, mixture = DigitsDenoiser(), NoisyMixture()
    times = np.linspace(0, 1, 65)
    curve, rough = (digits.table(times, 100 if quick else 400, common) for common in (True, False))
    generator = np.random.default_rng(1)

    def full(points: Float64[np.ndarray, "n 1"]) -> Float64[np.ndarray, " n"]:
        size = len(points)
        return digits.loss(points[:, 0], generator.integers(1797, size=size), generator.standard_normal((size, 64)))

    few, some = ("iid", "vdm", "vdm_stream"), ("iid", "kronecker", "sobol")
    table = Design(32, 8, 400 if quick else 4000)
    mixed = Design(64, 16, 100 if quick else 400)
    work: list[tuple[Loss, int, tuple[str, ...], Design, str]] = [
        (smooth, 1, TIMES, Design(64, 16, 200 if quick else 1000), "smooth function of t"),
        (lambda p: np.interp(p[:, 0], times, rough), 1, TIMES, table, "digits, L(t), new noise a time"),
        (lambda p: np.interp(p[:, 0], times, curve), 1, TIMES, table, "digits, L(t), common noise"),
        (full, 1, few, Design(32, 8, 20 if quick else 200), "digits, full loss"),
        (mixture.time_only(0), 1, TIMES, mixed, "mixture, t"),
        (mixture.time_and_noise(0), 2, some, mixed, "mixture, (t, noise)"),
        (mixture.joint, 4, some, mixed, "mixture, all four"),
    ]
    for given in losses:
        trained = Design(given.batch, given.batches, 10 if quick else given.repeats)
        work.append((given.loss, given.dim, TIMES if given.dim == 1 else some, trained, given.name))
    rows = []
    for i, (loss, dim, modes, design, split) in enumerate(work):
        rows += variance_rows(loss, dim, modes, design, split)
        progress((i + 1) / len(work))
    tables = {"common noise": (times, curve), "new noise at each time": (times, rough)}
    lines(tables, figures / "loss.png", "t", "mean squared noise error", "Digits: loss over time")
    rank, even = np.arange(32), (np.arange(32) + 0.5) / 32
    drawn = {mode: ShiftSampler(1, mode, 0).batch(0, 32).ravel() for mode in ("iid", "vdm", "jitter", "kronecker")}
    offsets = {mode: (rank, np.sort(batch) - even) for mode, batch in drawn.items()}
    about = ("rank of the point in a batch of 32", "distance from even spacing", "One batch of times")
    lines(offsets, figures / "batch.png", *about)
    captions = {
        "loss.png": "The digits' loss as a function of time, tabulated at 65 times; it varies smoothly and vanishes "
        "at both ends, so that even spacing pays. The full loss also varies with data and noise, which a time sampler "
        "does not touch.",
        "batch.png": "Sorted times of one batch, less the even spacing: independent times wander, others stay near.",
    }
    return Outcome(rows, captions, {"quick": quick, "modes": list(TIMES)})
