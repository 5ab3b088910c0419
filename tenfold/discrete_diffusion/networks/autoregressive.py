"""The same network read from left to right: what diffusion is compared with, a judge of samples, and a teacher."""

import os
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tenfold import hub
from tenfold.discrete.masking import categorical
from tenfold.discrete_diffusion.config import AutoregressiveConfig
from tenfold.discrete_diffusion.networks.blocks import Stack


class Autoregressive(nn.Module):
    """p(x) = Π p(x^i | x^{<i}), exactly.

    >>> model = Autoregressive(AutoregressiveConfig(vocabulary=4, width=32, layers=1, heads=2))
    >>> model(torch.tensor([[2, 1, 3]])).shape
    torch.Size([1, 3, 4])
    """

    model_type = "discrete-autoregressive"
    config_class = AutoregressiveConfig

    def __init__(self, config: AutoregressiveConfig) -> None:
        super().__init__()
        self.config, self.begin = config, config.vocabulary
        self.network = Stack(config, config.vocabulary + 1, causal=True)
        self.head = nn.Linear(config.width, config.vocabulary)

    @property
    def shard_units(self) -> list[nn.Module]:
        """What FSDP2 shards one by one."""
        return list(self.network.layers)

    def forward(self, tokens: Int[Tensor, "b n"]) -> Float[Tensor, "b n v"]:
        """log p(x^i = · | x^{<i}) for every i, the first from nothing."""
        start = torch.full_like(tokens[:, :1], self.begin)
        return self.head(self.network(torch.cat([start, tokens[:, :-1]], dim=1))).log_softmax(-1)

    def log_prob(self, tokens: Int[Tensor, "b n"]) -> Float[Tensor, " b"]:
        """log p(x) in nats, summed over tokens."""
        return self(tokens).gather(-1, tokens[..., None])[..., 0].sum(1)

    @torch.no_grad()
    def sample(self, n: int, length: int | None = None, seed: int = 0) -> Int[Tensor, "n length"]:
        """n sequences, token by token, drawn in float64."""
        length = length or self.config.length
        device = next(self.parameters()).device
        uniforms = torch.rand(n, length, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(device)
        tokens = torch.zeros(n, length, dtype=torch.long, device=device)
        for i in range(length):
            tokens[:, i] = categorical(self(tokens[:, : i + 1])[:, i].exp(), uniforms[:, i])
        return tokens

    @classmethod
    def from_pretrained(cls, source: str | os.PathLike[str], **options: Any) -> "Autoregressive":
        """The model of a local folder or hub repository, in evaluation mode; strict (``tenfold.hub``)."""
        model: Autoregressive = hub.from_pretrained(cls, source, **options)
        return model

    def save_pretrained(self, folder: str | os.PathLike[str], extra: Mapping[str, Any] | None = None) -> None:
        """Write ``config.json`` and ``model.safetensors``; of characters, also how text is read."""
        config = self.config
        read = {"data": {"alphabet": config.alphabet, "length": config.length}} if config.alphabet else {}
        hub.save_pretrained(self, folder, {"recipe": read, **(extra or {})})
