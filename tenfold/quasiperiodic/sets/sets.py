"""Semi-algebraic sets on the torus: unions of intersections of polynomial inequalities on [0, 1)^b."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from tenfold.errors import UsageError, suggest
from tenfold.quasiperiodic.sets.polynomials import Poly

if TYPE_CHECKING:
    from tenfold.quasiperiodic.sets.covering import Cover
    from tenfold.quasiperiodic.sets.measure import Measure
    from tenfold.quasiperiodic.sets.membership import Membership

RELATIONS = (">=", "<=", ">", "<", "==")
_OPPOSITE = {">=": ("<",), "<=": (">",), ">": ("<=",), "<": (">=",), "==": ("<", ">")}
MAX_CLAUSES = 4096

Literal_ = tuple[Poly, str]


@dataclass(frozen=True)
class Set:
    """⋃_c ⋂_l {x ∈ [0, 1)^b : P_{c,l}(x) s 0}, s one of >=, <=, >, <, ==.

    Coordinates are those of the torus in [0, 1): the point 1 is the point 0. ``degree`` is that of this
    representation, the number of its polynomials times their largest degree; the set may have a better one.

    >>> from tenfold.quasiperiodic.sets.text import parse_set
    >>> band = parse_set("abs(y - x^2) <= 1/50", 2)
    >>> band.degree, band.contains([[0.5, 0.26], [0.5, 0.5]]).tolist()
    (4, [True, False])
    """

    clauses: tuple[tuple[Literal_, ...], ...]

    def __init__(self, clauses: Iterable[Iterable[Literal_]]) -> None:
        frozen = tuple(tuple((poly, relation) for poly, relation in clause) for clause in clauses)
        object.__setattr__(self, "clauses", frozen)
        if not frozen:
            raise UsageError("the set has no clause; give at least one list of polynomial inequalities")
        for number, clause in enumerate(frozen):
            if not clause:
                raise UsageError(f"clause {number} of the set is empty; give at least one polynomial inequality")
            for poly, relation in clause:
                if relation not in RELATIONS:
                    raise UsageError(f"there is no relation {relation!r}{suggest(str(relation), RELATIONS)}")
                if not isinstance(poly, Poly):
                    raise UsageError(f"clause {number} holds {poly!r}; expected a Poly and a relation")
        dims = {poly.dim for clause in frozen for poly, _ in clause}
        if len(dims) > 1:
            raise UsageError(f"the polynomials of the set have {sorted(dims)} variables; expected the same number b")

    @property
    def dim(self) -> int:
        """b."""
        return self.clauses[0][0][0].dim

    @cached_property
    def polynomials(self) -> tuple[Poly, ...]:
        """The distinct polynomials, in order of appearance."""
        return tuple(dict.fromkeys(poly for clause in self.clauses for poly, _ in clause))

    @property
    def degree(self) -> int:
        """B = (number of distinct polynomials) · (largest degree), at least 1."""
        return len(self.polynomials) * max(1, max(p.degree for p in self.polynomials))

    @cached_property
    def membership(self) -> "Membership":
        """The compiled test."""
        from tenfold.quasiperiodic.sets.membership import Membership

        return Membership(self)

    def contains(self, x: Any) -> np.ndarray:
        """Whether points (…, b), floats taken exactly, lie in the set: bool (…,), decided exactly."""
        points = np.asarray(x, dtype=np.float64)
        if points.shape[-1:] != (self.dim,):
            raise UsageError(
                f"points have shape {points.shape}, but the set has b = {self.dim}; expected (…, {self.dim})"
            )
        flat = points.reshape(-1, self.dim)
        if not ((flat >= 0) & (flat <= 1)).all():
            raise UsageError("a point lies outside [0, 1]; reduce coordinates modulo 1 first")
        return self.membership.of_floats(flat).reshape(points.shape[:-1])

    def cover(self, K: int) -> "Cover":
        """cov(S, K): grid cells of side 1/K that meet the set (see ``covering.cover``)."""
        from tenfold.quasiperiodic.sets.covering import cover

        return cover(self, K)

    def measure(self, tol: float = 1e-4) -> "Measure":
        """Lebesgue measure, exact or between rigorous bounds (see ``measure.measure``)."""
        from tenfold.quasiperiodic.sets.measure import measure

        return measure(self, tol)

    # --- Boolean operations ------------------------------------------------------------------------------

    def __or__(self, other: "Set") -> "Set":
        self._alike(other)
        return Set(dict.fromkeys(self.clauses + other.clauses))

    def __and__(self, other: "Set") -> "Set":
        self._alike(other)
        return _product([self.clauses, other.clauses])

    def __invert__(self) -> "Set":
        # De Morgan: each clause becomes a union of opposite literals, and these are intersected.
        factors = [
            [((poly, opposite),) for poly, relation in clause for opposite in _OPPOSITE[relation]]
            for clause in self.clauses
        ]
        return _product(factors)

    def _alike(self, other: "Set") -> None:
        if self.dim != other.dim:
            raise UsageError(f"sets in dimensions {self.dim} and {other.dim} cannot be combined")

    def __str__(self) -> str:
        return " | ".join(
            " & ".join(f"{poly} {relation} 0" for poly, relation in clause) for clause in self.clauses
        )  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """JSON-able: the clauses with exact coefficients, b and the degree."""
        clauses = [[[poly.to_dict(), relation] for poly, relation in clause] for clause in self.clauses]
        return {"b": self.dim, "degree": self.degree, "clauses": clauses}

    @classmethod
    def from_dict(cls, data: Any) -> "Set":
        """The set of ``to_dict``, or of a bare list of clauses [[[[coefficient, exponents], …], relation], …].

        Raises UsageError for anything else."""
        clauses: Any = data.get("clauses") if isinstance(data, dict) else data
        try:
            read = [
                [(Poly.of([e for _, e in terms], [c for c, _ in terms]), relation) for terms, relation in clause]
                for clause in clauses
            ]
        except (TypeError, ValueError) as error:
            if isinstance(error, UsageError):
                raise
            raise UsageError("this is no set: expected clauses of [[[coefficient, exponents], …], relation]") from None
        return cls(read)


def _product(factors: Sequence[Sequence[tuple[Literal_, ...]]]) -> Set:
    size = 1
    for factor in factors:
        size *= len(factor)
        if size > MAX_CLAUSES:
            raise UsageError(f"the combined set would have over {MAX_CLAUSES} clauses; combine fewer or simpler sets")
    joined = (tuple(dict.fromkeys(itertools.chain(*parts))) for parts in itertools.product(*factors))
    return Set(dict.fromkeys(joined))
