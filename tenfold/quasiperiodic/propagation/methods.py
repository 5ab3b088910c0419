"""The evolution of states in one box by a chosen method, with what the method and the box's surface lose."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Complex128, Float64, Inexact, Int, Num

from tenfold.errors import TenfoldError, UsageError
from tenfold.quasiperiodic.operators.border import Numbers, real
from tenfold.quasiperiodic.operators.long_range import Box
from tenfold.quasiperiodic.propagation.bessel import degree
from tenfold.quasiperiodic.propagation.chebyshev import Report
from tenfold.quasiperiodic.propagation.dense import diagonalise, rounding_of
from tenfold.quasiperiodic.propagation.lanczos import DIMENSION, evolve_lanczos
from tenfold.quasiperiodic.propagation.leak import Surface, spectral_loss
from tenfold.quasiperiodic.propagation.panels import most_times, panel_count, run_panels
from tenfold.quasiperiodic.propagation.trotter import evolve_trotter
from tenfold.shifts.costs import Watch, require, say

METHODS = ("auto", "chebyshev", "lanczos", "dense", "trotter")
MOST_DENSE = 2000
CHEAPER = "shorter times, a smaller box, or box='adaptive' where the dynamics is localised are cheaper, and as exact"
_DAYS = 864000.0  # seconds by counted flops beyond which nothing is begun


def check_tol(tol: Numbers) -> float:
    """The tolerance; UsageError for one that double precision cannot meet, or that asks for nothing."""
    tol = real(tol, "tol")
    if not 1e-14 <= tol < 1:
        raise UsageError(f"tol is {tol:g}; double precision supports 1e-14 and above, and tol must be below 1")
    return tol


class BoxTooSmallError(TenfoldError, ValueError):
    """The state reached the edge of its box: what was computed is not the evolution on the lattice."""


# What is kept of states (n, S, N) in a box, as an array (n, S, ...).
Keep = Callable[[Box, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Goal:
    """ψ at ``times`` to ``tol`` in norm, by ``method``; ``progress`` is called with the fraction done, and ``keep``
    makes of the states what is kept of them."""

    times: Float64[np.ndarray, " times"]
    tol: float
    method: str = "auto"
    progress: Callable[[float], None] | None = None
    keep: Keep | None = None

    @property
    def until(self) -> float:
        """The largest |t|."""
        return float(np.abs(self.times).max())


@dataclass
class Propagated:
    """What a method found in one box: states (times, S, N), or what is kept of them, and the parts of their error; the
    largest share of the mass that was at the edge."""

    states: Inexact[np.ndarray, "times S *kept"]
    products: int = 0
    polynomial: float = 0.0
    loss: Float64[np.ndarray, "_"] = field(default_factory=lambda: np.zeros(1))
    estimated: bool = False
    rounding: float = 0.0
    edge_mass: float = 0.0

    def take(
        self, box: Box, states: Complex128[np.ndarray, "times S N"], scale: Float64[np.ndarray, " S"], keep: Keep | None
    ) -> Inexact[np.ndarray, "times S *kept"]:
        """What is kept of states whose initial mass was ``scale``; looks at their edge."""
        if not np.isfinite(states).all():
            raise TenfoldError("the evolution left the range of floats; scale the operator down")
        mass = (np.abs(states[..., box.edge()]) ** 2).sum(-1) / scale
        self.edge_mass = max(self.edge_mass, float(mass.max(initial=0.0)))
        return states if keep is None else np.array(keep(box, states))  # a copy: a view would hold the states


@dataclass
class Limit:
    """Stops an evolution once the edge holds more than ``mass`` or loses more than ``rate`` a time."""

    mass: float
    rate: float
    exceeded: bool = False

    def look(
        self, box: Box, states: Complex128[np.ndarray, "times S N"], loss: Float64[np.ndarray, " S"], duration: float
    ) -> bool:
        """Whether states at the end of ``duration``, and what they lost in it, exceed the limit."""
        scale = (np.abs(states) ** 2).sum(-1)
        mass = float(((np.abs(states[..., box.edge()]) ** 2).sum(-1) / scale).max())
        self.exceeded = self.exceeded or mass > self.mass
        return self.lost(loss / scale[-1], duration)

    def lost(self, share: Float64[np.ndarray, " S"], duration: float) -> bool:
        """Whether a loss in ``duration``, as shares of the mass, exceeds the limit, or anything did before."""
        self.exceeded = self.exceeded or float(np.sqrt(share.max() / max(abs(duration), 1e-300))) > self.rate
        return self.exceeded


def check_phases(until: float, energy: float) -> None:
    """UsageError where phases t E are beyond what floats tell apart."""
    if not until * energy <= 2.0**50:
        raise UsageError(
            f"t = {until:g} turns phases up to {until * energy:.2g}, which double precision cannot tell apart; give "
            "shorter times"
        )


def check_cost(box: Box, times: Float64[np.ndarray, " times"], batch: int, method: str = "chebyshev") -> None:
    """UsageError for an evolution that counted flops say to take days, or whose phases t E are beyond what floats tell
    apart. What takes minutes is said by the work itself, from its own pace."""
    until = float(np.abs(times).max())
    check_phases(until, max(abs(box.interval.low), abs(box.interval.high)))
    z = box.interval.half_width * until
    seconds = 1e-9 * (1.05 * z + 40) * _step_time(box, batch)
    if method != "dense" and seconds > _DAYS:
        say(seconds, _evolution(box, until), CHEAPER)


def _evolution(box: Box, until: float) -> str:
    products = box.interval.half_width * until
    return f"an evolution to t = {until:g} by about {products:.2g} products of {box.size:,} sites"


def _step_time(box: Box, batch: int) -> float:
    """Nanoseconds of a product and its overhead."""
    return 8e3 + batch * (box.product.flops / 3 + 3 * box.size)


def choose(box: Box, times: Float64[np.ndarray, " times"], batch: int) -> str:
    """The cheaper of "dense" and "chebyshev" by counted flops."""
    n, z = box.size, box.interval.half_width * float(np.abs(times).max())
    if n > MOST_DENSE:
        return "chebyshev"
    sweeps = (1.05 * z + 40) * _step_time(box, batch)
    systems = int(np.prod(box.potential.shape[:-1]))
    return "dense" if systems * (3.0 * n**3 / 3) + len(times) * n * n < sweeps else "chebyshev"


def spread(box: Box, states: Num[np.ndarray, "*batch N"]) -> tuple[Box, Num[np.ndarray, "S N"]]:
    """States and operators broadcast against each other: a box with potential (N,) or (S, N), and states (S, N)."""
    batch = np.broadcast_shapes(states.shape[:-1], box.potential.shape[:-1])
    flat = np.ascontiguousarray(np.broadcast_to(states, (*batch, box.size)).reshape(-1, box.size))
    return spread_box(box, batch), flat


def spread_box(box: Box, batch: tuple[int, ...]) -> Box:
    """A box with a batch of operators broadcast to a batch of states, (S, N)."""
    if box.potential.ndim == 1:
        return box
    potential = np.ascontiguousarray(np.broadcast_to(box.potential, (*batch, box.size))).reshape(-1, box.size)
    wide = replace(box, potential=potential)
    wide.__dict__["product"] = box.product  # may have been chosen by hand
    return wide


def directions(times: Float64[np.ndarray, " times"]) -> Iterator[Int[np.ndarray, " some"]]:
    """The indices of the times ≥ 0, then of those below, each in the order of its size."""
    order = np.argsort(np.abs(times), kind="stable")
    for forwards in (True, False):
        index = order[(times[order] >= 0) == forwards]
        if len(index):
            yield index


def run_in_box(
    box: Box, states: Num[np.ndarray, "*batch N"], goal: Goal, skin: Surface | None = None, limit: Limit | None = None
) -> Propagated:
    """The states at all times, forwards and backwards; ``skin`` is the surface through which a loss is measured."""
    box, flat = spread(box, states)
    times = goal.times
    together = len(times) if goal.keep is None else min(len(times), most_times(flat.size))
    used = goal.method if goal.method != "auto" else choose(box, times, len(flat))
    held = 4 * together + (DIMENSION if used == "lanczos" else 0)
    require(held * flat.size * 16, f"states of {box.size:,} sites at {together} times together")
    if used == "dense" and box.size > MOST_DENSE:
        raise UsageError(f"method 'dense' is for boxes of at most {MOST_DENSE} sites, not {box.size}; use 'chebyshev'")
    check_cost(box, times, len(flat), used)
    shape = flat.shape if goal.keep is None else goal.keep(box, flat[None].astype(np.complex128)).shape[1:]
    kind = np.complex128 if goal.keep is None else np.float64
    run = Propagated(np.empty((len(times), *shape), dtype=kind), loss=np.zeros(len(flat)))
    for index in directions(times):
        if limit is not None and limit.exceeded:
            break
        _one_direction(box, flat, index, replace(goal, times=times[index], method=used), skin, limit, run)
    return run


def _one_direction(
    box: Box,
    flat: Num[np.ndarray, "S N"],
    index: Int[np.ndarray, " times"],
    goal: Goal,
    skin: Surface | None,
    limit: Limit | None,
    run: Propagated,
) -> None:
    times, tol, scale = goal.times, goal.tol, (np.abs(flat) ** 2).sum(-1)
    report = _reporter(box, float(times[-1]), skin is not None, goal.progress)
    if goal.method == "chebyshev":
        for panel in run_panels(box, flat, times, tol, skin, report):
            inside = index[panel.first : panel.first + len(panel.states)]
            run.states[inside] = run.take(box, panel.states, scale, goal.keep)
            run.products += panel.products
            run.polynomial += panel.remainder
            run.loss = run.loss + panel.loss
            both = np.concatenate([panel.states, panel.last[None]])
            if limit is not None and limit.look(box, both, panel.loss, panel.length):
                return
        return
    most = most_times(flat.size) if goal.method == "dense" or goal.keep is not None else len(times)
    worst, nothing = np.zeros(len(flat)), np.zeros(len(flat))

    def take(first: int, states: Complex128[np.ndarray, "n S N"]) -> None:
        nonlocal worst
        run.states[index[first : first + len(states)]] = run.take(box, states, scale, goal.keep)
        if limit is not None:
            limit.look(box, states, nothing, float(times[-1]))
        if skin is not None and len(skin.edge) and goal.method == "lanczos":
            worst = np.maximum(worst, skin.loss(states[..., skin.edge]).max(0))

    if goal.method == "dense":
        watch = Watch(f"states of {box.size} sites at {len(times)} times", "fewer times are quicker, and as exact")
        spectral = diagonalise(box)
        for first in range(0, len(times), most):
            take(first, spectral.evolve(flat, times[first : first + most]))
            watch(first + most, len(times))
        run.rounding = max(run.rounding, rounding_of(box, spectral, flat, abs(float(times[-1])), tol))
        if skin is not None and len(skin.edge):
            run.loss = run.loss + spectral_loss(box, spectral, flat, float(times[-1]))
    else:
        lanczos = goal.method == "lanczos"
        evolve = evolve_lanczos if lanczos else evolve_trotter
        products, error = evolve(box, flat, times, tol, take, most, report=report)
        run.products += products
        run.polynomial = max(run.polynomial, error)
        # Lanczos has no probe between the output times: the largest sampled loss stands for all.
        run.loss = run.loss + abs(float(times[-1])) * worst
        run.estimated = run.estimated or not lanczos or skin is not None
    if limit is not None:
        limit.lost(run.loss / scale, float(times[-1]))


def _reporter(box: Box, until: float, probed: bool, progress: Callable[[float], None] | None) -> Report:
    panels = panel_count(box, until, probed)
    total, done = panels * degree(box.interval.half_width * until / panels), 0
    watch = Watch(_evolution(box, abs(until)), CHEAPER)

    def report(products: int) -> None:
        nonlocal done
        done += products
        watch(done, total)
        if progress is not None:
            progress(min(1.0, done / total))

    return report
