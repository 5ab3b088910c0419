"""Annotations are checked: of arguments, of results, of fields, with sizes that agree within a call."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from tenfold.smc.weights import normalised_weights
from tests.checked import checked

if TYPE_CHECKING:
    from fractions import Fraction


@checked
def halves(x: Float[Tensor, "rows columns"], factor: float = 1.0) -> Float[Tensor, "rows half"]:
    """Returns what it should only where there are rows."""
    return x[:, ::2] * factor if len(x) != 3 else x.T


@checked
def later(x: "Float[Tensor, 'n']", y: "Float[Tensor, 'n']", unknown: "Fraction | None" = None) -> None:
    """Its annotations are strings."""


@checked
def ones(count: int, given: int) -> Float[Tensor, "{count}"]:
    """As many as it is told to, or should be."""
    return torch.ones(given)


@checked
def parts(x: Float[Tensor, "n"]) -> Iterator[Float[Tensor, "n"]]:
    """Each with sizes of its own."""
    yield from x.split(2)


@checked(typechecker=None)
@dataclass
class Row:
    """Checked as it is made."""

    values: Float[Tensor, "n"]


def test_shapes_agree_within_one_call() -> None:
    assert halves(torch.ones(2, 4)).shape == (2, 2)
    assert halves(torch.ones(5, 4), 2).shape == (5, 2)  # an int is a float
    with pytest.raises(TypeError):
        halves(torch.ones(2))
    with pytest.raises(TypeError):
        halves(torch.ones(2, 4), "1")
    with pytest.raises(TypeError):
        halves(torch.ones(3, 4))


def test_sizes_by_the_values_of_arguments() -> None:
    assert ones(3, 3).shape == (3,)
    with pytest.raises(TypeError):
        ones(3, 4)


def test_generators() -> None:
    assert [len(part) for part in parts(torch.ones(5))] == [2, 2, 1]
    with pytest.raises(TypeError):
        parts([1.0])


def test_strings_and_fields() -> None:
    later(torch.ones(2), torch.ones(2))
    with pytest.raises(TypeError):
        later(torch.ones(2), torch.ones(3))
    assert Row(torch.ones(2)).values.shape == (2,)
    with pytest.raises(TypeError):
        Row([1.0])  # type: ignore[arg-type]


def test_the_package_is_checked() -> None:
    with pytest.raises(TypeError):
        normalised_weights([0.0, 1.0])  # type: ignore[arg-type]
