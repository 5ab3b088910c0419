"""Potentials v on the torus T^b: trigonometric polynomials, step functions and any callable.

All take phases (uint64, mod 2^64), so that a step's edge is decided in exact integers.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import tau
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64, UInt64

from tenfold.errors import UsageError
from tenfold.quasiperiodic.operators.border import Numbers, Whole, real, reals, whole, wholes
from tenfold.quasiperiodic.operators.phases import PHASE_ERROR, fixed_point, to_unit

# 2π/2²⁶: its 26 leading bits, and the rest (2π is math.tau and 2.449…e-16 more).
_LEADING = round(tau * 2**23) * 2.0**-49
_TRAILING = (tau - round(tau * 2**23) * 2.0**-23) * 2.0**-26 + 2.4492935982947064e-16 * 2.0**-26


_CHUNK = 1 << 13  # points whose angles stay in the processor's cache
# The phases of a box, made where they are needed.
Phases = Callable[[], UInt64[np.ndarray, "*sites b"]]


def _waves(angles: Float64[np.ndarray, "*a"]) -> tuple[Float64[np.ndarray, "*a"], Float64[np.ndarray, "*a"]]:
    return np.cos(angles), np.sin(angles)


@dataclass(frozen=True)
class TrigPolynomial:
    """v(x) = constant + Σ_r [cos_r cos(2π k_r·x) + sin_r sin(2π k_r·x)].

    ``k`` holds whole numbers. Raises UsageError where the shapes differ
    or a coefficient is not finite.

    >>> float(TrigPolynomial.cosine(2.0)(np.zeros((1, 1), np.uint64))[0])
    2.0
    """

    k: Int64[np.ndarray, "r b"]
    cos: Float64[np.ndarray, " r"]
    sin: Float64[np.ndarray, " r"]
    constant: float = 0.0

    def __init__(self, k: Numbers, cos: Numbers, sin: Numbers, constant: Numbers = 0.0) -> None:
        k = np.atleast_2d(wholes(k, "a frequency k of the trigonometric polynomial"))
        name = "a coefficient of the trigonometric polynomial"
        cos, sin, constant = np.atleast_1d(reals(cos, name)), np.atleast_1d(reals(sin, name)), real(constant, name)
        if k.ndim != 2 or not k.size or not len(k) == len(cos) == len(sin) or cos.ndim != 1 or sin.ndim != 1:
            raise UsageError(f"{len(k)} frequencies k need as many coefficients, not {len(cos)} cos and {len(sin)} sin")
        self.__dict__.update(k=k, cos=cos, sin=sin, constant=constant)

    @classmethod
    def cosine(cls, amplitude: Numbers = 1.0, k: Numbers = (1,)) -> "TrigPolynomial":
        """amplitude · cos(2π k·x)."""
        return cls([k], [amplitude], [0.0])

    @property
    def torus(self) -> int:
        """b, the number of coordinates."""
        return int(self.k.shape[1])

    @property
    def degree(self) -> int:
        """max |k|₁: the degree as a polynomial in the cosines and sines of the coordinates."""
        return int(np.abs(self.k).sum(1).max(initial=0))

    def __call__(self, phases: UInt64[np.ndarray, "*sites b"]) -> Float64[np.ndarray, "*sites"]:
        """v at phases."""
        return self._sum(*_waves(2 * np.pi * self._turns(phases).astype(np.float64) * 2.0**-64))

    def precise(self, phases: UInt64[np.ndarray, "*sites b"]) -> Float64[np.ndarray, "*sites"]:
        """v at phases with its angles in two parts, so that only the cosines and sums are rounded: slower."""
        found = np.empty(phases.shape[:-1])
        flat, points = found.reshape(-1), phases.reshape(-1, phases.shape[-1])
        for first in range(0, len(flat), _CHUNK):
            flat[first : first + _CHUNK] = self._precise(self._turns(points[first : first + _CHUNK]))
        return found

    def _precise(self, turns: Int64[np.ndarray, "n r"]) -> Float64[np.ndarray, " n"]:
        # 26 bits times the 26 leading bits of 2π/2²⁶ are exact; the rest is an angle below 2^−23.
        high, low = (turns >> np.int64(38)).astype(np.float64), (turns & np.int64((1 << 38) - 1)).astype(np.float64)
        c, s = _waves(high * _LEADING)
        rest = high * _TRAILING + low * (2 * np.pi * 2.0**-64)
        half = 0.5 * rest * rest
        return self._sum(c - (s * rest + c * half), s + (c * rest - s * half))

    def error(self, phases: Phases) -> float:
        """A bound on the error of ``precise``: a last place of the cosines, half a one of each sum, the phases' own."""
        size = float(np.abs(self.cos).sum() + np.abs(self.sin).sum())
        places = (2.5 + 0.5 * len(self.k)) * size + abs(self.constant)
        return places * 2.0**-53 + 2 * np.pi * PHASE_ERROR * self.degree * size

    def _turns(self, phases: UInt64[np.ndarray, "*sites b"]) -> Int64[np.ndarray, "*sites r"]:
        # k·x mod 1 in exact integers, so that a large k costs no digits, from −½ to ½, where floats are finer.
        return (phases[..., None, :] * self.k.astype(np.uint64)).sum(-1, dtype=np.uint64).view(np.int64)

    def _sum(
        self, c: Float64[np.ndarray, "*sites r"], s: Float64[np.ndarray, "*sites r"]
    ) -> Float64[np.ndarray, "*sites"]:
        return self.constant + c @ self.cos + s @ self.sin

    def real(self, x: Any, cos: Callable[[Any], Any], sin: Callable[[Any], Any]) -> Any:
        """v at real points x (..., b) with the given cosine and sine: for arrays of other libraries (autograd)."""
        total = self.constant + 0.0 * x[..., 0]
        for k, a, b in zip(self.k.tolist(), self.cos.tolist(), self.sin.tolist(), strict=True):
            angle = 2 * np.pi * sum(x[..., j] * m for j, m in enumerate(k) if m)
            total = total + a * cos(angle) + b * sin(angle)
        return total


@dataclass(frozen=True)
class Steps:
    """A step function on T¹: ``values[i]`` on [breaks[i], breaks[i + 1]), the last also on [0, breaks[0]).

    Breaks are phases in increasing order (integers mod 2^64; ``Steps.at`` reads real numbers): edges are exact.
    """

    breaks: Sequence[Whole]
    values: Numbers
    torus: int = field(default=1, init=False)

    def __post_init__(self) -> None:
        if not self.breaks or len(self.breaks) != len(self.values):
            raise UsageError(
                f"{len(self.breaks)} breaks need as many values, not {len(self.values)}; give at least one"
            )
        if list(self.breaks) != sorted(set(self.breaks)):
            raise UsageError("the breaks of a step function must increase in [0, 1); sort them and drop repeated ones")
        breaks = tuple(whole(x, "a break", 0, (1 << 64) - 1) for x in self.breaks)
        self.__dict__.update(breaks=breaks, values=tuple(reals(self.values, "a step function's value").tolist()))

    @classmethod
    def at(cls, breaks: Sequence[Any], values: Numbers) -> "Steps":
        """Breaks given as numbers in [0, 1) (float, Fraction, '1/3', a named constant)."""
        return cls(
            tuple(fixed_point(x) for x in breaks),
            tuple(np.atleast_1d(reals(values, "a step function's value")).tolist()),
        )

    def __call__(self, phases: UInt64[np.ndarray, "*sites 1"]) -> Float64[np.ndarray, "*sites"]:
        """v at phases."""
        edges = np.array(self.breaks, dtype=np.uint64)
        return np.array(self.values)[np.searchsorted(edges, phases[..., 0], side="right") - 1]

    precise = __call__

    def error(self, phases: Phases) -> float:
        """0: values are the user's, and edges are exact."""
        return 0.0


@dataclass(frozen=True)
class Function:
    """v given by a callable: float64 points (..., b) in [0, 1) → (...). With torch tensors in, it may return a
    tensor, and can then be differentiated. ``singular`` marks points at which v must not be evaluated, and
    ``reason`` says why."""

    call: Callable[[Any], Any]
    torus: int = 1
    name: str = "v"
    singular: Callable[[np.ndarray], np.ndarray] | None = None
    reason: str = "is singular"

    def __call__(self, phases: UInt64[np.ndarray, "*sites b"]) -> Float64[np.ndarray, "*sites"]:
        """v at phases. Raises UsageError for another shape of the result."""
        return self._at(to_unit(phases))

    precise = __call__

    def error(self, phases: Phases) -> float:
        """An estimate: a few last places, and what a step of the points' spacing changes."""
        points = to_unit(phases())
        values = self._at(points)
        changes = np.abs(self._at(np.minimum(points + 2.0**-53, 1 - 2.0**-53)) - values)
        return float((changes + 4 * 2.0**-53 * np.abs(values)).max(initial=0.0))

    def _at(self, points: Float64[np.ndarray, "*sites b"]) -> Float64[np.ndarray, "*sites"]:
        values = reals(self.call(points), f"the potential {self.name!r}", finite=False)
        if values.shape != points.shape[:-1]:
            raise UsageError(
                f"the potential {self.name!r} returned shape {values.shape} for points {points.shape}; "
                f"expected {points.shape[:-1]}"
            )
        return values


Potential = TrigPolynomial | Steps | Function
