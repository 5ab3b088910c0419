"""Spectra of boxes and of periodic approximants."""

from dataclasses import replace

import numpy as np
from jaxtyping import Float64
from scipy.linalg import eigvals_banded

from tenfold.errors import UsageError
from tenfold.quasiperiodic.operators.border import Numbers, Whole, reals, whole
from tenfold.quasiperiodic.operators.hopping import Kernel
from tenfold.quasiperiodic.operators.long_range import Box, LongRange
from tenfold.shifts.costs import foresee, require

_CHEAPER = "a smaller box is quicker by a power of the ratio, and its spectrum within that of the larger one's interval"


def eigenvalues(box: Box) -> Float64[np.ndarray, "*batch N"]:
    """All eigenvalues, ascending, (N,) or (batch, N); band solvers for an open one-dimensional box of short range."""
    reach, what = box.hopping.range, f"the eigenvalues of {box.size:,} sites"
    if len(box.shape) == 1 and box.boundary == "open" and box.potential.ndim == 1 and reach < box.size / 8:
        bands = box.banded()[reach:]
        foresee(lambda n: eigvals_banded(bands[:, :n], lower=True), box.size, 2, what, _CHEAPER, max(512, 8 * reach))
        return eigvals_banded(bands, lower=True)
    matrix = box.dense()
    first, count = matrix[(0,) * (matrix.ndim - 2)], matrix.size // box.size**2
    foresee(lambda n: np.linalg.eigvalsh(first[:n, :n]), box.size, 3, what, _CHEAPER, count=count)
    return np.linalg.eigvalsh(matrix)


def bloch_spectrum(operator: LongRange, period: Whole, phases: Numbers) -> Float64[np.ndarray, "n {period}"]:
    """Eigenvalues (len(phases), period), ascending, of the one-dimensional p/period approximant at Bloch phases κ:
    u_{n + period} = e^{iκ} u_n. Hopping ranges of more than a period fold over.

    Raises UsageError in higher dimensions, for kernels, and for a batch of θ."""
    hopping = operator.hopping
    if operator.dim != 1 or isinstance(hopping, Kernel) or operator.orbit is None or operator.orbit.batched:
        raise UsageError("Bloch spectra are for one-dimensional translation-invariant hopping with one theta")
    period = whole(period, "the period", 1)
    require(64 * period**2, f"Bloch matrices of {period:,} sites")
    values = replace(operator, orbit=operator.orbit.approximant(period)).values([0], [period])
    n = np.arange(period)
    found = []
    kappas = np.atleast_1d(reals(phases, "a Bloch phase")).ravel()
    if not len(kappas):
        raise UsageError("there are no Bloch phases; give at least one")

    def part(size: int) -> object:
        return np.linalg.eigvalsh(np.add.outer(values[:size], values[:size]).astype(np.complex128))

    what = f"{len(kappas)} Bloch spectra of {period:,} sites"
    foresee(part, period, 3, what, "a shorter period is quicker, and another approximant", count=len(kappas))
    for kappa in kappas:
        matrix = np.diag(values).astype(np.complex128)
        for m, a in zip(hopping.offsets[:, 0].tolist(), hopping.coefs, strict=True):
            source = n - m
            np.add.at(matrix, (n, source % period), a * np.exp(1j * kappa * (source // period)))
        found.append(np.linalg.eigvalsh(matrix))
    return np.array(found)
