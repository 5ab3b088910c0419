"""Energies of identical particles that act on each other in pairs: the two systems that samplers are measured on."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from tenfold.energy.molecules.centred import to_coordinates, to_positions
from tenfold.errors import UsageError

Pair = Callable[[Float[Tensor, "*pairs"]], tuple[Float[Tensor, "*pairs"], Float[Tensor, "*pairs"]]]
"""The energy of a pair at a distance, and its derivative."""


@dataclass(frozen=True)
class ParticleSystem:
    """U(x) = Σ_{i<j} φ(|x_i − x_j|) + ½ trap Σ_i |x_i − mean|², in units of the temperature at which it is 1.

    Attributes:
        name: how it is called.
        particles: n.
        space: dimensions of the space that they move in.
        pair: φ and φ′.
        trap: stiffness of the spring that ties each particle to the centre.
        spacing: a distance between neighbours that costs little, to begin chains with.
    """

    name: str
    particles: int
    space: int
    pair: Pair
    trap: float = 0.0
    spacing: float = 1.0

    @property
    def dimensions(self) -> int:
        """Of the coordinates without the centre, (n − 1)·space."""
        return (self.particles - 1) * self.space

    def check(self, coordinates: Float[Tensor, "*batch k"]) -> None:
        """Raise UsageError for coordinates of another system."""
        if coordinates.shape[-1:] != (self.dimensions,):
            raise UsageError(
                f"coordinates have shape {tuple(coordinates.shape)}, but {self.name} has {self.dimensions}: "
                f"{self.particles} particles in {self.space} dimensions without their centre"
            )

    def energy_and_force(
        self, coordinates: Float[Tensor, "*batch k"]
    ) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch k"]]:
        """U (…) and −∇U (…, k) in the coordinates of ``centred``, without autograd. Raises UsageError for coordinates
        of another system."""
        self.check(coordinates)
        x = to_positions(coordinates, self.space)
        first, second = torch.triu_indices(self.particles, self.particles, 1, device=x.device).unbind(0)
        between = x[..., first, :] - x[..., second, :]
        distance = between.square().sum(-1).sqrt()
        value, slope = self.pair(distance)
        push = between * (slope / distance)[..., None]
        force = torch.zeros_like(x).index_add(-2, second, push).index_add(-2, first, -push) - self.trap * x
        return value.sum(-1) + 0.5 * self.trap * x.square().sum((-1, -2)), to_coordinates(force)

    def energy(self, coordinates: Float[Tensor, "*batch k"]) -> Float[Tensor, "*batch"]:
        """U in units of the temperature."""
        return self.energy_and_force(coordinates)[0]

    def distances(self, coordinates: Float[Tensor, "*batch k"]) -> Float[Tensor, "*batch pairs"]:
        """Distances of all pairs i < j."""
        self.check(coordinates)
        x = to_positions(coordinates, self.space)
        first, second = torch.triu_indices(self.particles, self.particles, 1, device=x.device).unbind(0)
        return (x[..., first, :] - x[..., second, :]).square().sum(-1).sqrt()


def double_well() -> ParticleSystem:
    """DW-4: four particles in the plane, φ(r) = 0.9 (r − 4)⁴ − 4 (r − 4)² (Köhler, Klein, Noé, arXiv 2006.02425)."""

    def pair(r: Tensor) -> tuple[Tensor, Tensor]:
        off = r - 4.0
        return 0.9 * off**4 - 4.0 * off.square(), 3.6 * off**3 - 8.0 * off

    return ParticleSystem("dw4", 4, 2, pair, spacing=4.0)


def lennard_jones() -> ParticleSystem:
    """LJ-13: thirteen particles in space, φ(r) = 2 (r⁻¹² − 2 r⁻⁶) and a spring of stiffness 1 to the centre. The 2 is
    each pair counted twice, as the data sets that are published have it (arXiv 2402.06121)."""

    def pair(r: Tensor) -> tuple[Tensor, Tensor]:
        sixth = r.pow(-6)
        return 2.0 * (sixth.square() - 2.0 * sixth), 24.0 * (sixth - sixth.square()) / r

    return ParticleSystem("lj13", 13, 3, pair, trap=1.0, spacing=1.0)


SYSTEMS: dict[str, Callable[[], ParticleSystem]] = {"dw4": double_well, "lj13": lennard_jones}
