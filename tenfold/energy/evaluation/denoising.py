"""How well clean samples are told from noisy ones, and whether what tells them is a gradient."""

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tenfold import progress
from tenfold.energy import loss
from tenfold.runs.measurement import Measurement
from tenfold.training.streams import Draws

Denoise = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""D(x, σ, label): (n, *shape), (n,), (n,) or None to (n, *shape)."""

CHUNK = 256


def noised(x: Float[Tensor, "n *shape"], sigma: float, draw: int) -> Float[Tensor, "n *shape"]:
    """x + σ n; a row's noise is the same whatever rows there are, whichever model reads it."""
    index = torch.arange(len(x))
    return x + sigma * Draws(0, draw).normal("evaluation", index, tuple(x.shape[1:])).to(x)


def evaluated(
    denoise: Denoise, x: Float[Tensor, "n *shape"], sigma: float, label: Int[Tensor, " n"] | None
) -> Float[Tensor, "n *shape"]:
    """D(x, σ) in chunks, without gradients."""
    parts = []
    for rows in torch.arange(len(x), device=x.device).split(CHUNK):
        level = torch.full((len(rows),), sigma, dtype=x.dtype, device=x.device)
        with torch.no_grad():
            parts.append(denoise(x[rows], level, None if label is None else label[rows]).detach())
    return torch.cat(parts)


def error_rows(
    models: Mapping[str, Denoise],
    x: Float[Tensor, "n *shape"],
    label: Int[Tensor, " n"] | None,
    levels: Sequence[float],
    data_scale: float,
    draws: int,
    reference: str = "",
) -> list[Measurement]:
    """At every noise level, of every model on the same noise: "denoising_mse", per dimension, and "distance", to the
    ``reference`` model's denoiser in the scale of the network's output (1 is a network that says nothing)."""
    rows = []
    for sigma in progress.track(levels, "denoising errors", "levels"):
        squares: dict[str, list[Tensor]] = {name: [] for name in models}
        distances: dict[str, list[Tensor]] = {name: [] for name in models if name != reference}
        level = torch.full((len(x),), sigma, dtype=x.dtype, device=x.device)
        for k in range(draws):
            noisy = noised(x, sigma, k)
            found = {name: evaluated(denoise, noisy, sigma, label) for name, denoise in models.items()}
            for name, denoised in found.items():
                squares[name].append((denoised - x).square().flatten(1).mean(1))
                if reference and name != reference:
                    distances[name].append(loss.error(denoised, found[reference], level, data_scale))
        for name in models:
            rows.append(_mean(f"denoising_mse_{sigma:g}", squares[name], "per dimension", name))
            if reference and name != reference:
                rows.append(_mean(f"distance_{sigma:g}", distances[name], f"of {reference}, scaled", name))
    return rows


def _mean(name: str, draws: list[Tensor], unit: str, model: str) -> Measurement:
    """Mean over samples of their means over draws."""
    values = torch.stack(draws).double().mean(0)
    error = float(values.std()) / math.sqrt(len(values))
    return Measurement(name, float(values.mean()), unit, "test", model, error, len(draws))


def asymmetry(
    denoise: Denoise, x: Float[Tensor, "n *shape"], sigma: float, label: Int[Tensor, " n"] | None, probes: int = 4
) -> float:
    """The relative curl |J − Jᵀ| / |J| (Frobenius) of D's Jacobian, over the samples: √(Σ |J v − Jᵀ v|² / Σ |J v|²)
    with random v; exactly 0 of a gradient."""
    level = torch.full((len(x),), sigma, dtype=x.dtype, device=x.device)
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        denoised = denoise(x, level, label)
        left = torch.zeros_like(x, requires_grad=True)
        (transposed,) = torch.autograd.grad(denoised, x, left, create_graph=True)
        difference, total = 0.0, 0.0
        for k in range(probes):
            v = Draws(0, k).normal("curl", torch.arange(len(x)), tuple(x.shape[1:])).to(x)
            (forward,) = torch.autograd.grad(transposed, left, v, retain_graph=True)  # J v
            (backward,) = torch.autograd.grad(denoised, x, v, retain_graph=True)  # Jᵀ v
            difference += float((forward - backward).square().sum())
            total += float(forward.square().sum())
    return math.sqrt(difference / total)


def curl_rows(
    models: Mapping[str, Denoise],
    x: Float[Tensor, "n *shape"],
    label: Int[Tensor, " n"] | None,
    levels: Sequence[float],
) -> list[Measurement]:
    """Of every model at every noise level, at noisy samples: "relative_curl"."""
    return [
        Measurement(
            f"relative_curl_{sigma:g}", asymmetry(denoise, noised(x, sigma, 0), sigma, label), "", "test", name,
            draws=len(x),
        )
        for sigma in progress.track(levels, "conservativeness", "levels")
        for name, denoise in models.items()
    ]  # fmt: skip
