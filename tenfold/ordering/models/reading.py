"""A trained model as what scores texts token by token, and the likelihoods of texts in any order."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from tenfold.errors import UsageError
from tenfold.nn import border
from tenfold.ordering.models.characters import CharacterTokenizer
from tenfold.ordering.models.model import OrderLM
from tenfold.ordering.models.streams import log_prob, stream_of
from tenfold.runs.machine import require_memory
from tenfold.settings.arguments import read_arguments
from tenfold.settings.values import read
from tenfold.text.causal import CausalReader
from tenfold.text.language_model import (
    LanguageModel,
    ReadingOrder,
    TokenScores,
    require_finite_scores,
    require_rows,
)
from tenfold.text.rows import MaskedRows, scores_of
from tenfold.training.streams import Draws
from tenfold.training.task import device_of


@read_arguments
def reader_of(model: OrderLM, order: str | None = None, name: str = "model") -> LanguageModel:
    """The model as a ``LanguageModel``.

    Args:
        model: of any order.
        order: "l2r" or "r2l"; None for its own, of a model of any order or of masks "l2r".
        name: in reports.

    Raises UsageError for an order in which the model was not trained, and a model without a tokenizer."""
    config = model.config
    if order is not None:
        read(ReadingOrder, order, "order")
    model.require_order(order or ("r2l" if config.direction == "r2l" else "l2r"))
    direction = order or ("l2r" if config.direction == "any" else config.direction)
    tokenizer: Any = CharacterTokenizer(config) if config.alphabet else model.tokenizer
    if tokenizer is None:
        raise UsageError(f"{name} has no tokenizer, so no text can be read; give the folder that the training wrote")
    model = model.eval()
    device, longest = device_of(model), config.length + 1
    if config.order == "permuted":
        return AnyOrderRows(model, tokenizer.encode, order=direction, name=name)
    if config.order == "masked":

        def hidden(texts: Tensor, places: Tensor) -> Tensor:
            rows = torch.arange(len(texts), device=texts.device)
            return model.logits(texts)[rows, places].float().log_softmax(-1)

        assert config.mask is not None  # the configuration made sure
        return MaskedRows(
            hidden, tokenizer.encode, mask=config.mask, order=direction, begin=config.begin, longest=longest, name=name,
            device=device,
        )  # fmt: skip
    return CausalReader(
        model.network, tokenizer, order=direction, begin=(config.begin,), name=name, longest=longest,
        stop=config.end if config.packing == "documents" else None,
    )  # fmt: skip


class AnyOrderRows:
    """A model of order "permuted" as a ``LanguageModel``, read from left to right or from right to left. Every token is
    told its place, so that from right to left the length of the text is known from the start."""

    opening: int | None = None
    stop: int | None = None

    def __init__(self, model: OrderLM, encode: Callable[[str], list[int]], *, order: str, name: str) -> None:
        self.order: ReadingOrder = read(ReadingOrder, order, "order")
        self.begin: tuple[int, ...] = (model.config.begin,)
        self.longest, self.name, self.model = model.config.length + 1, name, model
        self._encode, self._device = encode, device_of(model)

    def encode(self, text: str) -> list[int]:
        """Tokens of a text."""
        return self._encode(text)

    def token_scores(self, stem: Sequence[int], rows: Sequence[Sequence[int]]) -> list[TokenScores]:
        """Each row's tokens given the stem and those before.

        Raises UsageError for an empty stem, rows without tokens, and more tokens than ``longest``."""
        require_rows(self.name, self.longest, stem, rows)
        found: dict[int, TokenScores] = {}
        sizes: dict[int, list[int]] = {}
        for i, row in enumerate(rows):  # places depend on the length
            sizes.setdefault(len(row), []).append(i)
        for size, which in sizes.items():
            count = len(stem) - 1 + size
            texts = torch.tensor([[*stem[1:], *rows[i]] for i in which], device=self._device)
            order = torch.arange(count, device=self._device).expand_as(texts)
            if self.order == "r2l":
                texts, order = texts.flip(1), order.flip(1)
            with torch.inference_mode():
                stream = stream_of(self.model.config, texts, order)
                log_p = self.model.logits(stream.inputs, stream.places, stream.after).float().log_softmax(-1)
            scores = scores_of(log_p[:, -size:], stream.targets[:, -size:], [size] * len(which))
            found |= dict(zip(which, scores, strict=True))
        require_finite_scores(self.name, list(found.values()))
        return [found[i] for i in range(len(rows))]


class OverOrders(NamedTuple):
    """log p(x) of each text (b,) in m orders, (b, m), in nats.

    ``mean`` is the log of the mean probability, a likelihood of its own (the mixture of the orders); ``best`` the
    largest, which is none; ``spread`` the standard deviation over orders, 0 for an exact model."""

    log_p: Float[Tensor, "b m"]

    @property
    def mean(self) -> Float[Tensor, " b"]:
        """ln (1/m) Σ p."""
        return self.log_p.logsumexp(1) - torch.tensor(float(self.log_p.shape[1])).log()

    @property
    def best(self) -> Float[Tensor, " b"]:
        """The largest over orders."""
        return self.log_p.max(1).values

    @property
    def spread(self) -> Float[Tensor, " b"]:
        """Standard deviation over orders; NaN for one order."""
        return self.log_p.std(1)


@read_arguments
def over_orders(model: OrderLM, tokens: Any, *, orders: int = 8, seed: int = 0, batch: int = 64) -> OverOrders:
    """log p(x) of texts in as many random orders, which depend on the seed and on the text's number alone.

    Raises UsageError for a model of one order, tokens that are none, and fewer than one order."""
    x = _texts(model, tokens)
    if orders < 1 or batch < 1:
        raise UsageError(f"orders is {orders} and batch {batch}; give at least 1 of both")
    require_memory(8 * len(x) * orders, f"scores of {len(x):,} texts in {orders:,} orders", "ask for fewer orders")
    index = torch.arange(len(x), device=x.device)
    found = torch.empty(len(x), orders, dtype=torch.float64)
    for m in range(orders):
        places = Draws(seed, m).uniform("orders", index, (x.shape[1],)).argsort(1)
        for rows in torch.arange(len(x)).split(batch):
            here = rows.to(x.device)
            with torch.inference_mode():
                found[rows, m] = log_prob(model, x[here], places[here]).double().sum(1).cpu()
    return OverOrders(found)


@read_arguments
def score_subset(model: OrderLM, tokens: Any, target: Any, given: Any) -> Float[Tensor, " b"]:
    """log p(x_target | x_given) of texts, in nats: ``given`` places are read first, then the ``target``'s, both in the
    order in which they are listed; places in neither are not read.

    Args:
        model: of order "permuted".
        tokens: (b, n).
        target: places, at least one.
        given: places; may be none.

    Raises UsageError for places outside of the texts, or named twice."""
    x = _texts(model, tokens)
    asked, known = (_places(values, name, x.shape[1]) for values, name in ((target, "target"), (given, "given")))
    if not len(asked):
        raise UsageError("target is empty; name at least one place to score")
    order = torch.cat([known, asked]).to(x.device)
    if len(order.unique()) < len(order):
        raise UsageError("a place stands twice in target and given; name each once")
    # Left out places are read last, where nothing that counts sees them.
    rest = torch.tensor([i for i in range(x.shape[1]) if i not in set(order.tolist())], dtype=torch.long).to(x.device)
    whole = torch.cat([order, rest]).expand(len(x), -1)
    with torch.inference_mode():
        return log_prob(model, x, whole)[:, len(known) : len(order)].double().sum(1)


def _places(values: Any, name: str, size: int) -> Int64[Tensor, " n"]:
    places = border.whole(values, name)
    if places.ndim != 1 or (len(places) and not (0 <= int(places.min()) <= int(places.max()) < size)):
        raise UsageError(f"{name} must be a list of places from 0 to {size - 1}; got {places.tolist()}")
    return places


def _texts(model: OrderLM, tokens: Any) -> Int64[Tensor, "b n"]:
    if model.config.order != "permuted":
        raise UsageError(f"the model reads in the order {model.config.order} alone; train one of order permuted")
    x = border.whole(tokens, "tokens")
    if x.ndim != 2 or not x.numel() or x.shape[1] > model.config.length:
        raise UsageError(
            f"tokens has shape {tuple(x.shape)}; expected (texts, tokens), at least one of both and at most "
            f"{model.config.length} tokens"
        )
    if int(x.min()) < 0 or int(x.max()) >= model.config.vocabulary:
        raise UsageError(f"tokens hold others than 0 to {model.config.vocabulary - 1}; encode the text first")
    return x.to(device_of(model))
