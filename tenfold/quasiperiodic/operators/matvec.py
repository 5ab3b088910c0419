"""Multiplication by the hopping of a box, four ways that agree: shifted slices, blocked Toeplitz products (both
"stencil"), zero-padded FFT, and a sparse matrix.

States are rows (S, N), contiguous, float64 for a real hopping and complex128 for a complex one; ``rows_of`` splits a
complex state of a real operator into its real and imaginary rows, which halves the arithmetic.
"""

from dataclasses import dataclass
from itertools import product
from math import log2, prod
from typing import Any

import numpy as np
import scipy.fft
import scipy.sparse
from jaxtyping import Inexact, Num

from tenfold.errors import UsageError, suggest
from tenfold.quasiperiodic.operators.hopping import Hopping, Kernel
from tenfold.quasiperiodic.operators.windows import Window

Rows = Inexact[np.ndarray, "rows N"]
KINDS = ("stencil", "fft", "sparse")
# Floating-point operations a nanosecond of the four programs, and nanoseconds of a call (of a neighbour, for slices),
# measured once on one core; only the choice between the programs depends on these numbers.
_RATE = {"slices": 2.0, "toeplitz": 25.0, "fft": 3.0, "sparse": 2.5}
_CALL = {"slices": 5e3, "toeplitz": 6e3, "fft": 25e3, "sparse": 4e3}


def rows_of(states: Num[np.ndarray, "S N"], real: bool) -> Inexact[np.ndarray, "rows N"]:
    """States (S, N) as contiguous rows of the product's number type: (S, N), or (2 S, N), real parts first, for
    complex states of a real operator."""
    if not real:
        return np.ascontiguousarray(states, dtype=np.complex128)
    if np.iscomplexobj(states):
        if states.imag.any():
            return np.ascontiguousarray(np.concatenate([states.real, states.imag]))
        states = states.real
    return np.ascontiguousarray(states, dtype=np.float64)


def states_of(rows: Inexact[np.ndarray, "*times rows N"], count: int) -> Inexact[np.ndarray, "*times {count} N"]:
    """The inverse of ``rows_of`` for ``count`` states: (..., count, N)."""
    if rows.shape[-2] == count:
        return rows
    return rows[..., :count, :] + 1j * rows[..., count:, :]


class Product:
    """factor · A of a window, for rows in and out, by one of the programs in ``costs``; ``kind`` is what users call
    it."""

    kind: str
    program: str

    def __init__(self, window: Window, factor: float = 1.0) -> None:
        self.window, self.factor, self.real = window, factor, window.is_real

    @property
    def flops(self) -> float:
        """Of one real state."""
        return costs(self.window)[self.program].flops

    def accumulate(self, x: Rows, out: Rows) -> None:
        """out += factor · A x for rows (S, N)."""
        raise NotImplementedError

    def scaled(self, factor: float) -> "Product":
        """The product with a further factor."""
        return type(self)(self.window, self.factor * factor)

    def apply(self, states: Num[np.ndarray, "*states N"]) -> Inexact[np.ndarray, "*states N"]:
        """A ψ for states (..., N) of any number type."""
        flat = states.reshape(-1, states.shape[-1])
        rows = rows_of(flat, self.real)
        out = np.zeros_like(rows)
        self.accumulate(rows, out)
        return states_of(out, len(flat)).reshape(states.shape)


class Slices(Product):
    """One shifted slice a neighbour."""

    kind, program = "stencil", "slices"

    def __init__(self, window: Window, factor: float = 1.0) -> None:
        super().__init__(window, factor)
        hopping = translation_invariant(window)
        self._moves: list[tuple[Any, tuple[Any, ...], tuple[Any, ...]]] = []
        periodic = window.boundary == "periodic"
        for m, a in zip(hopping.offsets.tolist(), hopping.coefs.tolist(), strict=True):
            axes = [_axis_pieces(step, n, periodic) for step, n in zip(m, window.shape, strict=True)]
            for pieces in product(*axes):
                to, source = zip(*pieces, strict=True)
                self._moves.append((a * factor, (slice(None), *to), (slice(None), *source)))
        self._scratch = np.empty(0)

    def accumulate(self, x: Rows, out: Rows) -> None:
        """By one product and one sum for each neighbour."""
        shape = (len(x), *self.window.shape)
        source, target = x.reshape(shape), out.reshape(shape)
        if self._scratch.shape != x.shape or self._scratch.dtype != x.dtype:
            self._scratch = np.empty_like(x)
        scratch = self._scratch.reshape(shape)
        for a, to, start in self._moves:
            part = scratch[to]
            np.multiply(source[start], a, out=part)
            view = target[to]
            view += part


def translation_invariant(window: Window) -> Hopping:
    """The hopping of a window that is known to have no kernel."""
    assert not isinstance(window.hopping, Kernel)
    return window.hopping


def _axis_pieces(step: int, n: int, periodic: bool) -> list[tuple[slice, slice]]:
    # (A u)_n takes u_{n − m}: the target range and its source, and in a ring what comes round.
    if step < 0:
        return [(source, target) for target, source in _axis_pieces(-step, n, periodic)]
    found = [(slice(step, n), slice(0, n - step))] if step < n else []
    return found + ([(slice(0, step), slice(n - step, n))] if periodic and step else [])


class Toeplitz(Product):
    """One dimension: windows of the padded state times one small Toeplitz matrix (a GEMM)."""

    kind, program = "stencil", "toeplitz"

    def __init__(self, window: Window, factor: float = 1.0) -> None:
        super().__init__(window, factor)
        hopping = translation_invariant(window)
        self._reach = reach = hopping.range
        self._block = toeplitz_block(reach)
        self._count = -(-window.size // self._block)
        column = np.zeros(2 * reach + 1, dtype=hopping.coefs.dtype)
        column[reach - hopping.offsets[:, 0]] = hopping.coefs * factor
        self._matrix = np.zeros((self._block + 2 * reach, self._block), dtype=hopping.coefs.dtype)
        for j in range(self._block):
            self._matrix[j : j + 2 * reach + 1, j] = column
        self._prepare(0)

    def _prepare(self, rows: int) -> None:
        b, r = self._block, self._reach
        self._padded = np.zeros((rows, self._count * b + 2 * r), dtype=self._matrix.dtype)
        self._windows = np.lib.stride_tricks.sliding_window_view(self._padded, b + 2 * r, axis=1)[:, ::b]
        self._copy = np.empty(self._windows.shape, dtype=self._matrix.dtype)
        self._result = np.empty((rows, self._count, b), dtype=self._matrix.dtype)

    def accumulate(self, x: Rows, out: Rows) -> None:
        """By one matrix product."""
        rows, n = x.shape
        r = self._reach
        if rows != len(self._padded):
            self._prepare(rows)
        self._padded[:, r : r + n] = x
        if self.window.boundary == "periodic":
            self._padded[:, :r] = x[:, n - r :]
            self._padded[:, r + n : n + 2 * r] = x[:, :r]
        np.copyto(self._copy, self._windows)
        flat = self._copy.reshape(rows * self._count, -1)
        np.dot(flat, self._matrix, out=self._result.reshape(rows * self._count, -1))
        out += self._result.reshape(rows, -1)[:, :n]


def toeplitz_block(reach: int) -> int:
    """Outputs a window: about twice the reach, so that the copy of the windows stays small."""
    return int(min(128, max(32, 1 << int(np.ceil(np.log2(max(2 * reach, 1)))))))


class Fourier(Product):
    """Any dimension: the FFT of the state, zero-padded in an open box, times the real symbol."""

    kind = program = "fft"

    def __init__(self, window: Window, factor: float = 1.0) -> None:
        super().__init__(window, factor)
        self._lengths = fft_lengths(window)
        symbol = translation_invariant(window).symbol(self._lengths, -1) * factor
        self._symbol = np.ascontiguousarray(symbol[..., : self._lengths[-1] // 2 + 1] if self.real else symbol)
        self._inside = tuple(slice(0, n) for n in window.shape)

    def accumulate(self, x: Rows, out: Rows) -> None:
        """By a transform there and back."""
        axes = tuple(range(1, len(self._lengths) + 1))
        shaped, target = x.reshape(-1, *self.window.shape), out.reshape(-1, *self.window.shape)
        forward, back = (scipy.fft.rfftn, scipy.fft.irfftn) if self.real else (scipy.fft.fftn, scipy.fft.ifftn)
        spectrum = forward(shaped, self._lengths, axes=axes)
        spectrum *= self._symbol
        result = back(spectrum, self._lengths, axes=axes, overwrite_x=True)
        target += result[(slice(None), *self._inside)]


def fft_lengths(window: Window) -> tuple[int, ...]:
    """Transform lengths: the ring itself, or n_j + R_j and a little more, so that no image falls into the window."""
    if window.boundary == "periodic":
        return window.shape
    needed = zip(window.shape, window.hopping.radius, strict=True)
    # 2 R + 1 as well, so that the symbol's offsets do not alias.
    return tuple(scipy.fft.next_fast_len(max(n + r, 2 * r + 1), real=window.is_real) for n, r in needed)


class Sparse(Product):
    """A CSR matrix: the only way for kernels."""

    kind = program = "sparse"

    def __init__(self, window: Window, factor: float = 1.0) -> None:
        super().__init__(window, factor)
        self._matrix = window.hopping_matrix * factor

    def accumulate(self, x: Rows, out: Rows) -> None:
        """By SciPy's product."""
        if len(x) == 1:
            out[0] += self._matrix @ x[0]
        else:
            out += (self._matrix @ x.T).T


@dataclass(frozen=True)
class Cost:
    """One candidate: its flops for a state in ``calls`` steps."""

    program: str
    flops: float
    calls: int = 1

    @property
    def nanoseconds(self) -> float:
        """Flops at the program's rate, and what its calls take."""
        return self.flops / _RATE[self.program] + self.calls * _CALL[self.program]


def costs(window: Window) -> dict[str, Cost]:
    """Flops of every program for one real state (four times as many for complex hopping), by counting."""
    hopping = window.hopping
    complexity = 1 if window.is_real else 4
    if isinstance(hopping, Kernel):
        return {"sparse": Cost("sparse", 2.0 * len(hopping.offsets) * window.size * complexity)}
    count, total = len(hopping.coefs), prod(fft_lengths(window))
    found = {
        "slices": Cost("slices", 2.0 * count * window.size * complexity, count),
        "fft": Cost("fft", 5.0 * total * max(log2(total), 1.0) * (1 if window.is_real else 2)),
        "sparse": Cost("sparse", 2.0 * count * window.size * complexity),
    }
    if len(window.shape) == 1:
        span = toeplitz_block(hopping.range) + 2 * hopping.range
        found["toeplitz"] = Cost("toeplitz", 2.0 * window.size * span * complexity)
    return found


def product_of(window: Window, kind: str = "auto") -> Product:
    """The program that needs least time by its counted flops, or the cheapest of a chosen kind.

    Raises UsageError for an unknown kind, and for a kernel with anything but "sparse"."""
    if kind not in (*KINDS, "auto"):
        raise UsageError(f"there is no product {kind!r}{suggest(kind, (*KINDS, 'auto'))}")
    table = costs(window)
    wanted = {"auto": set(table) - {"sparse"} or {"sparse"}, "stencil": {"slices", "toeplitz"}}.get(kind, {kind})
    candidates = [cost for name, cost in table.items() if name in wanted]
    if not candidates:
        raise UsageError(f"a kernel's hopping has no {kind} product; it is not translation-invariant: use 'sparse'")
    best = min(candidates, key=lambda cost: cost.nanoseconds).program
    return next(made for made in (Slices, Toeplitz, Fourier, Sparse) if made.program == best)(window)
