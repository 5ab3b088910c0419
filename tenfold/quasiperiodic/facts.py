"""Results as plain values for JSON, which knows neither arrays nor complex numbers, infinities or NaN."""

from math import isfinite
from typing import Any

import numpy as np


def facts(result: object, names: str, **more: Any) -> dict[str, Any]:
    """The attributes ``names`` (separated by spaces) of ``result`` and ``more``, as ``plain`` values."""
    return plain({name: getattr(result, name) for name in names.split()} | more)


def plain(value: Any) -> Any:
    """Arrays and tuples as lists, complex numbers as [real, imaginary], what is not finite as None.

    >>> plain({"a": np.array([1.0, np.inf]), "b": 2 - 1j})
    {'a': [1.0, None], 'b': [2.0, -1.0]}
    """
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, complex):
        return plain([value.real, value.imag])
    return None if isinstance(value, float) and not isfinite(value) else value
