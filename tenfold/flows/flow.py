"""Flows as densities: the network with its likelihood and its sampler as methods."""

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from tenfold.errors import UsageError
from tenfold.flows.block import Condition
from tenfold.flows.density import log_prob
from tenfold.flows.network import FlowNetwork
from tenfold.flows.sampling import sample
from tenfold.flows.solvers.calibration import load_calibration


class Flow(FlowNetwork):
    """A flow with the methods of a density: shortcuts to the functions of ``tenfold.flows.density`` and
    ``tenfold.flows.sampling``, which do more."""

    sample = sample

    def log_prob(self, x: Tensor, condition: Condition | None = None) -> Float[Tensor, "b"]:
        """log p(x | condition) in nats, summed over dimensions (see ``tenfold.flows.density.log_prob``).

        Raises UsageError for NaN or infinite values and for what the network refuses."""
        return log_prob(self, finite(x), condition)

    def encode(self, x: Tensor, condition: Condition | None = None) -> Float[Tensor, "b t d"]:
        """x (b, *shape) to standard normal noise (b, T, D)."""
        return self.forward(finite(x), condition).z / self.var.sqrt()

    @torch.no_grad()
    def decode(self, noise: Float[Tensor, "b t d"], condition: Condition | None = None, **options: Any) -> Tensor:
        """Standard normal noise (b, T, D) to x (b, *shape); options as in ``tenfold.flows.sampling.sample``."""
        return self.sample(noise.shape[0], condition, noise=noise, **options)

    def read_extras(self, folder: Path) -> None:
        """Take the samplers' calibration of a model folder, if it has one."""
        self.calibration = load_calibration(folder)


def finite(x: Float[Tensor, "b *shape"]) -> Float[Tensor, "b *shape"]:
    """x itself; raises UsageError, naming the first bad row, where it holds NaN or infinite values."""
    bad = ~torch.isfinite(x).flatten(1).all(dim=1)
    if bool(bad.any()):
        raise UsageError(
            f"row {int(bad.int().argmax())} of the input holds NaN or infinite values ({int(bad.sum())} of {len(x)} "
            "rows do); clean the data first"
        )
    return x
