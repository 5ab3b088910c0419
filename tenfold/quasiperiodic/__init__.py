"""Long-range quasi-periodic operators and their quantum dynamics. Names are imported on first use."""

from importlib import import_module
from typing import Any

_PUBLIC: dict[str, str] = {}


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(f"{__name__}.{_PUBLIC[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
