"""What every sampler of the room is given: log ρ(x) of tokens x in {0, ..., S−1}^d, not normalised, and its differences
to all neighbours, which differ from x at one site.

−∞ means forbidden. The ratio from an allowed state to a forbidden one is −∞; from a forbidden state it is +∞ to the
allowed ones and 0 to the others, so that nothing is ever NaN and local moves leave forbidden states by themselves.
"""

from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tenfold.errors import UsageError
from tenfold.nn.border import visible, whole


@runtime_checkable
class DiscreteTarget(Protocol):
    """An unnormalised law of ``sites`` tokens, each one of ``states``.

    Targets may besides have ``site_log_ratio(x, chosen)``, the ratios at some sites alone, ``site_odds(x, chosen)``,
    the log-odds of token 1 of binary ones, and ``colours``, sets of sites that do not interact among themselves: the
    functions ``site_log_ratio``, ``site_odds`` and ``colour_classes`` here ask for them."""

    sites: int
    states: int

    def log_prob(self, x: Tensor) -> Tensor:
        """log ρ(x) (b,) of int64 tokens (b, d); −∞ where forbidden."""

    def neighbour_log_ratio(self, x: Tensor) -> Tensor:
        """log ρ(x with τ at i) − log ρ(x), (b, d, S); 0 at the token that stands."""


def check_tokens(x: Any, target: DiscreteTarget) -> Int[Tensor, "b d"]:
    """Tokens as int64 (b, d).

    Raises UsageError for other types than integers, another number of sites, and tokens outside 0, ..., S−1 (±1 are
    spins, whose tokens are 0 and 1)."""
    tokens = whole(x, "x")
    check_shape(tokens, target)
    if tokens.numel() and visible(tokens):
        low, high = tokens.aminmax()
        if low < 0 or high >= target.states:
            end = "; spins −1 and +1 are the tokens 0 and 1" if low == -1 and target.states == 2 else ""
            raise UsageError(f"x holds tokens from {int(low)} to {int(high)}; they lie in 0..{target.states - 1}{end}")
    return tokens


def check_shape(x: Tensor, target: DiscreteTarget) -> None:
    """What costs nothing: raise UsageError unless x is int64 (b, d) with the target's number of sites."""
    if x.dtype != torch.int64 or x.ndim != 2 or x.shape[1] != target.sites:
        raise UsageError(
            f"x is {str(x.dtype).removeprefix('torch.')} {tuple(x.shape)}; the target takes int64 tokens "
            f"(batch, {target.sites})"
        )


def looked_at(x: Tensor, target: DiscreteTarget) -> Int[Tensor, "b d"]:
    """x as targets look at it in every evaluation: whole on the CPU; elsewhere its type and shape alone, since values
    would wait for the device (samplers look at them once, where they begin)."""
    if x.device.type == "cpu":
        return check_tokens(x, target)
    check_shape(x, target)
    return x


def check_log_prob(values: Tensor, rows: int) -> Tensor:
    """Raise UsageError unless values are (rows,), of a floating type, without NaN and +∞."""
    if values.shape != (rows,) or not values.is_floating_point():
        raise UsageError(
            f"log_prob gave {str(values.dtype).removeprefix('torch.')} {tuple(values.shape)} for {rows} rows; it gives "
            f"one floating-point number a row"
        )
    if visible(values) and bool((values.isnan() | (values == torch.inf)).any()):
        raise UsageError("log_prob gave NaN or +infinity; it gives finite numbers, or -infinity where x is forbidden")
    return values


def log_difference(new: Float[Tensor, "*#b"], old: Float[Tensor, "*#b"]) -> Float[Tensor, "*_"]:
    """new − old of log-probabilities that may be −∞; 0 between two forbidden states.

    >>> log_difference(torch.tensor([0.0, -torch.inf]), torch.tensor([-torch.inf, -torch.inf]))
    tensor([inf, 0.])
    """
    both = (new == -torch.inf) & (old == -torch.inf)
    return torch.where(both, 0.0, new - old)


def site_log_ratio(target: DiscreteTarget, x: Int[Tensor, "b d"], chosen: Int[Tensor, " m"]) -> Float[Tensor, "b m s"]:
    """The ratios of neighbours at some sites: by the target's own short way where it has one."""
    own = getattr(target, "site_log_ratio", None)
    return target.neighbour_log_ratio(x)[:, chosen] if own is None else own(x, chosen)


def site_odds(target: DiscreteTarget, x: Int[Tensor, "b d"], chosen: Int[Tensor, " m"]) -> Float[Tensor, "b m"]:
    """Of binary sites, log ρ(x with token 1) − log ρ(x with token 0) at some of them: by the target's own short way
    where it has one. Between two forbidden states it is 0."""
    own = getattr(target, "site_odds", None)
    if own is not None:
        return own(x, chosen)
    ratios = site_log_ratio(target, x, chosen)
    return ratios[..., 1] - ratios[..., 0]


def colour_classes(target: DiscreteTarget) -> list[Tensor]:
    """Sets of sites that may be drawn at once, given all others: the target's ``colours``, or each site by itself."""
    own = getattr(target, "colours", None)
    return list(torch.arange(target.sites).split(1)) if own is None else list(own)


def conditional(ratios: Float[Tensor, "*b s"]) -> Float[Tensor, "*b s"]:
    """p(τ at the site | all others) from ratios; from a forbidden state, uniform over the allowed tokens, or over all
    where none is allowed."""
    escape = ratios == torch.inf
    out = escape.any(-1, keepdim=True)
    return torch.where(out, torch.where(escape, 0.0, -torch.inf), ratios).softmax(-1)


def flipped(ratios: Float[Tensor, "b d 2"], x: Int[Tensor, "b d"]) -> Float[Tensor, "b d"]:
    """Of binary sites, the ratio to the other token."""
    return ratios.gather(-1, 1 - x[..., None])[..., 0]


def of_flips(flips: Float[Tensor, "b d"], x: Int[Tensor, "b d"]) -> Float[Tensor, "b d 2"]:
    """Ratios (b, d, 2) of binary sites from those to the other token."""
    other = torch.stack([x == 1, x == 0], -1)
    return torch.where(other, flips[..., None], 0.0)


def neighbours(x: Int[Tensor, "b d"], states: int) -> Int[Tensor, "b n d"]:
    """All n = d (S−1) neighbours of each row: site by site, the token plus 1, ..., S−1 modulo S."""
    b, d = x.shape
    shifts = torch.arange(1, states, device=x.device)
    changed = (x[:, :, None] + shifts) % states
    copies = x[:, None, None].expand(b, d, states - 1, d).clone()
    sites = torch.arange(d, device=x.device)[None, :, None, None].expand(b, d, states - 1, 1)
    return copies.scatter_(-1, sites, changed[..., None]).flatten(1, 2)


def exchanged(x: Int[Tensor, "b d"], site: Int[Tensor, " b"], token: Int[Tensor, " b"]) -> Int[Tensor, "b d"]:
    """Swap(x, i, τ) of each row."""
    return x.scatter(1, site[:, None], token[:, None])
