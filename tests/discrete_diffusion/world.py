"""The enumerated worlds of the fixtures: every clean and noisy sequence of three tokens out of four, in float64."""

import json
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tenfold.discrete import MaskSource, Source, UniformSource, posterior_from_leave_one_out
from tenfold.discrete_diffusion import joint_posterior, marginals, sequences
from tenfold.discrete_diffusion.networks.tabular import joint_likelihood

V, L = 4, 3
ALPHAS = (0.1, 0.4, 0.8)


class World:
    """A fixture file: ``world["p1"]`` is an array, ``world.values["..."]`` a scalar."""

    def __init__(self, fixtures: Path, kind: str) -> None:
        folder = fixtures / "discrete_diffusion"
        with np.load(folder / f"bruteforce_{kind}_v4l3.npz") as file:
            self.arrays = {name: torch.from_numpy(file[name]) for name in file.files}
        self.values = json.loads((folder / f"bruteforce_{kind}_v4l3.json").read_text())["values"]
        self.kind = kind
        self.source: Source = MaskSource(V) if kind == "mask" else UniformSource(V)

    def __getitem__(self, name: str) -> Tensor:
        return self.arrays[name]

    @cached_property
    def clean(self) -> Tensor:
        """(64, 3)"""
        return sequences(V, L)

    @cached_property
    def noisy(self) -> Tensor:
        """(125, 3) or (64, 3)"""
        return sequences(self.source.states, L)

    def alpha(self, value: float, count: int | None = None) -> Tensor:
        return torch.full((count or len(self.noisy),), value, dtype=torch.float64)

    def joint_likelihood(self, alpha: float) -> Tensor:
        """p(x_t | x_0), (noisy, clean)."""
        return joint_likelihood(self.noisy, self.clean, self.alpha(alpha), self.source)

    def model(self, logits: str, alpha: float) -> Tensor:
        """log p(x_0^i | x_t) of a factorised table, (noisy, 3, 4)."""
        return posterior_from_leave_one_out(self[logits], self.noisy, self.alpha(alpha), self.source)

    def marginals(self, alpha: float) -> Tensor:
        """log p(x_0^i | x_t), exactly, (noisy, 3, 4)."""
        return marginals(joint_posterior(self["p1"], self.noisy, self.alpha(alpha), self.source), V)


def reference(fixtures: Path) -> dict[str, Tensor]:
    """Outputs of published code."""
    with np.load(fixtures / "discrete_diffusion" / "reference.npz") as file:
        return {name: torch.from_numpy(file[name]) for name in file.files}


def close(ours: Tensor, theirs: Tensor | float, tolerance: float = 1e-10) -> None:
    """Equal up to an absolute error."""
    torch.testing.assert_close(ours, torch.as_tensor(theirs, dtype=ours.dtype), atol=tolerance, rtol=0)
