"""The half-plane discrepancy in the unit square, exactly."""

import numpy as np
from jaxtyping import Float64


def halfplane(x: Float64[np.ndarray, "n 2"]) -> float:
    """sup over half-planes H of |#(points in H)/n − area(H ∩ [0, 1]²)|: O(n³).

    A worst line can be moved until it passes through a point, and turned about it until it meets a second point or
    the area is stationary. Turning about p changes the area at the rate (r₁² − r₂²)/2 of the two parts of the chord
    (r₁, r₂), so it is stationary exactly where p halves the chord: where the boundary of the square meets its mirror
    image in p, at opposite corners of their overlap. Points on the line are counted in or out, whichever is worse."""
    n = len(x)
    worst = 0.0
    for i, p in enumerate(x):
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
