"""Masks and times: how tokens are hidden, at which times, and exact categorical draws."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tenfold.errors import UsageError


def reveal_probability(alpha_s: Tensor, alpha_t: Tensor) -> Tensor:
    """(α_s − α_t)/(1 − α_t): that a token masked at t is revealed by s < t."""
    return (alpha_s - alpha_t) / (1 - alpha_t)


def mask_independently(
    maskable: Bool[Tensor, "b n"], alpha: Float[Tensor, " b"], uniforms: Float[Tensor, "b n"]
) -> Bool[Tensor, "b n"]:
    """Where the mask goes: each maskable token by itself, with probability 1 − α, from given U[0, 1) numbers."""
    return maskable & (uniforms < 1 - alpha[:, None])


def mask_exactly(
    maskable: Bool[Tensor, "b n"], count: Int[Tensor, " b"], uniforms: Float[Tensor, "b n"]
) -> Bool[Tensor, "b n"]:
    """``count`` masks a row at maskable places, every set of them equally likely."""
    order = torch.where(maskable, uniforms, 2.0).argsort(dim=1)
    rank = torch.empty_like(order).scatter_(
        1, order, torch.arange(order.shape[1], device=order.device).expand_as(order)
    )
    return maskable & (rank < count[:, None])


def stratified(offset: Tensor | float, index: Int[Tensor, " b"], size: int) -> Float[Tensor, " b"]:
    """U[0, 1) numbers of low discrepancy, (u + i/B) mod 1: one shared offset u, i the place in a batch of B.

    >>> stratified(0.5, torch.arange(4), 4)
    tensor([0.5000, 0.7500, 0.0000, 0.2500])
    """
    return (offset + (index % size).float() / size) % 1.0


def times(uniforms: Tensor, epsilon: float = 1e-3) -> Tensor:
    """U[0, 1) numbers to times in (ε, 1], t = 1 − (1 − ε) u: without t = 0, where the weight is infinite."""
    return 1 - (1 - epsilon) * uniforms


def categorical(weights: Float[Tensor, "*b k"], uniforms: Float[Tensor, "*b"]) -> Int[Tensor, "*b"]:
    """Draws by inverting the distribution function in float64, from given U[0, 1) numbers.

    ``weights`` need not sum to 1; an outcome of weight 0 is never drawn.

    Raises UsageError for weights that are NaN, infinite, negative, or all 0.

    >>> categorical(torch.tensor([0.0, 1.0, 3.0]), torch.tensor(0.5))
    tensor(2)
    """
    levels = weights.double().cumsum(-1)
    total = levels[..., -1]
    if not bool(((total > 0) & (total < torch.inf) & (weights >= 0).all(-1)).all()):
        raise UsageError(
            "the weights of a draw are NaN or infinite, negative, or all 0; what a model predicts is broken: look for "
            "NaN in its weights, and at the temperature"
        )
    target = uniforms.double()[..., None] * levels[..., -1:]
    # Rounding may carry u times the sum up to the sum: the last outcome that has weight.
    last = (levels < levels[..., -1:]).sum(-1)
    return torch.minimum(torch.searchsorted(levels, target, right=True)[..., 0], last)


def gumbel_argmax(
    logits: Float[Tensor, "*b k"], uniforms: Float[Tensor, "*b k"], temperature: float = 1.0
) -> Int[Tensor, "*b"]:
    """Draws from softmax(logits / T) as argmax of logits − T log(−log u), in float64; T = 0 is the argmax.

    float32 would cut off the tails of the noise: the draws come out with too little entropy.

    Raises UsageError for logits that are NaN or +∞, or all −∞."""
    if not bool(logits.amax(-1).isfinite().all()):  # the largest of numbers with a NaN is NaN
        raise UsageError(
            "the logits of a draw are NaN or infinite, or none is above -infinity; what a model predicts is broken: "
            "look for NaN in its weights"
        )
    if temperature == 0.0:
        return logits.argmax(-1)
    tiny = torch.finfo(torch.float64).tiny
    noise = -torch.log(-torch.log(uniforms.double().clamp(min=tiny)))
    return (logits.double() + temperature * noise).argmax(-1)
