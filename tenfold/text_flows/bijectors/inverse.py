"""The inverse of a mixture's map on the line: guarded Newton steps in a bracket that is known, with the implicit
gradient."""

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from tenfold.errors import TenfoldError
from tenfold.text_flows.bijectors.normal import log_cdf, log_pdf
from tenfold.text_flows.bijectors.scalar import log_density, log_tails, to_base

_ROUNDS = 100
_FEW = 0.5  # lanes are gathered anew when fewer than this share of them is left


def invert(
    u: Float[Tensor, "*shape"],
    log_weights: Float[Tensor, "*shape k"],
    mean: Float[Tensor, "*shape k"],
    scale: Float[Tensor, "*shape k"],
    tolerance: float,
) -> Float[Tensor, "*shape"]:
    """z with Φ⁻¹(F(z)) = u to within ``tolerance``, or to within rounding of z where that is coarser.

    Derivatives of every order are those of the implicit function: dz/du = φ(u) / p(z), dz/dθ = −(∂F/∂θ) / p(z).

    Raises TenfoldError, with the worst residual, where a lane has not converged."""
    found: Tensor = _Inverse.apply(u, log_weights, mean, scale, tolerance)
    return found


class _Inverse(torch.autograd.Function):
    """The root, and its derivatives as formulas of the root."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, log_weights: Tensor, mean: Tensor, scale: Tensor, tolerance: float) -> Tensor:
        """z."""
        k = log_weights.shape[-1]
        rows = [x.reshape(-1, k) for x in (log_weights, mean, scale)]
        z = _solved(u.reshape(-1), rows[0], rows[1], rows[2], tolerance).reshape(u.shape)
        ctx.save_for_backward(u, z, log_weights, mean, scale)
        return z

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """By the responsibilities r_k = π_k N_k(z) / p(z): dz/dm_k = r_k, dz/ds_k = r_k t_k and dz/d log π_k =
        −(π_k Φ(t_k)) / p(z), the last up to a term that sums to zero over normalised weights; in the nearer tail."""
        u, z, log_weights, mean, scale = ctx.saved_tensors
        t = (z[..., None] - mean) / scale
        joint = log_weights + log_pdf(t) - scale.log()
        log_p = joint.logsumexp(-1, keepdim=True)
        share = gradients[0][..., None] * (joint - log_p).exp()
        # Lower tails below the median and upper ones above it: else two nearly equal numbers would be subtracted.
        side = torch.where(u > 0, -1.0, 1.0)[..., None].to(t)
        weights = -side * gradients[0][..., None] * (log_weights + log_cdf(side * t) - log_p).exp()
        du = gradients[0] * (log_pdf(u) - log_p[..., 0]).exp()
        return du, weights, share, share * t, None


def _solved(u: Tensor, log_weights: Tensor, mean: Tensor, scale: Tensor, tolerance: float) -> Tensor:
    """Newton steps on g(z) = Φ⁻¹(F(z)) − u, nearly straight in both tails. A step is taken where it stays in the
    bracket and the last one at least halved |g|; elsewhere the bracket is halved."""
    ends = mean + scale * u[:, None]
    possible = log_weights > -math.inf
    low = torch.where(possible, ends, math.inf).amin(-1)
    high = torch.where(possible, ends, -math.inf).amax(-1)
    result = low.clone()
    weights = log_weights.exp()
    middle = (weights * ends).sum(-1)
    lanes = torch.arange(len(u), device=u.device)
    z = torch.where((middle > low) & (middle < high), middle, (low + high) / 2)
    last = torch.full_like(u, math.inf)
    narrow = scale.amin(-1)
    smallest = 4 * torch.finfo(u.dtype).eps
    worst = math.inf
    for _ in range(_ROUNDS):
        at, log_p = _mapped(z, log_weights, weights, mean, scale)
        gap = at - u
        low, high = torch.where(gap < 0, z, low), torch.where(gap > 0, z, high)
        done = (gap.abs() <= tolerance) | (high - low <= smallest * (z.abs() + narrow)) | (gap == 0)
        result[lanes] = z
        left = int((~done).sum())
        if not left:
            return result
        worst = float(torch.where(done, 0.0, gap.abs()).amax())
        step = z - gap * (log_pdf(at) - log_p).exp()
        good = (step > low) & (step < high) & (gap.abs() <= 0.5 * last)
        # After a bisection the residual may have grown: the Newton step that follows it is tried unconditionally.
        last = torch.where(good, gap.abs(), math.inf)
        z = torch.where(done, z, torch.where(good, step, (low + high) / 2))
        if left <= _FEW * len(lanes):
            kept = (~done).nonzero()[:, 0]
            lanes, u, z, low, high, last, narrow = (x[kept] for x in (lanes, u, z, low, high, last, narrow))
            log_weights, weights, mean, scale = (x[kept] for x in (log_weights, weights, mean, scale))
    raise TenfoldError(
        f"the inverse of a mixture did not converge in {_ROUNDS} rounds: the worst residual is {worst:.2g}, beyond the "
        f"tolerance of {tolerance:.2g}; give a tolerance that the dtype can hold, or scales that are less extreme"
    )


def _mapped(z: Tensor, log_weights: Tensor, weights: Tensor, mean: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Φ⁻¹(F(z)) and log p(z): by the distribution functions themselves where neither tail is small, by the logarithms
    of the tails elsewhere, which take some five times as long."""
    t = (z[:, None] - mean) / scale
    share = (weights * torch.special.ndtr(t)).sum(-1)
    log_p = log_density(z, log_weights, mean, scale)
    edge = 1e-5 if z.dtype == torch.float64 else 1e-2
    u = torch.special.ndtri(share)
    far = ((share < edge) | (share > 1 - edge)).nonzero()[:, 0]
    if len(far):
        tails = log_tails(z[far], log_weights[far], mean[far], scale[far])
        u[far] = to_base(log_p[far], *tails).u
    return u, log_p
