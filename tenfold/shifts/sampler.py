"""Evenly spread uniform numbers for batches: diffusion times, dequantisation noise, expectations.

Over the points of a batch and the seeds, every mode is exactly uniform on [0, 1)^d, so that a batch mean is
unbiased; the modes differ in how evenly a batch, and the batches of a run, cover the cube.
"""

import hashlib
import warnings
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float, Float64
from numpy.typing import DTypeLike
from scipy.special import ndtri
from scipy.stats import qmc

from tenfold.errors import UsageError, suggest
from tenfold.settings.arguments import read_all_arguments
from tenfold.settings.values import read
from tenfold.shifts.arrays import below_one, float_type
from tenfold.shifts.costs import Watch, require
from tenfold.shifts.frequency import Frequency
from tenfold.shifts.kronecker import Kronecker
from tenfold.shifts.scramble import Scrambled
from tenfold.shifts.skew import SkewShift

MODES = ("iid", "vdm", "vdm_stream", "jitter", "kronecker", "sobol")


@read_all_arguments
class ShiftSampler(qmc.QMCEngine):
    """Batches of points, a pure function of (seed, batch number, batch size): any process can draw any part of any
    batch. ``next`` reads them in order, and its state is a counter. It is an engine of ``scipy.stats.qmc``: ``random``
    is ``next`` of one process, and ``scipy.integrate.qmc_quad`` takes it.

    Modes, for batches of B points:
        iid: independent points.
        vdm: (u_s + i/B) mod 1, one fresh shift u_s a batch (Kingma et al., "Variational diffusion models",
            arXiv 2107.00630, section H); d = 1.
        vdm_stream: the same with u_s = frac(u + s·golden)/B: even in a batch and over batches; d = 1.
        jitter: one uniform point in each of B equal intervals; d = 1.
        kronecker: the shifted Kronecker sequence with generalised golden frequencies, any d, or with those given.
        sobol: the scrambled Sobol' sequence of SciPy in multiples of 2^−32, any d up to 21201; best at totals that are
            powers of two.

    Args:
        dim: d.
        mode: one of the above.
        seed: of every random number; a generator of NumPy is asked for one.
        frequency: of mode "kronecker", what ``Frequency.of`` reads, with d components.

    >>> sorted(ShiftSampler(mode="vdm").batch(0, 4).ravel() % 0.25 < 0.25)
    [np.True_, np.True_, np.True_, np.True_]
    """

    def __init__(self, dim: int = 1, mode: str = "vdm_stream", seed: Any = 0, frequency: Any = None) -> None:
        if mode not in MODES:
            raise UsageError(f"there is no mode {mode!r}{suggest(mode, MODES)}")
        if dim < 1:
            raise UsageError(f"dim is {dim}; a sequence has at least one dimension")
        if dim != 1 and mode in ("vdm", "vdm_stream", "jitter"):
            raise UsageError(f"mode {mode!r} is one-dimensional, but dim is {dim}; use 'kronecker' or 'iid'")
        if dim > qmc.Sobol.MAXDIM and mode == "sobol":
            raise UsageError(f"dim is {dim}; a Sobol' sequence has at most {qmc.Sobol.MAXDIM}")
        if frequency is not None and mode != "kronecker":
            raise UsageError(f"mode {mode!r} has no frequency; leave it away or use mode 'kronecker'")
        self._alpha = None if frequency is None else Frequency.of(frequency)
        if self._alpha is not None and self._alpha.dim != dim:
            raise UsageError(f"the frequency {self._alpha} has {self._alpha.dim} components, but dim is {dim}")
        self.dim, self.mode = dim, mode
        self.seed = int(seed.integers(2**63)) if isinstance(seed, np.random.Generator) else read(int, seed, "seed")
        super().__init__(dim, rng=np.random.default_rng(abs(self.seed)))
        # What repeats it with another seed, as SciPy asks of its engines.
        self._init_quad = {"dim": dim, "mode": mode, "frequency": frequency}
        self._batches = self.num_generated = 0
        self._shape: tuple[int, int] | None = None

    def _generator(self, *key: object) -> np.random.Generator:
        text = "\x1f".join(map(str, ("shift-sampler", self.seed, *key))).encode()
        return np.random.Generator(np.random.Philox(key=int.from_bytes(hashlib.blake2b(text, digest_size=8).digest())))

    @cached_property
    def _kronecker(self) -> Kronecker:
        generator = self._generator("offset")
        generator.random()  # what vdm_stream begins with
        offsets = [int(v) for v in generator.integers(0, 2**64, self.dim, dtype=np.uint64)]
        return Kronecker((self._alpha or Frequency.rd(self.dim)).fixed(64), offsets)

    @cached_property
    def _golden(self) -> Kronecker:
        start = int(float(self._generator("offset").random()) * 2**53) << 11
        return Kronecker(Frequency.rd(1).fixed(64), [start])

    @cached_property
    def _sobol(self) -> qmc.Sobol:
        return qmc.Sobol(self.dim, bits=32, rng=int(self._generator("sobol").integers(2**63)))

    # --- random access -----------------------------------------------------------------------------------

    def batch(self, number: int, size: int, rank: int = 0, world: int = 1) -> Float64[np.ndarray, "n dim"]:
        """Batch ``number`` of ``size`` points; of these, rank r of ``world`` gets points r, r + world, ….

        float64 (⌈(size − rank) / world⌉, d) in [0, 1). Raises UsageError for sizes below 1 or a rank outside
        [0, world)."""
        if size < 1 or number < 0:
            raise UsageError(f"batch {number} of {size} points does not exist; numbers start at 0, sizes at 1")
        return self._draw(number, number * size, size, rank, world)

    def _draw(self, number: int, start: int, size: int, rank: int, world: int) -> Float64[np.ndarray, "n dim"]:
        if not 0 <= rank < world:
            raise UsageError(f"rank {rank} is outside [0, {world})")
        require(3.0 * size * self.dim * 8, f"a batch of {size} points", "draw smaller batches")
        i = np.arange(size, dtype=np.float64)[:, None]
        if self.mode == "kronecker":
            points = self._kronecker.points(start, start + size)
        elif self.mode == "sobol":
            points = self._sobol_points(start, size)
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

    def _sobol_points(self, start: int, size: int) -> Float64[np.ndarray, "{size} dim"]:
        if start + size > 1 << 32:
            raise UsageError(f"point {start + size} is beyond the 2^32 of a Sobol' sequence; take mode 'kronecker'")
        if self._sobol.num_generated > start:
            self._sobol.reset()
        first = self._sobol.num_generated
        watch = Watch(f"going to point {start} of a Sobol' sequence", "mode 'kronecker' is there at once")
        while self._sobol.num_generated < start:
            self._sobol.fast_forward(min(1 << 16, start - self._sobol.num_generated))
            watch(self._sobol.num_generated - first, start - first)
        with warnings.catch_warnings():  # about sizes that are no power of two: the class docstring says so
            warnings.simplefilter("ignore", UserWarning)
            return np.asarray(self._sobol.random(size))

    # --- the stream --------------------------------------------------------------------------------------

    def next(
        self, batch: int, rank: int = 0, world: int = 1, dtype: DTypeLike = np.float64, device: str | None = None
    ) -> Any:
        """The next batch of ``batch`` points (over all processes), of which rank r of ``world`` gets r, r + world, ….

        ``dtype`` float64, or float32 (rounded down, so below 1). With a ``device`` ("cpu", "cuda") a torch tensor.
        Raises UsageError in mode "vdm_stream" when batch size or world change under way: its batches interleave
        only at one size."""
        points = self._following(batch, rank, world)
        self.num_generated += batch
        return _converted(points, dtype, device)

    def _following(self, batch: int, rank: int = 0, world: int = 1) -> Float64[np.ndarray, "n dim"]:
        self._require_batch(batch, world)
        points = self._draw(self._batches, self.num_generated, batch, rank, world)
        self._batches, self._shape = self._batches + 1, (batch, world)
        return points

    def _require_batch(self, batch: int, world: int) -> None:
        if batch < 1:
            raise UsageError(f"a batch has {batch} points; expected at least 1")
        if self.mode == "vdm_stream" and self._shape not in (None, (batch, world)):
            raise UsageError(
                f"mode 'vdm_stream' began with batches of {self._shape[0]} on {self._shape[1]} processes and cannot "
                f"go on with {batch} on {world}; keep both, or start a new sampler"
            )

    def _random(self, n: int = 1, *, workers: int = 1) -> Float64[np.ndarray, "n dim"]:
        return self._following(n)  # the engine counts the points

    def reset(self) -> "ShiftSampler":
        """Begin again; returns the sampler."""
        self._batches = self.num_generated = 0
        self._shape = None
        return self

    def fast_forward(self, n: int) -> "ShiftSampler":
        """Leave out a batch of ``n`` points, at no cost; returns the sampler."""
        self._require_batch(n, 1)
        self._batches, self.num_generated, self._shape = self._batches + 1, self.num_generated + n, (n, 1)
        return self

    def gaussian(
        self, batch: int, rank: int = 0, world: int = 1, dtype: DTypeLike = np.float64, device: str | None = None
    ) -> Any:
        """``next`` through the inverse of the normal distribution function: standard normal numbers (n, d). Uniform
        numbers are kept 2^−53 (float64) or 2^−24 (float32) away from 0 and 1."""
        margin = 2.0**-24 if float_type(dtype) == np.float32 else 2.0**-53
        points = np.clip(self.next(batch, rank, world), margin, 1.0 - margin)
        return _converted(ndtri(points), dtype, device, uniform=False)

    def state_dict(self) -> dict[str, Any]:
        """How far ``next`` has come, and what the sampler is; JSON-able."""
        return {
            "mode": self.mode, "dim": self.dim, "seed": self.seed, "batches": self._batches,
            "points": self.num_generated, "shape": list(self._shape) if self._shape else None,
        }  # fmt: skip

    def load_state_dict(self, state: Any) -> None:
        """Go on where a saved sampler stopped. Raises UsageError for the state of another mode, dimension or seed."""
        names = {"mode", "dim", "seed", "batches", "points", "shape"}
        missing = names - set(state) if isinstance(state, dict) else names
        if missing:
            raise UsageError(f"this is no state of a sampler: it lacks {', '.join(sorted(missing))}")
        for name in ("mode", "dim", "seed"):
            if state[name] != getattr(self, name):
                raise UsageError(f"the state has {name} {state[name]!r}, but this sampler {getattr(self, name)!r}")
        shape = read(tuple[int, int] | None, state["shape"] or None, "shape")
        self._batches, self.num_generated = (read(int, state[name], name) for name in ("batches", "points"))
        self._shape = shape


def _converted(points: Float64[np.ndarray, "n dim"], dtype: DTypeLike, device: str | None, uniform: bool = True) -> Any:
    kind = float_type(dtype)
    points = below_one(points, kind) if uniform else points.astype(kind, copy=False)
    if device is None:
        return points
    import torch

    try:
        return torch.from_numpy(np.ascontiguousarray(points)).to(device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"device is {device!r}: {str(error).splitlines()[0]}") from None


@read_all_arguments
class Stream:
    """The points of a sequence in order; process ``rank`` of ``world`` takes points n ≡ rank (mod world).

    All processes advance together: a batch of B consumes B · world indices.

    >>> stream = Stream(Kronecker("golden"))
    >>> stream.next(2).ravel().round(3).tolist(), stream.state_dict()
    ([0.0, 0.618], {'counter': 2, 'world': 1})
    """

    def __init__(self, sequence: Kronecker | Scrambled | SkewShift, rank: int = 0, world: int = 1) -> None:
        if not 0 <= rank < world:
            raise UsageError(f"rank {rank} is outside [0, {world})")
        if not hasattr(sequence, "points"):
            raise UsageError(f"the sequence is a {type(sequence).__name__}; expected a Kronecker sequence, say")
        self.sequence, self.rank, self.world, self.counter = sequence, rank, world, 0

    def next(self, batch: int) -> Float[np.ndarray, "{batch} dim"]:
        """The next ``batch`` points of this process."""
        if batch < 1:
            raise UsageError(f"a batch has {batch} points; expected at least 1")
        stop = self.counter + batch * self.world
        points = self.sequence.points(self.counter, stop)[self.rank :: self.world]
        self.counter = stop
        return points

    def state_dict(self) -> dict[str, int]:
        """How far the stream has come."""
        return {"counter": self.counter, "world": self.world}

    def load_state_dict(self, state: Any) -> None:
        """Go on where a saved stream stopped, on any number of processes: the counter is the whole sequence's."""
        try:
            self.counter = read(int, state["counter"], "counter")
        except (LookupError, TypeError, ValueError):
            raise UsageError(f"{state!r} is no state of a stream; expected a dictionary with a 'counter'") from None
