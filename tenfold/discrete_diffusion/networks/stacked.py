"""The same layers to other ends. Read from left to right: what diffusion is compared with, a judge of samples, and a
teacher. As a density ratio: one number for a clean and a noisy sequence (the energy of arXiv 2410.21357)."""

import os
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tenfold.discrete.masking import categorical
from tenfold.discrete_diffusion.config import AutoregressiveConfig, DiffusionConfig
from tenfold.discrete_diffusion.networks.blocks import Stack, require_length, zeroed
from tenfold.discrete_diffusion.networks.model import DiscreteDiffusion, Stored, source_of
from tenfold.errors import UsageError
from tenfold.training.task import device_of


class Autoregressive(Stored):
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

    def save_pretrained(self, folder: str | os.PathLike[str], extra: Mapping[str, Any] | None = None) -> None:
        """Write ``config.json`` and ``model.safetensors``; of characters, also how text is read."""
        config = self.config
        read = {"data": {"alphabet": config.alphabet, "length": config.length}} if config.alphabet else {}
        super().save_pretrained(folder, {"recipe": read, **(extra or {})})


class LogRatio(Stored):
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
        self.head = zeroed(config.width, 1)  # r = 1 at first

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
        return self.head(network.of_vectors(x).mean(1)).squeeze(-1)
