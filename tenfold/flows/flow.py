"""Flows as densities: the network with its likelihood and its sampler as methods."""

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from tenfold import hub
from tenfold.errors import UsageError
from tenfold.flows.density import log_prob, sound
from tenfold.flows.network import FlowNetwork, GivenCondition, evaluating
from tenfold.flows.sampling import sample
from tenfold.flows.solvers.calibration import load_calibration, save_calibration
from tenfold.nn.border import Values, as_tensor

T = TypeVar("T", bound="Flow")


class Flow(FlowNetwork):
    """A flow with the methods of a density: shortcuts to the functions of ``tenfold.flows.density`` and
    ``tenfold.flows.sampling``, which do more."""

    sample = sample

    def log_prob(self, x: Values, condition: GivenCondition | None = None) -> Float[Tensor, "b"]:
        """log p(x | condition) in nats, summed over dimensions (see ``tenfold.flows.density.log_prob``)."""
        return log_prob(self, x, condition)

    def encode(self, x: Values, condition: GivenCondition | None = None) -> Float[Tensor, "b t d"]:
        """x (b, *shape) to standard normal noise (b, T, D), the inverse of ``decode``; errors as ``log_prob``."""
        flow, x = self.taken(x)
        with evaluating(flow):
            return sound(flow.forward(x, condition).z / flow.var.sqrt(), "the noise")

    @torch.no_grad()
    def decode(self, noise: Values, condition: GivenCondition | None = None, **options: Any) -> Tensor:
        """Standard normal noise (b, T, D) to x (b, *shape); options as in ``tenfold.flows.sampling.sample``."""
        noise = as_tensor(noise, "the noise", self.precision)
        return self.sample(len(noise) if noise.ndim else 0, condition, noise=noise, **options)

    def save_pretrained(self, folder: str | os.PathLike[str], extra: Mapping[str, Any] | None = None) -> None:
        """Write ``config.json`` and ``model.safetensors``, and the calibration of the samplers where there is one.
        ``extra`` are further JSON values about the model's making."""
        hub.save_pretrained(self, folder, extra)
        if self.calibration is not None:
            save_calibration(self.calibration, folder)

    @classmethod
    def from_pretrained(
        cls: type[T],
        source: str | os.PathLike[str],
        *,
        revision: str | None = None,
        device: str | torch.device = "cpu",
    ) -> T:
        """The flow of a model folder or a hub repository, in evaluation mode. Raises as
        ``tenfold.hub.from_pretrained``."""
        model: T = hub.from_pretrained(cls, source, revision=revision, device=device)
        return model

    def read_extras(self, folder: Path) -> None:
        """Take the samplers' calibration of a model folder, if it has one; a broken one costs a warning, and "auto" is
        sequential."""
        try:
            self.calibration = load_calibration(folder)
        except UsageError as error:
            warnings.warn(f"{error}; until then solver 'auto' is sequential", stacklevel=2)
