"""Formulas of semi-algebraic sets: unions of intersections of polynomial inequalities, and their Boolean algebra."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

from tenfold.errors import UsageError, suggest
from tenfold.quasiperiodic.sets.polynomials import Poly
from tenfold.settings.values import read, shown

RELATIONS = (">=", "<=", ">", "<", "==")
_OPPOSITE = {">=": ("<",), "<=": (">",), ">": ("<=",), "<": (">=",), "==": ("<", ">")}
MAX_CLAUSES = 4096

Inequality = tuple[Poly, str]
Clause = tuple[Inequality, ...]
F = TypeVar("F", bound="Formula")


@dataclass(frozen=True)
class Formula:
    """How a set is written: ⋃_c ⋂_l {x ∈ [0, 1)^b : P_{c,l}(x) s 0}, s one of >=, <=, >, <, ==.

    Raises UsageError for no clause, an empty one, an unknown relation, or polynomials in different dimensions."""

    clauses: tuple[Clause, ...]

    def __init__(self, clauses: Iterable[Iterable[Inequality]]) -> None:
        try:
            frozen = tuple(tuple((poly, relation) for poly, relation in clause) for clause in clauses)
        except (TypeError, ValueError):
            raise UsageError("a clause is no list of (polynomial, relation) pairs; give a list of such lists") from None
        object.__setattr__(self, "clauses", frozen)
        if not frozen:
            raise UsageError("the set has no clause; give at least one list of polynomial inequalities")
        for number, clause in enumerate(frozen):
            if not clause:
                raise UsageError(f"clause {number} of the set is empty; give at least one polynomial inequality")
            for poly, relation in clause:
                if not isinstance(relation, str) or relation not in RELATIONS:
                    raise UsageError(f"there is no relation {shown(relation)!r}{suggest(shown(relation), RELATIONS)}")
                if not isinstance(poly, Poly):
                    raise UsageError(f"clause {number} holds {shown(poly)!r}; expected a Poly and a relation")
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
    def indexed(self) -> list[list[tuple[int, str]]]:
        """The clauses, with the place of each polynomial in ``polynomials``."""
        index = {poly: i for i, poly in enumerate(self.polynomials)}
        return [[(index[poly], relation) for poly, relation in clause] for clause in self.clauses]

    @property
    def degree(self) -> int:
        """B = (number of distinct polynomials) · (largest degree), at least 1."""
        return len(self.polynomials) * max(1, max(p.degree for p in self.polynomials))

    # --- Boolean operations ------------------------------------------------------------------------------

    def __or__(self: F, other: "Formula") -> F:
        self._alike(other)
        return type(self)(dict.fromkeys(self.clauses + other.clauses))

    def __and__(self: F, other: "Formula") -> F:
        self._alike(other)
        return type(self)(_product([self.clauses, other.clauses]))

    def __invert__(self: F) -> F:
        # De Morgan: each clause becomes a union of opposite literals, and these are intersected.
        factors = [
            [((poly, opposite),) for poly, relation in clause for opposite in _OPPOSITE[relation]]
            for clause in self.clauses
        ]
        return type(self)(_product(factors))

    def _alike(self, other: "Formula") -> None:
        if not isinstance(other, Formula):
            raise UsageError(f"a set cannot be combined with {shown(other)!r}; make a set of it first")
        if self.dim != other.dim:
            raise UsageError(f"sets in dimensions {self.dim} and {other.dim} cannot be combined")

    def __str__(self) -> str:
        return " | ".join(" & ".join(f"{poly} {relation} 0" for poly, relation in c) for c in self.clauses)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able: the clauses with exact coefficients, b and the degree."""
        clauses = [[[poly.to_dict(), relation] for poly, relation in clause] for clause in self.clauses]
        return {"b": self.dim, "degree": self.degree, "clauses": clauses}

    @classmethod
    def from_dict(cls: type[F], data: Any) -> F:
        """The set of ``to_dict``, or of a bare list of clauses [[[[coefficient, exponents], …], relation], …].

        Raises UsageError for anything else."""
        clauses: Any = data.get("clauses") if isinstance(data, dict) else data
        try:
            made = [
                [(_polynomial(terms), read(str, relation, "a relation")) for terms, relation in clause]
                for clause in clauses
            ]
        except UsageError:
            raise
        except (TypeError, ValueError, RecursionError):
            raise UsageError("this is no set: expected clauses of [[[coefficient, exponents], …], relation]") from None
        return cls(made)


def _product(factors: Sequence[Sequence[Clause]]) -> Iterable[Clause]:
    size = 1
    for factor in factors:
        size *= len(factor)
        if size > MAX_CLAUSES:
            raise UsageError(f"the combined set would have over {MAX_CLAUSES} clauses; combine fewer or simpler sets")
    joined = (tuple(dict.fromkeys(itertools.chain(*parts))) for parts in itertools.product(*factors))
    return dict.fromkeys(joined)


def _polynomial(terms: Any) -> Poly:
    return Poly.of([e for _, e in terms], [c for c, _ in terms])
