"""Long-range quasi-periodic operators on Z^d: (H u)_n = Σ_m a_{n−m} u_m + λ v(x_n) u_n, x_n on a torus."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import TYPE_CHECKING, Any

import numpy as np

from tenfold.errors import UsageError
from tenfold.quasiperiodic.operators.hopping import Hopping, Kernel
from tenfold.quasiperiodic.operators.phases import Orbit, to_unit
from tenfold.quasiperiodic.operators.potentials import Function, Potential

if TYPE_CHECKING:
    from tenfold.quasiperiodic.operators.boxes import Box


@dataclass(frozen=True)
class LongRange:
    """H = A + λ v(θ + n·Ω) on Z^d.

    ``hopping`` is A, ``potential`` is v on T^b, ``orbit`` gives the phases at the sites (``lattice_orbit``,
    ``skew_orbit``); an orbit with a batch of θ makes a batch of operators, the leading axis of every array. Without
    a potential H is the hopping alone. Raises UsageError where dimensions differ or λ is not finite.

    >>> from tenfold.quasiperiodic.operators.presets import aubry_andre
    >>> aubry_andre(2.0).box(1).dense().round(3).tolist()
    [[-2.949, 1.0, 0.0], [1.0, 4.0, 1.0], [0.0, 1.0, -2.949]]
    """

    hopping: Hopping | Kernel
    potential: Potential | None = None
    orbit: Orbit | None = None
    lam: float = 1.0
    name: str = "long-range operator"

    def __post_init__(self) -> None:
        if not isfinite(self.lam):
            raise UsageError(f"lambda is {self.lam}; the coupling must be a finite number")
        if (self.potential is None) != (self.orbit is None):
            raise UsageError("a potential needs an orbit and an orbit a potential; give both or neither")
        if self.potential is not None and self.orbit is not None:
            if self.orbit.torus != self.potential.torus:
                raise UsageError(
                    f"the potential lives on T^{self.potential.torus}, but the frequencies and theta have "
                    f"{self.orbit.torus} coordinates; give as many"
                )
            if self.orbit.dim != self.hopping.dim:
                raise UsageError(
                    f"the hopping is on Z^{self.hopping.dim}, but the frequencies have {self.orbit.dim} rows; "
                    "give one for each lattice direction"
                )

    @property
    def dim(self) -> int:
        """d."""
        return self.hopping.dim

    def at(self, theta: Any) -> "LongRange":
        """The operator at other phases θ: b numbers, or rows of b for a batch."""
        if self.orbit is None:
            raise UsageError("the operator has no potential, so that there is no theta to choose")
        return replace(self, orbit=self.orbit.at(theta))

    def coupled(self, lam: float) -> "LongRange":
        """The operator with another coupling λ."""
        return replace(self, lam=lam)

    def values(self, lower: Sequence[int], shape: Sequence[int]) -> np.ndarray:
        """λ v at the sites lower + [0, shape) in C order, float64 (N,) or (batch, N).

        Raises UsageError, naming the site, where the potential is singular or not finite."""
        sites = int(np.prod(shape))
        if self.potential is None or self.orbit is None:
            return np.zeros(sites)
        phases = self.orbit.phases(lower, shape)
        potential = self.potential
        if isinstance(potential, Function) and potential.singular is not None:
            self._refuse(potential.singular(to_unit(phases)), lower, shape, potential.reason)
        values = self.lam * potential(phases)
        self._refuse(~np.isfinite(values), lower, shape, "is not finite")
        return values

    def _refuse(self, bad: np.ndarray, lower: Sequence[int], shape: Sequence[int], reason: str) -> None:
        if bad.any():
            at = np.unravel_index(int(np.argmax(bad.reshape(-1, bad.shape[-1]).any(0))), tuple(shape))
            n = tuple(int(a + b) for a, b in zip(at, lower, strict=True))
            raise UsageError(
                f"the potential {reason} at n = {n[0] if len(n) == 1 else n}; choose another theta or another window"
            )

    def box(self, reach: int | Sequence[int], centre: int | Sequence[int] = 0) -> "Box":
        """The restriction to |n_j − centre_j| ≤ reach_j, cut open at the edges."""
        from tenfold.quasiperiodic.operators.boxes import open_box

        return open_box(self, reach, centre)

    def ring(self, size: int | Sequence[int], lower: int | Sequence[int] = 0, approximant: bool = True) -> "Box":
        """The periodic box of ``size_j`` sites from ``lower``.

        With ``approximant`` every frequency is replaced by the nearest p/size, so that the potential closes (sizes
        must then be equal); without, it jumps at the seam."""
        from tenfold.quasiperiodic.operators.boxes import periodic_box

        return periodic_box(self, size, lower, approximant)
