"""What benchmarks of energies compare with: NumPy loops over populations, one step of PITA, one step of a teacher.

PITA's step is written anew after its paper (arXiv 2506.16471) and configuration: value and gradient of the energy, its
derivative by the noise level, the divergence of the drift by a full Jacobian, Euler's rule.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor


def resample_each(log_weights: np.ndarray, uniforms: np.ndarray) -> np.ndarray:
    """Systematic resampling, one population after the other."""
    m, n = log_weights.shape
    ancestors = np.empty((m, n), np.int64)
    for row in range(m):
        weights = np.exp(log_weights[row] - log_weights[row].max())
        levels = np.cumsum(weights / weights.sum())
        levels[-1] = 1.0
        ancestors[row] = np.searchsorted(levels, (np.arange(n) + uniforms[row]) / n)
    return ancestors


Energy = Callable[[Tensor, Tensor], Tensor]
"""(x (n, d), σ (n,)) to E (n,), differentiable twice."""


def pita_step(
    energy: Energy, x: Tensor, sigma: Tensor, sigma_next: Tensor, z: Tensor, beta: float
) -> tuple[Tensor, Tensor]:
    """One Euler step of annealing to p^β with the learned energy: the particles, and the increments of log weights."""
    n, d = x.shape
    inner, level = x.detach().requires_grad_(), sigma.expand(n).detach().requires_grad_()
    value = energy(inner, level)
    gradient, by_sigma = torch.autograd.grad(value.sum(), (inner, level), create_graph=True)
    drift = -gradient  # the score
    divergence = torch.zeros(n)
    for coordinate in range(d):
        (row,) = torch.autograd.grad(drift[:, coordinate].sum(), inner, retain_graph=True)
        divergence = divergence + row[:, coordinate]
    v = sigma**2 - sigma_next**2
    h = (sigma - sigma_next) * by_sigma.detach()  # ∂E/∂τ dτ with the sign of falling σ
    score = drift.detach()
    # Rate of the escorted form with u = β s/2: β ∂ log p/∂τ + ∇ · u + u · β s.
    increment = beta * h + beta * v / 2 * divergence.detach() + beta**2 * v / 2 * score.square().sum(1)
    return (x + beta * v * score + v.sqrt() * z).detach(), increment
