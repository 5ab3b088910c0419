"""The area that two rectangles share by cutting one along the sides of the other, in NumPy: another algorithm than the
package's, for many pairs at once. Also random pairs, near and degenerate ones."""

import numpy as np

Array = np.ndarray


def ring(boxes: Array) -> Array:
    """Corners (n, 4, 2), float64."""
    x, y, w, h, t = boxes.astype(np.float64).T
    signs = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) / 2
    local = signs[None] * np.stack([w, h], -1)[:, None]
    cosine, sine = np.cos(t)[:, None], np.sin(t)[:, None]
    turned = np.stack(
        [local[..., 0] * cosine - local[..., 1] * sine, local[..., 0] * sine + local[..., 1] * cosine], -1
    )
    return turned + np.stack([x, y], -1)[:, None]


def shared_areas(first: Array, second: Array) -> Array:
    """Areas (n,) of the intersections of aligned pairs, by Sutherland and Hodgman's clipping."""
    middle = second[:, :2].copy()
    first, second = first.copy(), second.copy()
    first[:, :2] -= middle
    second[:, :2] -= middle
    points, plane = ring(first), ring(second)
    valid = np.ones(points.shape[:2], dtype=bool)
    for k in range(4):
        points, valid = _cut(points, valid, plane[:, k], plane[:, (k + 1) % 4])
    following = _next_valid(points, valid)
    cross = points[..., 0] * following[..., 1] - points[..., 1] * following[..., 0]
    return np.abs(np.where(valid, cross, 0).sum(1)) / 2


def iou(first: Array, second: Array) -> Array:
    """Of aligned pairs with an area."""
    shared = shared_areas(first, second)
    return shared / (first[:, 2] * first[:, 3] + second[:, 2] * second[:, 3] - shared)


def _cut(points: Array, valid: Array, start: Array, end: Array) -> tuple[Array, Array]:
    """Keep what lies left of the line from start to end; every edge leaves up to two points."""
    along = (end - start)[:, None]
    away = points - start[:, None]
    side = along[..., 0] * away[..., 1] - along[..., 1] * away[..., 0]
    following, side_after = _next_valid(points, valid), _next_valid(side[..., None], valid)[..., 0]
    inside, inside_after = side >= 0, side_after >= 0
    share = side / np.where(side == side_after, 1, side - side_after)
    crossing = points + share[..., None] * (following - points)
    made = np.stack([crossing, following], 2).reshape(len(points), -1, 2)
    kept = np.stack([valid & (inside != inside_after), valid & inside_after], 2).reshape(len(points), -1)
    return made, kept


def _next_valid(values: Array, valid: Array) -> Array:
    """For each valid place the value at the next valid one around the ring."""
    _n, m = valid.shape
    index = np.where(valid, np.arange(m), 2 * m)
    double = np.concatenate([index, index + m], 1)
    double = np.where(double >= 2 * m, 4 * m, double)
    after = np.minimum.accumulate(double[:, ::-1], 1)[:, ::-1][:, 1 : m + 1]
    return np.take_along_axis(values, (np.where(after >= 4 * m, 0, after) % m)[..., None], 1)


def random_pairs(count: int, seed: int) -> tuple[Array, Array]:
    """Pairs of boxes of 1 to 60 pixels that mostly overlap, float64; every tenth pair shares angle, centre or side."""
    draw = np.random.default_rng(seed)

    def boxes() -> Array:
        sides = np.exp(draw.uniform(0, np.log(60), (count, 2)))
        return np.concatenate([draw.uniform(0, 20, (count, 2)), sides, draw.uniform(-np.pi, np.pi, (count, 1))], 1)

    first, second = boxes(), boxes()
    for offset, columns in enumerate(([4], [0, 1], [2, 3], [2, 3, 4], [0, 1, 2, 3], [0, 1, 2, 3, 4])):
        second[offset::60, columns] = first[offset::60, columns]
    second[6::60, 4] = first[6::60, 4] + np.pi / 2
    first[7::60, 4], second[7::60, 4] = 0, np.pi
    first[8::60, 2] = 1e-6
    return first, second
