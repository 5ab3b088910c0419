"""What a sceptic would compare an image flow with: densities of integer pixels that take minutes to fit or less.

Every value is in bits per dimension of the integers on the test split, with the flows' own uniform
dequantisation where the model is a density: v + u on [0, levels) per pixel, one independent noise draw per value.
"""

import copy
import math
import time
import warnings
from collections.abc import Callable, Iterator

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor, nn

from tenfold import progress
from tenfold.data.images.splits import ImageSplits, read_all
from tenfold.errors import UsageError
from tenfold.flows.loss import dequantise, discrete_log_prob
from tenfold.runs.measurement import Measurement, bits_per_dim
from tenfold.training.task import MapSource, StreamSource

# A full covariance of more dimensions than this takes longer to fit than the flows that it is compared with.
_MOST_DIMENSIONS = 1024
_BATCH = 128  # images of a step of the spline flow

LogProb = Callable[[Tensor], Tensor]
"""Images x = 2 (v + u) / levels − 1, flattened to (N, D) float32, to log densities (N,) in nats."""


def baseline_rows(
    splits: ImageSplits, seconds: float, draws: int = 16, seed: int = 0, images: int = 0
) -> list[Measurement]:
    """All baselines that fit these images: the histogram always, densities up to 1,024 dimensions, and the
    spline flow, trained for ``seconds`` of wall-clock time or on ``images`` images, when one of them is above 0 and
    zuko is installed (a warning says so where it is not).

    Raises UsageError for streamed training images."""
    if not isinstance(splits.train, MapSource):
        raise UsageError(
            "baselines need random access data; set --data.streaming=false or --evaluation.baselines=false"
        )
    rows = [histogram(splits)]
    if math.prod(splits.shape) > _MOST_DIMENSIONS:
        return rows
    rows += [gaussian(splits, draws, seed), gaussian_mixture(splits, 10, draws, seed)]
    if seconds > 0 or images > 0:
        try:
            rows.append(spline_flow(splits, seconds, draws, seed, images=images))
        except UsageError as error:
            warnings.warn(f"the spline flow is left out: {error}", stacklevel=2)
    return rows


def histogram(splits: ImageSplits) -> Measurement:
    """Independent pixels: each with the frequencies of its levels in the training images, plus one for every
    level. A distribution of the integers, so nothing is dequantised and nothing drawn."""
    train, test = (pixels_of(source) for source in (splits.train, splits.test))
    levels = splits.levels
    counts = torch.zeros(levels, train.shape[1]).scatter_add_(0, train.long(), torch.ones(train.shape))
    log_share = (counts + 1).log() - math.log(len(train) + levels)
    log_prob = log_share.gather(0, test.long()).double().sum(dim=1)
    dimensions = train.shape[1]
    bits = bits_per_dim(float(log_prob.mean()), dimensions)
    return Measurement("bits_per_dim", bits, "bits/dim", "test", "histogram", note="independent pixels, discrete")


def gaussian(splits: ImageSplits, draws: int = 16, seed: int = 0) -> Measurement:
    """A Gaussian with full covariance (scikit-learn), fitted to dequantised training images."""
    return _measured(splits, _mixture(splits, 1, seed), draws, seed, "gaussian", "full covariance")


def gaussian_mixture(splits: ImageSplits, components: int = 10, draws: int = 16, seed: int = 0) -> Measurement:
    """A mixture of Gaussians with full covariances (scikit-learn), fitted to dequantised training images."""
    log_prob = _mixture(splits, components, seed)
    return _measured(splits, log_prob, draws, seed, f"gaussian-mixture-{components}", "full covariances")


def spline_flow(splits: ImageSplits, seconds: float, draws: int = 16, seed: int = 0, images: int = 0) -> Measurement:
    """An autoregressive neural spline flow of the zuko library, trained on ``images`` images; or for ``seconds`` of
    wall-clock time: how many steps that is, hence the value, depends on the machine; the note says.

    Raises UsageError where zuko is missing or neither is above 0."""
    steps = 0 if seconds > 0 else -(-images // _BATCH)
    log_prob, note = train_spline_flow(splits, seconds, seed, steps=steps)
    return _measured(splits, log_prob, draws, seed, "neural-spline-flow", note)


def train_spline_flow(
    splits: ImageSplits,
    seconds: float,
    seed: int = 0,
    transforms: int = 2,
    hidden: tuple[int, ...] = (256, 256),
    batch_size: int = _BATCH,
    learning_rate: float = 2e-3,
    steps: int = 0,
) -> tuple[LogProb, str]:
    """The log density of a neural spline flow (Durkan et al. 2019, arXiv 1906.04032) after ``seconds`` of
    training, and a sentence about its size.

    AdamW, cosine schedule over the budget, averaged weights, and the checkpoint with the best validation value
    of twenty: as much care as the flows get that are compared with it. Pixels fill the interval [−5, 5] on
    which the splines act. On the digits, of transforms 1 to 3, widths 128 and 256, 8 and 16 bins and rates
    2e-3 and 4e-3 these settings had the best validation value after 80 s. ``steps`` above 0 sets the budget
    instead of the clock, for a result that can be repeated.

    Raises UsageError where zuko is missing or ``seconds`` is not above 0."""
    try:
        import zuko
    except ImportError as error:
        raise UsageError(
            "the spline flow is zuko's, which is missing; run: pip install 'tenfold[baselines]'"
        ) from error
    if seconds <= 0 and not steps:
        raise UsageError(f"the spline flow's training time is {seconds} s; it must be above 0")
    pixels, half = pixels_of(splits.train), 5.0
    dimensions = pixels.shape[1]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        flow = zuko.flows.NSF(dimensions, transforms=transforms, bins=8, hidden_features=hidden)
    average = copy.deepcopy(flow)
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(flow.parameters(), lr=learning_rate, weight_decay=1e-2)

    def log_prob(x: Tensor, model: nn.Module = average) -> Tensor:
        value: Tensor = model().log_prob(half * x) + dimensions * math.log(half)
        return value

    budget = steps or seconds
    best, kept, checks, step, share = math.inf, copy.deepcopy(average.state_dict()), 0, 0, 0.0
    began = time.monotonic()
    with progress.task("neural spline flow", budget, "steps" if steps else "s") as done:
        while share < 1.0:
            rate = learning_rate * min(1.0, (step + 1) / 20) * (0.02 + 0.49 * (1 + math.cos(math.pi * share)))
            for group in optimizer.param_groups:
                group["lr"] = rate
            rows = torch.randint(len(pixels), (batch_size,), generator=generator)
            noise = torch.rand((batch_size, dimensions), generator=generator)
            loss = -log_prob(dequantise(pixels[rows], splits.levels, noise), flow).mean() / dimensions
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(flow.parameters(), 5.0)
            optimizer.step()
            step += 1
            decay = min(0.99, (1 + step) / (10 + step))
            with torch.no_grad():
                for slow, fast in zip(average.parameters(), flow.parameters(), strict=True):
                    slow.lerp_(fast, 1 - decay)
            before = share
            share = min(1.0, step / steps if steps else (time.monotonic() - began) / seconds)
            done(budget * (share - before))
            if len(splits.validation) and share >= (checks + 1) / 20:
                checks = int(share * 20)
                value = float(np.mean(list(_bits(splits.validation, splits.levels, log_prob, 4, seed + 1))))
                if value < best:
                    best, kept = value, copy.deepcopy(average.state_dict())
    if len(splits.validation):
        average.load_state_dict(kept)
    size = sum(p.numel() for p in flow.parameters())
    spent = time.monotonic() - began
    return log_prob, f"zuko, autoregressive; {spent:.0f} s, {step} steps, {size:,} parameters"


def pixels_of(source: MapSource | StreamSource) -> UInt8[Tensor, "n d"]:
    """All images of a split, flat."""
    assert isinstance(source, MapSource)  # checked before any work
    return read_all(source)[0].flatten(1)


def _mixture(splits: ImageSplits, components: int, seed: int) -> LogProb:
    from sklearn.mixture import GaussianMixture  # takes as long to import as PyTorch

    pixels = pixels_of(splits.train)
    # Pixels that hardly vary need several noise draws, or their variance is fitted to one draw (3.03 instead
    # of 2.65 bits per dimension for ten components on the digits).
    copies = max(1, min(8, 50_000 // len(pixels)))
    generator = torch.Generator().manual_seed(seed)
    parts = [dequantise(pixels, splits.levels, torch.rand(pixels.shape, generator=generator)) for _ in range(copies)]
    model = GaussianMixture(components, covariance_type="full", random_state=seed)
    with progress.task(f"Gaussian mixture, components: {components}"):
        model.fit(torch.cat(parts).double().numpy())

    def log_prob(x: Tensor) -> Tensor:
        return torch.from_numpy(np.asarray(model.score_samples(x.double().numpy())))

    return log_prob


def _measured(splits: ImageSplits, log_prob: LogProb, draws: int, seed: int, model: str, note: str = "") -> Measurement:
    values = torch.tensor(list(_bits(splits.test, splits.levels, log_prob, draws, seed)), dtype=torch.float64)
    error = float(values.std() / math.sqrt(draws)) if draws > 1 else None
    return Measurement("bits_per_dim", float(values.mean()), "bits/dim", "test", model, error, draws, note)


def _bits(source: MapSource, levels: int, log_prob: LogProb, draws: int, seed: int) -> Iterator[float]:
    pixels = pixels_of(source)
    generator = torch.Generator().manual_seed(seed + 1)
    for _ in progress.track(range(draws), "dequantisation", "draws"):
        x = dequantise(pixels, levels, torch.rand(pixels.shape, generator=generator))
        with torch.no_grad():
            nats = discrete_log_prob(log_prob(x).double(), pixels.shape[1], levels)
        yield bits_per_dim(float(nats.mean()), pixels.shape[1])
