"""Initial states: a site, a finite sum of sites, or arrays on a box."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Inexact, Int64, Num

from tenfold.errors import UsageError
from tenfold.quasiperiodic.operators.border import Numbers, amplitudes, whole, wholes
from tenfold.quasiperiodic.operators.long_range import Box

# One finitely supported state {site: amplitude}, several of them, an array (..., N) on a given box (a list of numbers
# too), or δ at the centre.
Initial = Any


class Support(NamedTuple):
    """A finitely supported state: its sites, relative to a centre, and their amplitudes."""

    sites: Int64[np.ndarray, "k d"]
    amplitudes: Num[np.ndarray, " k"]

    @property
    def norm(self) -> float:
        """‖φ‖."""
        return float(np.linalg.norm(self.amplitudes))


def supports(phi: Initial, centre: Sequence[int]) -> list[Support]:
    """Sites relative to ``centre`` (k, d) and amplitudes (k,) of each finitely supported state.

    Raises UsageError for arrays (their sites are those of a box), empty, zero or non-finite states."""
    if is_array(phi):
        raise UsageError("an array of amplitudes belongs to a box; pass a Box, or the state as {site: amplitude}")
    middle = tuple(centre)
    given = [{middle: 1.0}] if phi is None else [phi] if isinstance(phi, Mapping) else list(phi)
    found = []
    for state in given:
        rows = [tuple(site) if isinstance(site, tuple | list | np.ndarray) else (site,) for site in state]
        if not rows or any(len(row) != len(middle) for row in rows):
            raise UsageError(f"a state {{site: amplitude}} on Z^{len(middle)} needs sites of {len(middle)} coordinates")
        values = _checked([state[site] for site in state])
        # Python's integers, as a site may lie anywhere.
        relative = [[whole(n, "a site") - c for n, c in zip(row, middle, strict=True)] for row in rows]
        found.append(Support(wholes(relative, "a site's distance from the centre"), values))
    if not found:
        raise UsageError("there is no initial state; give at least one {site: amplitude}")
    return found


def on_box(box: Box, phi: Initial) -> Num[np.ndarray, "*states N"]:
    """The states as an array (..., N): (N,) for one, (S, N) for a sequence.

    Raises UsageError for a site outside the box or an array of another shape."""
    if is_array(phi):
        states = _checked(phi)
        if states.shape[-1:] != (box.size,):
            raise UsageError(f"the initial state has shape {states.shape}; the box needs (..., {box.size})")
        return states
    parts = supports(phi, box.centre)
    kind = np.complex128 if any(np.iscomplexobj(a) for _, a in parts) else np.float64
    array = np.zeros((len(parts), box.size), dtype=kind)
    for row, (sites, values) in enumerate(parts):
        for site, amplitude in zip(sites, values, strict=True):
            array[row, box.index([int(n) + c for n, c in zip(site, box.centre, strict=True)])] += amplitude
    return array[0] if phi is None or isinstance(phi, Mapping) else array


def is_array(phi: Initial) -> bool:
    """Whether a state is an array of amplitudes on a box, not {site: amplitude} or several of these."""
    if phi is None or isinstance(phi, Mapping):
        return False
    return hasattr(phi, "__array__") or not (isinstance(phi, Sequence) and all(isinstance(x, Mapping) for x in phi))


def _checked(values: Numbers) -> Inexact[np.ndarray, "*states k"]:
    found = amplitudes(values, "an amplitude of the initial state")
    if not found.ndim or not found.size:
        raise UsageError(f"the initial state has shape {found.shape}; give at least one amplitude")
    if not found.any(-1).all():
        raise UsageError("the initial state is zero; give at least one amplitude")
    largest = np.abs(found).max(-1)
    if not ((largest > 1e-100) & (largest < 1e100)).all():
        raise UsageError(f"the initial state's amplitudes reach {largest.max():g}; scale it to a norm near 1")
    return found
