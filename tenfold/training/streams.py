"""Randomness keyed by (seed, purpose, step, global sample index).

Philox4x32-10 (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011) in torch
integer arithmetic. A draw is a pure function of its key, so it does not depend on the number of processes,
on the batch that a sample sits in, or on where a run was interrupted.
"""

import hashlib
import math

import numpy as np
import torch
from torch import Tensor

_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_LOW = 0xFFFFFFFF


def _mulhilo(a: Tensor, b: int) -> tuple[Tensor, Tensor]:
    # The wrapped int64 product holds the right 64 bits; an arithmetic shift and a mask read its upper half.
    product = a * b
    return (product >> 32) & _LOW, product & _LOW


def philox(counter: tuple[Tensor, Tensor, Tensor, Tensor], key: tuple[int, int]) -> tuple[Tensor, ...]:
    """Four 32-bit words (as int64) per counter; counters are int64 tensors of one shape below 2^32."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        high0, low0 = _mulhilo(c0, _MULTIPLIERS[0])
        high1, low1 = _mulhilo(c2, _MULTIPLIERS[1])
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = (k0 + _WEYL[0]) & _LOW, (k1 + _WEYL[1]) & _LOW
    return c0, c1, c2, c3


def key_of(*parts: object) -> int:
    """A 64-bit key from any printable parts (BLAKE2b, the same on every machine)."""
    text = "\x1f".join(str(part) for part in parts).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")


def index_of(rows: np.ndarray) -> Tensor:
    """An index (B,) int64 for ``Draws`` from what each of ``rows`` (B, ...) holds, integers or floats of any width: a
    row draws the same whatever stands beside it."""
    kind = "<i8" if rows.dtype.kind in "iub" else "<f8"
    keys = (hashlib.blake2b(np.ascontiguousarray(row, kind).tobytes(), digest_size=8).digest() for row in rows)
    return torch.tensor([int.from_bytes(key, "little") >> 2 for key in keys], dtype=torch.int64)


class Draws:
    """All draws of one step of a run: ``Draws(seed, step).normal("noise", index, (3, 8, 8))``.

    ``index`` (B,) int64 holds global sample indices; results have shape (B, *shape), live on the device of
    ``index``, and row b depends on (seed, purpose, step, index[b]) alone.
    """

    def __init__(self, seed: int, step: int) -> None:
        self.seed, self.step = seed, step

    def _words(self, purpose: str, index: Tensor, count: int) -> Tensor:
        key = key_of(self.seed, purpose)
        rows = index.to(torch.int64).reshape(-1, 1)
        lanes = torch.arange((count + 3) // 4, device=rows.device).reshape(1, -1)
        shape = (rows.shape[0], lanes.shape[1])
        counter = (
            (rows & _LOW).expand(shape),
            (rows >> 32).expand(shape),
            lanes.expand(shape),
            torch.full(shape, self.step & _LOW, dtype=torch.int64, device=rows.device),
        )
        words = philox(counter, (key & _LOW, key >> 32))
        return torch.stack(words, dim=-1).flatten(1)[:, :count]

    def uniform(
        self, purpose: str, index: Tensor, shape: tuple[int, ...] = (), dtype: torch.dtype = torch.float32
    ) -> Tensor:
        """U[0, 1) with 24 random bits (53 for float64); (B, *shape)."""
        count = math.prod(shape)
        if dtype == torch.float64:
            words = self._words(purpose, index, 2 * count)
            value = ((words[:, 0::2] >> 5) * 67108864 + (words[:, 1::2] >> 6)).to(dtype) * 2.0**-53
        else:
            value = ((self._words(purpose, index, count) >> 8).to(torch.float32) * 2.0**-24).to(dtype)
        return value.reshape(-1, *shape)

    def normal(
        self, purpose: str, index: Tensor, shape: tuple[int, ...] = (), dtype: torch.dtype = torch.float32
    ) -> Tensor:
        """Standard normal by Box-Muller, within ±6.7 (32 random bits a number); (B, *shape)."""
        count = math.prod(shape)
        pairs = (count + 1) // 2
        words = self._words(purpose, index, 2 * pairs).to(torch.float64)
        radius = (-2.0 * ((words[:, :pairs] + 0.5) * 2.0**-32).log()).sqrt()
        angle = words[:, pairs:] * (2.0 * math.pi * 2.0**-32)
        value = torch.cat([radius * angle.cos(), radius * angle.sin()], dim=1)[:, :count]
        return value.to(dtype).reshape(-1, *shape)

    def integers(self, purpose: str, index: Tensor, high: int, shape: tuple[int, ...] = ()) -> Tensor:
        """Integers in [0, high), int64, by 32-bit multiply-shift (bias below high / 2^32); (B, *shape)."""
        words = self._words(purpose, index, math.prod(shape))
        return ((words * high) >> 32).reshape(-1, *shape)

    def generator(self, purpose: str, device: str | torch.device = "cpu") -> torch.Generator:
        """A generator for draws that belong to the step and to no sample (the same on every process)."""
        key = key_of(self.seed, purpose, self.step) & (2**63 - 1)
        return torch.Generator(device=device).manual_seed(key)


def numpy_generator(*parts: object) -> np.random.Generator:
    """A NumPy generator keyed by ``parts``: permutations and host-side choices."""
    return np.random.Generator(np.random.Philox(key=key_of(*parts)))
