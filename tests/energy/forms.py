"""Mixtures of the fixtures, and recorded arrays."""

from functools import cache

import numpy as np
import torch
from torch import Tensor

from tenfold.energy.closed_forms import GaussianMixture
from tests.conftest import FIXTURES


@cache
def recorded(name: str) -> dict[str, Tensor]:
    """The arrays of a fixture of energy diffusion."""
    with np.load(FIXTURES / "energy_diffusion" / f"{name}.npz") as file:
        return {key: torch.tensor(file[key]) for key in file}


def pair(name: str = "smc_trace") -> tuple[GaussianMixture, GaussianMixture]:
    """Its mixtures a and b."""
    ref = recorded(name)
    return tuple(  # type: ignore[return-value]
        GaussianMixture(ref[f"{which}_weights"], ref[f"{which}_means"], ref[f"{which}_covs"]) for which in "ab"
    )


def close(ours: Tensor, theirs: Tensor, tolerance: float = 1e-9) -> None:
    """Relative to the largest value."""
    scale = float(theirs.detach().abs().max()) or 1.0
    torch.testing.assert_close(ours.double(), theirs.double(), atol=tolerance * scale, rtol=0)


def number(value: float) -> Tensor:
    """A float64 number."""
    return torch.tensor(value, dtype=torch.float64)
