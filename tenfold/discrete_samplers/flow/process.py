"""A jump process to a target: network, conditional rates, path; and what it says of states, once each."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tenfold.discrete_samplers.flow.residual import xi
from tenfold.discrete_samplers.networks.conditional import TimeScale, conditional_rates
from tenfold.discrete_samplers.targets.annealed import ProductPrior, tempered
from tenfold.discrete_samplers.targets.protocol import DiscreteTarget

_ALMOST_FORBIDDEN = 30.0


class StateFacts(NamedTuple):
    """What a state is asked for at a time, once for simulation, estimate and weights.

    Attributes:
        g: G.
        log_ratio: of p_t, to all neighbours.
        log_prob: log p̃_t, by which steps are weighted; before the end a forbidden state has a small positive weight
            instead of none, since a way to an allowed one may lead through it: intermediate laws are free, and the
            weights stay unbiased.
        change: ∂_t log p̃_t.
    """

    g: Float[Tensor, "b d s"]
    log_ratio: Float[Tensor, "b d s"]
    log_prob: Float[Tensor, " b"]
    change: Float[Tensor, " b"]

    def xi(self, clamp: float | None = None) -> Float[Tensor, " b"]:
        """ξ of the states."""
        return xi(self.change, self.g, self.log_ratio, clamp)


class FlowProcess(nn.Module):
    """G_t(x) = a(t) · (rates of the conditionals) + network(x, t).

    Args:
        network: locally equivariant, of (tokens, times); None for the conditional rates alone.
        scale: a(t) at the beginning of training; None leaves those rates out.
    """

    def __init__(self, network: nn.Module | None, scale: float | None = 0.5) -> None:
        super().__init__()
        self.network = network
        self.scale = None if scale is None else TimeScale(scale)

    def forward(
        self,
        x: Int[Tensor, "b d"],
        t: Float[Tensor, " b"],
        target_ratios: Float[Tensor, "b d s"],
        prior_ratios: Float[Tensor, "b d s"],
    ) -> Float[Tensor, "b d s"]:
        """G; the ratios to neighbours are those that the loss and the weights need anyway."""
        g = torch.zeros_like(target_ratios)
        if self.scale is not None:
            g = g + self.scale(t)[:, None, None] * conditional_rates(target_ratios, prior_ratios, x, t)
        return g if self.network is None else g + self.network(x, t)


def see(
    process: nn.Module,
    target: DiscreteTarget,
    prior: ProductPrior,
    x: Int[Tensor, "b d"],
    t: Float[Tensor, " b"],
) -> StateFacts:
    """All that is needed of states at their times: one call of the network, one of the target's ratios."""
    with torch.no_grad():
        mine, theirs = target.neighbour_log_ratio(x), prior.neighbour_log_ratio(x)
        rho, eta = target.log_prob(x), prior.log_prob(x)
        log_ratio = tempered(theirs, mine, t[:, None, None])
        log_prob = tempered(eta, rho, t)
        log_prob = torch.where((log_prob == -torch.inf) & (t < 1), eta - _ALMOST_FORBIDDEN, log_prob)
    g = process(x, t, mine, theirs)
    return StateFacts(g, log_ratio, log_prob, rho - eta)
