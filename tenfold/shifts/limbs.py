"""Whole numbers modulo 2^64, 2^128 or 2^256 as arrays of 64-bit limbs, least significant first.

A number array is a tuple of L uint64 arrays of one shape. uint64 arithmetic wraps, so that the reduction modulo
2^(64 L) costs nothing.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int64, Shaped, UInt64

Limbs = tuple[UInt64[np.ndarray, "..."], ...]
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


def split(values: Sequence[int] | int, count: int) -> Limbs:
    """Python integers, reduced modulo 2^(64 count), as ``count`` arrays of shape (len(values),) or ()."""
    table = np.array(values, dtype=object)
    return tuple(np.asarray(table >> 64 * i & 0xFFFFFFFFFFFFFFFF, dtype=np.uint64) for i in range(count))


def join(limbs: Limbs) -> Shaped[np.ndarray, "..."]:
    """Python integers (dtype object) of the limbs' shape."""
    total = limbs[0].astype(object)
    for i, limb in enumerate(limbs[1:], start=1):
        total = total + (limb.astype(object) << 64 * i)
    return total


def add(a: Limbs, b: Limbs) -> Limbs:
    """a + b, broadcast."""
    low = a[0] + b[0]
    out, carry = [low], low < b[0]
    for x, y in zip(a[1:], b[1:], strict=True):
        total = x + y
        over = total < y
        total = total + carry
        carry = over | (carry & (total == 0))
        out.append(total)
    return tuple(out)


def negate(a: Limbs) -> Limbs:
    """−a."""
    return add(tuple(~x for x in a), split(1, len(a)))


def multiply(n: UInt64[np.ndarray, "..."], a: Limbs) -> Limbs:
    """n · a, broadcast (schoolbook)."""
    result = tuple(np.zeros(np.broadcast_shapes(n.shape, a[0].shape), dtype=np.uint64) for _ in a)
    for i, limb in enumerate(a):
        high, low = _wide(n, limb)
        nothing = np.zeros_like(low)
        result = add(result, (*[nothing] * i, low, high, *[nothing] * len(a))[: len(a)])
    return result


def multiply_signed(n: Int64[np.ndarray, "..."], a: Limbs) -> Limbs:
    """n · a, broadcast."""
    product = multiply(np.abs(n).astype(np.uint64), a)
    if (n < 0).any():
        product = tuple(np.where(n < 0, x, y) for x, y in zip(negate(product), product, strict=True))
    return product


def _wide(
    a: UInt64[np.ndarray, "..."], b: UInt64[np.ndarray, "..."]
) -> tuple[UInt64[np.ndarray, "*shape"], UInt64[np.ndarray, "*shape"]]:
    """High and low 64 bits of a · b."""
    a1, a0, b1, b0 = a >> _HALF, a & _LOW, b >> _HALF, b & _LOW
    low, middle, other, high = a0 * b0, a1 * b0, a0 * b1, a1 * b1
    carry = ((low >> _HALF) + (middle & _LOW) + (other & _LOW)) >> _HALF
    return high + (middle >> _HALF) + (other >> _HALF) + carry, a * b


def prefix_sums(a: Limbs) -> Limbs:
    """Exclusive sums a_0 + … + a_{i−1} along the first axis, which holds at most 2^31 numbers."""
    # Halves of limbs can be summed that often without overflow; the carries are passed on afterwards.
    sums = []
    carry: np.ndarray | np.uint64 = np.uint64(0)
    for limb in a:
        halves = []
        for half in (limb & _LOW, limb >> _HALF):
            total = np.cumsum(half, axis=0, dtype=np.uint64) - half
            with_carry = total + carry
            halves.append(with_carry & _LOW)
            carry = with_carry >> _HALF
        sums.append(halves[0] | halves[1] << _HALF)
    return tuple(sums)


def floats(
    top: UInt64[np.ndarray, "*shape"], dtype: type = np.float64, out: Float[np.ndarray, "*shape"] | None = None
) -> Float[np.ndarray, "*shape"]:
    """The most significant limb as numbers in [0, 1): its top 53 bits as float64, its top 24 as float32."""
    bits = 24 if np.dtype(dtype) == np.float32 else 53
    kept = (top >> np.uint64(64 - bits)).view(np.int64)
    result = np.empty(top.shape, dtype) if out is None else out
    return np.multiply(kept, np.dtype(dtype).type(2.0**-bits), out=result, casting="unsafe")
