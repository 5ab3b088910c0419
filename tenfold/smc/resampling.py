"""Ancestors of a new generation, in five ways, for many populations at once.

Every scheme is unbiased: particle i is chosen M W_i times on average, and never where its weight is 0. The first four
differ in the points at which the distribution function C of the weights is inverted, A_j = min {i : C_i > point_j}:
systematic has (j + u)/M with one u, stratified (j + u_j)/M, multinomial independent ones, and residual gives ⌊M W_i⌋
copies to each particle before it does one of these with what is left (Douc, Cappé, Moulines 2005).
"""

from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tenfold.errors import UsageError, suggest
from tenfold.smc.weights import scaled_weights

Scheme = Literal["systematic", "stratified", "residual-systematic", "residual-multinomial", "multinomial"]
SCHEMES = get_args(Scheme)
# Points stay within: beyond, rounding would decide, and might choose a particle that has no weight.
_TINY, _BELOW_ONE = 1e-300, 1 - 2**-53
_ONE_NUMBER = ("systematic", "residual-systematic")


def uniforms_of(scheme: str, count: int) -> int:
    """How many U[0, 1) numbers a population needs for ``count`` ancestors.

    >>> uniforms_of("systematic", 100), uniforms_of("multinomial", 100)
    (1, 100)
    """
    if scheme not in SCHEMES:
        raise UsageError(f"scheme is {scheme!r}{suggest(str(scheme), SCHEMES)}")
    return 1 if scheme in _ONE_NUMBER else count


def check_uniforms(uniforms: Float[Tensor, "*m u"], scheme: str, count: int) -> None:
    """Raise UsageError unless there are as many numbers a population as the scheme reads."""
    if uniforms.shape[-1] != uniforms_of(scheme, count):
        raise UsageError(
            f"{scheme} resampling to {count} particles reads {uniforms_of(scheme, count)} numbers a population, "
            f"{uniforms.shape[-1]} were given"
        )


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
    check_uniforms(uniforms, scheme, count)
    weights, _ = scaled_weights(log_weights)
    return ancestors_of(weights, uniforms.double(), scheme, count)


def ancestors_of(
    weights: Float[Tensor, "*m n"], uniforms: Float[Tensor, "*m u"], scheme: str, count: int
) -> Int[Tensor, "*m k"]:
    """The same of float64 weights that are at least 0 and need not sum to 1, without the checks."""
    levels = weights.cumsum(-1)
    total = levels[..., -1:]
    alive = total > 0  # not of NaN either
    index = torch.arange(count, device=weights.device)
    if scheme == "systematic":
        found = _systematic(levels, count / total, uniforms, count, alive)
        if count <= weights.shape[-1]:
            return found
    elif scheme.startswith("residual"):
        found = _residual(weights / torch.where(alive, total, 1.0), uniforms, index)
    else:
        levels = torch.where(alive, levels / total, 0.0)
        found = _inverted(levels, uniforms if scheme == "multinomial" else (index + uniforms) / count)
    return torch.where(alive, found, index % weights.shape[-1])


def _systematic(
    levels: Float[Tensor, "*m n"],
    scale: Float[Tensor, "*m 1"],
    uniform: Float[Tensor, "*m 1"],
    count: int,
    alive: Bool[Tensor, "*m 1"],
) -> Int[Tensor, "*m k"]:
    """Without a search: ⌈M C_i − u⌉ points lie below C_i, and the ancestor of point j is the number of particles below
    whose C_i there are at most j. M − u stays above M − 1 in spite of rounding, so that no point is nobody's. The dead
    have one point each, as far as there are points.

    ``levels`` times ``scale`` is M C; they are overwritten. Whole numbers are counted in float64, whose sums are
    vectorised."""
    below = levels.mul_(scale).sub_(uniform.clamp(_TINY, 1 - count * 2**-50)).ceil_().clamp_(max=count)
    one_each = torch.arange(1, levels.shape[-1] + 1, dtype=levels.dtype, device=levels.device).clamp_(max=count)
    below = torch.where(alive, below, one_each)
    many = levels.new_zeros(*levels.shape[:-1], count + 1)
    many.scatter_add_(-1, below.long(), many.new_ones(()).expand(below.shape))
    return many.cumsum(-1)[..., :-1].long()


def _inverted(levels: Float[Tensor, "*m n"], points: Float[Tensor, "*m k"]) -> Int[Tensor, "*m k"]:
    """min {i : C_i > point}; rounding may have made a point 1, which is above all."""
    points = points.clamp(_TINY, _BELOW_ONE)
    found = torch.searchsorted(levels, points.expand(*levels.shape[:-1], points.shape[-1]).contiguous(), right=True)
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
    rest = (expected - copies).cumsum(-1)
    whole = rest[..., -1:]
    return torch.where(rank < sure, copied, _inverted(rest / torch.where(whole == 0, 1.0, whole), points))
