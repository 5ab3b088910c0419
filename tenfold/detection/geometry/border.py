"""The border of the room: boxes, corners, scores and numbers from anybody's hands become tensors, and are looked at
once, before any work. What is inside calls functions that do not look.
"""

import inspect
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from tenfold.detection.geometry.checks import require_boxes
from tenfold.errors import UsageError
from tenfold.nn.border import as_tensor, finite, visible, whole

F = TypeVar("F", bound=Callable[..., Any])
C = TypeVar("C", bound=type)
KINDS = ("boxes", "numbers", "floats", "whole", "truths")
_MEANS = {"5": "cx, cy, w, h and an angle in radians", "8": "x1, y1, ..., x4, y4", "4": "x0, y0, x1, y1"}


class Expected(NamedTuple):
    """What an argument is: ``boxes`` (finite, no negative sides), finite ``numbers``, ``floats`` whatever they hold,
    ``whole`` numbers or ``truths``; and names or numbers of its axes."""

    kind: str
    axes: tuple[str, ...]

    @classmethod
    def of(cls, words: str) -> "Expected":
        """From "boxes *n 5", say: leading axes ``*n`` are any, ``*#n`` any that broadcast."""
        kind, *axes = words.split()
        if kind not in KINDS:
            raise ValueError(f"{kind} is none of {', '.join(KINDS)}")
        return cls(kind, tuple(axes))

    def told(self) -> str:
        """For messages."""
        shown = ", ".join("..." if axis.startswith("*") else axis for axis in self.axes)
        last = _MEANS.get(self.axes[-1], "") if self.axes else ""
        return f"({shown}{',' if len(self.axes) == 1 else ''}){f': {last}' if last else ''}"


def takes(**words: str) -> Callable[[F], F]:
    """A border around a function: the arguments that are named become tensors as ``Expected.of`` says, sizes of one
    name are equal, floating ones have one type (at least float32), and all are on one device. None passes where it is
    the default.

    >>> @takes(boxes="boxes n 5", scores="numbers n")
    ... def best(boxes, scores=None):
    ...     return boxes[scores.argmax()]
    >>> best([[0, 0, 2, 2, 0], [5, 5, 2, 1, 0.5]], [0.1, 0.2])
    tensor([5.0000, 5.0000, 2.0000, 1.0000, 0.5000])
    """
    expected = {name: Expected.of(word) for name, word in words.items()}

    def around(function: F) -> F:
        parameters = inspect.signature(function).parameters
        places = [(i, name, p.default) for i, (name, p) in enumerate(parameters.items()) if name in expected]

        @wraps(function)
        def inside(*args: Any, **options: Any) -> Any:
            given: dict[str, Any] = {}
            for i, name, default in places:
                here = i < len(args) or name in options
                value = args[i] if i < len(args) else options.get(name)
                if here and not (value is None and default is None):
                    given[name] = value
            read = read_together(given, expected)
            positional = [read.pop(name, value) for name, value in zip(parameters, args, strict=False)]
            return function(*positional, *args[len(positional) :], **{**options, **read})

        inside.takes = expected  # type: ignore[attr-defined]
        return inside  # type: ignore[return-value]

    return around


def takes_columns(**words: str) -> Callable[[C], C]:
    """``takes`` for the columns of a dataclass, which anybody may make."""

    def around(kind: C) -> C:
        made = takes(**words)(kind.__init__)  # type: ignore[misc]
        made.__annotations__ = {}  # whoever checks annotations leaves these to the border
        kind.__init__ = made  # type: ignore[misc]
        return kind

    return around


def read_together(given: dict[str, Any], expected: dict[str, Expected]) -> dict[str, Tensor]:
    """Arguments by name, read and compared."""
    read = {name: _read(value, name, expected[name]) for name, value in given.items()}
    _one_device(read)
    sizes: dict[str, tuple[str, Any]] = {}
    for name, tensor in read.items():
        _fits(tensor, name, expected[name], sizes)
    floating = [tensor.dtype for tensor in read.values() if tensor.is_floating_point()]
    if floating:
        dtype = torch.float32
        for one in floating:
            dtype = torch.promote_types(dtype, one)
        read = {name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in read.items()}
    for name, tensor in read.items():
        if expected[name].kind == "boxes" and visible(tensor):
            require_boxes(tensor, name)
        elif expected[name].kind == "numbers" and tensor.numel():
            finite(tensor, name)
    return read


def _read(value: Any, name: str, expected: Expected) -> Tensor:
    if not isinstance(value, Tensor | np.ndarray | Sequence) or isinstance(value, str):
        raise UsageError(f"{name} is no array of numbers but {type(value).__name__}; give a tensor")
    tensor = as_tensor(value, name)
    if tensor.layout != torch.strided:
        raise UsageError(f"{name} is a sparse tensor; give {name}.to_dense()")
    if not tensor.numel() and tensor.ndim == 1 and len(expected.axes) == 2 and expected.axes[1].isdigit():
        tensor = tensor.reshape(0, int(expected.axes[1]))  # an empty list
    if expected.kind == "whole":
        return whole(tensor, name)
    if expected.kind == "truths":
        if tensor.dtype != torch.bool and tensor.numel():
            raise UsageError(f"{name} has dtype {tensor.dtype}; give truth values (torch.bool)")
        return tensor.bool()
    if tensor.dtype == torch.bool or tensor.is_complex():
        raise UsageError(f"{name} has dtype {tensor.dtype}; give real numbers")
    if not tensor.is_floating_point():
        return tensor.double() if tensor.itemsize > 2 else tensor.float()
    return tensor.float() if tensor.itemsize < 4 else tensor


def _one_device(read: dict[str, Tensor]) -> None:
    places = {tensor.device: name for name, tensor in read.items()}
    if len(places) > 1:
        (one, first), (other, second) = list(places.items())[:2]
        raise UsageError(f"{first} is on {one} and {second} on {other}; move them to one device")


def _fits(tensor: Tensor, name: str, expected: Expected, sizes: dict[str, tuple[str, Any]]) -> None:
    """Raise UsageError where the shape is not the expected one, or not that of an argument before."""
    axes, shape = expected.axes, tuple(tensor.shape)
    any_lead = bool(axes) and axes[0].startswith("*")
    last = axes[1:] if any_lead else axes
    lead, tail = shape[: len(shape) - len(last)], shape[len(shape) - len(last) :]
    wrong = len(shape) < len(last) or (not any_lead and len(shape) != len(last))
    if wrong or any(axis.isdigit() and int(axis) != size for axis, size in zip(last, tail, strict=True)):
        raise UsageError(f"{name} has shape {shape}; give {expected.told()}")
    named: list[tuple[str, Any]] = [(a, s) for a, s in zip(last, tail, strict=True) if not a.isdigit() and a != "_"]
    if any_lead:
        named.append((axes[0], lead))
    for axis, size in named:
        other, before = sizes.setdefault(axis, (name, size))
        if axis.startswith("*#"):
            try:
                sizes[axis] = (name, torch.broadcast_shapes(before, size))
            except RuntimeError:
                raise UsageError(f"{other} and {name} have shapes that do not broadcast, {before} and {size}") from None
        elif before != size:
            raise UsageError(f"{name} has shape {shape}, which does not go with {other}: {size} is not {before}")


def check_boxes(boxes: Any, what: str = "boxes") -> None:
    """Raise UsageError for what are no boxes (..., 5): NaN, infinity and negative sides, with the first such row. Waits
    for the device."""
    read_together({what: boxes}, {what: Expected.of("boxes *n 5")})
