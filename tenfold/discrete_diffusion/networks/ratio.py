"""A density ratio as a network: one number for a clean and a noisy sequence (the energy of arXiv 2410.21357)."""

import os
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tenfold import hub
from tenfold.discrete_diffusion.config import DiffusionConfig
from tenfold.discrete_diffusion.networks.blocks import Stack, own_turns, require_length
from tenfold.discrete_diffusion.networks.model import DiscreteDiffusion, source_of
from tenfold.errors import UsageError
from tenfold.training.task import device_of


class LogRatio(nn.Module):
    """log r(x_0, x_t): both sequences embedded and joined, the layers of the masked model, the mean over tokens.

    >>> network = LogRatio(DiffusionConfig(vocabulary=4, width=32, layers=1, heads=2))
    >>> network(torch.tensor([[0, 1]]), torch.tensor([[4, 1]]))
    tensor([0.], grad_fn=<SqueezeBackward1>)
    """

    model_type = "discrete-ratio"
    config_class = DiffusionConfig

    def __init__(self, config: DiffusionConfig) -> None:
        super().__init__()
        if config.network != "transformer" or config.time:
            raise UsageError(
                "a ratio network has the layers of a transformer that is not told the noise level; set "
                "--model.network transformer and --model.time false"
            )
        self.config = config
        states = source_of(config).states
        self.network = Stack(config, states, causal=False)
        self.clean = nn.Embedding(states, config.width)
        self.join = nn.Linear(2 * config.width, config.width)
        self.head = nn.Linear(config.width, 1)
        # r = 1 at first.
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    @property
    def shard_units(self) -> list[nn.Module]:
        """What FSDP2 shards one by one."""
        return list(self.network.layers)

    @classmethod
    def from_model(cls, model: DiscreteDiffusion) -> "LogRatio":
        """The weights of a masked model; x_0 and x_t are embedded alike, and join as their mean."""
        ratio = cls(model.config).to(device_of(model))
        ratio.network.load_state_dict(model.network.state_dict())
        with torch.no_grad():
            ratio.clean.weight.copy_(ratio.network.embedding.weight)
            half = torch.eye(model.config.width) / 2
            ratio.join.weight.copy_(torch.cat([half, half], 1))
            ratio.join.bias.zero_()
        return ratio

    def forward(self, clean: Int[Tensor, "b n"], noisy: Int[Tensor, "b n"]) -> Float[Tensor, " b"]:
        """log r of each row."""
        network = self.network
        require_length(noisy, self.config.length)
        x = self.join(torch.cat([network.embedding(noisy), self.clean(clean)], -1))
        rotary = None
        if network.places is not None:
            x = x + network.places[: noisy.shape[1]]
        else:
            rotary = own_turns(noisy.shape[1], self.config, x)
        for layer in network.layers:
            x = layer(x, None, rotary)
        return self.head(network.norm(x).mean(1)).squeeze(-1)

    @classmethod
    def from_pretrained(cls, source: str | os.PathLike[str], **options: Any) -> "LogRatio":
        """The network of a local folder or hub repository, in evaluation mode; strict (``tenfold.hub``)."""
        model: LogRatio = hub.from_pretrained(cls, source, **options)
        return model

    def save_pretrained(self, folder: str | os.PathLike[str], extra: Mapping[str, Any] | None = None) -> None:
        """Write ``config.json`` and ``model.safetensors``."""
        hub.save_pretrained(self, folder, extra)
