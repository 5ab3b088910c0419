"""The metrics of image flows, as ``Measurement`` rows."""

import math
import warnings
from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float, Integer
from torch import Tensor

from tenfold import progress
from tenfold.errors import TenfoldError, UsageError
from tenfold.flows.block import Condition
from tenfold.flows.classification import bayes_log_posterior, one_gradient_scores
from tenfold.flows.density import (
    denoise,
    discrete_log_probs,
    importance_bound,
    log_probs,
    raw_log_probs,
)
from tenfold.flows.flow import Flow
from tenfold.flows.jacobian import conditioning
from tenfold.runs.measurement import Measurement, bits_per_dim
from tenfold.training.streams import Draws, index_of


def uniform_noise(pixels: Integer[Tensor, "b *shape"], seed: int) -> Callable[[int], Tensor]:
    """Dequantisation noise of evaluation: draw k is the same for every model that is compared. An image's noise is
    keyed by its pixels, so that it does not depend on the images beside it."""
    index = index_of(pixels.cpu().numpy())
    return lambda k: Draws(seed, k).uniform("dequantisation", index, tuple(pixels.shape[1:]))


def normal_noise(shape: tuple[int, ...], seed: int) -> Float[Tensor, "..."]:
    """Standard normal noise of evaluation: a row is the same whatever number of rows is drawn.

    PyTorch draws sixteen numbers together, and those at the end once more where the count is no multiple of that."""
    size = math.prod(shape)
    drawn = torch.randn(-(-size // 16) * 16, generator=torch.Generator().manual_seed(seed % (1 << 63)))
    return drawn[:size].reshape(shape)


def _bits_row(name: str, values: Float[Tensor, "draws b"], dimensions: int, **labels: str) -> Measurement:
    """Mean and standard error over draws of bits/dim from log-probabilities (draws, b)."""
    draws = values.double().mean(dim=1)
    error = float(draws.std()) / math.sqrt(len(draws)) if len(draws) > 1 else None
    return Measurement(
        name,
        bits_per_dim(float(draws.mean()), dimensions),
        unit="bits/dim",
        standard_error=None if error is None else error / (dimensions * math.log(2.0)),
        draws=len(draws),
        **labels,
    )


@torch.no_grad()
def bits_per_dim_rows(
    flow: Flow,
    pixels: Integer[Tensor, "b *shape"],
    labels: Integer[Tensor, "b"] | None,
    levels: int,
    noise: str,
    model: str,
    split: str,
    draws: int = 16,
    importance: int = 1,
    seed: int = 0,
) -> list[Measurement]:
    """Exact-likelihood rows on integer images: "bits_per_dim" is −log2 p(x) per dimension, p averaged over the
    classes for a class-conditional flow; then, as separate rows, "bits_per_dim_given_class" (when labels are
    given) and "bits_per_dim_importance" (the K-sample bound). One dequantisation draw a value; mean and
    standard error over ``draws``.

    Raises UsageError for a flow trained with Gaussian noise: its density is one of noisy data."""
    if noise != "uniform":
        raise UsageError(
            f"{model} was trained with Gaussian noise, so that its density is one of noisy images and no bits per "
            "dimension of the data; train with --objective.noise uniform for a likelihood"
        )
    dims, device = flow.config.dimensions, flow.var.device
    pixels = pixels.to(device)
    uniform = uniform_noise(pixels, seed)
    uniform_here = lambda k: uniform(k).to(device)  # noqa: E731
    mixture = flow.config.classes > 0
    values = discrete_log_probs(flow, pixels, levels, uniform_here, draws, mixture=mixture)
    rows = [_bits_row("bits_per_dim", values, dims, model=model, split=split)]
    if mixture and labels is not None:
        given = discrete_log_probs(flow, pixels, levels, uniform_here, draws, labels.to(device))
        rows.append(
            _bits_row("bits_per_dim_given_class", given, dims, model=model, split=split, note="p(x|y), true label")
        )
    if importance > draws:
        text = f"the bound with K = {importance} needs as many draws, and there are {draws}: it is left out"
        warnings.warn(text, stacklevel=2)
    elif importance > 1:
        bound = importance_bound(values, importance)
        rows.append(
            _bits_row("bits_per_dim_importance", bound, dims, model=model, split=split, note=f"K = {importance} bound")
        )
    return rows


def inversion_error(
    flow: Flow, x: Float[Tensor, "b *shape"], condition: Tensor | None, model: str, split: str
) -> Measurement:
    """Largest |f⁻¹(f(x)) − x| over a batch, by the sequential inverse."""
    with torch.no_grad():
        back = flow.decode(flow.encode(x, condition), condition, solver="sequential")
    return Measurement("inversion_error", float((back - x).abs().max()), unit="max |Δx|", model=model, split=split)


def conditioning_row(
    flow: Flow, x: Float[Tensor, "b *shape"], condition: Tensor | None, model: str, split: str
) -> Measurement:
    """Decimal digits that the inverse can lose (the worst row), with the worst block named in the note."""
    report = conditioning(flow, x, condition)
    ratios = (report.block_largest / report.block_smallest).amax(dim=1).log10()
    worst = int(ratios.argmax())
    note = f"log10 of the Jacobian's condition number; worst block {worst}: {float(ratios[worst]):.1f}"
    return Measurement("inverse_digits_lost", float(report.digits_lost.max()), "digits", split, model, note=note)


def accuracy(predicted: Integer[Tensor, "n"], labels: Integer[Tensor, "n"]) -> tuple[float, float]:
    """Share of agreeing entries, and its binomial standard error."""
    share = float((predicted == labels).double().mean())
    return share, math.sqrt(share * (1 - share) / len(labels))


def classification_rows(
    flow: Flow, x: Float[Tensor, "b *shape"], labels: Integer[Tensor, "b"], model: str, split: str
) -> list[Measurement]:
    """Accuracy by Bayes' rule and by one gradient, and how often the two agree."""
    bayes = bayes_log_posterior(flow, x).argmax(dim=1)
    gradient = one_gradient_scores(flow, x).argmax(dim=1)
    rows = []
    for name, predicted, reference in (
        ("bayes_accuracy", bayes, labels),
        ("one_gradient_accuracy", gradient, labels),
        ("classifier_agreement", gradient, bayes),
    ):
        share, error = accuracy(predicted, reference)
        rows.append(Measurement(name, share, "share", split, model, standard_error=error))
    return rows


def denoising_rows(
    flow: Flow,
    clean: Float[Tensor, "b *shape"],
    sigma: float,
    condition: Tensor | None,
    model: str,
    split: str,
    seed: int = 0,
) -> list[Measurement]:
    """Mean square error to the clean images, before and after the score step."""
    noisy = clean + sigma * normal_noise(tuple(clean.shape), seed).to(clean.device)
    cleaned = denoise(flow, noisy, sigma, condition)
    return [
        Measurement("mse_noisy", float((noisy - clean).square().mean()), "(x − clean)²", split, model),
        Measurement("mse_denoised", float((cleaned - clean).square().mean()), "(x − clean)²", split, model),
    ]


def image_log_probs(flow: Flow, x: Float[Tensor, "b *shape"]) -> Float[Tensor, "b"]:
    """log p(x) in nats, averaged over the classes where there are any: what outliers are ranked by."""
    return log_probs(flow, x, mixture=flow.config.classes > 0)


def ood_rows(inside: np.ndarray, outside: dict[str, np.ndarray], model: str) -> list[Measurement]:
    """Area under the ROC curve of log p(x) as a detector of each out-of-distribution set."""
    from sklearn.metrics import roc_auc_score

    rows = []
    for name, values in outside.items():
        truth = np.concatenate([np.ones(len(inside)), np.zeros(len(values))])
        area = float(roc_auc_score(truth, np.concatenate([inside, values])))
        rows.append(Measurement("ood_auroc", area, "area under ROC", f"test against {name}", model))
    return rows


def mean_log_probs(
    flow: Flow, names: Sequence[str], draws: int, noised: Callable[[int], Tensor], condition: Condition | None
) -> Float[Tensor, "b"]:
    """log p of the inputs ``names`` in nats, in float64 on the CPU: the mean over draws of noise, ``noised(k)`` (b,
    *shape). Without a condition p is averaged over the classes where there are any.

    Raises TenfoldError where log p overflows."""
    total = torch.zeros(len(names), dtype=torch.float64)
    averaged = flow.config.classes > 0 and condition is None
    for k in progress.track(range(draws), "noise", "draws"):
        x = noised(k).to(flow.var.device, flow.precision)
        total += raw_log_probs(flow, x, condition, mixture=averaged).double().cpu()
    if not bool((finite := torch.isfinite(total)).all()):
        bad = int((~finite).int().argmax())
        hint = flow.scale_hint(x[bad : bad + 1])
        told = f"log p of {names[bad]} is {float(total[bad] / draws)}: the flow overflows there"
        raise TenfoldError(f"{told}; {hint}" if hint else told)
    return total / draws
