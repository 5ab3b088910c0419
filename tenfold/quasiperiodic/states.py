"""Initial states: a site, a finite sum of sites, or arrays on a box."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tenfold.errors import UsageError
from tenfold.quasiperiodic.boxes import Box

Site = int | tuple[int, ...]
# One finitely supported state {site: amplitude}, several of them, an array (..., N) on a given box, or δ at the centre.
Initial = Mapping[Any, complex] | Sequence[Mapping[Any, complex]] | np.ndarray | None


def supports(phi: Initial, centre: Sequence[int]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Sites relative to ``centre`` (k, d) and amplitudes (k,) of each finitely supported state.

    Raises UsageError for arrays (their sites are those of a box), empty, zero or non-finite states."""
    if isinstance(phi, np.ndarray):
        raise UsageError("an array of amplitudes belongs to a box; pass a Box, or the state as {site: amplitude}")
    middle = tuple(centre)
    given = [{middle: 1.0}] if phi is None else [phi] if isinstance(phi, Mapping) else list(phi)
    found = []
    for state in given:
        sites = np.array([np.atleast_1d(np.asarray(site, dtype=object)) for site in state], dtype=np.int64)
        amplitudes = np.array(list(state.values()))
        if not len(sites) or sites.shape[1] != len(middle):
            raise UsageError(f"a state {{site: amplitude}} on Z^{len(middle)} needs sites of {len(middle)} coordinates")
        _check(amplitudes)
        found.append((sites - np.array(middle), amplitudes))
    if not found:
        raise UsageError("there is no initial state; give at least one {site: amplitude}")
    return found


def on_box(box: Box, phi: Initial) -> np.ndarray:
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
            array[row, box.index((site + np.array(box.centre)).tolist())] += amplitude
    return array if isinstance(phi, Sequence) else array[0]


def _check(amplitudes: np.ndarray) -> None:
    if not np.isfinite(amplitudes).all():
        raise UsageError("an amplitude of the initial state is not finite; give finite numbers")
    if not np.any(amplitudes):
        raise UsageError("the initial state is zero; give at least one amplitude")
