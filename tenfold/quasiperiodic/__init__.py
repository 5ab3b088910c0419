"""Semi-algebraic discrepancy of shift sequences: sets, hit counts, certificates, discrepancies.

Names are imported on first use, so that the package itself imports no NumPy. The guide is docs/semialgebraic.md.
"""

from importlib import import_module
from typing import Any

# name -> module
_PUBLIC = {
    "Bound": "separation",
    "Cover": "covering",
    "Discrepancy": "discrepancies",
    "Exponent": "exponents",
    "HitCount": "counting",
    "Measure": "measure",
    "Poly": "polynomials",
    "Set": "sets",
    "WorstSlab": "slabs",
    "ball": "shapes",
    "band": "shapes",
    "box": "shapes",
    "count": "counting",
    "count_over_theta": "counting",
    "discrepancy": "discrepancies",
    "first_hit": "counting",
    "fit_exponent": "exponents",
    "floor_sum": "floor_sums",
    "from_sympy": "shapes",
    "good_box_distance": "separation",
    "halfspace": "shapes",
    "halfspace_volume": "measure",
    "hits": "counting",
    "intervals": "shapes",
    "parse_set": "text",
    "periodic_discrepancy": "discrepancies",
    "polytope": "shapes",
    "running_counts": "counting",
    "separation_bound": "separation",
    "slab": "shapes",
    "trigonometric_sublevel": "shapes",
    "variables": "polynomials",
    "worst_slab": "slabs",
}
__all__ = sorted(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(f"{__name__}.{_PUBLIC[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
