"""The room's own autoregressive network as a teacher: suffixes are read behind a prefix that was read once."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tenfold import discrete, progress
from tenfold.discrete_diffusion.autoregressive import Autoregressive
from tenfold.discrete_diffusion.blocks import Layer, own_turns, require_length


class Prefix(NamedTuple):
    """Of every layer, what went into it and what its attention looks at, (b, n, d) each."""

    inputs: list[Tensor]
    looked_at: list[Tensor]


class NetworkTeacher:
    """``Autoregressive`` as ``ARTeacher`` uses it."""

    def __init__(self, model: Autoregressive) -> None:
        self.model, self.vocabulary = model.eval(), model.config.vocabulary

    def read(self, tokens: Int[Tensor, "b n"]) -> tuple[Float[Tensor, "b n v"], Prefix]:
        """See ``ARTeacher``."""
        start = torch.full_like(tokens[:, :1], self.model.begin)
        given = torch.cat([start, tokens[:, :-1]], 1)
        require_length(given, self.model.config.length)
        nothing = self.model.network.embedding.weight.new_zeros(len(tokens), 0, self.model.config.width)
        empty = Prefix([nothing] * self.model.config.layers, [nothing] * self.model.config.layers)
        hidden, state = self._run(self.model.network.embedding(given), empty, 0)
        return self.model.head(hidden).log_softmax(-1), state

    def continued(self, state: Prefix, rows: Tensor, start: int, tokens: Int[Tensor, "r w"]) -> Float[Tensor, " r"]:
        """See ``ARTeacher``. The token at place j goes in one place later, behind the beginning."""
        past = start + 1
        prefix = Prefix(*([layer[rows, :past] for layer in part] for part in state))
        hidden, _ = self._run(self.model.network.embedding(tokens[:, :-1]), prefix, past)
        log_p = self.model.head(hidden).log_softmax(-1)
        return log_p.gather(-1, tokens[:, 1:, None])[..., 0].sum(1)

    def soft(self, one_hot: Float[Tensor, "b n v"]) -> Float[Tensor, "b n v"]:
        """See ``ARTeacher``."""
        table = self.model.network.embedding.weight
        first = table[self.model.begin].expand(len(one_hot), 1, -1)
        x = torch.cat([first, one_hot[:, :-1].to(table.dtype) @ table[: self.vocabulary]], 1)
        nothing = x.new_zeros(len(x), 0, x.shape[-1])
        empty = Prefix([nothing] * self.model.config.layers, [nothing] * self.model.config.layers)
        return self.model.head(self._run(x, empty, 0)[0]).log_softmax(-1)

    @torch.no_grad()
    def sample(self, count: int, length: int, seed: int, batch: int = 2048) -> Int[Tensor, "count length"]:
        """Sequences of the model, drawn in float64 and token by token behind prefixes that are read once; on the CPU.
        The numbers do not depend on ``batch``."""
        uniforms = torch.rand(count, length, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        table, parts = self.model.network.embedding, []
        with progress.task("drawing from the teacher", count, "rows") as step:
            for numbers in uniforms.to(table.weight.device).split(batch):
                nothing = table.weight.new_zeros(len(numbers), 0, self.model.config.width)
                state = Prefix([nothing] * self.model.config.layers, [nothing] * self.model.config.layers)
                token = torch.full_like(numbers[:, 0], self.model.begin, dtype=torch.long)
                drawn = []
                for place, number in enumerate(numbers.unbind(1)):
                    hidden, state = self._run(table(token[:, None]), state, place)
                    token = discrete.categorical(self.model.head(hidden[:, 0]).log_softmax(-1).exp(), number)
                    drawn.append(token)
                parts.append(torch.stack(drawn, 1).cpu())
                step(len(numbers))
        return torch.cat(parts)

    def _run(self, x: Tensor, prefix: Prefix, past: int) -> tuple[Tensor, Prefix]:
        """Embedded tokens behind ``past`` others, through all layers."""
        network, new = self.model.network, x.shape[1]
        if network.places is not None:
            x, rotary = x + network.places[past : past + new], None
        else:
            table, _ = own_turns(past + new, self.model.config, x)
            rotary = (table[:, past:], table)
        allowed = torch.ones(new, past + new, dtype=torch.bool, device=x.device).tril(past)
        state = Prefix([], [])
        for layer, before, looked_at in zip(network.layers, *prefix, strict=True):
            assert isinstance(layer, Layer)
            state.inputs.append(torch.cat([before, x], 1))
            if layer.mixing is not None:
                # The convolution reaches back into what went into the layer before.
                x = layer.mixing(torch.cat([before[:, -(self.model.config.local_mixing - 1) :], x], 1))[:, -new:]
            seen = layer.attention_norm(x)
            state.looked_at.append(torch.cat([looked_at, seen], 1))
            x = x + layer.attention(seen, state.looked_at[-1], rotary, allowed)
            x = x + layer.mlp(layer.mlp_norm(x))
        return network.norm(x), state
