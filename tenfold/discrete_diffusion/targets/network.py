"""The room's own autoregressive network as a teacher: suffixes are read behind a prefix that was read once."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tenfold import progress
from tenfold.discrete.masking import categorical
from tenfold.discrete_diffusion.networks.autoregressive import Autoregressive
from tenfold.discrete_diffusion.networks.blocks import Layer, own_turns, require_length


class Prefix(NamedTuple):
    """Of every layer, what went into it (b, n, d), and the keys and values of its attention (b, h, n, e)."""

    inputs: list[Tensor]
    keys: list[Tensor]
    values: list[Tensor]


class NetworkTeacher:
    """``Autoregressive`` as ``ARTeacher`` uses it."""

    def __init__(self, model: Autoregressive) -> None:
        self.model, self.vocabulary = model.eval(), model.config.vocabulary

    def to(self, device: torch.device, dtype: torch.dtype | None = None) -> "NetworkTeacher":
        """Move the network."""
        self.model.to(device, dtype)
        return self

    def read(self, tokens: Int[Tensor, "b n"]) -> tuple[Float[Tensor, "b n v"], Prefix]:
        """See ``LeftToRight``."""
        start = torch.full_like(tokens[:, :1], self.model.begin)
        given = torch.cat([start, tokens[:, :-1]], 1)
        require_length(given, self.model.config.length)
        hidden, state = self._run(self.model.network.embedding(given), self._empty(len(tokens)), 0)
        return self.model.head(hidden).log_softmax(-1), state

    def continued(self, state: Prefix, rows: Tensor, start: int, tokens: Int[Tensor, "r w"]) -> Float[Tensor, " r"]:
        """See ``LeftToRight``. The token at place j goes in one place later, behind the beginning."""
        past = start + 1
        prefix = Prefix(
            [layer[rows, :past] for layer in state.inputs],
            *([layer[rows, :, :past] for layer in part] for part in (state.keys, state.values)),
        )
        hidden, _ = self._run(self.model.network.embedding(tokens[:, :-1]), prefix, past)
        log_p = self.model.head(hidden).log_softmax(-1)
        return log_p.gather(-1, tokens[:, 1:, None])[..., 0].sum(1)

    def soft(self, one_hot: Float[Tensor, "b n v"]) -> Float[Tensor, "b n v"]:
        """See ``LeftToRight``."""
        table = self.model.network.embedding.weight
        first = table[self.model.begin].expand(len(one_hot), 1, -1)
        x = torch.cat([first, one_hot[:, :-1].to(table.dtype) @ table[: self.vocabulary]], 1)
        return self.model.head(self._run(x, self._empty(len(x)), 0)[0]).log_softmax(-1)

    @torch.no_grad()
    def sample(self, count: int, length: int, seed: int, batch: int = 256) -> Int[Tensor, "count length"]:
        """Sequences of the model, drawn in float64 and token by token behind prefixes that are read once; on the CPU.
        The numbers do not depend on ``batch``."""
        uniforms = torch.rand(count, length, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        table, parts = self.model.network.embedding, []
        with progress.task("drawing from the teacher", count, "rows") as step:
            for numbers in uniforms.to(table.weight.device).split(batch):
                state = self._empty(len(numbers))
                token = torch.full_like(numbers[:, 0], self.model.begin, dtype=torch.long)
                drawn = []
                for place, number in enumerate(numbers.unbind(1)):
                    hidden, state = self._run(table(token[:, None]), state, place)
                    token = categorical(self.model.head(hidden[:, 0]).log_softmax(-1).exp(), number)
                    drawn.append(token)
                parts.append(torch.stack(drawn, 1).cpu())
                step(len(numbers))
        return torch.cat(parts)

    def _empty(self, rows: int) -> Prefix:
        """The state before the first token."""
        config, like = self.model.config, self.model.network.embedding.weight
        inputs = like.new_zeros(rows, 0, config.width)
        seen = like.new_zeros(rows, config.heads, 0, config.width // config.heads)
        return Prefix(*([part] * config.layers for part in (inputs, seen, seen)))

    def _run(self, x: Tensor, prefix: Prefix, past: int) -> tuple[Tensor, Prefix]:
        """Embedded tokens behind ``past`` others, through all layers."""
        network, new = self.model.network, x.shape[1]
        if network.places is not None:
            x, rotary = x + network.places[past : past + new], None
        else:
            rotary = own_turns(past + new, self.model.config, x)[0][:, past:]
        # One new token looks at everything.
        allowed = torch.ones(new, past + new, dtype=torch.bool, device=x.device).tril(past) if new > 1 else None
        state = Prefix([], [], [])
        for layer, before, keys, values in zip(network.layers, *prefix, strict=True):
            assert isinstance(layer, Layer)
            state.inputs.append(torch.cat([before, x], 1))
            if layer.mixing is not None:
                # The convolution reaches back into what went into the layer before.
                x = layer.mixing(torch.cat([before[:, -(self.model.config.local_mixing - 1) :], x], 1))[:, -new:]
            seen = layer.attention_norm(x)
            new_keys, new_values = layer.attention.keys_values(seen, rotary)
            state.keys.append(torch.cat([keys, new_keys], 2))
            state.values.append(torch.cat([values, new_values], 2))
            x = x + layer.attention.look(seen, state.keys[-1], state.values[-1], rotary, allowed)
            x = x + layer.mlp(layer.mlp_norm(x))
        return network.norm(x), state
