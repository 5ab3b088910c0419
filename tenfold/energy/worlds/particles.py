"""Worlds of particles: configurations that long chains drew, and their energy."""

from dataclasses import dataclass
from functools import lru_cache

from jaxtyping import Float
from torch import Tensor

from tenfold import progress
from tenfold.energy.molecules.chains import Chains, replica_exchange
from tenfold.energy.molecules.systems import SYSTEMS, ParticleSystem
from tenfold.energy.options import EnergyDataConfig
from tenfold.energy.worlds.rows import SampleRows, SampleWorld

_LADDERS = {"dw4": (1.0, 0.6, 0.36, 0.2, 0.1), "lj13": (1.0, 0.9, 0.8, 0.7, 0.6)}
"""Inverse temperatures that exchange states, relative to the first: far enough up that nothing stays where it is."""
_CHAINS, _WARMUP, _EVERY = 256, 300, 5


@lru_cache(maxsize=8)
def configurations(kind: str, inverse_temperature: float, count: int, seed: int) -> Chains:
    """At least ``count`` configurations at an inverse temperature; notes where the chains do not agree."""
    ladder = tuple(inverse_temperature * step for step in _LADDERS[kind])
    kept = -(-count // _CHAINS)
    found = replica_exchange(
        SYSTEMS[kind](), ladder, chains=_CHAINS, kept=max(kept, 8), every=_EVERY, warmup=_WARMUP, seed=seed
    )
    # Many short chains: their R̂ may exceed 1 by what so few independent draws in each leave open.
    effective = min(found.effective) / _CHAINS
    if not max(found.r_hat) < 1.01 + 1 / max(1.0, effective):
        progress.note(
            f"the chains of {kind} do not agree yet (R-hat {max(found.r_hat):.3f}): more data.samples, or another seed"
        )
    return found


@dataclass(frozen=True)
class Boltzmann:
    """e^{−U/T} of configurations without noise: what energies at the least noise level are taught, of which it differs
    by the square of that level. Up to a constant.

    Attributes:
        system: of U.
        temperature: T.
    """

    system: ParticleSystem
    temperature: float
    data_scale, normalised = 1.0, False

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one configuration."""
        return (self.system.dimensions,)

    def score(self, x: Float[Tensor, "n k"], sigma: Float[Tensor, "*n"]) -> Float[Tensor, "n k"]:
        """−∇U/T."""
        return self.log_density_and_score(x, sigma)[1]

    def log_density(self, x: Float[Tensor, "n k"], sigma: Float[Tensor, "*n"]) -> Float[Tensor, " n"]:
        """−U/T."""
        return self.log_density_and_score(x, sigma)[0]

    def log_density_and_score(
        self, x: Float[Tensor, "n k"], sigma: Float[Tensor, "*n"]
    ) -> tuple[Float[Tensor, " n"], Float[Tensor, "n k"]]:
        """Both; in float64 inside, as energies are large where particles are near."""
        energy, force = self.system.energy_and_force(x.double())
        return (-energy / self.temperature).to(x.dtype), (force / self.temperature).to(x.dtype)


def particle_world(data: EnergyDataConfig) -> SampleWorld:
    """Configurations at ``data.temperature``; training, validation and test samples are of different chains."""
    system, held = SYSTEMS[data.kind](), data.held_out
    drawn = configurations(data.kind, 1 / data.temperature, data.samples + 2 * held, data.seed)
    # Chain after chain, so that a split shares at most one chain with its neighbour.
    rows = drawn.samples.transpose(0, 1).flatten(0, 1)[: data.samples + 2 * held]
    train, validation, test = (SampleRows(part) for part in rows.split((data.samples, held, held)))
    return SampleWorld(train, validation, test, shape=(system.dimensions,), classes=0, particles=system)
