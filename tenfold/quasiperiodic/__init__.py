"""Semi-algebraic discrepancy of shift sequences (sets, hit counts, certificates), and long-range quasi-periodic
operators on Z^d with their quantum dynamics.

Names are imported on first use, so that the package itself imports no NumPy. The guides are docs/semialgebraic.md and
docs/quasiperiodic.md.
"""

from importlib import import_module
from typing import Any

# name -> module
_PUBLIC = {
    "Bound": "separation",
    "Box": "boxes",
    "BoxTooSmallError": "evolution",
    "Cover": "covering",
    "Discrepancy": "discrepancies",
    "Evolution": "evolution",
    "Exponent": "exponents",
    "HitCount": "counting",
    "Hopping": "hopping",
    "Kernel": "hopping",
    "LongRange": "operators",
    "Measure": "measure",
    "Poly": "polynomials",
    "Set": "sets",
    "WorstSlab": "slabs",
    "ball": "shapes",
    "band": "shapes",
    "bloch_spectrum": "spectrum",
    "box": "shapes",
    "count": "counting",
    "count_over_theta": "counting",
    "determinant_of": "goodbox",
    "determinant_scan": "goodbox",
    "discrepancy": "discrepancies",
    "eigenvalues": "spectrum",
    "evolve": "evolution",
    "first_hit": "counting",
    "fit_exponent": "exponents",
    "floor_sum": "floor_sums",
    "from_sympy": "shapes",
    "front_radius": "front",
    "good_box": "goodbox",
    "good_box_distance": "separation",
    "green_columns": "green",
    "green_decay": "green",
    "halfspace": "shapes",
    "halfspace_volume": "measure",
    "hits": "counting",
    "intervals": "shapes",
    "lattice_orbit": "phases",
    "lyapunov_exponents": "lyapunov",
    "parse_set": "text",
    "periodic_discrepancy": "discrepancies",
    "polytope": "shapes",
    "running_counts": "counting",
    "separation_bound": "separation",
    "skew_orbit": "phases",
    "slab": "shapes",
    "theta_scan": "goodbox",
    "time_averaged": "averages",
    "torch_moments": "autograd",
    "torch_states": "autograd",
    "transfer_bound": "bound",
    "transport_bound": "bound",
    "transport_exponents": "transport",
    "trigonometric_sublevel": "shapes",
    "variables": "polynomials",
    "worst_slab": "slabs",
}
_MODULES = ("hopping", "potentials", "presets")
__all__ = sorted([*_PUBLIC, *_MODULES])


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(f"{__name__}.{_PUBLIC[name]}"), name)
    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
