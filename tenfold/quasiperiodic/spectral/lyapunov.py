"""Lyapunov exponents by products of transfer matrices, with QR steps, for any finite hopping range and complex energy.

(Hu)_n = E u_n gives u_{n+R} from the 2R values before it: a 2R × 2R companion matrix, conjugate-symplectic for real E,
so that exponents come in pairs ±; the R non-negative ones are computed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64, Inexact, Num

from tenfold.errors import TenfoldError, UsageError
from tenfold.quasiperiodic.facts import facts
from tenfold.quasiperiodic.operators.border import Numbers, Whole, amplitudes, whole
from tenfold.quasiperiodic.operators.hopping import Kernel
from tenfold.quasiperiodic.operators.long_range import LongRange
from tenfold.shifts.costs import Watch, hopeless, require

_TOGETHER = 8  # transfer matrices multiplied between two orthonormalisations
_BATCHES = 32


@dataclass(frozen=True)
class Lyapunov:
    """Exponents per site, largest first, (..., R), with standard errors by batch means: () or (energies,), then
    (thetas,) where the operator has a batch.

    The errors describe the scatter between 32 stretches of the orbit; they hold no bias of a finite product."""

    energies: Num[np.ndarray, "*energies"]
    exponents: Float64[np.ndarray, "*shape R"]
    standard_errors: Float64[np.ndarray, "*shape R"]
    steps: int

    @property
    def largest(self) -> Float64[np.ndarray, "*shape"]:
        """The largest exponent."""
        return self.exponents[..., 0]

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        convention = "per site, natural logarithm; standard errors by means of 32 batches"
        energies = np.atleast_1d(self.energies).astype(np.complex128)
        return facts(self, "exponents standard_errors steps", energies=energies, convention=convention)


def lyapunov_exponents(
    operator: LongRange,
    energies: Numbers,
    steps: Whole = 100_000,
    start: Whole = 0,
    progress: Callable[[float], None] | None = None,
) -> Lyapunov:
    """Exponents of the transfer products over n = start … start + steps − 1 at real or complex ``energies``.

    Raises UsageError in more than one dimension, for kernels, no hopping, or fewer than 512 steps."""
    hopping = operator.hopping
    if operator.dim != 1 or isinstance(hopping, Kernel) or hopping.range == 0:
        raise UsageError("Lyapunov exponents need a one-dimensional, translation-invariant hopping of finite range")
    steps, start = whole(steps, "steps"), whole(start, "start")
    if steps < _TOGETHER * _BATCHES * 2:
        raise UsageError(f"{steps} steps are too few for an exponent with an error; give at least 512")
    given = amplitudes(energies, "an energy")
    if not given.size:
        raise UsageError("there are no energies; give at least one")
    flat = np.atleast_1d(given).ravel()
    steps = steps // (_TOGETHER * _BATCHES) * (_TOGETHER * _BATCHES)
    reach = hopping.range
    table = np.zeros(2 * reach + 1, dtype=hopping.coefs.dtype)
    table[hopping.offsets[:, 0] + reach] = hopping.coefs
    kind = np.result_type(table.dtype, flat.dtype)
    batch = operator.values([start], [1]).shape[:-1]
    shape = (len(flat), *batch)
    frame = np.zeros((*shape, 2 * reach, reach), dtype=kind)
    frame[..., np.arange(reach), np.arange(reach)] = 1.0
    many = int(np.prod(shape))
    require(
        8.0 * many * (2 * _BATCHES * reach + 16 * _TOGETHER * reach**2), f"exponents at {many:,} energies and theta"
    )
    told = (
        f"{steps:,} steps at {len(flat):,} energies",
        "fewer are quicker, with an error that grows as one over their root",
    )
    hopeless(float(steps) * many, *told)
    watch = Watch(*told)
    sums, stretch = np.zeros((_BATCHES, *shape, reach)), steps // _BATCHES
    # The potential in pieces, so that a long orbit needs no long array.
    piece = max(_TOGETHER, min(steps, (1 << 20) // max(1, many * 4 * reach * reach)) // _TOGETHER * _TOGETHER)
    for first in range(0, steps, piece):
        count = min(piece, steps - first)
        values = operator.values([start + first], [count])
        logs = np.empty((count // _TOGETHER, *shape, reach))
        frame = _piece(table, flat, values, frame, logs)
        np.add.at(sums, (first + _TOGETHER * np.arange(len(logs))) // stretch, logs)
        watch(first + count, steps)
        if progress is not None:
            progress((first + count) / steps)
    means = sums / stretch
    found, errors = means.mean(0), means.std(0, ddof=1) / np.sqrt(_BATCHES)
    if not np.isfinite(found).all():
        raise TenfoldError("the transfer matrices leave the range of floats; scale energies, coupling and hopping down")
    order = np.argsort(-found, axis=-1)
    found, errors = (np.take_along_axis(a, order, -1) for a in (found, errors))
    if given.ndim == 0:
        found, errors = found[0], errors[0]
    return Lyapunov(given, found, errors, steps)


def _piece(
    table: Inexact[np.ndarray, " bands"],
    energies: Inexact[np.ndarray, " E"],
    values: Float64[np.ndarray, "*batch n"],
    frame: Inexact[np.ndarray, "E *batch two_R R"],
    logs: Float64[np.ndarray, "eighths E *batch R"],
) -> Inexact[np.ndarray, "E *batch two_R R"]:
    matrices = _matrices(table, energies, values)
    size = float(np.abs(matrices[..., 0, :]).max())
    if frame.shape[-1] > 1 and size > 10:
        # Eight such factors would leave nothing of the smaller exponents: orthonormalise after each.
        if not size < 1e10:
            raise TenfoldError(
                f"transfer matrices with entries of {size:.2g} leave nothing of the smaller exponents in double "
                "precision; scale energies and coupling down, or cut off the outermost hopping"
            )
        logs[...] = 0.0
        for i in range(len(matrices)):
            frame, triangle = np.linalg.qr(matrices[i] @ frame)
            logs[i // _TOGETHER] += np.log(np.abs(np.diagonal(triangle, axis1=-2, axis2=-1)))
        return frame
    products, scales = _products(matrices, not size < 1e18)
    if frame.shape[-1] == 1:
        # One exponent: propagate a vector; the QR step is its norm.
        first, second = frame[..., 0, 0], frame[..., 1, 0]
        for i in range(len(products)):
            m = products[i]
            a = m[..., 0, 0] * first + m[..., 0, 1] * second
            b = m[..., 1, 0] * first + m[..., 1, 1] * second
            norm = np.sqrt(np.abs(a) ** 2 + np.abs(b) ** 2)
            first, second = a / norm, b / norm
            logs[i] = (np.log(norm) + scales[i])[..., None]
        return np.stack([first, second], -1)[..., None]
    for i in range(len(products)):
        frame, triangle = np.linalg.qr(products[i] @ frame)
        logs[i] = np.log(np.abs(np.diagonal(triangle, axis1=-2, axis2=-1))) + scales[i][..., None]
    return frame


def _matrices(
    table: Inexact[np.ndarray, " bands"], energies: Inexact[np.ndarray, " E"], values: Float64[np.ndarray, "*batch n"]
) -> Inexact[np.ndarray, "n E *batch two_R two_R"]:
    """The transfer matrices, (n, energies, batch, 2R, 2R)."""
    reach = len(table) // 2
    count = values.shape[-1]
    local = np.moveaxis(values, -1, 0)[:, None]
    shape = np.broadcast_shapes(local.shape, (count, len(energies), *[1] * (values.ndim - 1)))
    kind = np.result_type(table.dtype, energies.dtype, np.float64)
    matrices = np.zeros((*shape, 2 * reach, 2 * reach), dtype=kind)
    # u_{n+R} = [E u_n − V_n u_n − Σ_{m ≠ −R} a_m u_{n−m}]/a_{−R}; the state is (u_{n+R−1}, …, u_{n−R}).
    for m in range(-reach + 1, reach + 1):
        matrices[..., 0, reach - 1 + m] = -table[reach + m]
    matrices[..., 0, reach - 1] += energies.reshape(1, -1, *[1] * (values.ndim - 1)) - local
    with np.errstate(over="ignore", invalid="ignore"):
        matrices[..., 0, :] /= table[0]
    for row in range(1, 2 * reach):
        matrices[..., row, row - 1] = 1.0
    return matrices


def _products(
    matrices: Inexact[np.ndarray, "n E *batch two_R two_R"], large: bool
) -> tuple[Inexact[np.ndarray, "eighths E *batch two_R two_R"], Float64[np.ndarray, "eighths E *batch"]]:
    """Products of 8 transfer matrices each, (n/8, energies, batch, 2R, 2R), over a factor whose logarithm comes second
    (n/8, energies, batch); QR follows each. ``large`` ones, which leave the floats, are scaled pair by pair."""
    logs = np.zeros(matrices.shape[:-2])
    for _ in range(3):
        if large:
            size = np.abs(matrices).max((-2, -1))
            matrices, logs = matrices / size[..., None, None], logs + np.log(size)
        matrices = (
            matrices[1::2] @ matrices[0::2] if matrices.shape[-1] > 2 else _two_by_two(matrices[1::2], matrices[0::2])
        )
        logs = logs[1::2] + logs[0::2]
    return matrices, logs


def _two_by_two(
    a: Inexact[np.ndarray, "*shape 2 2"], b: Inexact[np.ndarray, "*shape 2 2"]
) -> Inexact[np.ndarray, "*shape 2 2"]:
    # NumPy's stacked matmul is slow for tiny matrices.
    out = np.empty_like(a)
    for i in (0, 1):
        for j in (0, 1):
            out[..., i, j] = a[..., i, 0] * b[..., 0, j] + a[..., i, 1] * b[..., 1, j]
    return out
