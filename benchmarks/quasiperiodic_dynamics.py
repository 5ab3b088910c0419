"""Evolution against SciPy, QuSpin and QuTiP: ``python -m benchmarks.quasiperiodic_dynamics``.

One state, one core, a two-frequency potential and exponential hopping, t = 100. Peers get the matrix in their own
format beforehand, and keep what they make of it; we get the box. Errors are against dense diagonalisation of the same
matrix, for more than 2000 sites against Lanczos with FFT products (another algorithm, another product). Peers that are
not installed (``pip install 'tenfold[benchmarks]'``) are left out with a line.
"""

import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np

from benchmarks.harness import Record, main, paired
from tenfold.quasiperiodic.dynamics.evolution import evolve
from tenfold.quasiperiodic.operators import presets
from tenfold.quasiperiodic.operators.hopping import exponential
from tenfold.quasiperiodic.operators.long_range import Box
from tenfold.quasiperiodic.propagation import chebyshev
from tenfold.quasiperiodic.propagation.methods import MOST_DENSE

Emit = Callable[[Record], None]
PACKAGES = ("tenfold", "numpy", "scipy", "quspin", "qutip")
TIME = 100.0


def system(sites: int, reach: int) -> Box:
    """The operator on an odd number of sites."""
    hopping = exponential(1.0, 10.0 / reach, radius=reach)
    box = presets.multi_frequency(1.0, theta=(0.3, 0.1), hopping=hopping).box(sites // 2)
    assert box.size == sites
    return box


def start(box: Box) -> np.ndarray:
    """A particle in the middle."""
    state = np.zeros(box.size, dtype=np.complex128)
    state[box.size // 2] = 1.0
    return state


def exact(box: Box, times: np.ndarray) -> np.ndarray:
    """By dense diagonalisation, or by Lanczos with FFT products where that would take minutes."""
    if box.size > MOST_DENSE:
        return evolve(box.with_product("fft"), None, times, method="lanczos", tol=1e-13).psi
    energies, vectors = np.linalg.eigh(box.dense())
    c = vectors[box.size // 2].conj()
    return (np.exp(-1j * np.outer(times, energies)) * c) @ vectors.T


def ours(box: Box, times: Any, product: str = "auto") -> Callable[[], np.ndarray]:
    """Our Chebyshev evolution; coefficients are computed anew at each call."""
    chosen = box if product == "auto" else box.with_product(product)

    def run() -> np.ndarray:
        chebyshev._cached.cache_clear()
        return evolve(chosen, None, times, method="chebyshev", tol=1e-13).psi

    return run


def against(
    emit: Emit,
    name: str,
    box: Box,
    reference: np.ndarray,
    other: Callable[[], np.ndarray],
    repeats: int,
    note: str = "",
) -> None:
    """One peer at the last time."""
    mine = ours(box, [TIME])
    own_error = float(np.abs(mine()[0] - reference).max())
    difference = float(np.abs(other() - reference).max())
    seconds = paired(mine, other, repeats)
    reach = box.operator.hopping.range
    sizes = {"sites": box.size, "range": reach, "t": TIME, "half_width": round(box.interval.half_width, 3)}
    details = {"ours_error": own_error, "other_error": difference, "product": type(box.product).__name__}
    details["products"] = evolve(box, None, [TIME], method="chebyshev", tol=1e-13).products
    emit(Record(name, *seconds, "seconds", own_error, sizes, details, note))


def scipy_peer(box: Box) -> Callable[[], np.ndarray]:
    """``scipy.sparse.linalg.expm_multiply``."""
    from scipy.sparse.linalg import expm_multiply

    matrix, state = (-1j * TIME * box.sparse()).tocsr(), start(box)
    return lambda: expm_multiply(matrix, state)


def quspin_peer(box: Box) -> Callable[[], np.ndarray]:
    """QuSpin's ``ExpmMultiplyParallel``, made once: what it finds out about the matrix is not timed."""
    tools = import_module("quspin.tools.evolution")
    matrix, state = box.sparse().tocsr(), start(box)
    make = getattr(tools, "ExpmMultiplyParallel", None) or tools.expm_multiply_parallel
    evolution = make(matrix, a=-1j * TIME)
    return lambda: evolution.dot(state)


def qutip_peer(box: Box, options: dict[str, Any]) -> Callable[[], np.ndarray]:
    """QuTiP's ``sesolve`` with a sparse Hamiltonian."""
    qutip = import_module("qutip")
    hamiltonian = qutip.Qobj(box.sparse().astype(np.complex128).tocsr())
    state = qutip.Qobj(start(box))
    settings = {"progress_bar": "", "store_states": False, "store_final_state": True, **options}
    return lambda: qutip.sesolve(hamiltonian, state, [0.0, TIME], options=settings).final_state.full().ravel()


QUTIP = {
    "evolution-qutip-krylov": {"method": "krylov", "krylov_dim": 30},
    "evolution-qutip-adams": {"method": "adams", "rtol": 1e-12, "atol": 1e-12, "nsteps": 10**6},
    "evolution-qutip-vern9": {"method": "vern9", "rtol": 1e-12, "atol": 1e-12, "nsteps": 10**6},
}


def peers(emit: Emit, box: Box, repeats: int) -> None:
    """QuSpin and QuTiP on the smaller system, and SciPy for comparison."""
    reference = exact(box, np.array([TIME]))[0]
    against(emit, "evolution-scipy-small", box, reference, scipy_peer(box), repeats)
    if installed("quspin"):
        against(emit, "evolution-quspin", box, reference, quspin_peer(box), repeats)
    if installed("qutip"):
        for name, options in QUTIP.items():
            note = ", ".join(f"{k} {v}" for k, v in options.items())
            against(emit, name, box, reference, qutip_peer(box, options), min(repeats, 3), f"sesolve: {note}")


def installed(package: str) -> bool:
    """Whether a peer can be imported; says so where it cannot."""
    try:
        import_module(package)
    except ImportError as error:
        print(f"skipped: {package} cannot be imported ({error}); pip install 'tenfold[benchmarks]'", file=sys.stderr)
        return False
    return True


def products(emit: Emit, box: Box, repeats: int) -> None:
    """Our stencil against our FFT: the same evolution."""
    mine, other = ours(box, [TIME], "stencil"), ours(box, [TIME], "fft")
    error = float(np.abs(mine() - other()).max())
    sizes = {"sites": box.size, "range": box.operator.hopping.range}
    emit(Record("stencil-against-fft", *paired(mine, other, repeats), "seconds", error, sizes, {}, "both are ours"))


def many_times(emit: Emit, box: Box, repeats: int) -> None:
    """100 output times against the last alone, and against SciPy's interval mode."""
    from scipy.sparse.linalg import expm_multiply

    times = np.linspace(0.0, TIME, 101)[1:]
    reference = exact(box, times)
    mine, last = ours(box, times), ours(box, [TIME])
    error = float(np.abs(mine() - reference).max())
    sizes = {"sites": box.size, "range": box.operator.hopping.range, "times": len(times)}
    note = "other: our own cost of the last time alone; the ratio is at least 1/3 by design"
    emit(Record("times-100-against-last", *paired(mine, last, repeats), "seconds", error, sizes, {}, note))
    matrix, state = (-1j * box.sparse()).tocsr(), start(box)
    interval = lambda: expm_multiply(matrix, state, start=0.0, stop=TIME, num=101, endpoint=True)[1:]  # noqa: E731
    details = {"other_error": float(np.abs(interval() - reference).max())}
    seconds = paired(mine, interval, min(repeats, 3))
    emit(Record("times-100-scipy-interval", *seconds, "seconds", error, sizes, details))


def benchmarks(quick: bool, emit: Emit) -> None:
    """All records of the dynamics."""
    import torch
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=torch.get_num_threads()):
        small = system(255 if quick else 1023, 20)
        large = system(1023 if quick else 4095, 60)
        reference = exact(large, np.array([TIME]))[0]
        against(emit, "evolution-scipy", large, reference, scipy_peer(large), 1 if quick else 3)
        peers(emit, small, 2 if quick else 7)
        many_times(emit, small, 2 if quick else 7)
        products(emit, large, 2 if quick else 5)


if __name__ == "__main__":
    sys.exit(main("quasiperiodic_dynamics", benchmarks, PACKAGES))
