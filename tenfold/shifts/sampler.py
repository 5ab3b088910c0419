"""Evenly spread uniform numbers for batches: diffusion times, dequantisation noise, expectations.

Over the points of a batch and the seeds, every mode is exactly uniform on [0, 1)^d, so that a batch mean is
unbiased; the modes differ in how evenly a batch, and the batches of a run, cover the cube.
"""

import hashlib
from typing import Literal

import numpy as np

from tenfold.errors import UsageError, suggest
from tenfold.shifts.kronecker import Kronecker, generalised_golden

MODES = ("iid", "vdm", "vdm_stream", "jitter", "kronecker")
Mode = Literal["iid", "vdm", "vdm_stream", "jitter", "kronecker"]


class ShiftSampler:
    """Batches of points, a pure function of (seed, batch number): nothing to save, any process can draw any
    part of any batch.

    Modes, for batches of B points:
        iid: independent points.
        vdm: (u_s + i/B) mod 1, one fresh shift u_s a batch (Kingma et al., "Variational diffusion models",
            arXiv 2107.00630, section H); d = 1.
        vdm_stream: the same with u_s = frac(u + s·golden)/B: even in a batch and over batches; d = 1.
        jitter: one uniform point in each of B equal intervals; d = 1.
        kronecker: the shifted Kronecker sequence with generalised golden frequencies, any d.

    >>> sorted(ShiftSampler(mode="vdm").batch(0, 4).ravel() % 0.25 < 0.25)
    [np.True_, np.True_, np.True_, np.True_]
    """

    def __init__(self, dim: int = 1, mode: Mode = "vdm_stream", seed: int = 0) -> None:
        if mode not in MODES:
            raise UsageError(f"there is no mode {mode!r}{suggest(mode, MODES)}")
        if dim != 1 and mode in ("vdm", "vdm_stream", "jitter"):
            raise UsageError(f"mode {mode!r} is one-dimensional, but dim is {dim}; use 'kronecker' or 'iid'")
        self.dim, self.mode, self.seed = dim, mode, seed
        generator = self._generator("offset")
        self._u0 = float(generator.random())
        offsets = [int(v) for v in generator.integers(0, 2**64, dim, dtype=np.uint64)]
        self._kronecker = Kronecker(generalised_golden(dim), offsets)
        self._golden = Kronecker(generalised_golden(1), [int(self._u0 * 2**53) << 11])

    def _generator(self, *key: object) -> np.random.Generator:
        text = "\x1f".join(map(str, ("shift-sampler", self.seed, *key))).encode()
        return np.random.Generator(np.random.Philox(key=int.from_bytes(hashlib.blake2b(text, digest_size=8).digest())))

    def batch(self, number: int, size: int, rank: int = 0, world: int = 1) -> np.ndarray:
        """Batch ``number`` of ``size`` points; of these, rank r of ``world`` gets points r, r + world, ….

        float64 (⌈(size − rank) / world⌉, d) in [0, 1). Raises UsageError for sizes below 1 or a rank outside
        [0, world)."""
        if size < 1 or number < 0:
            raise UsageError(f"batch {number} of {size} points does not exist; numbers start at 0, sizes at 1")
        if not 0 <= rank < world:
            raise UsageError(f"rank {rank} is outside [0, {world})")
        i = np.arange(size, dtype=np.float64)[:, None]
        if self.mode == "kronecker":
            points = self._kronecker.points(number * size, (number + 1) * size)
        elif self.mode == "vdm_stream":
            points = (self._golden.points(number, number + 1)[0, 0] + i) / size
        else:
            generator = self._generator(number)
            if self.mode == "iid":
                points = generator.random((size, self.dim))
            elif self.mode == "vdm":
                points = (generator.random() + i / size) % 1.0
            else:
                points = (i + generator.random((size, 1))) / size
        # (i + u) / B can round up to 1 in the last interval.
        return np.minimum(points, 1.0 - 2.0**-53)[rank::world]
