"""Exact suprema over boxes, cubes and half-planes, by walking the critical ones."""

import functools
import itertools

import numpy as np
from jaxtyping import Float64

from tenfold.shifts.costs import Watch

_BOUNDS = "exact=False is quicker, and gives bounds"


def star(x: Float64[np.ndarray, "n d"]) -> float:
    """The star discrepancy of points (n, d), exactly: every corner z made of coordinates of points (or 1) is tried
    with closed counts (too many points) and open ones (too few); O(n^d) after sorting."""
    n, d = x.shape
    if d == 1:
        s = np.sort(x[:, 0])
        rank = np.arange(1, n + 1)
        return float(max((rank / n - s).max(), (s - (rank - 1) / n).max()))
    grids = [np.unique(np.append(x[:, j], 1.0)) for j in range(d)]
    places = [np.searchsorted(g, x[:, j]) for j, g in enumerate(grids)]
    order = np.argsort(places[0], kind="stable")
    rest = tuple(len(g) for g in grids[1:])
    before, upto = (slice(None, -1),) * (d - 1), (slice(1, None),) * (d - 1)
    # volumes of the other sides, and how many points of the slices so far lie at each corner.
    side = functools.reduce(np.multiply.outer, grids[1:])
    # Counts with a row of zeros in front: those one grid step back are the open ones.
    histogram, closed = np.zeros(rest), np.zeros([size + 1 for size in rest])
    worst, at, watch = (
        0.0,
        0,
        Watch(f"the star discrepancy of {n} points in dimension {d}", f"{_BOUNDS}, which are printed"),
    )
    for i, z in enumerate(grids[0]):
        watch(i, len(grids[0]))
        worst = max(worst, float((z * side - closed[before] / n).max()))
        while at < n and places[0][order[at]] == i:
            histogram[tuple(p[order[at]] for p in places[1:])] += 1
            at += 1
        closed[upto] = histogram
        for axis in range(d - 1):
            np.cumsum(closed, axis=axis, out=closed)
        worst = max(worst, float((closed[upto] / n - z * side).max()))
    return float(worst)


def extreme(x: Float64[np.ndarray, "n d"]) -> float:
    """The discrepancy over all boxes of points (n, d), d ≤ 2, exactly: O(n) in d = 1 after sorting, O(n³) in 2."""
    n, d = x.shape
    if d == 1:
        s = np.sort(x[:, 0])
        return max(_over(s, 1.0, n), _under(s, 1.0, n))
    worst = 0.0
    order = np.argsort(x[:, 1], kind="stable")
    u, v = x[order, 0], x[order, 1]
    ends = np.unique(np.concatenate([u, [0.0, 1.0]]))
    watch = Watch(f"the discrepancy of {n} points over all boxes", f"{_BOUNDS}, a factor of four apart or more")
    for i, left in enumerate(ends):
        watch(1 - (1 - i / len(ends)) ** 2)
        for right in ends[i:]:
            width = right - left
            worst = max(worst, _over(v[(u >= left) & (u <= right)], width, n))
            if width > 0:
                worst = max(worst, _under(v[(u > left) & (u < right)], width, n))
    return float(worst)


def _over(s: Float64[np.ndarray, " n"], width: float, n: int) -> float:
    """max over closed intervals of count/n − width · length, ``s`` sorted."""
    if not len(s):
        return 0.0
    i = np.arange(1, len(s) + 1)
    start = np.maximum.accumulate(width * s - (i - 1) / n)
    return float((i / n - width * s + start).max())


def _under(s: Float64[np.ndarray, " n"], width: float, n: int) -> float:
    """max over open intervals of width · length − count/n, ``s`` sorted."""
    i = np.arange(len(s) + 1)
    lows, highs = np.append(0.0, s), np.append(s, 1.0)
    # from lows[a] to highs[b], a ≤ b, there are b − a points strictly between (fewer if some coincide).
    start = np.maximum.accumulate(i / n - width * lows)
    return float((width * highs - i / n + start).max())


def cube(x: Float64[np.ndarray, "n d"]) -> float:
    """The discrepancy over cubes of points (n, d), d ≤ 2, exactly. In d = 2 a worst square has two opposite sides
    held by coordinates of points (or the edge of the unit square): those pairs fix its size, and it slides along
    the other axis; O(n³ log n)."""
    n, d = x.shape
    if d == 1:
        return extreme(x)
    worst = 0.0
    watch = Watch(f"the discrepancy of {n} points over all squares", f"{_BOUNDS}, a factor of four apart or more")
    for turn, (u, v) in enumerate(((x[:, 0], x[:, 1]), (x[:, 1], x[:, 0]))):
        order = np.argsort(v, kind="stable")
        u, v = u[order], v[order]
        ends = np.unique(np.concatenate([u, [0.0, 1.0]]))
        pairs = len(ends) * (len(ends) + 1) // 2
        for i, (left, right) in enumerate(itertools.combinations_with_replacement(ends, 2), 1):
            worst = max(worst, _squares(u, v, left, right, n))
            watch(turn * pairs + i, 2 * pairs)
    return float(worst)


def cube_lower(x: Float64[np.ndarray, "n d"], tries: int = 20_000, seed: int = 0) -> float:
    """A lower bound in any dimension: cubes with a corner at a point and random sides."""
    n, d = x.shape
    generator = np.random.default_rng(seed)
    worst = 0.0
    block = max(1, (1 << 22) // (n * d))
    for begin in range(0, tries, block):
        corner = x[generator.integers(n, size=min(block, tries - begin))]
        side = generator.random(len(corner)) * (1 - corner.max(axis=1))
        far = corner + side[:, None]
        closed = ((x >= corner[:, None]) & (x <= far[:, None])).all(axis=2).sum(axis=1) / n
        opened = ((x > corner[:, None]) & (x < far[:, None])).all(axis=2).sum(axis=1) / n
        worst = max(worst, float((closed - side**d).max()), float((side**d - opened).max()))
    return worst


def _squares(u: Float64[np.ndarray, " n"], v: Float64[np.ndarray, " n"], left: float, right: float, n: int) -> float:
    side = right - left
    worst = 0.0
    s = v[(u >= left) & (u <= right)]
    if len(s):
        # A closed square can begin at a point of its own, or be pushed back to end at 1. Where it begins, rounding
        # of begin + side must not lose the point that holds the far side.
        begins = np.minimum(s, 1.0 - side)
        counts = np.searchsorted(s, begins + side + 1e-15, "right") - np.searchsorted(s, begins, "left")
        worst = max(worst, float(counts.max()) / n - side**2)
    if side > 0:
        t = v[(u > left) & (u < right)]
        begins = np.concatenate([[0.0, 1.0 - side], t, t - side])
        begins = begins[(begins >= 0) & (begins <= 1.0 - side + 1e-15)]
        counts = np.searchsorted(t, begins + side - 1e-15, "left") - np.searchsorted(t, begins + 1e-15, "right")
        worst = max(worst, side**2 - float(np.maximum(counts, 0).min()) / n)
    return float(worst)


def halfplane(x: Float64[np.ndarray, "n 2"]) -> float:
    """sup over half-planes H of |#(points in H)/n − area(H ∩ [0, 1]²)|: O(n³).

    A worst line can be moved until it passes through a point, and turned about it until it meets a second point or
    the area is stationary. Turning about p changes the area at the rate (r₁² − r₂²)/2 of the two parts of the chord
    (r₁, r₂), so it is stationary exactly where p halves the chord: where the boundary of the square meets its mirror
    image in p, at opposite corners of their overlap. Points on the line are counted in or out, whichever is worse."""
    n = len(x)
    worst, watch = (
        0.0,
        Watch(
            f"the half-plane discrepancy of {n} points",
            "fewer points are quicker by the cube of the ratio, and say less",
        ),
    )
    for i, p in enumerate(x):
        watch(i, n)
        others = np.delete(x, i, axis=0) - p
        others = others[(others != 0).any(axis=1)]
        reach = np.minimum(p, 1 - p)  # half the sides of the overlap of the square and its mirror image
        stationary = np.array([[reach[0], reach[1]], [reach[0], -reach[1]], [1.0, 0.0], [0.0, 1.0]])
        directions = np.concatenate([others, stationary])
        directions = directions[(directions != 0).any(axis=1)]
        normals = np.stack([-directions[:, 1], directions[:, 0]], axis=1)
        normals /= np.linalg.norm(normals, axis=1, keepdims=True)
        sides = (x - p) @ normals.T
        tiny = 1e-12
        above, on = (sides > tiny).sum(axis=0), (np.abs(sides) <= tiny).sum(axis=0)
        area = _areas(normals, normals @ p)
        for counted in (above, above + on):
            worst = max(worst, float(np.abs(counted / n - area).max()))
    return worst


def _areas(normals: Float64[np.ndarray, "m 2"], c: Float64[np.ndarray, " m"]) -> Float64[np.ndarray, " m"]:
    """area {y ∈ [0, 1]² : normal · y ≥ c}, for many normals."""
    # Mirror coordinates so that both components are non-negative, then signed squares over the corners.
    a = np.abs(normals)
    shifted = c - np.minimum(normals, 0).sum(axis=1)
    small, large = a.min(axis=1), a.max(axis=1)
    thin = small < 1e-9 * large
    safe = np.where(thin, large, small)

    def part(t: Float64[np.ndarray, " m"]) -> Float64[np.ndarray, " m"]:
        return np.maximum(t, 0.0) ** 2

    below = (part(shifted) - part(shifted - small) - part(shifted - large) + part(shifted - small - large)) / (
        2 * safe * large
    )
    straight = np.clip((shifted - small / 2) / large, 0.0, 1.0)
    return 1.0 - np.where(thin, straight, below)
