"""Half-open ranges [low, high) of whole phases."""

from collections.abc import Sequence

Ranges = Sequence[tuple[int, int]]


def widened(points: Sequence[int], reach: int, modulus: int) -> list[tuple[int, int]]:
    """Disjoint ranges [p − reach, p + reach] around whole phases, wrapped."""
    pieces: list[tuple[int, int]] = []
    for p in points:
        low, high = p - reach, p + reach + 1
        if high - low >= modulus:
            return [(0, modulus)]
        if low < 0:
            pieces += [(low + modulus, modulus), (0, high)]
        elif high > modulus:
            pieces += [(low, modulus), (0, high - modulus)]
        else:
            pieces.append((low, high))
    return merged(pieces)


def merged(ranges: Ranges) -> list[tuple[int, int]]:
    """Overlapping and touching ranges as disjoint ones, in order."""
    joined: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if joined and low <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(high, joined[-1][1]))
        else:
            joined.append((low, high))
    return joined
