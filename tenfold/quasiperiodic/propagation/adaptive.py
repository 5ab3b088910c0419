"""Boxes that grow with the state: cheap where the dynamics is localised, at any time.

A sweep whose end holds too much at the edge, or that lost too much through it, is done again from its start in a larger
box, into which the state is put unchanged; what was reached before is kept. The loss of all accepted sweeps bounds the
error as in ``leak.py``, whatever boxes they were done in.
"""

from dataclasses import replace

import numpy as np
from jaxtyping import Num

from tenfold.quasiperiodic.operators.long_range import Box, LongRange
from tenfold.quasiperiodic.operators.states import Initial, on_box
from tenfold.quasiperiodic.propagation.dense import EPS
from tenfold.quasiperiodic.propagation.leak import surface
from tenfold.quasiperiodic.propagation.methods import (
    CHEAPER,
    MOST_DENSE,
    BoxTooSmallError,
    Goal,
    Limit,
    Propagated,
    check_cost,
    choose,
    directions,
    run_in_box,
    spread,
    spread_box,
)
from tenfold.quasiperiodic.propagation.panels import most_times, panel_count, run_panel
from tenfold.shifts.costs import Watch, require

LARGEST_REACH = 1 << 26
_FACTOR = 1.6


def evolve_adaptively(
    system: LongRange, phi: Initial, width: int, goal: Goal, centre: tuple[int, ...]
) -> tuple[Box, Num[np.ndarray, "*batch N"], Propagated, str]:
    """The final box, the initial states in it, what was found, and the method; ``width`` is how far φ reaches.

    Raises BoxTooSmallError where the box would grow beyond 2²⁶ sites."""
    made = system.box(max(32, 4 * system.hopping.range) + width, centre)
    used = goal.method
    if used == "auto":
        batch = np.broadcast_shapes(on_box(made, phi).shape[:-1], made.potential.shape[:-1])
        used = "dense" if choose(made, goal.times, int(np.prod(batch))) == "dense" else "chebyshev"
    while used != "chebyshev":
        states, limit = on_box(made, phi), _limit(made, goal)
        run = run_in_box(made, states, replace(goal, tol=goal.tol / 2, method=used), surface(made), limit)
        if not limit.exceeded:
            return made, states, run, used
        made = _larger(system, made)
        if goal.method == "auto" and made.size > MOST_DENSE:
            used = "chebyshev"
    return _sweeps(system, made, phi, goal)


def _limit(made: Box, goal: Goal, products: int = 0) -> Limit:
    skin, until = surface(made), max(goal.until, 1e-300)
    # What rounding alone leaves everywhere (as a random walk, with FFT products) cannot be grown away.
    noise = 8 * EPS * float(np.sqrt(1 + products))
    lost = noise * skin.strength * float(np.sqrt(max(len(skin.edge), 1)))
    mass = noise**2 * len(made.edge())
    return Limit(max(goal.tol**2, mass), max(goal.tol / until, lost))


def _larger(system: LongRange, made: Box) -> Box:
    reach = int(np.ceil(_FACTOR * (made.shape[0] // 2)))
    if reach > LARGEST_REACH:
        raise BoxTooSmallError(
            f"the adaptive box grew beyond {reach:,} sites: the state spreads; choose a shorter time"
        )
    return system.box(reach, made.centre)


def _embedded(states: Num[np.ndarray, "*batch N"], old: Box, new: Box) -> Num[np.ndarray, "*batch larger"]:
    shaped = states.reshape(*states.shape[:-1], *old.shape)
    by = [(0, 0)] * (states.ndim - 1)
    by += [(n // 2 - o // 2, n // 2 - o // 2) for o, n in zip(old.shape, new.shape, strict=True)]
    return np.pad(shaped, by).reshape(*states.shape[:-1], new.size)


def _sweeps(
    system: LongRange, made: Box, phi: Initial, goal: Goal
) -> tuple[Box, Num[np.ndarray, "*batch N"], Propagated, str]:
    times, tol, progress = goal.times, goal.tol, goal.progress
    start, checked = made, None
    found: list[tuple[np.ndarray, Box, np.ndarray]] = []
    total = Propagated(np.empty((0, 0, 0), dtype=np.complex128))
    for index in directions(times):
        box, state = spread(start, on_box(start, phi))
        mass = (np.abs(state) ** 2).sum(-1)
        until, now, first = float(times[index[-1]]), 0.0, 0
        watch = Watch(f"an evolution to t = {until:g} in boxes that grow", CHEAPER)
        while True:
            skin, limit = surface(box), _limit(box, goal, total.products)
            most = most_times(state.size)
            count = max(panel_count(box, until - now, True), -(-len(index[first:]) // most))
            length = (until - now) / count
            end = until if count == 1 else now + length
            inside = int(np.count_nonzero(np.abs(times[index[first:]]) <= abs(end)))
            here = times[index[first : first + inside]]
            share = 0.5 * tol * abs(length) / abs(until) if until else 0.5 * tol
            if box is not checked:
                check_cost(box, times, len(state))
                held = 2 * len(times) if goal.keep is None else 4 * min(len(times), most)
                require(16 * held * state.size, f"states of {box.size:,} sites at {len(times)} times")
                checked = box
            panel = run_panel(box, state, now, length, here, first, max(share, 1e-17), skin)
            both = np.concatenate([panel.states, panel.last[None]])
            if limit.look(box, both, panel.loss, length):
                larger = spread_box(_larger(system, box), state.shape[:-1])
                state, box = _embedded(state, box, larger), larger
                continue
            kept = total.take(box, panel.states, mass, goal.keep)
            found.append((index[first : first + inside], box, kept))
            total.products += panel.products
            total.polynomial += panel.remainder
            total.loss = total.loss + panel.loss
            state, now, first = panel.last, end, first + inside
            watch(abs(now), abs(until))
            if progress is not None:
                progress(abs(now / until) if until else 1.0)
            if end == until:
                break
        made = box if box.size >= made.size else made
    made = system.box(made.shape[0] // 2, made.centre)
    rows = found[0][2].shape[1]
    if goal.keep is not None:
        order = np.argsort(np.concatenate([at for at, _, _ in found]))
        total.states = np.concatenate([kept for _, _, kept in found])[order]
        return made, on_box(made, phi), total, "chebyshev"
    total.states = np.empty((len(times), rows, made.size), dtype=np.complex128)
    for at, box, states in found:
        total.states[at] = _embedded(states, box, made)
    return made, on_box(made, phi), total, "chebyshev"
