"""Divergences of vector fields by central differences along directions: they ask for values of the field alone, so any
model will do, whether or not PyTorch can differentiate it twice."""

from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

Field = Callable[[Tensor], Tensor]


def along(
    field: Field, x: Float[Tensor, "n *shape"], direction: Float[Tensor, "n *shape"], width: Float[Tensor, ""]
) -> Tensor:
    """⟨v, (∂f/∂x) v⟩ of rows v, from f(x ± w v): an error of O(w²). The field may have further axes before those of a
    sample, (n, k, ...); the result is (n) or (n, k), float64."""
    step = width.to(x.dtype) * direction
    change = field(x + step) - field(x - step)
    extra = change.ndim - x.ndim
    towards = direction.view(len(x), *(1,) * extra, *x.shape[1:])
    return (change * towards).flatten(1 + extra).double().sum(-1) / (2 * width.double())


def width_at(sigma: Float[Tensor, ""], dtype: torch.dtype) -> Float[Tensor, ""]:
    """A width of differences at a level of noise, where fields change over distances of σ and have the digits of the
    type: 1e-4 σ for float64, and 1e-2 σ otherwise."""
    return sigma * (1e-4 if dtype == torch.float64 else 1e-2)


def divergence(
    field: Field,
    x: Float[Tensor, "n *shape"],
    width: Float[Tensor, ""],
    method: Literal["full", "probe"],
    probe: Float[Tensor, "n *shape"] | None = None,
) -> Tensor:
    """∇ · f at rows of x.

    Args:
        field: (n, ...) to (n, ...).
        x: where.
        width: of the differences.
        method: "full" asks along all d coordinates, 2 d values of the field; "probe" along one random direction of
            independent signs, 2 values, unbiased but noisy (Hutchinson 1989).
        probe: those signs.
    """
    if method == "probe":
        assert probe is not None
        return along(field, x, probe, width)
    total = torch.zeros(len(x), dtype=torch.float64, device=x.device)
    for coordinate in range(x[0].numel()):
        direction = torch.zeros_like(x).flatten(1)
        direction[:, coordinate] = 1
        total = total + along(field, x, direction.view(x.shape), width)
    return total
