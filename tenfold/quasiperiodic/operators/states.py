"""Initial states: a site, a finite sum of sites, or arrays on a box."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int64, Num

from tenfold.errors import UsageError
from tenfold.quasiperiodic.operators.long_range import Box

# One finitely supported state {site: amplitude}, several of them, an array (..., N) on a given box, or δ at the centre.
Initial = Mapping[Any, complex] | Sequence[Mapping[Any, complex]] | np.ndarray | None


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
    if isinstance(phi, np.ndarray):
        raise UsageError("an array of amplitudes belongs to a box; pass a Box, or the state as {site: amplitude}")
    middle = tuple(centre)
    given = [{middle: 1.0}] if phi is None else [phi] if isinstance(phi, Mapping) else list(phi)
    found = []
    for state in given:
        rows = [tuple(site) if isinstance(site, tuple | list | np.ndarray) else (site,) for site in state]
        if not rows or any(len(row) != len(middle) for row in rows):
            raise UsageError(f"a state {{site: amplitude}} on Z^{len(middle)} needs sites of {len(middle)} coordinates")
        amplitudes = np.array(list(state.values()))
        _check(amplitudes)
        # Python's integers, as a site may lie anywhere.
        relative = [[int(n) - c for n, c in zip(row, middle, strict=True)] for row in rows]
        found.append(Support(np.array(relative, dtype=np.int64), amplitudes))
    if not found:
        raise UsageError("there is no initial state; give at least one {site: amplitude}")
    return found


def on_box(box: Box, phi: Initial) -> Num[np.ndarray, "*states N"]:
    """The states as an array (..., N): (N,) for one, (S, N) for a sequence.

    Raises UsageError for a site outside the box or an array of another shape."""
    if isinstance(phi, np.ndarray):
        if phi.shape[-1:] != (box.size,):
            raise UsageError(f"the initial state has shape {phi.shape}; the box needs (..., {box.size})")
        _check(phi)
        return phi
    parts = supports(phi, box.centre)
    kind = np.complex128 if any(np.iscomplexobj(a) for _, a in parts) else np.float64
    array = np.zeros((len(parts), box.size), dtype=kind)
    for row, (sites, amplitudes) in enumerate(parts):
        for site, amplitude in zip(sites, amplitudes, strict=True):
            array[row, box.index([int(n) + c for n, c in zip(site, box.centre, strict=True)])] += amplitude
    return array if isinstance(phi, Sequence) else array[0]


def _check(amplitudes: Num[np.ndarray, "*states k"]) -> None:
    if not np.isfinite(amplitudes).all():
        raise UsageError("an amplitude of the initial state is not finite; give finite numbers")
    if not np.any(amplitudes):
        raise UsageError("the initial state is zero; give at least one amplitude")
