"""Gibbs sampling: sites drawn from their conditionals, a colour of sites that do not interact at a time."""

import torch
from jaxtyping import Int
from torch import Tensor

from tenfold.discrete_samplers.classical.kernels import ChainDraws, Moved, drawn
from tenfold.discrete_samplers.exact.enumeration import all_states
from tenfold.discrete_samplers.result import CountedTarget
from tenfold.discrete_samplers.targets.machines import BoltzmannMachine
from tenfold.discrete_samplers.targets.protocol import (
    DiscreteTarget,
    colour_classes,
    conditional,
    site_log_ratio,
    site_odds,
)
from tenfold.errors import UsageError
from tenfold.settings.checks import at_least, settings

_MOST_JOINT = 4096


class Gibbs:
    """A heat-bath sweep: colours in order (the checkerboard of a lattice, sites one by one where a target tells no
    colours), all sites of a colour at once. Every move is accepted."""

    def __call__(self, target: DiscreteTarget, x: Int[Tensor, "b d"], draws: ChainDraws) -> Moved:
        """One sweep."""
        uniforms = draws.uniform("gibbs", target.sites)
        x = x.clone()
        for sites in colour_classes(target):
            here = sites.to(x.device)
            if target.states == 2:  # a logistic function instead of two exponentials and their sum
                x[:, here] = (uniforms[:, here] < torch.sigmoid(site_odds(target, x, here))).to(x.dtype)
            else:
                x[:, here] = drawn(conditional(site_log_ratio(target, x, here)), uniforms[:, here])
        return Moved(x, torch.ones(len(x), device=x.device))


class HiddenGibbs:
    """A sweep of a Boltzmann machine: its hidden bits given the visible ones, then these given the hidden ones, all at
    once. Two matrix products, where ``Gibbs`` goes from site to site.

    Raises UsageError for other targets; a tempered machine is none."""

    def __call__(self, target: DiscreteTarget, x: Int[Tensor, "b d"], draws: ChainDraws) -> Moved:
        """One sweep."""
        machine: object = target
        if isinstance(target, CountedTarget):
            machine, target.counts.ratios = target.target, target.counts.ratios + len(x)
        if not isinstance(machine, BoltzmannMachine):
            raise UsageError(f"{type(machine).__name__} has no hidden bits; use Gibbs, HiddenGibbs is for machines")
        first = draws.uniform("hidden", len(machine.hidden))
        hidden = (first < machine.hidden_probabilities(x)).to(machine.weights.dtype)
        second = draws.uniform("visible", machine.sites)
        x = (second < machine.visible_probabilities(hidden)).to(x.dtype)
        return Moved(x, torch.ones(len(x), device=x.device))


@settings
class BlockGibbs:
    """Blocks of ``size`` neighbouring numbers drawn jointly, by the S^size states of each: what single sites cannot
    cross, a block may.

    Raises UsageError for a size below 1, and where a block has more than 4096 states."""

    size: int = 4

    def __post_init__(self) -> None:
        at_least(self, "block", size=1)

    def __call__(self, target: DiscreteTarget, x: Int[Tensor, "b d"], draws: ChainDraws) -> Moved:
        """One sweep over all blocks."""
        if target.states**self.size > _MOST_JOINT:
            raise UsageError(
                f"a block of {self.size} sites has {target.states}^{self.size} states; up to {_MOST_JOINT} are drawn "
                "jointly: give a smaller size"
            )
        blocks = torch.arange(target.sites, device=x.device).split(self.size)
        uniforms = draws.uniform("block gibbs", len(blocks))
        for number, block in enumerate(blocks):
            states = all_states(len(block), target.states).to(x.device)
            copies = x[:, None].repeat(1, len(states), 1)
            copies[:, :, block] = states
            logs = target.log_prob(copies.flatten(0, 1)).view(len(x), -1)
            chosen = drawn((logs - logs.amax(1, keepdim=True)).exp(), uniforms[:, number])
            x = copies[torch.arange(len(x), device=x.device), chosen]
        return Moved(x, torch.ones(len(x), device=x.device))
