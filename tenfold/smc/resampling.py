"""Ancestors of a new generation, in five ways, for many populations at once.

Every scheme is unbiased: particle i is chosen M W_i times on average, and never where its weight is 0. The first four
differ in the points at which the distribution function C of the weights is inverted, A_j = min {i : C_i ≥ point_j}:
systematic has (j + u)/M with one u, stratified (j + u_j)/M, multinomial independent ones, and residual gives ⌊M W_i⌋
copies to each particle before it does one of these with what is left (Douc, Cappé, Moulines 2005).
"""

from typing import Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tenfold.errors import UsageError, suggest
from tenfold.smc.weights import normalised_weights

Scheme = Literal["systematic", "stratified", "residual-systematic", "residual-multinomial", "multinomial"]
SCHEMES = get_args(Scheme)
_ONE_NUMBER = ("systematic", "residual-systematic")


def uniforms_of(scheme: str, count: int) -> int:
    """How many U[0, 1) numbers a population needs for ``count`` ancestors.

    >>> uniforms_of("systematic", 100), uniforms_of("multinomial", 100)
    (1, 100)
    """
    if scheme not in SCHEMES:
        raise UsageError(f"scheme is {scheme!r}{suggest(str(scheme), SCHEMES)}")
    return 1 if scheme in _ONE_NUMBER else count


def draw_ancestors(
    log_weights: Float[Tensor, "*m n"],
    uniforms: Float[Tensor, "*m u"],
    scheme: str = "systematic",
    count: int | None = None,
) -> Int[Tensor, "*m k"]:
    """Which particles the new generation descends from.

    Args:
        log_weights: −∞ for dead particles; not normalised, without NaN.
        uniforms: U[0, 1) numbers, as many a population as ``uniforms_of`` says.
        scheme: how.
        count: size k of the new generation; n by default.

    Returns:
        int64 indices; 0, 1, ... modulo n for a population without a living particle, whose effective size of 0 tells.

    Raises:
        UsageError: an unknown scheme, a wrong number of uniforms, or a count below 1.

    >>> draw_ancestors(torch.tensor([-torch.inf, 0.0, 0.0]), torch.tensor([0.0]))
    tensor([1, 1, 2])
    """
    n = log_weights.shape[-1]
    count = n if count is None else count
    if count < 1:
        raise UsageError(f"count is {count}; a generation has at least one particle")
    if uniforms.shape[-1] != uniforms_of(scheme, count):
        raise UsageError(
            f"{scheme} resampling to {count} particles reads {uniforms_of(scheme, count)} numbers a population, "
            f"{uniforms.shape[-1]} were given"
        )
    weights, numbers = normalised_weights(log_weights), uniforms.double()
    index = torch.arange(count, device=weights.device)
    if scheme.startswith("residual"):
        found = _residual(weights, numbers, index)
    else:
        points = numbers if scheme == "multinomial" else (index + numbers) / count
        found = _inverted(weights.cumsum(-1), points)
    dead = (weights.amax(-1) == 0)[..., None]
    return torch.where(dead, index % n, found)


def _inverted(levels: Float[Tensor, "*m n"], points: Float[Tensor, "*m k"]) -> Int[Tensor, "*m k"]:
    """min {i : C_i ≥ point} of the cumulative weights, without particles of weight 0: the last entry is made 1, so that
    no point is above, and a point of 0 is put above the zeros that may stand at the beginning."""
    total = levels[..., -1:]
    scaled = levels / torch.where(total == 0, 1.0, total)
    points = points.clamp(min=torch.finfo(torch.float64).tiny)
    found = torch.searchsorted(scaled, points.expand(*levels.shape[:-1], points.shape[-1]).contiguous())
    return found.clamp(max=levels.shape[-1] - 1)


def _residual(
    weights: Float[Tensor, "*m n"], uniforms: Float[Tensor, "*m u"], index: Int[Tensor, " k"]
) -> Int[Tensor, "*m k"]:
    """⌊M W_i⌋ copies of each particle, and inversion of what remains for the rest."""
    expected = weights * len(index)
    copies = expected.floor()
    upto = copies.cumsum(-1)
    sure = upto[..., -1:]  # so many outputs are copies; the others, R = M − sure, are drawn
    rank = index.to(upto.dtype).expand(*weights.shape[:-1], -1)
    copied = torch.searchsorted(upto, rank.contiguous(), right=True).clamp(max=weights.shape[-1] - 1)
    if uniforms.shape[-1] == 1:
        points = ((rank - sure + uniforms) / (len(index) - sure).clamp(min=1)).clamp(0, 1)
    else:
        points = uniforms
    return torch.where(rank < sure, copied, _inverted((expected - copies).cumsum(-1), points))
