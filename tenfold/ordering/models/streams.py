"""Texts as the streams that a network reads: what goes in, what is to be predicted, and where it stands."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tenfold.errors import UsageError
from tenfold.nn.tensors import read_tensors, within
from tenfold.ordering.config import OrderLMConfig
from tenfold.ordering.models.model import OrderLM
from tenfold.settings.arguments import read_arguments


class OrderedStream(NamedTuple):
    """Inputs (b, m), the token that is to follow each, and, of models of any order, the places of both."""

    inputs: Int[Tensor, "b m"]
    targets: Int[Tensor, "b m"]
    places: Int[Tensor, "b m"] | None = None
    after: Int[Tensor, "b m"] | None = None


@read_arguments
@read_tensors()
def stream_of(
    config: OrderLMConfig, tokens: Int[Tensor, "b n"], order: Int[Tensor, "b n"] | None = None
) -> OrderedStream:
    """Texts of a model that is not masked.

    Args:
        config: of the model.
        tokens: in reading order; of packed documents, blocks as they were packed.
        order: of a "permuted" model, the places 0 … n − 1 of each text in the order in which they are read.

    Raises UsageError for an order that is no permutation, or of a model that has its own, and for tokens that the model
    does not have, or more of them than it reads (values on the CPU alone are looked at: a device would be waited for).
    """
    require_tokens(config, tokens)
    if (order is None) != (config.order != "permuted"):
        raise UsageError(f"an order is given to models of order permuted, and only to them; this is {config.order}")
    if config.packing == "documents":
        return OrderedStream(tokens[:, :-1], tokens[:, 1:])
    begin = torch.full_like(tokens[:, :1], config.begin)
    if order is None:
        targets = tokens.flip(1) if config.direction == "r2l" else tokens
        return OrderedStream(torch.cat([begin, targets[:, :-1]], 1), targets)
    require_permutations(order)
    targets = tokens.gather(1, order)
    places = torch.cat([torch.zeros_like(begin), order[:, :-1] + 1], 1)
    return OrderedStream(torch.cat([begin, targets[:, :-1]], 1), targets, places, order + 1)


def require_tokens(config: OrderLMConfig, tokens: Int[Tensor, "b n"]) -> None:
    """Raises UsageError for rows longer than the model reads or empty, and for numbers that are no tokens of it."""
    least = 2 if config.packing == "documents" else 1  # of packed blocks the first token is given
    if not least <= tokens.shape[1] <= config.length:
        raise UsageError(
            f"tokens has shape {tuple(tokens.shape)}; the model reads {least} to {config.length} of a text"
        )
    if tokens.device.type == "cpu":
        within(tokens, "tokens", 0, config.vocabulary)


def require_permutations(order: Int[Tensor, "b n"]) -> None:
    """Raises UsageError for rows that are no permutation of 0 … n − 1."""
    if order.is_meta:
        return
    wrong = (order.sort(1).values != torch.arange(order.shape[1], device=order.device)).any(1)
    if bool(wrong.any()):
        row = order[int(wrong.int().argmax())].tolist()
        raise UsageError(f"the order {row[:12]} is no permutation of 0 to {order.shape[1] - 1}; give every place once")


class Hidden(NamedTuple):
    """Texts of which some tokens are masks, which ones (1.0 where hidden), and n / hidden of each text."""

    noisy: Int[Tensor, "b n"]
    chosen: Float[Tensor, "b n"]
    weight: Float[Tensor, " b"]


@read_arguments
@read_tensors()
def hide(tokens: Int[Tensor, "b n"], mask: int, places: Float[Tensor, "b n"], share: Float[Tensor, " b"]) -> Hidden:
    """Hide k tokens of each text, k uniform on 1 … n, all subsets alike (arXiv:2110.02037, equation 4).

    Args:
        tokens: (b, n).
        mask: number of the mask.
        places: uniform numbers, whose k smallest are hidden.
        share: uniform numbers that say k.

    Raises UsageError for texts without tokens, and numbers outside of [0, 1)."""
    if not tokens.shape[1] or not 0 <= mask < 2**31:
        raise UsageError(f"tokens has shape {tuple(tokens.shape)} and mask is {mask}; give texts, and a token")
    within(places, "places", 0.0, 1.0)
    within(share, "share", 0.0, 1.0)
    return hide_by(tokens, mask, places, share)


def hide_by(tokens: Int[Tensor, "b n"], mask: int, places: Float[Tensor, "b n"], share: Float[Tensor, " b"]) -> Hidden:
    """``hide`` by numbers that are known to be uniform: no value is looked at."""
    n = tokens.shape[1]
    count = (share * n).long().clamp(max=n - 1) + 1
    rank = places.argsort(1).argsort(1)
    chosen = rank < count[:, None]
    return Hidden(torch.where(chosen, mask, tokens), chosen.float(), n / count.float())


@read_tensors()
def masked_bound(model: torch.nn.Module, tokens: Int[Tensor, "b n"], hidden: Hidden) -> Float[Tensor, " b"]:
    """n/k Σ over hidden −log p(x_i | what is seen), whose mean over k and subsets is at least −log p(x); nats.

    Raises UsageError for tokens that were hidden in another shape."""
    if not isinstance(hidden, Hidden) or hidden.noisy.shape != tokens.shape:
        raise UsageError("hidden is not what hide makes of these tokens; give that")
    nll = model(hidden.noisy, tokens)
    return hidden.weight * (nll * hidden.chosen).sum(1)


@read_arguments
@read_tensors()
def log_prob(
    model: OrderLM, tokens: Int[Tensor, "b n"], order: Int[Tensor, "b n"] | None = None
) -> Float[Tensor, "b m"]:
    """log p of each token given those that are read before it, in the order in which they are read: rows of a text's
    own tokens, whose sum is log p(x); of packed blocks all but the first. A "permuted" model reads in the ``order``
    given, all others in their own.

    Raises UsageError for a model of masks, which only has a bound."""
    if not model.config.is_causal:
        raise UsageError("a model of masks has no order of its own; use masked_bound, or score it token by token")
    return -model(*stream_of(model.config, tokens, order))
