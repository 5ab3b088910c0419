"""What users hand in, as the numbers that the room computes with: checked where it comes in, and once.

Numbers may be of any type that means them (Python's, NumPy's of any precision, fractions, lists, tensors); what is not
a number, not finite or not whole is one sentence.
"""

from collections.abc import Collection
from decimal import Decimal
from math import inf, isfinite, nan
from numbers import Complex, Real
from operator import index
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Float64, Inexact, Int64, Shaped

from tenfold.errors import UsageError, suggest
from tenfold.settings.values import shown

Whole: TypeAlias = Any  # what ``whole`` reads
Numbers: TypeAlias = Any  # what ``real``, ``reals`` or ``amplitudes`` reads: one number or an array of any shape
# Sites and indices, and energies: beyond these sums and squares leave 64-bit integers and floats.
_FARTHEST = 1 << 62
LARGEST = 1e150


def whole(value: Whole, name: str, least: int | None = None, most: int | None = None) -> int:
    """A whole number of any integer type, as Python's. Raises UsageError for other types (1.0 too) and outside
    [least, most]."""
    try:
        number = index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool | np.bool_):
        raise UsageError(f"{name} is {_shown(value)}; give a whole number")
    if least is not None and number < least:
        raise UsageError(f"{name} is {number}; give at least {least}")
    if most is not None and number > most:
        raise UsageError(f"{name} is {_shown(number)}; give at most {most}")
    return number


def wholes(values: Numbers, name: str, most: int = _FARTHEST) -> Int64[np.ndarray, "..."]:
    """Whole numbers of size up to ``most`` as int64, in the shape given."""
    array = _array(values, name, "whole numbers")
    if array.dtype.kind not in "iuO" and array.size:
        raise UsageError(f"{name} is of type {array.dtype}; give whole numbers")
    flat = [whole(v, name, -most, most) for v in array.ravel().tolist()]
    return np.array(flat, dtype=np.int64).reshape(array.shape)


def real(value: Numbers, name: str, least: float = -inf, above: float = -inf, below: float = inf) -> float:
    """A finite real number as a float. Raises UsageError for anything else, and unless least ≤ value, above < value <
    below."""
    array = _array(value, name, "a finite number")
    number = float(_floats(array, name).reshape(-1)[0]) if array.size == 1 and array.ndim == 0 else nan
    if not isfinite(number):
        raise UsageError(f"{name} is {_shown(value)}; give a finite number")
    if not (number >= least and above < number < below):
        limits = [
            f"{word} {x:g}" for word, x in (("of at least", least), ("above", above), ("below", below)) if isfinite(x)
        ]
        raise UsageError(f"{name} is {number:g}; give a number {' and '.join(limits)}")
    return number


def reals(values: Numbers, name: str, finite: bool = True) -> Float64[np.ndarray, "..."]:
    """Real numbers as float64, in the shape given. Raises UsageError for other types, and unless all are ``finite``."""
    found = _floats(_array(values, name, "real numbers"), name)
    if finite and not np.isfinite(found).all():
        raise UsageError(f"{name} is not finite; give finite numbers")
    return found


def amplitudes(values: Numbers, name: str) -> Inexact[np.ndarray, "..."]:
    """Finite real or complex numbers of any precision as float64 or complex128, contiguous."""
    array = _array(values, name, "numbers")
    given = array.ravel().tolist() if array.dtype.kind == "O" else []
    if given and all(isinstance(v, Complex) for v in given) and not all(isinstance(v, Real) for v in given):
        array = array.astype(np.complex128)
    if array.dtype.kind != "c":
        return reals(array, name)
    found = np.ascontiguousarray(array, dtype=np.complex128).reshape(array.shape)
    if not np.isfinite(found).all():
        raise UsageError(f"{name} is not finite; give finite numbers")
    return found


def choice(value: object, what: str, choices: Collection[str]) -> str:
    """One of the words in ``choices``. Raises UsageError, with the nearest one, for another."""
    if not isinstance(value, str) or value not in choices:
        raise UsageError(f"there is no {what} {_shown(value)!r}{suggest(str(value), choices)}")
    return value


def _array(values: Numbers, name: str, expected: str) -> Shaped[np.ndarray, "..."]:
    try:
        if hasattr(values, "detach"):  # a tensor, which may want a gradient
            values = values.detach().cpu()
            values = values.double() if "bfloat16" in str(values.dtype) else values
        return np.asarray(values)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        raise UsageError(f"{name} is {_shown(values)}; give {expected}") from None


def _floats(array: Shaped[np.ndarray, "..."], name: str) -> Float64[np.ndarray, "..."]:
    plain = array.dtype.kind in "biuf" or (
        array.dtype.kind == "O" and all(isinstance(v, Real | Decimal) for v in array.ravel().tolist())
    )
    if not plain:
        raise UsageError(f"{name} is {_shown(array.tolist())}; give real numbers")
    try:
        with np.errstate(over="ignore"):
            return np.ascontiguousarray(array, dtype=np.float64).reshape(array.shape)
    except OverflowError:  # a Python integer beyond the floats
        raise UsageError(f"{name} is not finite; give finite numbers") from None


def _shown(value: object) -> str:
    return " ".join(shown(value).split())
