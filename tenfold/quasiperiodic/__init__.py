"""Long-range quasi-periodic operators on Z^d and their quantum dynamics.

Names are imported on first use, so that the package itself imports no NumPy. The guide is docs/quasiperiodic.md.
"""

from importlib import import_module
from typing import Any

# name -> module
_PUBLIC = {
    "Box": "boxes",
    "BoxTooSmallError": "evolution",
    "Evolution": "evolution",
    "Hopping": "hopping",
    "Kernel": "hopping",
    "LongRange": "operators",
    "bloch_spectrum": "spectrum",
    "determinant_of": "goodbox",
    "determinant_scan": "goodbox",
    "eigenvalues": "spectrum",
    "evolve": "evolution",
    "front_radius": "front",
    "good_box": "goodbox",
    "green_columns": "green",
    "green_decay": "green",
    "lattice_orbit": "phases",
    "lyapunov_exponents": "lyapunov",
    "skew_orbit": "phases",
    "theta_scan": "goodbox",
    "time_averaged": "averages",
    "torch_moments": "autograd",
    "torch_states": "autograd",
    "transfer_bound": "bound",
    "transport_bound": "bound",
    "transport_exponents": "transport",
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
