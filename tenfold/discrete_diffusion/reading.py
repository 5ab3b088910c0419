"""Models of the room as what scores texts token by token."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tenfold.data.text.characters import encode
from tenfold.data.text.config import CharacterDataConfig
from tenfold.discrete.paths import MaskSource
from tenfold.discrete.schedules import time_of
from tenfold.discrete_diffusion.networks.model import DiscreteDiffusion
from tenfold.discrete_diffusion.networks.stacked import Autoregressive
from tenfold.errors import UsageError
from tenfold.text.language_model import LanguageModel
from tenfold.text.rows import MaskedRows, WholeRows
from tenfold.training.task import device_of


def reader_of(
    model: DiscreteDiffusion | Autoregressive, data: CharacterDataConfig | None, order: str | None, name: str
) -> LanguageModel:
    """A model of masks, or the autoregressive one, as a ``LanguageModel``.

    Args:
        model: of characters, or with a tokenizer.
        data: how text becomes characters; None for a model of tokens.
        order: "l2r", or "r2l", which a model of masks reads as well; None for "l2r".
        name: in reports.

    Raises UsageError for uniform noise, whose model gives no token by itself a probability, a model without a
    tokenizer, and an order in which it was not trained."""
    model, device, longest = model.eval(), device_of(model), model.config.length + 1

    def into(text: str) -> list[int]:
        if data is not None:
            return [int(token) for token in encode(text, data)]
        tokenizer = None if isinstance(model, Autoregressive) else model.tokenizer
        if tokenizer is None:
            raise UsageError("the model has no tokenizer to read texts with; convert its checkpoint with --tokenizer")
        return tokenizer.encode(text)

    if isinstance(model, Autoregressive):
        if order == "r2l":
            raise UsageError(f"{name} was trained from left to right, so it does not read right to left; leave it out")

        def after(inputs: Int[Tensor, "b m"]) -> Float[Tensor, "b m k"]:
            # It begins by itself, and its output at a place is of the token there.
            log_probs: Tensor = model(torch.cat([inputs[:, 1:], torch.zeros_like(inputs[:, :1])], 1))
            return log_probs

        return WholeRows(after, into, begin=(model.begin,), longest=longest, name=name, device=device)
    source = model.source
    if not isinstance(source, MaskSource):
        raise UsageError(f"{name} is a model of uniform noise, which reads no token by itself; give one of masks")

    def hidden_at(texts: Int[Tensor, "b n"], places: Int[Tensor, " b"]) -> Float[Tensor, "b k"]:
        time = None
        if model.time_conditioned:
            time = time_of(model.schedule, (texts != source.mask).double().mean(1)).float()
        log_probs: Tensor = model(texts, time)
        return log_probs[torch.arange(len(texts), device=texts.device), places]

    return MaskedRows(
        hidden_at, into, mask=source.mask, order=order or "l2r", begin=source.mask, longest=longest, name=name,
        device=device,
    )  # fmt: skip
