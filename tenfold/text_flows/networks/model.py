"""TarFlowLM (arXiv:2507.00425): tokens as small Gaussians, and an exact flow of the latents by causal transformers."""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from tenfold import hub
from tenfold.errors import UsageError
from tenfold.nn.border import Values, as_tensor, floats, visible, whole
from tenfold.settings.values import read
from tenfold.text.tokenizer import FileTokenizer, find_tokenizer
from tenfold.text_flows.config import TextFlowConfig
from tenfold.text_flows.networks.codebook import TokenAutoencoder
from tenfold.text_flows.networks.couplings import Coupling, MixMany, MixOne

TOKENIZER = "tokenizer"  # the folder inside a model folder


class Terms(NamedTuple):
    """Of texts (b, n) with drawn latents: log p(x_t | z_t) and log q(z_t | x_t) of each token (b, n), and log p(z) of
    each position (b, n / P), nats. Padding of the last patch is in all but the first."""

    reconstruction: Tensor
    posterior: Tensor
    prior: Tensor

    def bound(self) -> Float[Tensor, " b"]:
        """log p(x | z) + log p(z) − log q(z | x) of each text: its mean over q is at most log p(x)."""
        return self.reconstruction.sum(1) + self.prior.sum(1) - self.posterior.sum(1)


class TextFlow(nn.Module):
    """A language model whose likelihood is that of a flow in continuous space.

    Coupling l reads positions from left to right for even l (counted from 0) and from right to left for odd l, and
    channels in the l-th power of the order "even ones, then odd ones" where they are mixed. All states h^0 = z, …,
    h^L = u are in the order of the text. ``tokenizer`` is what made the tokens, where they are no characters and it is
    known.

    >>> model = TextFlow(TextFlowConfig(vocabulary=4, components=(4,), dim=2, width=16, heads=2, length=8))
    >>> model(torch.tensor([[0, 3, 1]]), torch.zeros(1, 3, 2)).bound().shape
    torch.Size([1])
    """

    model_type = "tarflowlm"
    config_class = TextFlowConfig

    def __init__(self, config: TextFlowConfig) -> None:
        super().__init__()
        self.config = config
        self.tokens = TokenAutoencoder(config.vocabulary, config.dim, config.log_scale, config.decoder == "tied")
        kinds = {"affine": MixOne, "mix-1": MixOne, "mix-d": MixMany}
        self.couplings = nn.ModuleList(kinds[kind](config, place) for place, kind in enumerate(config.couplings))
        self.frozen = 0
        self.tokenizer: FileTokenizer | None = None

    @property
    def shard_units(self) -> list[nn.Module]:
        """What FSDP2 shards one by one."""
        return [layer for coupling in self.chain for layer in coupling.body.layers]

    def freeze(self, count: int) -> None:
        """Leave the tokens' codebook and the first ``count`` couplings as they are in training (progressive training).

        Raises UsageError where nothing would be left to train."""
        count = read(int, count, "count")
        if not 0 < count < len(self.couplings):
            raise UsageError(
                f"{count} of {len(self.couplings)} couplings cannot be frozen; give 1 to one less than all"
            )
        self.frozen = count
        for part in (self.tokens, *self.couplings[:count]):
            part.requires_grad_(False)

    def beginning(self, count: int) -> "TextFlow":
        """The flow of the first ``count`` couplings with the same tokens; its weights are this one's.

        Raises UsageError for another number than 1 to all."""
        if not 1 <= count <= len(self.couplings):
            raise UsageError(f"{count} of {len(self.couplings)} couplings; give 1 to all")
        own = self.config
        first = replace(
            own, couplings=own.couplings[:count], layers=own.layers[:count], components=own.components[:count]
        )
        with torch.device("meta"):
            found = TextFlow(first)
        found.tokens, found.couplings, found.tokenizer = self.tokens, self.couplings[:count], self.tokenizer
        return found.train(self.training)

    def forward(self, tokens: Values, noise: Values) -> Terms:
        """The terms of the bound for texts (b, n) at z = μ_x + σ_x ε, ε = ``noise`` (b, m, d) of ``padded_length`` n.

        Raises UsageError for tokens outside the vocabulary, texts that are empty or too long, and other noise."""
        tokens = self.rows(tokens)
        padded = self.padded(tokens)
        z = self.tokens.encode(padded, self.noise_of(padded, noise))
        own = z[:, : tokens.shape[1]]
        chosen = self.tokens.log_probs(own).gather(-1, tokens[..., None])[..., 0]
        return Terms(chosen, self.tokens.log_posterior(z, padded), self._log_density(z))

    def log_density(self, z: Values) -> Float[Tensor, "b m"]:
        """log p(z) of each position of P tokens of latents z (b, n, d), given what its couplings read before it, nats;
        n is a multiple of P.

        Raises UsageError for another shape, and for NaN."""
        return self._log_density(self.points(z, "z"))

    def _log_density(self, z: Float[Tensor, "b n d"]) -> Float[Tensor, "b m"]:
        """The last coupling's map is not needed: its mixture density is all that is left of it."""
        h, total = self.positions(z), None
        for place, coupling in enumerate(self.chain):
            with torch.set_grad_enabled(torch.is_grad_enabled() and place >= self.frozen):
                seen = self.ordered(h, place)
                features = coupling.body(seen)
                if place == len(self.couplings) - 1:
                    found = coupling.log_density(seen, features, self.tokens)
                else:
                    u, found = coupling.passed(seen, features, self.tokens)
                    h = self.reordered(u, place)
                found = found.flip(1) if place % 2 else found
                total = found if total is None else total + found
        assert total is not None
        return total

    def states(self, z: Values) -> list[Float[Tensor, "b n d"]]:
        """h^0 = z, …, h^L = u of latents z (b, n, d).

        Raises UsageError for another shape, and for NaN."""
        z = self.points(z, "z")
        found, h = [z], self.positions(z)
        for place, coupling in enumerate(self.chain):
            seen = self.ordered(h, place)
            h = self.reordered(coupling.passed(seen, coupling.body(seen), self.tokens).u, place)
            found.append(self.latents(h))
        return found

    # Positions, orders, padding

    def positions(self, z: Float[Tensor, "b n d"]) -> Float[Tensor, "b m c"]:
        """Latents of P tokens as one position each."""
        return z.reshape(len(z), z.shape[1] // self.config.patch, self.config.channels)

    def latents(self, h: Float[Tensor, "b m c"]) -> Float[Tensor, "b n d"]:
        """Positions as latents of tokens."""
        return h.reshape(len(h), h.shape[1] * self.config.patch, self.config.dim)

    def ordered(self, h: Float[Tensor, "b m c"], place: int) -> Float[Tensor, "b m c"]:
        """Positions and channels as the coupling at ``place`` reads them."""
        if self.config.mix_channels:
            h = h[..., self._channels(place)]
        return h.flip(1) if place % 2 else h

    def reordered(self, h: Float[Tensor, "b m c"], place: int) -> Float[Tensor, "b m c"]:
        """Back to the order of the text."""
        if self.config.mix_channels:
            h = h[..., self._channels(place).argsort()]
        return h.flip(1) if place % 2 else h

    def _channels(self, place: int) -> Tensor:
        order = torch.arange(self.config.channels)
        for _ in range(place):
            order = mixed(order)
        return order

    @property
    def chain(self) -> list[Coupling]:
        """The couplings, from latents to noise."""
        found: Any = self.couplings
        return list(found)

    def rows(self, tokens: Values) -> Int[Tensor, "b n"]:
        """Texts of whole numbers of any type as int64, on the model's device; a border for what people hand over.

        Raises UsageError for other types, and for what is no rows of tokens."""
        found = whole(tokens, "the tokens")
        if found.ndim != 2:
            raise UsageError(f"the tokens have shape {tuple(found.shape)}; give (texts, tokens)")
        return found.to(self.tokens.mean.device)

    def points(self, values: Values, name: str) -> Float[Tensor, "b n d"]:
        """Latents or noise as a tensor on the model's device, float32 at least.

        Raises UsageError, which begins with ``name``, for what is not (texts, tokens, d) of a length of this model, and
        for NaN or infinite values."""
        found, config = floats(values, name), self.config
        count = found.shape[1] if found.ndim == 3 else 0
        if found.ndim != 3 or found.shape[2] != config.dim or not 0 < count <= config.length or count % config.patch:
            raise UsageError(
                f"{name} has shape {tuple(found.shape)}; give (texts, tokens, {config.dim}), of at most "
                f"{config.length} tokens, a multiple of {config.patch}"
            )
        return found.to(self.tokens.mean.device)

    def noise_of(self, padded: Int[Tensor, "b m"], noise: Values) -> Float[Tensor, "b m d"]:
        """The noise of padded texts. Raises UsageError for one of another shape, and for NaN or infinite values."""
        found = self.points(noise, "the noise")
        if found.shape[:2] != padded.shape:
            raise UsageError(f"the noise is of {tuple(found.shape[:2])} tokens and the texts of {tuple(padded.shape)}")
        return found

    def padded(self, tokens: Int[Tensor, "b n"]) -> Int[Tensor, "b m"]:
        """Texts whose length is a multiple of P: token 0 takes the places that are missing. They are latents without a
        text, so that the bound stays one on the tokens given; what the decoder says of them is left out.

        Raises UsageError for what is no text of this model."""
        count = tokens.shape[1]
        if not 0 < count <= self.config.length:
            raise UsageError(f"a text of {count} tokens; this model reads 1 to {self.config.length}")
        if (
            visible(tokens)
            and tokens.numel()
            and not 0 <= int(tokens.min()) <= int(tokens.max()) < self.config.vocabulary
        ):
            wrong = tokens[(tokens < 0) | (tokens >= self.config.vocabulary)][0]
            raise UsageError(
                f"token {int(wrong)} is none of the vocabulary of {self.config.vocabulary}; give 0 to V - 1"
            )
        return F.pad(tokens, (0, -count % self.config.patch))

    def padded_length(self, count: int) -> int:
        """The multiple of P that ``count`` tokens are padded to."""
        return -(-count // self.config.patch) * self.config.patch

    @classmethod
    def from_pretrained(cls, source: str | os.PathLike[str], **options: Any) -> "TextFlow":
        """The model of a local folder or hub repository, in evaluation mode; strict (``tenfold.hub``)."""
        model: TextFlow = hub.from_pretrained(cls, source, **options)
        return model

    def save_pretrained(self, folder: str | os.PathLike[str], extra: Mapping[str, Any] | None = None) -> None:
        """Write ``config.json`` and ``model.safetensors``; of characters, also how text is read; of a tokenizer's
        tokens, the tokenizer."""
        config = self.config
        data = {"alphabet": config.alphabet} if config.alphabet else {}
        read = {"data": {**data, "length": config.length}}
        hub.save_pretrained(self, folder, {"recipe": read, **(extra or {})})
        if self.tokenizer is not None:
            self.tokenizer.save(Path(folder) / TOKENIZER)

    def read_extras(self, folder: Path) -> None:
        """Read the tokenizer of a model folder that has one."""
        if (folder / TOKENIZER).is_dir():
            self.tokenizer = find_tokenizer(str(folder / TOKENIZER), self.config.vocabulary)


def mixed(x: Values) -> Tensor:
    """The even entries of the last axis (counted from 0), then the odd ones; log-determinant 0.

    >>> mixed(torch.arange(4))
    tensor([0, 2, 1, 3])

    Raises UsageError for an odd size, and for what is no array of numbers."""
    x = _of_channels(x)
    return torch.cat([x[..., ::2], x[..., 1::2]], -1)


def unmixed(x: Values) -> Tensor:
    """The inverse of ``mixed``.

    >>> unmixed(mixed(torch.arange(4)))
    tensor([0, 1, 2, 3])

    Raises UsageError for an odd size, and for what is no array of numbers."""
    return torch.stack(_of_channels(x).chunk(2, -1), -1).flatten(-2)


def _of_channels(x: Values) -> Tensor:
    tensor = as_tensor(x, "the channels")
    if not tensor.ndim or not tensor.shape[-1] or tensor.shape[-1] % 2:
        raise UsageError(
            f"the channels have shape {tuple(tensor.shape)}; those of an even number on the last axis are mixed"
        )
    return tensor
