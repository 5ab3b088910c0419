"""Long evolutions in a box as a sequence of Chebyshev sweeps, with what leaves the box measured along the way."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Complex128, Float64, Num

from tenfold.quasiperiodic.operators.long_range import Box
from tenfold.quasiperiodic.propagation.chebyshev import Report, sweep
from tenfold.quasiperiodic.propagation.leak import Surface, nodes

# h τ of one sweep: coefficients lose digits slowly, and long sweeps waste least.
LONGEST = 1e4
# With a probe of the surface: as many Gauss nodes as half of this.
LONGEST_PROBED = 1e3


@dataclass(frozen=True)
class TimePanel:
    """One sweep: ``first`` … are the indices of the output times in it, with their ``states``; ``length`` is that of
    its time interval, ``last`` the states at its end, ``loss`` ∫‖QAPψ‖² over it (0 without a probe)."""

    first: int
    states: Complex128[np.ndarray, "times S N"]
    length: float
    last: Complex128[np.ndarray, "S N"]
    products: int
    remainder: float
    loss: Float64[np.ndarray, " S"]


def panel_count(box: Box, until: float, probed: bool) -> int:
    """How many sweeps a time needs."""
    most = LONGEST_PROBED if probed else LONGEST
    return max(1, int(np.ceil(abs(until) * box.interval.half_width / most)))


def most_times(size: int) -> int:
    """How many times of states with ``size`` amplitudes are held together: half a gigabyte of them."""
    return max(1, (1 << 25) // max(size, 1))


def run_panel(
    box: Box,
    states: Num[np.ndarray, "S N"],
    start: float,
    length: float,
    times: Float64[np.ndarray, " times"],
    first: int,
    tol: float,
    skin: Surface | None,
    report: Report | None = None,
) -> TimePanel:
    """One sweep of ``length`` from ``states`` at ``start``; ``times`` (absolute) lie inside."""
    # The end itself comes last. Panels of one length find their coefficients and nodes in a cache.
    relative = np.concatenate([times - start, [length]])
    targets: list[tuple[np.ndarray, slice | np.ndarray]] = [(relative, slice(None))]
    if skin is None or not len(skin.edge):
        done, loss = sweep(box, states, targets, tol, report), np.zeros(len(states))
    else:
        s, weights, error = nodes(box.interval.half_width, length)
        done = sweep(box, states, [*targets, (s, skin.edge)], tol, report)
        loss = weights @ skin.loss(done.states[1])
        loss += error * skin.strength**2 * np.linalg.norm(states, axis=-1) ** 2
    found = done.states[0]
    return TimePanel(first, found[:-1], length, found[-1], done.products, done.remainder, loss)


def run_panels(
    box: Box,
    states: Num[np.ndarray, "S N"],
    times: Float64[np.ndarray, " times"],
    tol: float,
    skin: Surface | None,
    report: Report | None = None,
) -> Iterator[TimePanel]:
    """Sweeps to the last of ``times`` (ascending in size, one sign), each yielded as it is done."""
    count = panel_count(box, times[-1], skin is not None and len(skin.edge) > 0)
    length, first, start, most = times[-1] / count, 0, 0.0, most_times(states.size)
    ends = [(number + 1) * length for number in range(count - 1)] + [times[-1]]
    # A panel also ends after as many times as are held together.
    ends = sorted({*ends, *times[most - 1 :: most].tolist()}, key=abs)
    for end in ends:
        inside = int(np.count_nonzero(np.abs(times[first:]) <= abs(end)))
        here = times[first : first + inside]
        panel = run_panel(box, states, start, end - start, here, first, tol / len(ends), skin, report)
        yield panel
        states, start = panel.last, end
        first += inside
