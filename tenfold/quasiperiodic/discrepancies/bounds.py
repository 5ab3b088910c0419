"""Rigorous bounds of the star discrepancy in any dimension: brackets, and a threshold-accepting search."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float64, Int64

from tenfold.shifts.costs import Watch, require

_BATCH = 256
_STARTS, _STEPS = 32, 400
_CORNERS = _STARTS * (_STEPS + 1)
Points = Float64[np.ndarray, "n d"]


def star_bounds(x: Points, budget: int = 200_000, tol: float = 1e-3) -> tuple[float, float]:
    """low ≤ star discrepancy ≤ high of points (n, d).

    Upper bound by branch and bound over brackets a ≤ z ≤ b of corners z: there
        count[0, z]/n − vol[0, z] ≤ count[0, b]/n − vol[0, a],   vol[0, z] − count[0, z)/n ≤ vol[0, b] − count[0, a)/n,
    and the bracket with the largest bound is halved until ``tol`` or ``budget`` brackets are reached (the brackets
    of Thiémard 2001, chosen by best-first search). Lower bound by the corners met, and by threshold accepting on the
    grid of the points' coordinates (Winker and Fang 1997)."""
    require(32.0 * budget * (x.shape[1] + 1), f"{budget} brackets", "take a smaller budget")
    a, b = np.zeros((1, x.shape[1])), np.ones((1, x.shape[1]))
    bound, reached = _brackets(x, a, b)
    watch = Watch(
        f"bounding the discrepancy of {len(x)} points",
        "a smaller budget, or fewer points, is quicker; the bounds, which are printed, are then further apart",
    )
    # Of a corner that is searched from, two counts are taken; of a bracket three.
    corners = 2.0 * _CORNERS + 3.0 * budget
    low = max(_threshold_accepting(x, lambda done: watch(2 * done * _CORNERS, corners)), reached)
    seen = 1
    while seen < budget and bound.max() > low + tol:
        order = np.argpartition(bound, -min(_BATCH, len(bound)))[-min(_BATCH, len(bound)) :]
        order = order[bound[order] > low]
        keep = np.ones(len(bound), bool)
        keep[order] = False
        keep &= bound > low
        # Halve where the side shrinks the volume most, relative to its upper end.
        rows = np.arange(len(order))
        axis = ((b[order] - a[order]) / b[order]).argmax(axis=1)
        middle = (a[order, axis] + b[order, axis]) / 2
        lower_b, upper_a = b[order].copy(), a[order].copy()
        lower_b[rows, axis] = middle
        upper_a[rows, axis] = middle
        new_a, new_b = np.concatenate([a[order], upper_a]), np.concatenate([lower_b, b[order]])
        new_bound, reached = _brackets(x, new_a, new_b)
        low = max(low, reached)
        seen += len(new_a)
        a, b = np.concatenate([a[keep], new_a]), np.concatenate([b[keep], new_b])
        bound = np.concatenate([bound[keep], new_bound])
        watch(2 * _CORNERS + 3 * seen, corners)
    return low, max(low, float(bound.max(initial=low)))


def _brackets(
    x: Points, a: Float64[np.ndarray, "m d"], b: Float64[np.ndarray, "m d"]
) -> tuple[Float64[np.ndarray, " m"], float]:
    many, few, least = corner_shares(x, b), corner_shares(x, a, np.less), corner_shares(x, b, np.less)
    va, vb = a.prod(axis=1), b.prod(axis=1)
    return np.maximum(many - va, vb - few), float(max((many - vb).max(), (vb - least).max()))


def corner_shares(
    x: Points, z: Float64[np.ndarray, "m d"], compare: np.ufunc = np.less_equal
) -> Float64[np.ndarray, " m"]:
    """The share of the points in the box from 0 to each corner, closed or open."""
    rows = max(1, (1 << 21) // x.size)
    parts = (z[begin : begin + rows, None] for begin in range(0, len(z), rows))
    return np.concatenate([compare(x, part).all(axis=2).sum(axis=1) for part in parts]) / len(x)


def _threshold_accepting(
    x: Points, report: Callable[[float], None], starts: int = _STARTS, steps: int = _STEPS, seed: int = 0
) -> float:
    n, d = x.shape
    generator = np.random.default_rng(seed)
    grids = [np.sort(np.append(x[:, j], 1.0)) for j in range(d)]
    place = generator.integers(0, n + 1, size=(starts, d))
    value = _local(x, grids, place)
    best = float(value.max())
    reach = max(2, n // 10)
    for step in range(steps):
        moved = place.copy()
        chosen = generator.random((starts, d)) < max(0.3, 1.5 / d)
        moved[chosen] += generator.integers(-reach, reach + 1, size=int(chosen.sum()))
        moved = np.clip(moved, 0, n)
        other = _local(x, grids, moved)
        # The threshold falls to 0: early on, slightly worse corners are accepted.
        accept = other >= value - 0.05 * best * (1 - step / steps) ** 2
        place[accept], value[accept] = moved[accept], other[accept]
        best = max(best, float(value.max()))
        reach = max(2, int(reach * 0.99))
        report((step + 1) / steps)
    return best


def _local(x: Points, grids: list[np.ndarray], place: Int64[np.ndarray, "starts d"]) -> Float64[np.ndarray, " starts"]:
    z = np.stack([g[place[:, j]] for j, g in enumerate(grids)], axis=1)
    volume = z.prod(axis=1)
    return np.maximum(corner_shares(x, z) - volume, volume - corner_shares(x, z, np.less))
