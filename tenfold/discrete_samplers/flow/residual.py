"""The Kolmogorov residual and the losses that make it vanish. In all of it y = Swap(x, i, τ), log-ratios are
log p_t(y)/p_t(x), (b, d, S) with 0 at the token that stands, and G is 0 there."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

RATIO_CLAMP = 5.0
"""Where the reference cuts log-ratios in its loss and its d/dt log Z: biased for steep targets, never in weights."""


def stein_term(
    g: Float[Tensor, "b d s"], log_ratio: Float[Tensor, "b d s"], clamp: float | None = None
) -> Float[Tensor, " b"]:
    """Σ_{i,τ} ([G]₊ − [−G]₊ p_t(y)/p_t(x)), which has mean 0 under p_t whatever G is (the discrete Stein identity)."""
    ratio = log_ratio if clamp is None else log_ratio.clamp(max=clamp)
    back = torch.where(g < 0, -g * torch.where(g < 0, ratio, 0.0).exp(), 0.0)
    return (g.clamp(min=0) - back).sum((1, 2))


def xi(
    change: Float[Tensor, " b"],
    g: Float[Tensor, "b d s"],
    log_ratio: Float[Tensor, "b d s"],
    clamp: float | None = None,
) -> Float[Tensor, " b"]:
    """ξ_t(x) = ∂_t log p̃_t(x) + ``stein_term``; the residual is ξ − d/dt log Z_t, and E_{p_t} ξ = d/dt log Z_t."""
    return change + stein_term(g, log_ratio, clamp)


def residual_loss(xi: Float[Tensor, " b"], log_z_rate: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
    """(ξ − c_t)² a row; c is detached: it is estimated, and not driven to where the loss is least."""
    return (xi - log_z_rate.detach()).square()


def joint_loss(xi: Float[Tensor, " b"], log_z_rate: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
    """LEAPS's loss, the same with c = d/dt F_φ learned by it too: at the optimum it is the mean of ξ."""
    return (xi - log_z_rate).square()


def mean_rate(xi: Float[Tensor, "k n"], log_weights: Float[Tensor, "k n"] | None = None) -> Float[Tensor, " k"]:
    """c_{t_k}, the mean of ξ over a batch at each grid time, or its mean under the normalised weights."""
    if log_weights is None:
        return xi.mean(1)
    return (log_weights.softmax(1) * xi).sum(1)


def best_coefficient(
    naive: Float[Tensor, " n"], control: Float[Tensor, " n"], probabilities: Float[Tensor, " n"]
) -> Float[Tensor, ""]:
    """β* = −Cov(f, g)/Var g of the estimator f + β g with a control variate g of mean 0."""
    f = naive - (probabilities * naive).sum()
    g = control - (probabilities * control).sum()
    return -(probabilities * f * g).sum() / (probabilities * g.square()).sum()


def clamped_share(g: Float[Tensor, "b d s"], log_ratio: Float[Tensor, "b d s"], clamp: float) -> Float[Tensor, ""]:
    """The share of ratios that count (G < 0) at which the clamp is active."""
    counts = g < 0
    return (counts & (log_ratio > clamp)).sum() / counts.sum().clamp(min=1)


def dense_rates(
    g: Float[Tensor, "n d s"], states: Int[Tensor, "n d"], number: Int[Tensor, "n d s"]
) -> Float[Tensor, "n n"]:
    """R[y, x] with dp/dt = R p, from G of all states; ``number`` are those of the neighbours. For small systems."""
    n = len(states)
    r = g.new_zeros(n, n)
    columns = torch.arange(n)[:, None, None].expand_as(number)
    r.index_put_((number.flatten(), columns.flatten()), g.clamp(min=0).flatten(), accumulate=True)
    r.fill_diagonal_(0)
    return r - torch.diag(r.sum(0))


def one_way(rates: Float[Tensor, "n n"], p: Float[Tensor, " n"]) -> Float[Tensor, "n n"]:
    """[R(y, x) − R(x, y) p(y)/p(x)]₊... of rates [y, x]: the same marginals, and no pair has rates both ways.

    The flux from x to y, R(y, x) p(x) − R(x, y) p(y), over p(x) where it is positive."""
    flux = rates * p[None] - (rates * p[None]).T
    made = flux.clamp(min=0) / p[None]
    made.fill_diagonal_(0)
    return made - torch.diag(made.sum(0))
