"""Tables of numbers that packages bring: standardised columns, split into training, validation and test rows."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from tenfold.training.streams import numpy_generator

_PATCH = 2  # side of a photograph's patches


class Table(NamedTuple):
    """Rows of standardised columns (float32), by split."""

    train: Float[Tensor, "n d"]
    validation: Float[Tensor, "m d"]
    test: Float[Tensor, "k d"]


def _columns(name: str) -> Tensor:
    from sklearn import datasets

    return torch.from_numpy(getattr(datasets, f"load_{name}")().data)


def _colours(name: str, seed: int) -> Tensor:
    """Patches of 2 x 2 pixels of a photograph that do not overlap, (n, 12), spread evenly over their grey steps."""
    from sklearn.datasets import load_sample_image

    image = torch.from_numpy(load_sample_image(name).copy())
    rows, columns = (size // _PATCH * _PATCH for size in image.shape[:2])
    cut = image[:rows, :columns].unfold(0, _PATCH, _PATCH).unfold(1, _PATCH, _PATCH)
    patches = cut.flatten(0, 1).flatten(1).double()
    return patches + torch.from_numpy(numpy_generator(seed, "grey steps").random(patches.shape))


TABLES: dict[str, Callable[[int], Tensor]] = {
    # Means of shapes of cells, without perimeters and areas, which follow from radii.
    "breast cancer": lambda seed: _columns("breast_cancer")[:, [0, 1, 4, 5, 6, 7, 8, 9]],
    # Without sex, and a rounded ratio of two others.
    "diabetes": lambda seed: _columns("diabetes")[:, [0, 2, 3, 4, 5, 6, 8, 9]],
    "photograph": lambda seed: _colours("china.jpg", seed),
}
"""Real measurements, by the seed of what is drawn of them; columns of a handful of values are left out, whose density
a flow would make as large as it likes."""


def table(name: str, seed: int, most: int = 0) -> Table:
    """A table, its rows drawn in an order that the seed keys and split 80 : 10 : 10; at most ``most`` rows (0: all).
    Columns are standardised by the training rows."""
    rows = TABLES[name](seed)
    order = torch.from_numpy(numpy_generator(seed, f"rows of {name}").permutation(len(rows)))
    rows = rows[order[: most or len(rows)]]
    tenth = len(rows) // 10
    parts = rows[2 * tenth :], rows[:tenth], rows[tenth : 2 * tenth]
    mean, scale = parts[0].mean(0), parts[0].std(0)
    return Table(*(((part - mean) / scale).float() for part in parts))
