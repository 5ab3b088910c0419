"""The Kronecker sequence θ + n α mod 1 in exact phases: whole numbers modulo 2^64, 2^128, 2^256, or modulo q."""

import copy
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float, Int64, Shaped, UInt64
from numpy.typing import DTypeLike

from tenfold.errors import UsageError
from tenfold.settings.arguments import read_all_arguments, read_arguments
from tenfold.shifts import limbs
from tenfold.shifts.arrays import above, below_one, float_type, indices, output
from tenfold.shifts.costs import require
from tenfold.shifts.diophantine import relation
from tenfold.shifts.frequency import Frequency, Number, offsets

BITS = (64, 128, 256)
CHUNK, ROWS, FEW = 1 << 15, 256, 2048
# A compiled loop in the place of NumPy's, see ``compiled.py``.
FILL: Callable[..., None] | None = None


@read_arguments
def generalised_golden(dim: int) -> tuple[int, ...]:
    """The frequencies (g⁻¹, …, g⁻ᵈ) mod 1, g the positive root of g^{d+1} = g + 1, as 64-bit phases.

    d = 1 gives the golden ratio's 0.618…, d = 2 the plastic number's (Roberts' R_d sequence). Raises UsageError
    for dim < 1."""
    return Frequency.rd(dim).fixed(64)


@read_all_arguments
class Kronecker:
    """Points x_n = θ + n α mod 1 for any whole n, at the same cost at every n.

    Coordinate j is (Θ_j + n A_j) mod M_j over M_j. For an irrational α_j, M_j = 2^bits and A_j = ⌊α_j 2^bits⌋, so
    that the orbit of the stored A_j is exact and differs from the real one by at most |n| 2^−bits (plus 2^−bits for
    a rounded θ_j). For a rational α_j, M_j is the common denominator of α_j and θ_j, and nothing is rounded.

    Args:
        frequencies: a Frequency or what ``Frequency.of`` reads; a sequence of whole numbers means 64-bit phases.
        theta: θ, one number for all coordinates or one each (float, Fraction, "p/q", decimal string); phases where
            the frequencies are phases.
        bits: 64, 128 or 256; 64 for phases, otherwise 128.
        allow_resonant: accept a vector with a relation k · α ∈ Z of small whole numbers k; refused by default, as
            its orbit is not dense.

    >>> Kronecker(generalised_golden(1)).points(0, 3).ravel().round(3).tolist()
    [0.0, 0.618, 0.236]
    >>> Kronecker("3/7", theta="1/2", allow_resonant=True).integers(0, 3).ravel().tolist()
    [7, 13, 5]
    """

    def __init__(
        self, frequencies: Any, theta: Any = 0, bits: int | None = None, *, allow_resonant: bool = False
    ) -> None:
        phases = _are_phases(frequencies)
        self.frequency = Frequency.from_phases(frequencies) if phases else Frequency.of(frequencies)
        self.bits = bits if bits is not None else 64 if phases else 128
        if self.bits not in BITS:
            raise UsageError(f"bits is {bits}; expected 64, 128 or 256")
        self.theta = offsets(theta, self.frequency.dim, phases)
        if not phases and not allow_resonant:
            self._refuse_relation()
        alphas, starts = self.frequency.components, self.theta
        self.moduli = tuple(_modulus(a, t, self.bits) for a, t in zip(alphas, starts, strict=True))
        self.steps = tuple(a.over(m) for a, m in zip(alphas, self.moduli, strict=True))
        self.starts = tuple(
            t.rounded(self.bits) if m == 1 << self.bits else t.over(m) for t, m in zip(starts, self.moduli, strict=True)
        )
        self._step_slack, self._start_slack = (
            tuple(int(not x.exact_over(m)) for x, m in zip(numbers, self.moduli, strict=True))
            for numbers in (alphas, starts)
        )
        # The real sequence: x_n = origin + (offset + n · step) · base.
        self._base_alpha, self._origin, self._offset, self._multiple = self.frequency.components, self.theta, 0, 1
        self._warned = False

    @property
    def dim(self) -> int:
        """b, the dimension of the torus."""
        return self.frequency.dim

    @property
    def binary(self) -> bool:
        """Whether every coordinate is counted modulo 2^bits."""
        return all(m == 1 << self.bits for m in self.moduli)

    def slack(self, n: int) -> tuple[int, ...]:
        """How far the real point n can lie from the stored one, in units of 1/M_j per coordinate."""
        return tuple(abs(n) * a + t for a, t in zip(self._step_slack, self._start_slack, strict=True))

    def phase_error(self, n: int) -> float:
        """Largest distance between the real and the stored point n, over the coordinates."""
        return above(max(Fraction(s, m) for s, m in zip(self.slack(n), self.moduli, strict=True)))

    # --- points ------------------------------------------------------------------------------------------

    def points(
        self, start: int, stop: int, dtype: DTypeLike = np.float64, out: Shaped[np.ndarray, "..."] | None = None
    ) -> Float[np.ndarray, "n b"]:
        """Points start … stop − 1 in [0, 1), float64 rounded down to 53 bits or float32 rounded
        down to 24.

        Raises UsageError for a reversed range, for |n| beyond 2^64, or for an ``out`` of another shape or type."""
        kind = self._checked(start, stop, dtype)
        if out is None:
            require((stop - start) * self.dim * kind.itemsize, f"{stop - start} points", "take shorter ranges in turn")
        result = output(out, (stop - start, self.dim), kind)
        if self.binary:
            self._blocks(start, stop, result)
            return result
        for j, modulus in enumerate(self.moduli):
            if modulus == 1 << self.bits:
                self._column(j)._blocks(start, stop, result[:, j : j + 1])
            else:
                for begin in range(start, stop, CHUNK):
                    residues = self._residues(j, begin, min(begin + CHUNK, stop))
                    result[begin - start :, j][: len(residues)] = below_one(
                        (residues / modulus).astype(np.float64), kind
                    )
        return result

    def at(self, n: Any, dtype: DTypeLike = np.float64) -> Float[np.ndarray, "*n b"]:
        """Points of an array of indices (…,), whole numbers with |n| < 2^63: (…, b) as ``points``."""
        index, kind = indices(n), float_type(dtype)
        if self.binary:
            return limbs.floats(self.limbs_at(index)[-1], kind.type)
        exact, found = [self._exact(n) for n in index.ravel().tolist()], np.empty((index.size, self.dim))
        for j, m in enumerate(self.moduli):
            binary, cut = m == 1 << self.bits, self.bits - 53  # those are rounded down, as ``points`` has them
            found[:, j] = [(x[j] >> cut) * 2.0**-53 if binary else x[j] / m for x in exact]
        return below_one(found.reshape(*index.shape, self.dim), kind)

    def limbs_at(self, n: Int64[np.ndarray, "..."]) -> limbs.Limbs:
        """Phases of indices (…,) modulo 2^bits, as limbs (…, b); for sequences that are ``binary``."""
        count = self.bits // 64
        product = limbs.multiply_signed(n[..., None], limbs.split(self.steps, count))
        return limbs.add(product, limbs.split(self.starts, count))

    def phases(self, start: int, stop: int) -> UInt64[np.ndarray, "n b"]:
        """The most significant 64 bits of the points start … stop − 1, all of the phase
        when ``bits`` is 64. For sequences that are ``binary``."""
        self._checked(start, stop, np.float64)
        if not self.binary:
            raise UsageError("a rational frequency has phases modulo q, not modulo 2^64; use integers()")
        require((stop - start) * self.dim * 8, f"{stop - start} points", "take shorter ranges in turn")
        result, done = np.empty((stop - start, self.dim), np.uint64), 0
        for top in self._tops(start, stop):
            result[done : done + len(top)] = top
            done += len(top)
        return result

    def integers(self, start: int, stop: int) -> Shaped[np.ndarray, "n b"]:
        """Whole numbers (Θ_j + n A_j) mod M_j, n = start … stop − 1: Python integers (dtype object),
        (stop − start, b)."""
        self._checked(start, stop, np.float64)
        require((stop - start) * self.dim * 64, f"{stop - start} points", "take shorter ranges in turn")
        return np.array([self._exact(n) for n in range(start, stop)], object).reshape(stop - start, self.dim)

    def exact_at(self, n: int) -> tuple[int, ...]:
        """The whole numbers of one point, over ``moduli``; any n."""
        return self._exact(n)

    def _exact(self, n: int) -> tuple[int, ...]:
        return tuple((t + n * a) % m for t, a, m in zip(self.starts, self.steps, self.moduli, strict=True))

    def real_at(self, n: int, bits: int) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        """The real point n to ``bits`` bits: (numerators, moduli, slack), slack in units of 1/modulus; 0 where the
        coordinate is a known fraction (θ at n = 0, and every point of exactly given numbers)."""
        m = self._offset + n * self._multiple
        numerators, moduli, slack = [], [], []
        for alpha, theta in zip(self._base_alpha, self._origin, strict=True):
            if theta.value is not None and (m == 0 or alpha.value is not None):
                x = (theta.value + (m * alpha.value if alpha.value is not None else 0)) % 1
                numerators.append(x.numerator)
                moduli.append(x.denominator)
                slack.append(0)
            else:
                numerators.append((theta.rounded(bits) + m * alpha.fixed(bits)) % (1 << bits))
                moduli.append(1 << bits)
                slack.append(abs(m) + 1)
        return tuple(numerators), tuple(moduli), tuple(slack)

    # --- derived sequences -------------------------------------------------------------------------------

    def skip(self, count: int) -> "Kronecker":
        """The sequence n ↦ x_{n + count}."""
        pairs = zip(self.theta, self.frequency.components, strict=True)
        return self._copy(
            theta=tuple(t.plus(a.times(count)) for t, a in pairs),
            starts=self.exact_at(count),
            _start_slack=self.slack(count),
            _offset=self._offset + count * self._multiple,
        )

    def stride(self, step: int) -> "Kronecker":
        """The sequence n ↦ x_{n · step}."""
        if step == 0:
            raise UsageError("a stride of 0 repeats one point; give another")
        return self._copy(
            frequency=Frequency(tuple(a.times(step) for a in self.frequency.components), f"{step}·({self.frequency})"),
            steps=tuple(a * step % m for a, m in zip(self.steps, self.moduli, strict=True)),
            _step_slack=tuple(abs(step) * s for s in self._step_slack),
            _multiple=self._multiple * step,
        )

    def at_origin(self) -> "Kronecker":
        """The same steps from θ = 0."""
        zero = (0,) * self.dim
        theta = tuple(Number.of(0) for _ in zero)
        return self._copy(theta=theta, starts=zero, _start_slack=zero, _origin=theta, _offset=0)

    def split(self, rank: int, world: int) -> "Kronecker":
        """What process ``rank`` of ``world`` takes: n ↦ x_{rank + n · world}."""
        if not 0 <= rank < world:
            raise UsageError(f"rank {rank} is outside [0, {world})")
        return self.skip(rank).stride(world)

    def shifted(self, seed: int) -> "Kronecker":
        """The sequence moved by one uniform random vector of ``bits`` bits, the same for the same seed: every point
        is then uniform on the torus (a rational coordinate is counted in units of 1/(q 2^bits) from then on)."""
        if not 0 <= seed < 1 << 128:
            raise UsageError(f"seed is {seed}; expected a whole number from 0 to 2^128 - 1")
        generator = np.random.Generator(np.random.Philox(key=seed))
        moves = [int.from_bytes(generator.bytes(self.bits // 8)) for _ in range(self.dim)]
        wide = tuple(math.lcm(m, 1 << self.bits) for m in self.moduli)
        old = list(zip(self.steps, self.starts, self.moduli, wide, strict=True))
        shift = Frequency.from_phases(moves, self.bits).components
        return self._copy(
            theta=tuple(t.plus(move) for t, move in zip(self.theta, shift, strict=True)),
            _origin=tuple(t.plus(move) for t, move in zip(self._origin, shift, strict=True)),
            moduli=wide,
            steps=tuple(a * (w // m) for a, _, m, w in old),
            starts=tuple((t * (w // m) + move * (w >> self.bits)) % w for (_, t, m, w), move in
                         zip(old, moves, strict=True)),
        )  # fmt: skip

    def replicas(self, count: int, seed: int) -> list["Kronecker"]:
        """``count`` independently shifted copies, for an error estimate from their spread."""
        if count < 1:
            raise UsageError(f"{count} replicas make no estimate; give at least 1 (and 2 for a spread)")
        if seed < 0:
            raise UsageError(f"seed is {seed}; expected a whole number of at least 0")
        seeds = np.random.SeedSequence(seed).generate_state(count, np.uint64)
        return [self.shifted(int(s)) for s in seeds]

    def to_dict(self) -> dict[str, Any]:
        """What defines the sequence, JSON-able."""
        return {
            "frequency": str(self.frequency),
            "theta": [t.text for t in self.theta],
            "bits": self.bits,
            "rational": [m != 1 << self.bits for m in self.moduli],
        }

    # --- inside ------------------------------------------------------------------------------------------

    def _copy(self, **changes: Any) -> "Kronecker":
        other = copy.copy(self)
        other.__dict__.pop("_base", None)
        other.__dict__.update(changes)
        return other

    def _column(self, j: int) -> "Kronecker":
        alone = {name: (getattr(self, name)[j],) for name in ("theta", "moduli", "steps", "starts")}
        return self._copy(frequency=Frequency((self.frequency.components[j],)), **alone)

    @cached_property
    def _base(self) -> limbs.Limbs:
        """Multiples i A, i < CHUNK, as limbs (CHUNK / ROWS, ROWS · b): long rows make additions quick."""
        steps = limbs.split(self.steps, self.bits // 64)
        table = limbs.multiply(np.arange(CHUNK, dtype=np.uint64)[:, None], steps)
        return tuple(x.reshape(CHUNK // ROWS, -1) for x in table)

    def _tops(self, start: int, stop: int) -> Iterator[UInt64[np.ndarray, "m b"]]:
        """Most significant limbs of points start … stop − 1 in blocks (≤ CHUNK, b), all in one buffer."""
        count = self.bits // 64
        if stop - start <= FEW:
            if stop > start:
                product = limbs.multiply(
                    np.arange(stop - start, dtype=np.uint64)[:, None], limbs.split(self.steps, count)
                )
                yield limbs.add(product, limbs.split(self.exact_at(start), count))[-1]
            return
        jump = limbs.split([CHUNK * a for a in self.steps], count)
        here = limbs.split(self.exact_at(start), count)
        here, jump = (tuple(np.tile(x, ROWS) for x in t) for t in (here, jump))
        buffer = np.empty_like(self._base[-1])
        for begin in range(start, stop, CHUNK):
            lines = -(-min(CHUNK, stop - begin) // ROWS)
            top = np.add(self._base[-1][:lines], here[-1], out=buffer[:lines])
            carry = None
            for x, s in zip(self._base[:-1], here[:-1], strict=True):
                # x + s (+ carry) overflows where x > ~s, or x = ~s and a carry came in.
                part, room = x[:lines], ~s
                carry = part > room if carry is None else (part > room) | (carry & (part == room))
            if carry is not None:
                np.add(top, carry, out=top)
            yield top.reshape(-1, self.dim)[: stop - begin]
            here = limbs.add(here, jump)

    def _blocks(self, start: int, stop: int, result: Float[np.ndarray, "n b"]) -> None:
        bits = 24 if result.dtype == np.float32 else 53
        shift, scale = np.uint64(64 - bits), result.dtype.type(2.0**-bits)
        if FILL is not None and self.bits == 64 and stop - start > FEW:
            here, step = (limbs.split(x, 1)[0] for x in (self.exact_at(start), self.steps))
            FILL(result, here, step, shift, 2.0**-bits)
            return
        done = 0
        for top in self._tops(start, stop):
            part = result[done : done + len(top)]
            np.right_shift(top, shift, out=top)
            # A cast and a product in place are quicker than one product of mixed types.
            np.copyto(part, top.view(np.int64), casting="unsafe")
            np.multiply(part, scale, out=part)
            done += len(top)

    def _residues(self, j: int, start: int, stop: int) -> Shaped[np.ndarray, " n"]:
        """Residues of a rational coordinate: int64 where products fit, Python integers otherwise."""
        modulus, step, first = self.moduli[j], self.steps[j], self.exact_at(start)[j]
        if modulus < 1 << 31:
            n = np.arange(stop - start, dtype=np.int64) % modulus
            return (first + n * step) % modulus
        return np.array([(first + i * step) % modulus for i in range(stop - start)], dtype=object)

    def _checked(self, start: int, stop: int, dtype: DTypeLike) -> np.dtype:
        if stop < start:
            raise UsageError(f"the range {start} … {stop} is reversed; give start ≤ stop")
        if start < -(1 << 64) or stop > 1 << 64:
            raise UsageError(f"the range {start} … {stop} leaves |n| ≤ 2^64, beyond which no sequence goes")
        kind = float_type(dtype)
        if kind == np.float32 and stop - start > 1 << 24:
            warnings.warn(
                f"{stop - start} float32 points have at most 2^24 distinct values a coordinate; use float64",
                stacklevel=4,
            )
        floats = [c.text for c in self.frequency.components if c.kind == "float"]
        if floats and max(abs(start), abs(stop)) > 1 << 26 and not self._warned:
            self._warned = True
            warnings.warn(
                f"the frequency {floats[0]} is a float, that is a fraction over a power of two; beyond n = 2^26 its "
                "orbit is no longer that of the number you may mean: give a name, a decimal string or a fraction",
                stacklevel=4,
            )
        return kind

    def _refuse_relation(self) -> None:
        found = relation(self.frequency)
        if found is not None:
            terms = " + ".join(f"{k}·({c.text})" for k, c in zip(found, self.frequency.components, strict=True) if k)
            raise UsageError(
                f"the frequency ({self.frequency}) is resonant: {terms} is a whole number, so its orbit is not dense; "
                "give independent numbers, or pass allow_resonant=True (--allow-resonant) to go on"
            )


# --- arguments -------------------------------------------------------------------------------------------


def _are_phases(frequencies: Any) -> bool:
    if isinstance(frequencies, np.ndarray):
        return frequencies.ndim == 1 and frequencies.size > 0 and frequencies.dtype.kind in "iu"
    return (
        isinstance(frequencies, Sequence)
        and not isinstance(frequencies, str | bytes)
        and len(frequencies) > 0
        and all(isinstance(f, (int, np.integer)) and not isinstance(f, bool) for f in frequencies)
    )


def _modulus(alpha: Number, theta: Number, bits: int) -> int:
    """The number that α and θ are whole multiples of the inverse of, or 2^bits where there is none."""
    if alpha.value is None or alpha.kind != "rational":
        return 1 << bits
    denominator = alpha.value.denominator
    both = math.lcm(denominator, theta.value.denominator) if theta.value is not None else denominator << bits
    return 1 << bits if (1 << bits) % both == 0 else both
