"""The losses of denoisers and energies, as functions of samples (arXiv 2206.00364, 2502.12786, 2402.08667).

All compare a denoiser D(x_σ, σ) with something whose mean given x_σ is the best D, in the scale of the network's
output: λ(σ) = (σ² + σ_d²) / (σ σ_d)² makes an error of D one of order one, 1 for a network that says nothing.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

BINS = 5
_EDGE = 1.2  # of the outermost bins, in standard deviations of ln σ: five bins of equal width between ±2


def noise_levels(normal: Float[Tensor, " n"], mean: float, std: float, low: float, high: float) -> Float[Tensor, " n"]:
    """σ with ln σ ~ N(mean, std²), inside of [low, high]."""
    return (mean + std * normal).exp().clamp(low, high)


def error(
    denoised: Float[Tensor, "n *shape"],
    wanted: Float[Tensor, "n *shape"],
    sigma: Float[Tensor, " n"],
    data_scale: float,
) -> Float[Tensor, " n"]:
    """λ(σ) |D − wanted|² per dimension, of every sample.

    ``wanted`` is the clean sample (denoising score matching), a teacher's denoiser (distillation: the projection of
    its score onto gradients) or ``target_denoiser`` (target score matching)."""
    weight = (sigma.square() + data_scale**2) / (sigma * data_scale).square()
    return weight * (denoised - wanted).square().flatten(1).mean(1)


def target_denoiser(
    noisy: Float[Tensor, "n *shape"], clean_score: Float[Tensor, "n *shape"], sigma: Float[Tensor, " n"]
) -> Float[Tensor, "n *shape"]:
    """x_σ + σ² ∇log p_0(x_0): its mean given x_σ is the denoiser, as that of x_0 is, and its variance goes to zero with
    σ (target score matching, arXiv 2402.08667)."""
    return noisy + sigma.view(-1, *[1] * (noisy.ndim - 1)).square() * clean_score


def pinning(
    energy: Float[Tensor, " n"], log_density: Float[Tensor, " n"], bound: float, dimensions: int
) -> Float[Tensor, " n"]:
    """(E + log p)² / d with −log p inside of ±bound: fixes what gradients leave open, the energy's constant."""
    return (energy + log_density.clamp(-bound, bound)).square() / dimensions


def evolution(slope: Float[Tensor, " n"], wanted: Float[Tensor, " n"], dimensions: int) -> Float[Tensor, " n"]:
    """(∂_{ln σ} E + wanted)² / d: how −E changes with the noise level against how log p does. Denoising leaves open
    what lies between parts of the data that are far from each other: at little noise nothing else tells how much of
    the mass is in each (arXiv 2506.05310)."""
    return (slope + wanted).square() / dimensions


def change_of_density(
    noisy: Float[Tensor, "n *shape"],
    denoised: Float[Tensor, "n *shape"],
    divergence: Float[Tensor, " n"],
    sigma: Float[Tensor, " n"],
) -> Float[Tensor, " n"]:
    """∂_{ln σ} log p_σ = |x − D|²/σ² + div D − d, the Fokker-Planck equation ∂_{ln σ} log p = σ² (Δ log p + |∇log p|²)
    in the words of the denoiser."""
    away = (noisy - denoised).square().flatten(1).sum(1) / sigma.square()
    return away + divergence - noisy[0].numel()


def change_given_clean(
    noisy: Float[Tensor, "n *shape"], clean: Float[Tensor, "n *shape"], sigma: Float[Tensor, " n"]
) -> Float[Tensor, " n"]:
    """∂_{ln σ} log N(x; x_0, σ²) = |x − x_0|²/σ² − d, whose mean given x is ∂_{ln σ} log p_σ(x) (arXiv 2506.05310)."""
    return (noisy - clean).square().flatten(1).sum(1) / sigma.square() - noisy[0].numel()


def by_level(
    values: Float[Tensor, " n"], sigma: Float[Tensor, " n"], mean: float, std: float
) -> dict[str, Float[Tensor, ""]]:
    """The loss at five ranges of ln σ, from little noise to much: sums over a range by its probability, so that no
    range is ever empty."""
    edges = [-math.inf, *(_EDGE * (2 * k / (BINS - 2) - 1) for k in range(BINS - 1)), math.inf]
    places = (sigma.log() - mean) / std
    found = {}
    for k in range(BINS):
        inside = (places >= edges[k]) & (places < edges[k + 1])
        share = 0.5 * (math.erf(edges[k + 1] / math.sqrt(2)) - math.erf(edges[k] / math.sqrt(2)))
        found[f"loss_level_{k + 1}"] = torch.where(inside, values, 0.0).mean() / share
    return found
