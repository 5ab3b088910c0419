"""What energies are learned of, and how. Imports no PyTorch."""

from typing import Literal

from tenfold.errors import UsageError
from tenfold.settings.checks import at_least, settings

Density = Literal["2spirals", "8gaussians", "circles", "moons", "pinwheel", "swissroll", "checkerboard"]
DENSITIES: tuple[str, ...] = ("2spirals", "8gaussians", "circles", "moons", "pinwheel", "swissroll", "checkerboard")


@settings
class EnergyDataSettings:
    """Bits that an energy is learned of.

    Attributes:
        source: "digits", the 8 x 8 ones of scikit-learn as bits, "ising", draws of a periodic lattice by cluster
            moves, or a density of the plane, its coordinates as a sign and a Gray-coded size each.
        bits: of a point of the plane, both coordinates.
        rows: draws of a lattice or of a density; the digits have 1297.
        test: held-out rows; the digits have 360.
        side: of the lattice.
        beta: coupling of a bond of the lattice; J = σ · adjacency has σ = β/2.
        seed: of draws.
    """

    source: Literal["digits", "ising"] | Density = "digits"
    bits: int = 32
    rows: int = 2000
    test: int = 1000
    side: int = 5
    beta: float = 0.4
    seed: int = 0

    def __post_init__(self) -> None:
        at_least(self, "data", bits=4, rows=2, test=2, side=3)
        if self.bits % 2:
            raise UsageError(f"data.bits is {self.bits}; the two coordinates share them, give an even number")

    @property
    def sites(self) -> int:
        """Bits of a row."""
        return {"digits": 64, "ising": self.side**2}.get(self.source, self.bits)


@settings
class DiscreteEnergyConfig:
    """An energy of bits.

    Attributes:
        sites: bits.
        kind: "machine", a restricted Boltzmann machine, "couplings", s'Js + b's of spins, or "perceptron", a network
            of signs.
        hidden: hidden bits of the machine, or width of the network.
        layers: of the network.
    """

    sites: int = 64
    kind: Literal["machine", "couplings", "perceptron"] = "machine"
    hidden: int = 16
    layers: int = 3

    def __post_init__(self) -> None:
        at_least(self, "model", sites=1, hidden=1, layers=1)


@settings
class LikelihoodObjective:
    """Maximum likelihood, ∇ log p = ∇ log ρ(data) − Σ W ∇ log ρ(x) over particles x.

    Attributes:
        negative: "persistent" lets particles count alike (persistent contrastive divergence), "weighted" gives them the
            weights with which they follow the law as it changes, and so log Z, at the same cost.
        particles: how many.
        moves: Gibbs sweeps of each in a step.
        threshold: weighted particles are resampled below this share of effective ones.
        sparsity: of |J|, where couplings are learned (published: 0.05).
    """

    negative: Literal["persistent", "weighted"] = "weighted"
    particles: int = 256
    moves: int = 1
    threshold: float = 0.5
    sparsity: float = 0.0

    def __post_init__(self) -> None:
        at_least(self, "objective", particles=2, moves=1, sparsity=0)
        if not 0 <= self.threshold <= 1:
            raise UsageError(f"objective.threshold is {self.threshold}; give a share in [0, 1]")


@settings
class LikelihoodEvaluation:
    """What a learned energy is measured by.

    Attributes:
        samples: of the model, for the distance of samples and, where Z is not exact, for log Z.
        steps: of the annealing that draws them.
    """

    samples: int = 1000
    steps: int = 200

    def __post_init__(self) -> None:
        at_least(self, "evaluation", samples=2, steps=1)


@settings
class EnergySampleOptions:
    """Options of ``sample``.

    Attributes:
        num: samples, drawn by annealing with weights.
        steps: of the annealing.
        seed: of all draws.
    """

    num: int = 1000
    steps: int = 200
    seed: int = 0

    def __post_init__(self) -> None:
        at_least(self, "", num=2, steps=1)
