"""Counting in dimension 1 in O(log N): sums of floors."""

from collections.abc import Iterator

from tenfold.quasiperiodic.sets.ranges import Ranges


def floor_sum(n: int, m: int, a: int, b: int) -> int:
    """Σ_{i<n} ⌊(a i + b)/m⌋ for n, a, b ≥ 0 and m ≥ 1, by the Euclid-like recursion, in whole numbers.

    >>> floor_sum(4, 10, 6, 3) == sum((6 * i + 3) // 10 for i in range(4))
    True
    """
    total = 0
    while n:
        if a >= m:
            total += (n - 1) * n // 2 * (a // m)
            a %= m
        if b >= m:
            total += n * (b // m)
            b %= m
        top = a * n + b
        if top < m:
            break
        n, b = divmod(top, m)
        m, a = a, m
    return total


def count_in(ranges: Ranges, start: int, step: int, modulus: int, n: int) -> int:
    """#{0 ≤ i < n : (start + i · step) mod modulus lies in one of the disjoint ranges [low, high)}."""
    total = 0
    for low, high in ranges:
        total += floor_sum(n, modulus, step, start - low + modulus) - floor_sum(
            n, modulus, step, start - high + modulus
        )
    return total


def first_in(ranges: Ranges, start: int, step: int, modulus: int, n: int) -> int | None:
    """The least 0 ≤ i < n in one of the ranges, by bisection on the count: O(log² n); None without."""
    if count_in(ranges, start, step, modulus, n) == 0:
        return None
    low, high = 0, n  # count(low) = 0 < count(high)
    while high - low > 1:
        middle = (low + high) // 2
        if count_in(ranges, start, step, modulus, middle):
            high = middle
        else:
            low = middle
    return low


def list_in(ranges: Ranges, start: int, step: int, modulus: int, n: int) -> Iterator[int]:
    """All such i in order, O(log² n) each."""
    begin = 0
    while begin < n:
        found = first_in(ranges, (start + begin * step) % modulus, step, modulus, n - begin)
        if found is None:
            return
        yield begin + found
        begin += found + 1
