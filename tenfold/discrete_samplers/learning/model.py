"""Energies of bits, as model folders hold them."""

import os
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tenfold import hub
from tenfold.discrete_samplers.learning.config import DiscreteEnergyConfig
from tenfold.discrete_samplers.targets.functions import NeuralEnergy
from tenfold.discrete_samplers.targets.machines import BoltzmannMachine
from tenfold.discrete_samplers.targets.protocol import DiscreteTarget, of_flips, reads_tokens
from tenfold.training.streams import numpy_generator


@reads_tokens
class LearnedCouplings(nn.Module):
    """ρ(s) = exp(s'Js + b's) of spins, J symmetric without a diagonal, all of it learned.

    Args:
        sites: d.
    """

    states = 2

    def __init__(self, sites: int) -> None:
        super().__init__()
        self.sites = sites
        self.upper = nn.Parameter(torch.zeros(sites, sites))
        self.field = nn.Parameter(torch.zeros(sites))

    @property
    def couplings(self) -> Float[Tensor, "d d"]:
        """J."""
        upper = self.upper.triu(1)
        return upper + upper.T

    def log_prob(self, x: Int[Tensor, "b d"]) -> Float[Tensor, " b"]:
        """log ρ."""
        s = 2.0 * x - 1
        return (s * (s @ self.couplings + self.field)).sum(1)

    def neighbour_log_ratio(self, x: Int[Tensor, "b d"]) -> Float[Tensor, "b d 2"]:
        """As the protocol says."""
        s = 2.0 * x - 1
        return of_flips(-2 * s * (2 * s @ self.couplings + self.field), x)

    def site_odds(self, x: Int[Tensor, "b d"], chosen: Int[Tensor, " m"]) -> Float[Tensor, "b m"]:
        """Log-odds of up at some sites."""
        s = 2.0 * x - 1
        return 2 * (2 * s @ self.couplings[:, chosen] + self.field[chosen])


class BitNetwork(nn.Module):
    """A perceptron from bits to an energy.

    Bits come in as signs and layers begin with the variance that ReLU keeps (He et al. 2015): from small weights, of
    bits as 0 and 1, a network stays near a linear one, and densities whose bits count only together are not found."""

    def __init__(self, sites: int, hidden: int, layers: int) -> None:
        super().__init__()
        parts: list[nn.Module] = [nn.Flatten()]
        for before, after in pairwise([2 * sites, *[hidden] * layers]):
            linear = nn.Linear(before, after)
            nn.init.kaiming_normal_(linear.weight, nonlinearity="relu")
            parts += [linear, nn.ReLU()]
        self.layers = nn.Sequential(*parts, nn.Linear(hidden, 1))

    def forward(self, one_hot: Float[Tensor, "b d 2"]) -> Float[Tensor, "b 1"]:
        """E."""
        return self.layers(2 * one_hot - 1)


@reads_tokens
class DiscreteEnergy(nn.Module):
    """An unnormalised law of bits that is learned: ``target`` is what samplers are given.

    >>> DiscreteEnergy(DiscreteEnergyConfig(sites=4, hidden=3)).target.states
    2
    """

    model_type: ClassVar[str] = "discrete-energy"
    config_class: ClassVar[type] = DiscreteEnergyConfig

    def __init__(self, config: DiscreteEnergyConfig) -> None:
        super().__init__()
        self.config, self.sites, self.states = config, config.sites, 2
        if config.kind == "machine":
            draw = numpy_generator("machine", config.sites, config.hidden).standard_normal(
                (config.hidden, config.sites)
            )
            weights = torch.from_numpy(0.01 * draw).float()
            self.law: nn.Module = BoltzmannMachine(weights, torch.zeros(config.sites), torch.zeros(config.hidden))
        elif config.kind == "couplings":
            self.law = LearnedCouplings(config.sites)
        else:
            self.law = BitNetwork(config.sites, config.hidden, config.layers)

    @property
    def target(self) -> DiscreteTarget:
        """log ρ and its ratios, for samplers."""
        if isinstance(self.law, BitNetwork):
            return NeuralEnergy(self.law, self.config.sites)
        law: Any = self.law
        return law

    def forward(self, x: Int[Tensor, "b d"]) -> Float[Tensor, " b"]:
        """log ρ(x), with gradients."""
        if isinstance(self.law, BitNetwork):
            return -self.law(nn.functional.one_hot(x, 2).float())[:, 0]
        law: Any = self.law
        return law.log_prob(x)

    @classmethod
    def from_pretrained(cls, source: str | os.PathLike[str], **options: Any) -> "DiscreteEnergy":
        """The model of a local folder or hub repository; strict."""
        model: DiscreteEnergy = hub.from_pretrained(cls, source, **options)
        return model

    def save_pretrained(self, folder: str | os.PathLike[str], extra: Mapping[str, Any] | None = None) -> None:
        """Write ``config.json`` and ``model.safetensors``."""
        hub.save_pretrained(self, folder, extra)
