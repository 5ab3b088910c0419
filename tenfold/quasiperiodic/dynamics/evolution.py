"""Wave packets ψ(t) = e^{−itH} φ on the lattice, in boxes that are certified to be large enough, or in given boxes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite, sqrt
from typing import Any

import numpy as np
from jaxtyping import Complex128, Float64, Inexact

from tenfold.errors import UsageError, suggest
from tenfold.quasiperiodic.facts import facts
from tenfold.quasiperiodic.operators.border import LARGEST, Numbers, choice, real, reals
from tenfold.quasiperiodic.operators.long_range import Box, LongRange
from tenfold.quasiperiodic.operators.states import Initial, Support, is_array, on_box, supports
from tenfold.quasiperiodic.operators.windows import Site, site_of
from tenfold.quasiperiodic.propagation.adaptive import LARGEST_REACH, evolve_adaptively
from tenfold.quasiperiodic.propagation.dense import EPS
from tenfold.quasiperiodic.propagation.front import Front, certified_reach, fronts, moment_tail, truncation_bound
from tenfold.quasiperiodic.propagation.leak import surface
from tenfold.quasiperiodic.propagation.methods import (
    METHODS,
    BoxTooSmallError,
    Goal,
    Keep,
    check_tol,
    choose,
    run_in_box,
)


@dataclass(frozen=True)
class Evolution:
    """States at times, with their error bound.

    ``psi`` complex128 (times, N), or (times, batch, N); ``error_bound`` bounds ‖ψ − ψ_computed‖/‖φ‖ at every time;
    ``parts`` splits it. ``certificate`` says what it rests on: "a priori" (certified box), "a posteriori" (loss through
    the surface, measured), "finite system" (the box is the system), or "estimate". ``rounding`` is the part of floating
    point: from the residual for "dense", else a few last places for every product. ``edge_mass`` is the largest share
    of the mass that a state had in the outermost max(R, 8) layers."""

    box: Box
    times: Float64[np.ndarray, " times"]
    psi: Inexact[np.ndarray, "times *kept"]
    method: str
    tol: float
    error_bound: float
    parts: dict[str, float]
    certificate: str
    edge_mass: float
    products: int
    rounding: float
    initial: Sequence[Support] = field(repr=False, default_factory=list)

    @property
    def reach(self) -> int:
        """L: how far the box reaches from its centre."""
        return min(self.box.shape) // 2

    def moments(
        self, p: Numbers, norm: str = "linf", origin: Site | None = None
    ) -> Float64[np.ndarray, "times *batch"]:
        """⟨|X|^p⟩(t) = Σ |n − origin|^p |ψ_n(t)|², (times, ...) or (times, ..., len(p)) for a list of p."""
        return moments(self.box, self._states(), p, norm, origin)

    def _states(self) -> Complex128[np.ndarray, "times *batch N"]:
        if self.psi.shape[-1] != self.box.size or not np.iscomplexobj(self.psi):
            raise UsageError("the states were not kept; evolve without keep")
        return self.psi

    def moments_error(self, p: Numbers, norm: str = "linf") -> Float64[np.ndarray, " times"]:
        """A bound on the error of ``moments(p, norm)`` about the centre, (times,): ε (2 + ε) ‖φ‖² max|n|^p inside the
        box, ε the ``error_bound`` (relative to ‖φ‖), and the front bound on what is outside; inf where that is not
        bounded (an array of amplitudes, an infinite hopping that was cut off)."""
        p, bound = float(powers(real(p, "p"))[0]), self.error_bound
        with np.errstate(over="ignore"):
            largest = float(self.box.distance(norm).max() ** p)
        mass = max((phi.norm**2 for phi in self.initial), default=1.0)
        inside = largest * bound * (2 + bound) * mass if isfinite(bound) else np.inf
        if self.certificate == "finite system":
            return np.full(len(self.times), inside)
        if not self.initial or self.box.hopping.tail > 0:
            return np.full(len(self.times), np.inf)
        d = len(self.box.shape)
        factor = {"linf": 1.0, "l2": sqrt(d), "l1": float(d)}[norm]
        table = fronts(self.box.hopping)
        outside = [max(moment_tail(table, t, self.reach, phi, p, factor) for phi in self.initial) for t in self.times]
        return inside + np.array(outside)

    def probabilities(self) -> Float64[np.ndarray, "times *batch N"]:
        """|ψ_n(t)|²."""
        return np.abs(self._states()) ** 2

    def norms(self) -> Float64[np.ndarray, "times *batch"]:
        """‖ψ(t)‖."""
        return np.linalg.norm(self._states(), axis=-1)

    def energies(self) -> Float64[np.ndarray, "times *batch"]:
        """⟨ψ(t), H ψ(t)⟩ in the box."""
        return np.real((np.conj(self._states()) * self.box.matvec(self.psi)).sum(-1))

    def to_dict(self) -> dict[str, Any]:
        """What was computed and how well, without the states."""
        return facts(
            self, "method times tol error_bound certificate edge_mass products",
            box=self.box.to_dict(), error_parts=self.parts, rounding_estimate=self.rounding, conventions=CONVENTIONS,
        )  # fmt: skip


BOXES = ("certified", "adaptive")
CONVENTIONS = {
    "evolution": "psi(t) = exp(-i t H) phi",
    "operator": "(H u)_n = sum_m a_m u_(n-m) + lambda v(theta + n.Omega) u_n",
    "error": "norm of the difference, relative to the norm of phi",
    "edge_mass": "share of |psi_n|^2 in the outermost max(R, 8) layers, largest over the times",
}


def evolve(
    system: LongRange | Box,
    phi: Initial = None,
    times: Numbers = (),
    *,
    tol: Numbers = 1e-12,
    method: str = "auto",
    box: str | Site = "certified",
    centre: Site = 0,
    progress: Callable[[float], None] | None = None,
    keep: Keep | None = None,
) -> Evolution:
    """ψ(t) = e^{−itH} φ at ``times`` (any real numbers), to ``tol`` in norm.

    Args:
        system: an operator on Z^d, or a Box that is itself the system (then nothing is lost at its edges).
        phi: {site: amplitude}, a list of such states, an array on a given Box; δ at the centre by default.
        method: "chebyshev", "lanczos", "dense" (N ≤ 2000), "trotter" (rings, error estimated), or "auto".
        box: "certified" chooses the box from an a-priori bound for every real potential; "adaptive" grows it while the
            edge holds more than tol² (cheap where the dynamics is localised); a number L takes |n_j − centre| ≤ L and
            raises BoxTooSmallError when more than ``tol`` of mass reaches the edge.
        progress: called with the fraction that is done.
        keep: ``keep(box, states)`` makes of states (n, S, N) at n of the times the real numbers (n, S, ...) that
            ``psi`` then holds, S the number of states and operators; where memory does not hold all states.

    Raises UsageError for bad arguments, or what memory cannot hold, before any work; it says what more than a minute
    costs."""
    tol = check_tol(tol)
    goal = Goal(check_times(times), tol, choice(method, "method", METHODS), progress, keep)
    parts: list[Support] = []
    lost, certificate = {}, "a posteriori"
    if isinstance(system, Box):
        made, states, certificate = system, on_box(system, phi), "finite system"
        run = run_in_box(made, states, goal)
    elif is_array(phi) and isinstance(box, str):
        raise UsageError("an array of amplitudes belongs to a box; pass the Box, or a state {site: amplitude}")
    elif isinstance(box, str):
        middle = site_of(centre, system.dim)
        parts = supports(phi, middle)
        if box == "certified":
            made, lost["box"], _ = certified_box(system, parts, goal.until, tol / 2, middle)
            states, certificate = on_box(made, phi), "a priori"
            run = run_in_box(made, states, replace(goal, tol=tol / 2))
        elif box == "adaptive":
            width = max(int(np.abs(s).max()) for s, _ in parts)
            made, states, run, used = evolve_adaptively(system, phi, width, goal, middle)
            goal = replace(goal, method=used)
        else:
            raise UsageError(f"there is no box {box!r}{suggest(box, BOXES)}, or give a number of sites")
    else:
        made = system.box(box, centre)
        states, parts = on_box(made, phi), [] if is_array(phi) else supports(phi, made.centre)
        run = run_in_box(made, states, goal, surface(made))
    if certificate == "a posteriori":
        scale = np.linalg.norm(states.reshape(-1, states.shape[-1]), axis=-1)
        lost["box"] = float((np.sqrt(goal.until * run.loss) / scale).max())
    if certificate != "finite system":
        lost["truncated_hopping"] = goal.until * made.hopping.tail
    if run.estimated or (certificate != "finite system" and getattr(made.hopping, "estimated", False)):
        certificate = "estimate"
    # A product by H, and a turn of the phases, add a few last places (measured: tests/quasiperiodic/
    # test_certificates.py), the potential's own error the more the longer it acts.
    turns = goal.until * max(abs(made.interval.low), abs(made.interval.high))
    places = 0.0 if run.rounding else max(run.products, turns)
    rounding = max(run.rounding, 4 * EPS * (places + 8)) + goal.until * made.potential_error
    lost |= {"polynomial": run.polynomial, "rounding": rounding}
    batch = np.broadcast_shapes(states.shape[:-1], made.potential.shape[:-1])
    psi = run.states.reshape(len(goal.times), *batch, *run.states.shape[2:])
    used = goal.method if goal.method != "auto" else choose(made, goal.times, int(np.prod(batch)))
    result = Evolution(
        made, goal.times, psi, used, tol, sum(lost.values()), lost, certificate,
        run.edge_mass, run.products, rounding, parts,
    )  # fmt: skip
    if not isinstance(system, Box) and not isinstance(box, str) and result.edge_mass > tol:
        raise BoxTooSmallError(
            f"the box {made.describe()} is too small: {result.edge_mass:.2g} of the mass reached its edge by t = "
            f"{goal.until:g}, above tol {tol:g}; give a larger box, box='certified' or 'adaptive' (--box), a "
            "shorter time, or evolve the Box itself if it is the system"
        )
    return result


def check_times(times: Numbers) -> Float64[np.ndarray, " times"]:
    """Times as float64 (nt,); UsageError for none or for values that are not finite."""
    sequence = np.atleast_1d(reals(times, "a time")).ravel()
    if not len(sequence):
        raise UsageError("there are no times; give at least one")
    if np.abs(sequence).max() > LARGEST:
        raise UsageError(f"a time is {np.abs(sequence).max():g}; give at most {LARGEST:g}")
    return sequence


def certified_box(
    system: LongRange, parts: Sequence[Support], until: float, tol: float, centre: tuple[int, ...]
) -> tuple[Box, float, list[Front]]:
    """The smallest cube about ``centre`` whose truncation error to time ``until`` is at most ``tol`` times ‖φ‖ for
    every state, that error's bound, and the tabulated fronts."""
    table = fronts(system.hopping)
    reach = max(certified_reach(table, until, tol * phi.norm, phi) for phi in parts)
    if reach > LARGEST_REACH:
        raise UsageError(
            f"the certified box for t = {until:g} reaches {reach:.3g} sites; use box='adaptive' where the dynamics is "
            "localised, or a smaller time"
        )
    made = system.box(reach, centre)
    bound = max(truncation_bound(table, until, [reach] * system.dim, phi) / phi.norm for phi in parts)
    return made, bound, table


def powers(p: Numbers) -> Float64[np.ndarray, " p"]:
    """p as an array; UsageError unless every p is finite and above 0."""
    array = np.atleast_1d(reals(p, "p", finite=False)).ravel()
    if not len(array) or not (np.isfinite(array).all() and (array > 0).all()):
        raise UsageError(f"p is {p}; moments are defined for finite p above 0")
    return array


def moments(
    box: Box, psi: Complex128[np.ndarray, "*batch N"], p: Numbers, norm: str = "linf", origin: Site | None = None
) -> Float64[np.ndarray, "*found"]:
    """Σ |n − origin|^p |ψ_n|² of states (..., N): (...), or (..., len(p)) for a sequence of p."""
    return moments_of_probabilities(box, np.abs(psi) ** 2, p, norm, origin)


def moments_of_probabilities(
    box: Box,
    probabilities: Float64[np.ndarray, "*batch N"],
    p: Numbers,
    norm: str = "linf",
    origin: Site | None = None,
) -> Float64[np.ndarray, "*found"]:
    """Σ |n − origin|^p prob_n of probabilities (..., N)."""
    found = probabilities @ moment_weights(box, powers(p), norm, origin)
    return found if np.ndim(p) else found[..., 0]


def moment_weights(
    box: Box, exponents: Float64[np.ndarray, " p"], norm: str, origin: Site | None = None
) -> Float64[np.ndarray, "N p"]:
    """|n − origin|^p; UsageError where that leaves the range of floats."""
    with np.errstate(over="ignore"):
        weights = box.distance(norm, origin)[:, None] ** exponents
    if not np.isfinite(weights).all():
        raise UsageError(f"p is {exponents.max():g}; |n|^p leaves the range of floats in a box of {box.size} sites")
    return weights
