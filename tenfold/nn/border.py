"""What users hand to functions, brought to one form and looked at once: tensors, arrays and lists of any numbers."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tenfold.errors import UsageError

Values = Tensor | np.ndarray | Sequence[Any]
"""A tensor, or what one can be made of."""


def as_tensor(values: Values, name: str, like: torch.dtype = torch.float32) -> Tensor:
    """``values`` as a tensor: lists of Python's floats in ``like``, all else in its own type. Raises UsageError, which
    begins with ``name``, for what is no array of numbers."""
    if isinstance(values, Tensor):
        return values
    try:
        array = np.asarray(values)
        tensor = torch.from_numpy(np.array(array.astype(array.dtype.newbyteorder("="), copy=True)))
    except (TypeError, ValueError, RuntimeError):
        raise UsageError(f"{name} is no array of numbers but {type(values).__name__}; give a tensor") from None
    python = not isinstance(values, np.ndarray) and tensor.dtype == torch.float64
    return tensor.to(like) if python else tensor


def floats(values: Values, name: str, dtype: torch.dtype = torch.float32, shape: str = "") -> Tensor:
    """``values`` as a tensor of a floating type, ``dtype`` at least. Raises UsageError, which begins with ``name``, for
    other types (``shape`` tells what is expected) and for NaN or infinite values, with the first bad row."""
    tensor = as_tensor(values, name, dtype)
    if not tensor.is_floating_point():
        raise UsageError(f"{name} has dtype {tensor.dtype}; give floating-point values{shape}")
    tensor = tensor.to(torch.promote_types(tensor.dtype, dtype) if tensor.itemsize > 1 else dtype)
    return finite(tensor, name)


def whole(values: Values, name: str) -> Tensor:
    """``values`` as int64. Raises UsageError, which begins with ``name``, for other types than integers, and for
    integers of 64 bits without a sign that do not fit."""
    tensor = as_tensor(values, name)
    if tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool:
        if tensor.numel():
            raise UsageError(f"{name} has dtype {tensor.dtype}; give integers")
        return tensor.to(torch.int64)
    numbers = tensor.to(torch.int64)
    if tensor.dtype == torch.uint64 and visible(numbers) and bool((numbers < 0).any()):
        raise UsageError(f"{name} holds integers beyond 2^63")
    return numbers


def finite(x: Tensor, name: str = "the input") -> Tensor:
    """x itself; raises UsageError, naming the first bad row, where it holds NaN or infinite values."""
    if not visible(x) or bool(torch.isfinite(x).all()):
        return x
    bad = ~torch.isfinite(x.reshape(len(x), -1) if x.ndim else x.reshape(1, 1)).all(dim=1)
    raise UsageError(
        f"row {int(bad.int().argmax())} of {name} holds NaN or infinite values ({int(bad.sum())} of {len(bad)} "
        "rows do); clean the data first"
    )


def visible(x: Tensor) -> bool:
    """Whether the values can be looked at: not on the meta device, nor while torch traces or transforms a function."""
    if x.is_meta or torch.compiler.is_compiling() or (type(x) is not Tensor and not isinstance(x, torch.nn.Parameter)):
        return False
    return not transformed()


def transformed() -> bool:
    """Whether a function of ``torch.func`` is being transformed."""
    if torch.compiler.is_compiling():
        return False
    return torch._C._functorch.peek_interpreter_stack() is not None  # torch has no public word for it
