"""Is a sampled chain the solution? One pass over the result answers, whatever the solver did."""

from jaxtyping import Bool, Float
from torch import Tensor

from tenfold.flows.block import scale_of
from tenfold.flows.chain import ChainNetwork, solve
from tenfold.flows.solvers.info import Certificate


def certify(
    net: ChainNetwork, noise: Float[Tensor, "b n1 d"], chain: Float[Tensor, "b n1 d"], limit: float
) -> tuple[Certificate, int | None]:
    """max |v′ − v| and max |F(u) − u| of a chain, and the first slot whose residual is not finite or exceeds
    ``limit``·(1 + |u|) (None if there is none). Costs one network call."""
    if net.steps == 0:
        return Certificate(0.0, 0.0), None
    net.reset()
    log_scale, shift = net.evaluate(chain[:, :-1])
    residual = (solve(noise[:, 1:], log_scale, shift) - chain[:, 1:]).abs()
    recovered = (chain[:, 1:] - shift) if log_scale is None else (chain[:, 1:] - shift) * scale_of(-log_scale)
    error = float((recovered - noise[:, 1:]).abs().max())
    # "not <=" instead of ">": NaN counts as bad.
    bad = ~(residual <= limit * (1.0 + chain[:, 1:].abs()))
    return Certificate(error, float(residual.max())), first_slot(bad)


def first_slot(bad: Bool[Tensor, "b n d"]) -> int | None:
    """The index (from 1) of the first slot with a bad entry in any sample."""
    slots = bad.any(dim=2).any(dim=0).nonzero()
    return int(slots[0]) + 1 if len(slots) else None
