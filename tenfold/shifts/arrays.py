"""Arrays that users give, whatever they are made of: right, or refused in one sentence."""

from collections.abc import Sequence
from fractions import Fraction
from numbers import Rational
from typing import Any

import numpy as np
from jaxtyping import Float, Float64, Int64, Shaped
from numpy.typing import DTypeLike

from tenfold.errors import UsageError
from tenfold.settings.values import shown


def as_table(given: Any, name: str) -> np.ndarray:
    """Lists, arrays and tensors as an array. Raises UsageError where rows differ in length."""
    try:
        if hasattr(given, "detach"):  # a tensor, of a type that NumPy lacks (bfloat16) too
            given = given.detach().cpu()
            given = given.float() if str(given.dtype) == "torch.bfloat16" else given
        return np.asarray(given)
    except (ValueError, TypeError, RuntimeError, OverflowError, RecursionError, MemoryError):
        raise UsageError(f"{name} cannot be made an array; give numbers, in rows of one length") from None


def listed(given: Any, name: str) -> list[Any]:
    """The items of a list, a tuple or an array. Raises UsageError for a single value, or text."""
    if isinstance(given, str | bytes | dict) or not hasattr(given, "__iter__") or getattr(given, "ndim", 1) == 0:
        raise UsageError(f"{name} is {shown(given)!r}; expected a list, one item each")
    return list(given)


def reals(given: Any, name: str, finite: bool = True) -> Float64[np.ndarray, "*shape"]:
    """Real numbers of any type as float64. Raises UsageError for complex numbers, text, and NaN or infinities."""
    table = as_table(given, name)
    if table.dtype.kind == "O":
        try:
            table = np.array([float(x) if not isinstance(x, str) else x for x in table.ravel()]).reshape(table.shape)
        except (TypeError, ValueError, OverflowError):
            raise UsageError(f"{name} hold {type(table.ravel()[0]).__name__}; expected real numbers") from None
    if table.dtype.kind not in "biuf":
        raise UsageError(f"{name} have dtype {table.dtype}; expected real numbers")
    found = table.astype(np.float64)
    if finite and not np.isfinite(found).all():
        raise UsageError(f"{name} hold {found[~np.isfinite(found)][0]}; NaN and infinities are refused, leave them out")
    return found


def indices(given: Any, name: str = "n") -> Int64[np.ndarray, "*shape"]:
    """Whole numbers of any type as int64. Raises UsageError for others, and for |n| ≥ 2^63, which would wrap."""
    table = as_table(given, name)
    if not table.size:
        return np.empty(table.shape, np.int64)
    if table.dtype.kind == "f" and isinstance(given, Sequence):  # whole numbers of both signs, too large for int64
        table = np.asarray(given, dtype=object)
    whole = table.dtype.kind in "iu" or (
        table.dtype.kind == "O" and all(isinstance(x, int | np.integer) and not isinstance(x, bool) for x in table.flat)
    )
    if not whole:
        raise UsageError(f"{name} of dtype {table.dtype} ({shown(table.ravel()[:3].tolist())}): expected whole numbers")
    largest = max(abs(int(table.min())), abs(int(table.max())))
    if largest >= 1 << 63:
        raise UsageError(f"{name} reaches {largest}; indices go to |n| < 2^63")
    return table.astype(np.int64)


def above(value: Fraction) -> float:
    """A fraction of [0, 1e308] as a float that is not below it: for bounds."""
    found = float(value)
    return found if Fraction(found) >= value else float(np.nextafter(found, np.inf))


def exact_fraction(value: Any, name: str) -> Fraction:
    """A number of any library, a fraction, or text such as "1/50", exactly.

    >>> exact_fraction("1/50", "c"), exact_fraction(np.float32(0.5), "c")
    (Fraction(1, 50), Fraction(1, 2))

    Raises UsageError for anything else, NaN, infinities, and exponents beyond 10^±4000."""
    plain = value.strip() if isinstance(value, str) else value[()] if isinstance(value, np.ndarray) else value
    try:
        if isinstance(plain, str):
            exponent = plain.lower().partition("e")[2]
            if exponent and abs(int(exponent)) > 4000:
                raise ValueError(plain)
            return Fraction(plain)
        if isinstance(plain, bool | np.bool_ | np.ndarray):
            raise TypeError(plain)
        if isinstance(plain, Rational):
            return Fraction(int(plain.numerator), int(plain.denominator))
        return Fraction(*plain.as_integer_ratio()) if hasattr(plain, "as_integer_ratio") else Fraction(plain.item())
    except (TypeError, ValueError, AttributeError, OverflowError, ZeroDivisionError):
        said = repr(shown(value)) if isinstance(value, str) else shown(value)
        raise UsageError(f"{name} is {said}; expected a finite number, a fraction or text such as '1/50'") from None


def float_type(dtype: DTypeLike) -> np.dtype:
    """float64 or float32. Raises UsageError for others."""
    try:
        kind = np.dtype(dtype)
    except TypeError:
        kind = None
    if kind not in (np.float64, np.float32):
        raise UsageError(f"dtype is {dtype if kind is None else kind}; expected float64 or float32")
    return kind


def below_one(x: Float64[np.ndarray, "*shape"], kind: np.dtype) -> Float[np.ndarray, "*shape"]:
    """Numbers of [0, 1) as float64, or rounded down to 24 bits as float32, so that none becomes 1."""
    if kind == np.float32:
        return (np.floor(x * 2.0**24) * 2.0**-24).astype(np.float32)
    return np.minimum(x, 1.0 - 2.0**-53)


def output(out: Shaped[np.ndarray, "..."] | None, shape: tuple[int, ...], kind: np.dtype) -> Float[np.ndarray, "n b"]:
    """``out``, or a new array. Raises UsageError where its shape or type is another, or it cannot be written."""
    if out is None:
        return np.empty(shape, kind)
    if out.shape != shape or out.dtype != kind or not out.flags.writeable:
        raise UsageError(f"out has shape {out.shape} and dtype {out.dtype}; expected {shape} and {kind}, to write to")
    return out
