"""A jump process to a target: network, conditional rates, path; and what it says of states, once each."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tenfold.discrete_samplers.flow.residual import xi
from tenfold.discrete_samplers.networks.conditional import TimeScale, conditional_rates, conditional_slope
from tenfold.discrete_samplers.targets.annealed import ProductPrior, tempered
from tenfold.discrete_samplers.targets.protocol import DiscreteTarget, times_of
from tenfold.errors import UsageError
from tenfold.nn.border import whole
from tenfold.settings.arguments import read_arguments

_ALMOST_FORBIDDEN = 30.0


class StateFacts(NamedTuple):
    """What a state is asked for at a time, once for simulation, estimate and weights.

    Attributes:
        g: G.
        log_ratio: of p_t, to all neighbours.
        prior, target: log η and log ρ.
    """

    g: Float[Tensor, "b d s"]
    log_ratio: Float[Tensor, "b d s"]
    prior: Float[Tensor, " b"]
    target: Float[Tensor, " b"]

    def xi(self, clamp: float | None = None) -> Float[Tensor, " b"]:
        """ξ of the states; log ρ − log η is ∂_t log p̃_t."""
        return xi(self.target - self.prior, self.g, self.log_ratio, clamp)

    def log_prob(self, t: float) -> Float[Tensor, " b"]:
        """log p̃_t, by which steps are weighted, float64; before the end a forbidden state has a small positive weight
        instead of none, since a way to an allowed one may lead through it: intermediate laws are free, and the weights
        stay unbiased."""
        prior, target = self.prior.double(), self.target.double()
        if t in (0, 1):
            return target if t else prior
        return torch.where(
            target == -torch.inf, prior - _ALMOST_FORBIDDEN, tempered(prior, target, prior.new_tensor(t))
        )


class FlowProcess(nn.Module):
    """G_t(x): with a scale, the rates of potentials a(t) · (slope of the conditionals) + network; without, the network
    itself, as published.

    Args:
        network: locally equivariant, of (tokens, times); None for the conditional rates alone.
        scale: a(t) at the beginning of training; None leaves the conditionals out.

    ``horizon`` is the time of the whole path at which a share of it ends: the path to ρ^h is that to ρ up to h, gone
    through h times as slowly, and one network serves both.
    """

    @read_arguments
    def __init__(self, network: nn.Module | None, scale: float | None = 0.5) -> None:
        super().__init__()
        self.network = network
        self.scale = None if scale is None else TimeScale(scale)
        self.horizon = 1.0

    def forward(
        self,
        x: Int[Tensor, "b d"],
        t: Float[Tensor, " b"],
        target_ratios: Float[Tensor, "b d s"],
        prior_ratios: Float[Tensor, "b d s"],
    ) -> Float[Tensor, "b d s"]:
        """G; the ratios to neighbours are those that the loss and the weights need anyway."""
        x = whole(x, "x")
        if x.shape != target_ratios.shape[:2] or prior_ratios.shape != target_ratios.shape:
            shapes = [tuple(part.shape) for part in (x, target_ratios, prior_ratios)]
            raise UsageError(f"x and the ratios have shapes {shapes}; give (b, d), (b, d, S) and (b, d, S)")
        at = self.horizon * times_of(t, len(x))
        learned = None if self.network is None else self.horizon * self.network(x, at)
        if self.scale is None:
            return torch.zeros_like(target_ratios) if learned is None else learned
        slope = conditional_slope(target_ratios, prior_ratios)
        difference = self.scale(at)[:, None, None] * slope
        if learned is not None:
            difference = difference + learned
        return conditional_rates(difference, slope, prior_ratios, x, t)


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
    return StateFacts(process(x, t, mine, theirs), log_ratio, eta, rho)
