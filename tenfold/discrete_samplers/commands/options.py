"""Options of ``compare`` and ``solve``. Imports no PyTorch."""

from typing import Literal

from tenfold.errors import UsageError
from tenfold.settings.checks import at_least, settings


@settings
class CompareOptions:
    """What is compared, and for how long.

    Attributes:
        size: side of the lattice.
        beta: coupling of a bond.
        field: h of spins.
        states: colours of Potts models.
        seconds: of every sampler.
        chains: of every sampler.
        samplers: their names; all that fit by default.
        run: folders of trained samplers of one lattice, which is then the target: jump processes (ising-4x4 and its
            like), masked and autoregressive ones.
        apart: sites that leap together in a jump process are more than so many bonds apart.
        seed: of all draws.
    """

    size: int = 10
    beta: float = 0.4407
    field: float = 0.0
    states: int = 3
    seconds: float = 5.0
    chains: int = 256
    samplers: tuple[str, ...] = ()
    run: tuple[str, ...] = ()
    apart: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        at_least(self, "", size=1, chains=16, states=2, apart=1)
        if not self.seconds > 0:
            raise UsageError(f"seconds is {self.seconds}; give a positive number")


@settings
class SolveOptions:
    """How a graph problem is solved.

    Attributes:
        chains: of simulated annealing.
        sweeps: of each.
        seconds: for the proof; 0 leaves it out.
        run: of a sampler that was trained for the problem (graphs-mis, graphs-cut), or its model folder; it is asked
            for as many samples as there are chains. None by default.
        seed: of all draws.
    """

    chains: int = 64
    sweeps: int = 200
    seconds: float = 10.0
    run: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        at_least(self, "", chains=1, sweeps=1, seconds=0)


Problem = Literal["mis", "clique", "cut"]
