"""Log-densities as numbers: against closed forms, and as a rank of what does not belong."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from tenfold.energy.density import Density, Score
from tenfold.energy.evaluation.denoising import CHUNK, noised
from tenfold.runs.measurement import Measurement


def log_densities(density: Density, x: Float[Tensor, "n *shape"], sigma: float) -> Float[Tensor, " n"]:
    """log p_σ(x), up to a constant, in chunks."""
    level = torch.tensor(sigma, dtype=x.dtype, device=x.device)
    with torch.no_grad():
        return torch.cat([density.log_density(part, level) for part in x.split(CHUNK)])


def auroc(inside: Float[Tensor, " n"], outside: Float[Tensor, " m"]) -> float:
    """The probability that a sample of ``inside`` ranks above one of ``outside``; ties count half.

    >>> auroc(torch.tensor([2.0, 3.0]), torch.tensor([1.0, 2.0]))
    0.875
    """
    difference = inside.double()[:, None] - outside.double()[None]
    return float(((difference > 0).double() + 0.5 * (difference == 0).double()).mean())


def auroc_rows(
    scores: Mapping[str, Callable[[Tensor], Tensor]], inside: Tensor, outside: Mapping[str, Tensor], note: str
) -> list[Measurement]:
    """The "auroc" of every score (a function of samples, larger for what belongs) against every set of ``outside``."""
    rows = []
    for name, score in scores.items():
        belongs = score(inside)
        rows += [
            Measurement(f"auroc_{kind}", auroc(belongs, score(x)), "", "test", name, draws=len(x), note=note)
            for kind, x in outside.items()
        ]
    return rows


def gaussian_score(x: Float[Tensor, "n *shape"]) -> Callable[[Tensor], Tensor]:
    """log p of a Gaussian fitted to samples, with a little of its mean variance added: what a density must beat."""
    flat = x.flatten(1).double()
    mean, covariance = flat.mean(0), torch.cov(flat.T)
    ridge = 1e-3 * covariance.diagonal().mean() * torch.eye(flat.shape[1], dtype=flat.dtype, device=flat.device)
    fitted = torch.distributions.MultivariateNormal(mean, covariance + ridge)
    return lambda other: fitted.log_prob(other.flatten(1).double())


def agreement_rows(
    models: Mapping[str, Density], known: Density, x: Float[Tensor, "n *shape"], levels: Sequence[float]
) -> list[Measurement]:
    """Differences log p(x) − log p(x') of noisy samples against those of the closed form: their correlation, the slope
    of the model's on the true ones, and the root mean square of what differs, in nats."""
    rows = []
    for sigma in levels:
        noisy = noised(x, sigma, 0)
        true = log_densities(known, noisy.double(), sigma)
        for name, model in models.items():
            found = log_densities(model, noisy, sigma).double()
            a, b = true - true.mean(), found - found.mean()
            n = len(a)
            correlation = float(a @ b / (a.norm() * b.norm()))
            slope = float(a @ b / a.square().sum())
            # Of a regression: the residual's deviation over √n and that of the true values.
            spread = float((b - slope * a).std() / (a.std() * math.sqrt(n)))
            given: dict[str, Any] = {"split": "test", "model": name, "draws": n}
            rows += [
                Measurement(f"log_density_correlation_{sigma:g}", correlation, **given),
                Measurement(f"log_density_slope_{sigma:g}", slope, standard_error=spread, **given),
                Measurement(f"log_density_rms_{sigma:g}", float((a - b).square().mean().sqrt()), "nats", **given),
            ]
    return rows


def score_error_rows(
    models: Mapping[str, Score], known: Density, x: Float[Tensor, "n *shape"], levels: Sequence[float]
) -> list[Measurement]:
    """|score − that of the closed form| over the latter's norm, at noisy samples: "score_error"."""
    rows = []
    for sigma in levels:
        noisy, level = noised(x, sigma, 0), torch.tensor(sigma, dtype=torch.float64, device=x.device)
        true = known.score(noisy.double(), level)
        for name, model in models.items():
            error = float((model.score(noisy, level.to(noisy)).double() - true).norm() / true.norm())
            rows.append(Measurement(f"score_error_{sigma:g}", error, "relative", "test", name, draws=len(x)))
    return rows
