"""Conditionals of a lattice, as model folders hold them."""

import os
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tenfold import hub
from tenfold.discrete_samplers.model import lattice_target
from tenfold.discrete_samplers.ordered.config import OrderedConfig
from tenfold.discrete_samplers.ordered.network import CausalConditionals, MaskedConditionals, RevealedField
from tenfold.discrete_samplers.ordered.sampling import sample_causal, sample_masked
from tenfold.discrete_samplers.result import SamplerResult
from tenfold.discrete_samplers.targets.binary import Ising
from tenfold.errors import UsageError
from tenfold.nn.border import Values
from tenfold.settings.arguments import read_arguments

_MOST_DENSE = 1024  # sites whose couplings are a matrix


def field_of(config: OrderedConfig) -> RevealedField:
    """What the revealed neighbours of a lattice's sites say of them."""
    target = lattice_target(config)
    if isinstance(target, Ising):
        return RevealedField(target.couplings.matrix, target.linear[:, None], torch.tensor([[-1.0], [1.0]]))
    return RevealedField(target.couplings.matrix, target.field, torch.eye(config.states))


class OrderedSampler(nn.Module):
    """A masked sampler (arXiv 2508.10684) or an autoregressive one (arXiv 1809.10606) of a lattice.

    >>> OrderedSampler(OrderedConfig()).draw(4).samples.shape
    torch.Size([4, 16])
    """

    model_type: ClassVar[str] = "ordered-sampler"
    config_class: ClassVar[type] = OrderedConfig

    def __init__(self, config: OrderedConfig) -> None:
        super().__init__()
        self.config = config
        sites, states, width = config.height * config.width, config.states, config.hidden
        self.network: MaskedConditionals | CausalConditionals
        if config.order == "any":
            field = field_of(config) if sites <= _MOST_DENSE else None
            self.network = MaskedConditionals(sites, states, width, config.heads, config.layers, field)
        else:
            self.network = CausalConditionals(sites, states, width, width // config.heads, config.layers)

    @read_arguments
    def target(self, share: float = 1.0) -> Any:
        """What is sampled, with a share of its coupling."""
        if not 0 <= share <= 1:
            raise UsageError(f"share is {share}; give one in [0, 1]")
        return lattice_target(self.config, share).to(next(self.parameters()).device)

    def forward(self, x: Values) -> Float[Tensor, "b d s"]:
        """log p(x_i | revealed)."""
        logs: Tensor = self.network(x)
        return logs

    @read_arguments
    def draw(self, num: int, share: float = 1.0, at_once: int = 1, seed: int = 0, first: int = 0) -> SamplerResult:
        """Samples with exact weights; ``at_once`` sites a pass in any order."""
        target = self.target(share)
        device = next(self.parameters()).device
        if isinstance(self.network, MaskedConditionals):
            return sample_masked(self.network, target, num, at_once, seed, first, device)
        return sample_causal(self.network, target, num, seed, first, device)

    @classmethod
    def from_pretrained(cls, source: str | os.PathLike[str], **options: Any) -> "OrderedSampler":
        """The model of a local folder or hub repository; strict."""
        model: OrderedSampler = hub.from_pretrained(cls, source, **options)
        return model

    def save_pretrained(self, folder: str | os.PathLike[str], extra: Mapping[str, Any] | None = None) -> None:
        """Write ``config.json`` and ``model.safetensors``."""
        hub.save_pretrained(self, folder, extra)
