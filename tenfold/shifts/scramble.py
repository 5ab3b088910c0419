"""Nested uniform (Owen) scrambling in base 2 by hashing: random access, no stored trees."""

import hashlib
from typing import Any

import numpy as np
from jaxtyping import Float, UInt64
from numpy.typing import DTypeLike

from tenfold.errors import UsageError
from tenfold.settings.arguments import read_all_arguments, read_arguments
from tenfold.shifts import limbs
from tenfold.shifts.arrays import as_table, float_type, indices
from tenfold.shifts.costs import require
from tenfold.shifts.kronecker import Kronecker

DEPTH = 53
_CHUNK = 1 << 14


@read_arguments
def nested_uniform(phases: Any, seed: int) -> UInt64[np.ndarray, "n d"]:
    """Scramble 64-bit phases, coordinates independently: bit k (the most significant is bit 0) is flipped by
    a hash of seed, coordinate, k and the k bits above it, for k < 53; lower bits, below float64's, are hashed as one.

    Distinct numbers stay distinct in their first 53 bits and a uniform number stays uniform. (Owen, "Randomly
    permuted (t, m, s)-nets and (t, s)-sequences", 1995; the tree of random flips is replaced by a hash of its nodes.)
    """
    phases = as_table(phases, "phases")
    if phases.ndim != 2 or phases.dtype != np.uint64:
        raise UsageError(f"phases have shape {phases.shape} and dtype {phases.dtype}; expected uint64 (n, d)")
    out = np.empty_like(phases)
    for j in range(phases.shape[1]):
        keys = _keys(seed, j)
        for begin in range(0, len(phases), _CHUNK):
            x = phases[begin : begin + _CHUNK, j]
            flips = np.zeros_like(x)
            for k in range(DEPTH):
                prefix = x >> np.uint64(64 - k) if k else np.zeros_like(x)
                flips |= (_mix(prefix ^ keys[k]) & np.uint64(1)) << np.uint64(63 - k)
            low = np.uint64((1 << 64 - DEPTH) - 1)
            flips |= _mix((x >> np.uint64(64 - DEPTH)) ^ keys[DEPTH]) & low
            out[begin : begin + _CHUNK, j] = x ^ flips
    return out


def _keys(seed: int, coordinate: int) -> list[np.uint64]:
    text = f"nested-uniform\x1f{seed}\x1f{coordinate}".encode()
    raw = hashlib.shake_128(text).digest(8 * (DEPTH + 1))
    return [np.uint64(int.from_bytes(raw[8 * k : 8 * k + 8])) for k in range(DEPTH + 1)]


def _mix(x: UInt64[np.ndarray, " n"]) -> UInt64[np.ndarray, " n"]:
    # A bijection of 64-bit words whose every output bit depends on every input bit (multiply, xor, shift).
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@read_all_arguments
class Scrambled:
    """A Kronecker sequence behind a nested uniform scramble, with the same random access.

    Raises UsageError for rational coordinates, which have no binary digits modulo q."""

    def __init__(self, sequence: Kronecker, seed: int) -> None:
        if not isinstance(sequence, Kronecker):
            raise UsageError(f"the sequence is a {type(sequence).__name__}; expected a Kronecker sequence")
        if not sequence.binary:
            raise UsageError(
                "a rational frequency counts modulo q and has no binary digits to scramble; shift it instead"
            )
        self.sequence, self.seed = sequence, seed

    @property
    def dim(self) -> int:
        """b."""
        return self.sequence.dim

    def points(self, start: int, stop: int, dtype: DTypeLike = np.float64) -> Float[np.ndarray, "n b"]:
        """Scrambled points start … stop − 1, in [0, 1)."""
        kind = float_type(dtype)
        require(24 * max(stop - start, 0) * self.dim, f"{stop - start} points", "take shorter ranges in turn")
        return limbs.floats(nested_uniform(self.sequence.phases(start, stop), self.seed), kind.type)

    def at(self, n: Any, dtype: DTypeLike = np.float64) -> Float[np.ndarray, "*n b"]:
        """Scrambled points of an array of indices (…,): (…, b)."""
        index, kind = indices(n), float_type(dtype)
        top = self.sequence.limbs_at(index.ravel())[-1]
        return limbs.floats(nested_uniform(top, self.seed), kind.type).reshape(*index.shape, self.dim)
