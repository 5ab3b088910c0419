"""Potentials v on the torus T^b: trigonometric polynomials, step functions and any callable.

All take phases (uint64, mod 2^64), so that a step's edge is decided in exact integers.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64, UInt64

from tenfold.errors import UsageError
from tenfold.quasiperiodic.operators.phases import fixed_point, to_unit


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

    def __init__(self, k: Any, cos: Any, sin: Any, constant: float = 0.0) -> None:
        k = np.atleast_2d(np.asarray(k, dtype=np.int64))
        cos, sin = (np.atleast_1d(np.asarray(c, dtype=np.float64)) for c in (cos, sin))
        if not len(k) == len(cos) == len(sin):
            raise UsageError(f"{len(k)} frequencies k need as many coefficients, not {len(cos)} cos and {len(sin)} sin")
        if not (np.isfinite(cos).all() and np.isfinite(sin).all() and np.isfinite(constant)):
            raise UsageError("a coefficient of the trigonometric polynomial is not finite; give finite numbers")
        self.__dict__.update(k=k, cos=cos, sin=sin, constant=constant)

    @classmethod
    def cosine(cls, amplitude: float = 1.0, k: Sequence[int] = (1,)) -> "TrigPolynomial":
        """amplitude · cos(2π k·x)."""
        return cls(np.array([k]), np.array([amplitude]), np.array([0.0]))

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
        # k·x is reduced mod 1 in exact integers, so that a large k costs no digits.
        turns = (phases[..., None, :] * self.k.astype(np.uint64)).sum(-1, dtype=np.uint64)
        angles = 2 * np.pi * to_unit(turns)
        return self.constant + np.cos(angles) @ self.cos + np.sin(angles) @ self.sin

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

    breaks: tuple[int, ...]
    values: tuple[float, ...]
    torus: int = field(default=1, init=False)

    def __post_init__(self) -> None:
        if not self.breaks or len(self.breaks) != len(self.values):
            raise UsageError(
                f"{len(self.breaks)} breaks need as many values, not {len(self.values)}; give at least one"
            )
        if list(self.breaks) != sorted(set(self.breaks)):
            raise UsageError("the breaks of a step function must increase in [0, 1); sort them and drop repeated ones")
        if not np.isfinite(self.values).all():
            raise UsageError(f"a step function's values {self.values} must be finite")

    @classmethod
    def at(cls, breaks: Sequence[Any], values: Sequence[float]) -> "Steps":
        """Breaks given as numbers in [0, 1) (float, Fraction, '1/3', a named constant)."""
        return cls(tuple(fixed_point(x) for x in breaks), tuple(float(v) for v in values))

    def __call__(self, phases: UInt64[np.ndarray, "*sites 1"]) -> Float64[np.ndarray, "*sites"]:
        """v at phases."""
        edges = np.array(self.breaks, dtype=np.uint64)
        return np.array(self.values)[np.searchsorted(edges, phases[..., 0], side="right") - 1]


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
        points = to_unit(phases)
        values = np.asarray(self.call(points), dtype=np.float64)
        if values.shape != points.shape[:-1]:
            raise UsageError(
                f"the potential {self.name!r} returned shape {values.shape} for points {points.shape}; "
                f"expected {points.shape[:-1]}"
            )
        return values


Potential = TrigPolynomial | Steps | Function
