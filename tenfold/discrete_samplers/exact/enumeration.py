"""Small laws state by state, and Boltzmann machines by the states of their hidden bits."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tenfold import progress
from tenfold.discrete_samplers.targets.machines import BoltzmannMachine
from tenfold.discrete_samplers.targets.protocol import DiscreteTarget, bare, check_function, check_law
from tenfold.errors import UsageError
from tenfold.settings.arguments import read_arguments

MOST_STATES = 2**26


class Enumerated(NamedTuple):
    """log Z, and means of what was asked for, (c,) float64."""

    log_z: float
    means: Float[Tensor, " c"]


def all_states(sites: int, states: int) -> Int[Tensor, "n d"]:
    """All S^d states, the last site the fastest. Raises UsageError beyond 2^26.

    >>> all_states(2, 2).tolist()
    [[0, 0], [0, 1], [1, 0], [1, 1]]
    """
    _check_count(states, sites, "the target")
    return _decoded(torch.arange(states**sites), sites, states)


def state_numbers(x: Int[Tensor, "*b d"], states: int) -> Int[Tensor, "*b"]:
    """Where each state stands among ``all_states``."""
    powers = states ** torch.arange(x.shape[-1] - 1, -1, -1, device=x.device)
    return (x * powers).sum(-1)


@read_arguments
@torch.no_grad()
def enumerate_states(
    target: DiscreteTarget,
    observable: Callable[[Tensor], Tensor] | None = None,
    chunk: int = 65536,
) -> Enumerated:
    """Σ_x ρ(x) and Σ_x p(x) g(x) over every state.

    Args:
        target: of at most 2^26 states.
        observable: g, tokens (b, d) to (b, c); by default one column, log ρ itself (0 where forbidden).
        chunk: states at once.

    Raises:
        UsageError: more states than that, with their number; every state forbidden; an observable of another shape.
    """
    check_law(target)
    if observable is not None:
        check_function(observable, "observable")
    if chunk < 1:
        raise UsageError(f"chunk is {chunk}; give at least 1")
    count = _check_count(target.states, target.sites, "the target")
    log_z = torch.tensor(-torch.inf, dtype=torch.float64)
    total: Tensor | None = None
    with progress.task("enumeration", count, "states") as step:
        for x in _chunks(count, target.sites, target.states, chunk):
            logs = bare(target, "log_prob")(x).double()
            values = torch.where(logs == -torch.inf, 0.0, logs)[:, None] if observable is None else observable(x)
            new = torch.logaddexp(log_z, logs.logsumexp(0))
            if values.ndim != 2 or len(values) != len(x) or bool(values.isnan().any()):
                raise UsageError(
                    f"the observable gave {tuple(values.shape)} for {len(x)} rows; it gives (rows, columns) without NaN"
                )
            if new > -torch.inf:
                weighted = ((logs - new).exp()[:, None] * values.double()).sum(0)
                total = weighted if total is None else total * (log_z - new).exp() + weighted
            log_z = new
            step(len(x))
    if total is None:
        raise UsageError(f"all {count} states are forbidden; there is no law")
    return Enumerated(float(log_z), total)


@torch.no_grad()
def log_probabilities(target: DiscreteTarget) -> Float[Tensor, " n"]:
    """Normalised log p of ``all_states``, float64."""
    return target.log_prob(all_states(target.sites, target.states)).double().log_softmax(0)


@read_arguments
@torch.no_grad()
def machine_log_z(machine: BoltzmannMachine, chunk: int = 16384) -> float:
    """log Z of a Boltzmann machine by its hidden states, log Σ_h exp(c·h + Σ_i softplus(b_i + (W'h)_i)); up to 26
    hidden bits whatever the number of visible ones."""
    if not isinstance(machine, BoltzmannMachine) or chunk < 1:
        raise UsageError(f"machine and chunk are {type(machine).__name__} and {chunk}; give a BoltzmannMachine, and 1")
    hidden = len(machine.hidden)
    count = _check_count(2, hidden, "the hidden layer")
    w, b, c = (p.double() for p in (machine.weights, machine.visible, machine.hidden))
    parts = []
    for states in _chunks(count, hidden, 2, chunk):
        h = states.to(w)
        parts.append((h @ c + nn.functional.softplus(h @ w + b).sum(1)).logsumexp(0))
    return float(torch.stack(parts).logsumexp(0))


def _check_count(states: int, sites: int, what: str) -> int:
    count = states**sites
    if count > MOST_STATES:
        raise UsageError(
            f"{what} has {states}^{sites} = {count:.3g} states; up to 2^26 are enumerated: use a sampler"
            if sites < 500
            else f"{what} has {states}^{sites} states; up to 2^26 are enumerated: use a sampler"
        )
    return count


def _chunks(count: int, sites: int, states: int, chunk: int) -> Iterator[Tensor]:
    for start in range(0, count, chunk):
        yield _decoded(torch.arange(start, min(start + chunk, count)), sites, states)


def _decoded(number: Int[Tensor, " n"], sites: int, states: int) -> Int[Tensor, "n d"]:
    return torch.stack([number // states**k % states for k in range(sites - 1, -1, -1)], 1)
