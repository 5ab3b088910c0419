"""A sweep over the tensors that a public function takes: every form of the same numbers gives the same, and what is no
such tensor is one sentence."""

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

from tenfold.errors import UsageError
from tenfold.nn.tensors import expected

INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.uint16)
NO_NUMBERS: tuple[Any, ...] = ("text", [[1.0], [2.0, 3.0]], [["a"]], [[10**30]], np.array(["a"]))
NO_ARRAYS: tuple[Any, ...] = (object(), {1: 2.0}, 5)


def leaves(found: Any) -> Iterator[torch.Tensor]:
    """The tensors of a result."""
    if isinstance(found, torch.Tensor):
        yield found
    elif isinstance(found, tuple | list):
        for one in found:
            yield from leaves(one)
    elif isinstance(found, dict):
        yield from leaves(list(found.values()))
    elif isinstance(found, np.ndarray | np.generic):
        yield torch.from_numpy(np.array(found))
    elif isinstance(found, float | int):
        yield torch.tensor(float(found))


def same(found: Any, goal: Any, **tolerance: float) -> None:
    """Whether two results hold the same numbers."""
    pairs = list(zip(leaves(found), leaves(goal), strict=True))
    assert pairs
    for one, other in pairs:
        torch.testing.assert_close(one, other, check_dtype=False, equal_nan=False, **tolerance)


def forms(x: torch.Tensor) -> list[Any]:
    """The same numbers as lists, arrays, arrays that cannot be written, and with gaps in memory."""
    frozen = x.numpy().copy()
    frozen.setflags(write=False)
    gaps = torch.stack([x, torch.zeros_like(x)], -1)[..., 0]
    more = [frozen.astype(frozen.dtype.newbyteorder(">"))] if x.dtype != torch.bool else []
    return [x.tolist(), x.numpy(), frozen, gaps, *more]


def refused(call: Callable[[], object], what: object) -> None:
    """Whether a call ends in one sentence."""
    with pytest.raises(UsageError) as error:
        print(f"{what!r} gave", call())
    assert "\n" not in str(error.value)
    assert len(str(error.value)) > 15


def sweep(
    function: Callable[..., Any], given: dict[str, Any], unknown: tuple[str, ...] = (), free: tuple[str, ...] = ()
) -> None:
    """Every tensor of ``given`` in every form, and what is none. NaN is refused but in ``unknown``, another number of
    axes but in ``free``."""
    hints = {name: expected(p.annotation) for name, p in inspect.signature(function).parameters.items()}
    goal = function(**given)
    assert all(bool(torch.isfinite(part).all()) for part in leaves(goal))
    tensors = {name: value for name, value in given.items() if isinstance(value, torch.Tensor)}
    for name, value in tensors.items():

        def use(other: Any, name: str = name) -> Any:
            return function(**{**given, name: other})

        for form in forms(value):
            same(use(form), goal)
        if value.is_floating_point():
            same(use(value.double()), goal, rtol=1e-4, atol=1e-4)
            for half in (torch.float16, torch.bfloat16):
                same(use(value.to(half)), use(value.to(half).float()))
            others = [value > 0, value.to(torch.complex64)]
            others += [] if name in unknown else [value.clone().flatten().fill_(torch.nan).view_as(value)]
        elif value.dtype == torch.bool:
            others = [value.long(), value.float()]
        else:
            for kind in INTEGERS:
                same(use(value.to(kind)), goal)
            others = [value.bool(), value.double(), value.to(torch.complex64)]
        hint = hints.get(name)
        axes = hint.axes if hint else ()
        if name not in free and not any(axis.startswith("*") for axis in axes):
            others += [value[None], value[0] if value.ndim else value[None, None]]
        for place, axis in enumerate(axes):
            shared = any(other and axis in other.axes for key, other in hints.items() if key != name and key in tensors)
            if shared and value.shape[place] > 1 and not any(one.startswith("*") for one in axes):
                others.append(value.repeat_interleave(2, place))
        # Where ``Values`` is the annotation, the tests' check of annotations speaks before the border does.
        others += [*NO_NUMBERS, *(NO_ARRAYS if hint else ())]
        for wrong in others:
            refused(lambda wrong=wrong: use(wrong), (name, wrong))
        if hint and not hint.optional:
            refused(lambda: use(None), (name, None))
