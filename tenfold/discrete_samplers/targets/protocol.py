"""What every sampler of the room is given: log ρ(x) of tokens x in {0, ..., S−1}^d, not normalised, and its differences
to all neighbours, which differ from x at one site.

−∞ means forbidden. The ratio from an allowed state to a forbidden one is −∞; from a forbidden state it is +∞ to the
allowed ones and 0 to the others, so that nothing is ever NaN and local moves leave forbidden states by themselves.
"""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tenfold.errors import UsageError
from tenfold.nn.border import floats, visible, whole

C = TypeVar("C", bound=type)


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


def check_law(target: Any) -> DiscreteTarget:
    """The target. Raises UsageError for what is none."""
    if isinstance(target, type) or not isinstance(target, DiscreteTarget):
        raise UsageError(
            f"target is {type(target).__name__}; give a law with sites, states, log_prob and neighbour_log_ratio, "
            "CallableTarget(function, sites) say"
        )
    return target


def check_function(function: Any, name: str) -> None:
    """Raise UsageError for what cannot be called."""
    if not callable(function):
        raise UsageError(f"{name} is {type(function).__name__}; give a function of tokens (rows, sites)")


def check_tokens(x: Any, target: DiscreteTarget) -> Int[Tensor, "b d"]:
    """Tokens as int64 (b, d).

    Raises UsageError for other types than integers, another number of sites, and tokens outside 0, ..., S−1 (±1 are
    spins, whose tokens are 0 and 1)."""
    tokens = looked_at(x, target.sites, target.states)
    check_values(tokens, target.states)
    return tokens


def check_values(tokens: Int[Tensor, "b d"], states: int) -> None:
    """Raise UsageError for tokens outside 0, ..., S−1."""
    if tokens.numel() and visible(tokens):
        low, high = tokens.aminmax()
        if low < 0 or high >= states:
            end = "; spins −1 and +1 are the tokens 0 and 1" if low == -1 and states == 2 else ""
            raise UsageError(f"x holds tokens from {int(low)} to {int(high)}; they lie in 0..{states - 1}{end}")


def looked_at(x: Any, sites: int, states: int) -> Int[Tensor, "b d"]:
    """x as targets and networks look at it in every evaluation: whole on the CPU; elsewhere its type and shape alone,
    since values would wait for the device (samplers look at them once, where they begin)."""
    tokens = whole(x, "x")
    if tokens.ndim != 2 or tokens.shape[1] != sites:
        raise UsageError(f"x has shape {tuple(tokens.shape)}; the target takes tokens (batch, {sites})")
    if tokens.device.type == "cpu":
        check_values(tokens, states)
    return tokens


def chosen_sites(chosen: Any, count: int, name: str = "chosen") -> Int[Tensor, " m"]:
    """Numbers in 0..count − 1 as int64 (m,). Raises UsageError for other types, shapes, and what there is not."""
    sites = whole(chosen, name)
    if sites.ndim != 1:
        raise UsageError(f"{name} has shape {tuple(sites.shape)}; give a row of numbers")
    if sites.device.type == "cpu" and sites.numel() and visible(sites):
        low, high = sites.aminmax()
        if low < 0 or high >= count:
            raise UsageError(f"{name} holds numbers from {int(low)} to {int(high)}; there are 0..{count - 1}")
    return sites


def times_of(t: Any, rows: int) -> Float[Tensor, " b"]:
    """Times of rows. Raises UsageError for another number of them, and for what is not in [0, 1]."""
    at = t if isinstance(t, Tensor) and t.is_floating_point() and t.device.type != "cpu" else floats(t, "t")
    if at.shape != (rows,):
        raise UsageError(f"t has shape {tuple(at.shape)} for {rows} rows of x; give one time a row")
    if at.device.type == "cpu" and rows and visible(at) and not bool(((at >= 0) & (at <= 1)).all()):
        raise UsageError(f"t holds times from {float(at.min()):g} to {float(at.max()):g}; they lie in [0, 1]")
    return at


def reads_tokens(kind: C) -> C:
    """A border: the public methods of a target, or of a network, whose first argument is x look at it, at the sites
    that are ``chosen`` and at times t, before anything else; ``bare`` finds them without."""
    for name, method in list(vars(kind).items()):
        if not name.startswith("_") and inspect.isfunction(method):
            parameters = list(inspect.signature(method).parameters)
            if parameters[1:2] == ["x"]:
                setattr(kind, name, _looking(method, parameters[2:]))
    return kind


def _looking(method: Callable[..., Any], others: list[str]) -> Callable[..., Any]:
    place = others.index("chosen") if "chosen" in others else others.index("t") if "t" in others else None

    @wraps(method)
    def inside(self: Any, x: Any, *rest: Any, **named: Any) -> Any:
        x = looked_at(x, self.sites, self.states)
        if place is not None and len(rest) > place:
            value = rest[place]
            read = chosen_sites(value, self.sites) if others[place] == "chosen" else times_of(value, len(x))
            rest = (*rest[:place], read, *rest[place + 1 :])
        elif "chosen" in named:
            named["chosen"] = chosen_sites(named["chosen"], self.sites)
        elif "t" in named:
            named["t"] = times_of(named["t"], len(x))
        return method(self, x, *rest, **named)

    inside.bare = method  # type: ignore[attr-defined]
    return inside


def bare(target: DiscreteTarget, name: str) -> Callable[..., Any]:
    """A target's method for tokens that were made here, or were looked at: it does not look again."""
    method = getattr(getattr(type(target), name, None), "bare", None)
    found: Callable[..., Any] = getattr(target, name) if method is None else method.__get__(target)
    return found


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
    if not hasattr(target, "site_log_ratio"):
        return bare(target, "neighbour_log_ratio")(x)[:, chosen]
    return bare(target, "site_log_ratio")(x, chosen)


def site_odds(target: DiscreteTarget, x: Int[Tensor, "b d"], chosen: Int[Tensor, " m"]) -> Float[Tensor, "b m"]:
    """Of binary sites, log ρ(x with token 1) − log ρ(x with token 0) at some of them: by the target's own short way
    where it has one. Between two forbidden states it is 0."""
    if hasattr(target, "site_odds"):
        return bare(target, "site_odds")(x, chosen)
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
