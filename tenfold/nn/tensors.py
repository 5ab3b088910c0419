"""Tensors that users hand to public functions, read as the functions' own annotations say: one border for all of them.

``@read_tensors`` makes tensors of arrays and lists; looks at types (integers of any width become int64, half precision
becomes float32, truth values are truth values), at the axes that annotations name, and at NaN. What does not fit is one
sentence, before any work.
"""

import inspect
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, NamedTuple, TypeVar, get_args

import numpy as np
import torch
from jaxtyping import AbstractArray
from torch import Tensor

from tenfold.errors import UsageError
from tenfold.nn.border import Values, as_tensor, floats, visible, whole

F = TypeVar("F", bound=Callable[..., Any])


class TensorHint(NamedTuple):
    """What an annotation says: "float", "int" or "bool", the axes by name, whether None will do, and whether it asks
    for an array of NumPy."""

    kind: str
    axes: tuple[str, ...]
    optional: bool
    numpy: bool = False

    @property
    def given(self) -> str:
        """What to give."""
        return "an array" if self.numpy else "a tensor"


def read_tensors(*, infinite: tuple[str, ...] = (), unknown: tuple[str, ...] = ()) -> Callable[[F], F]:
    """A border around a function whose parameters are annotated as ``Float``, ``Int`` or ``Bool`` tensors or arrays.

    Args:
        infinite: parameters that may hold −∞, such as log-probabilities of what cannot be; NaN is refused.
        unknown: parameters whose values the function looks at by itself.

    >>> from jaxtyping import Float
    >>> @read_tensors()
    ... def mean(x: Float[Tensor, "b n"]) -> Float[Tensor, " b"]:
    ...     return x.mean(1)
    >>> mean([[1.0, 2.0]]).tolist()
    [1.5]
    """

    def around(function: F) -> F:
        parameters = list(inspect.signature(function).parameters.values())
        known = [(place, p.name, told) for place, p in enumerate(parameters) if (told := expected(p.annotation))]

        @wraps(function)
        def inside(*arguments: Any, **named: Any) -> Any:
            given, sizes = list(arguments), dict[str, tuple[object, str]]()
            for place, name, told in known:
                value = given[place] if place < len(given) else named.get(name)
                if value is None and (told.optional or (place >= len(given) and name not in named)):
                    continue
                value = _typed(value, name, told, name in infinite, name in unknown)
                require_axes(value, name, told.axes, sizes)
                if told.numpy:
                    value = value.detach().cpu().numpy()
                if place < len(given):
                    given[place] = value
                else:
                    named[name] = value
            return function(*given, **named)

        inside.reads_tensors = tuple(name for _, name, _ in known)  # type: ignore[attr-defined]
        return inside  # type: ignore[return-value]

    return around


def expected(annotation: Any) -> TensorHint | None:
    """What an annotation asks for; None where it names no tensor.

    >>> from jaxtyping import Bool
    >>> expected(Bool[Tensor, "b n"] | None)
    TensorHint(kind='bool', axes=('b', 'n'), optional=True, numpy=False)
    """
    options = get_args(annotation) or (annotation,)
    kinds = [one for one in options if inspect.isclass(one) and issubclass(one, AbstractArray)]
    if len(kinds) != 1:
        return None
    names = str(kinds[0].dtypes)
    kind = "bool" if "bool" in names else "float" if "float" in names else "int"
    return TensorHint(kind, tuple(kinds[0].dim_str.split()), type(None) in options, kinds[0].array_type is np.ndarray)


def require_axes(
    tensor: Tensor, name: str, axes: tuple[str, ...], sizes: dict[str, tuple[object, str]] | None = None
) -> None:
    """Raises UsageError where a tensor has not these axes ("*b" stands for any number of them, "2" for a size), or one
    that another tensor of ``sizes`` (size and whose, by axis) has in another size.

    >>> require_axes(torch.zeros(2, 3), "rewards", ("b", "g"))
    """
    sizes = {} if sizes is None else sizes
    shape, many = tuple(tensor.shape), [axis for axis in axes if axis.startswith("*")]
    told = (
        f"{name} has shape {shape}; give ({', '.join(axis.replace('*', '…') for axis in axes)}{',' * (len(axes) == 1)})"
    )
    rest = len(shape) - (len(axes) - len(many))
    if rest < 0 or (rest and not many):
        raise UsageError(told)
    place = 0
    for axis in axes:
        wide = axis.startswith("*")
        size: object = shape[place : place + rest] if wide else shape[place]
        place += rest if wide else 1
        if axis.isdigit():
            if size != int(axis):
                raise UsageError(told)
            continue
        other, whose = sizes.setdefault(axis, (size, name))
        if other != size:
            raise UsageError(f"{told}, where {axis.lstrip('*')} is {other} in {whose}")


def within(x: Tensor, name: str, low: float, high: float) -> None:
    """Raises UsageError, which begins with ``name``, where a value lies outside [low, high)."""
    if visible(x) and x.numel() and not bool(((x >= low) & (x < high)).all()):
        wrong = x[~((x >= low) & (x < high))][0].item()
        raise UsageError(f"{name} holds {wrong:g}; values lie in [{low:g}, {high:g})")


def truths(values: Values, name: str) -> Tensor:
    """``values`` as booleans. Raises UsageError, which begins with ``name``, for other types."""
    tensor = as_tensor(values, name)
    if tensor.dtype != torch.bool:
        raise UsageError(f"{name} has dtype {tensor.dtype}; give booleans")
    return tensor


def _typed(value: object, name: str, told: TensorHint, infinite: bool, unknown: bool) -> Tensor:
    if not isinstance(value, Tensor | np.ndarray | Sequence):
        raise UsageError(f"{name} is no array of numbers but {type(value).__name__}; give {told.given}")
    if told.kind == "bool":
        return truths(value, name)
    if told.kind == "int":
        return whole(value, name)
    least = torch.float64 if told.numpy else torch.float32
    if not infinite and not unknown:
        return floats(value, name, least)
    tensor = as_tensor(value, name, least)
    if not tensor.is_floating_point():
        raise UsageError(f"{name} has dtype {tensor.dtype}; give floating-point values")
    tensor = tensor.to(torch.promote_types(tensor.dtype, least) if tensor.itemsize > 1 else least)
    # The largest value is NaN where one is: a single pass over what may be rows of a whole vocabulary.
    if infinite and tensor.numel() and visible(tensor) and not float(tensor.detach().amax()) < torch.inf:
        raise UsageError(f"{name} holds NaN or +infinity; give finite values, or -infinity for what cannot be")
    return tensor
