"""What a model reads: rows of characters, blocks of packed documents, or equations."""

from array import array
from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from tenfold import progress
from tenfold.data.text.characters import CharacterSplits, king_james, read_characters
from tenfold.data.text.code import Document
from tenfold.data.text.code import place_of as split_of
from tenfold.data.text.config import CharacterDataConfig, TokenTextConfig
from tenfold.data.text.documents import read_documents
from tenfold.data.text.token_rows import PackedRows
from tenfold.errors import UsageError
from tenfold.files import sha256
from tenfold.ordering.arithmetic import Arithmetic
from tenfold.ordering.choices.items import read_items
from tenfold.ordering.choices.sets import SETS, place_of
from tenfold.ordering.config import ArithmeticDataConfig, ContinuedTextConfig, OrderLMConfig
from tenfold.ordering.models.characters import CharacterTokenizer
from tenfold.ordering.models.model import tokenizer_hash
from tenfold.ordering.models.overlap import item_runs, shares_run
from tenfold.ordering.models.packing import pack
from tenfold.text import networks
from tenfold.text.tokenizer import FileTokenizer, find_tokenizer, require_room
from tenfold.training.streams import numpy_generator
from tenfold.training.task import MapSource

_VERSES = 24  # of a document of the King James Bible: some 900 tokens


class OrderSplits(NamedTuple):
    """What is trained on, what chooses the checkpoint, and what is measured at the end: batches of "tokens" (b, n)."""

    train: MapSource
    validation: MapSource
    test: MapSource


class Characters:
    """Rows of characters, each a text of its own.

    Raises UsageError for data that is read otherwise than the model reads."""

    def __init__(self, model: OrderLMConfig, config: CharacterDataConfig) -> None:
        self.model, self.config, self.hash = model, config, model.characters_hash
        self.tokenizer = CharacterTokenizer(model)

    @cached_property
    def characters(self) -> CharacterSplits:
        """The text's rows, and all of its training part as one stream."""
        model, data = self.model, self.config
        for name in ("alphabet", "lower", "others"):
            if getattr(model, name) != getattr(data, name):
                raise UsageError(
                    f"model.{name} {getattr(model, name)!r} and data.{name} {getattr(data, name)!r} must be the same"
                )
        if data.length > model.length:
            raise UsageError(f"data.length {data.length} exceeds model.length {model.length}; shorten the rows")
        if model.packing != "rows":
            raise UsageError("characters come as rows, each a text of its own; set --model.packing rows")
        return read_characters(data)

    @cached_property
    def splits(self) -> OrderSplits:
        """The rows, of validation not more than the settings say."""
        found = self.characters
        return OrderSplits(found.train, found.validation.some(self.config.validation_rows), found.test)


class Documents:
    """Texts in a tokenizer's tokens, packed in the model's order: of any files in the tokens that their settings name,
    or of a published network's text in those of the network, ``start``."""

    def __init__(self, model: OrderLMConfig, config: TokenTextConfig | ContinuedTextConfig, start: str = "") -> None:
        self.model, self.config, self.start = model, config, start

    @cached_property
    def tokenizer(self) -> FileTokenizer:
        """The tokenizer."""
        if isinstance(self.config, TokenTextConfig):
            return find_tokenizer(self.config.tokenizer, self.model.vocabulary)
        found = FileTokenizer(networks.load_tokenizer(networks.find(self.start, what="language model")))
        require_room(found, self.model.vocabulary, self.start)
        return found

    @cached_property
    def hash(self) -> str:
        """Of the tokenizer."""
        return tokenizer_hash(self.tokenizer)

    @cached_property
    def splits(self) -> OrderSplits:
        """Blocks of "train", "validation" and "test". A text that occurs again is left out, so that none is in two.

        Raises UsageError where no texts are named, and for a split without a block."""
        data = self.config
        tokens = {name: array("i") for name in ("train", "validation", "test")}
        lengths: dict[str, list[int]] = {name: [] for name in tokens}
        seen: set[str] = set()
        for place, document in progress.track(_documents(data), "tokens", "texts"):
            digest = sha256(document.text)
            if digest not in seen:
                seen.add(digest)
                split, made = split_of(place, data.texts), self.tokenizer.encode(document.prompt + document.text)
                tokens[split].extend(made)
                lengths[split].append(len(made))
        found = {}
        for name, stream in tokens.items():
            found[name] = self._rows(np.frombuffer(stream, np.int32), np.array(lengths[name], np.int64))
            if not len(found[name]):
                raise UsageError(
                    f"the {name} split of {data.path or 'the text'} has {len(stream)} tokens, less than one row of "
                    f"{data.length}; give more texts, a larger share, or a smaller data.length"
                )
        return OrderSplits(found["train"], found["validation"].some(data.validation_rows), found["test"])

    def _rows(self, stream: np.ndarray, lengths: np.ndarray) -> PackedRows:
        model, size = self.model, self.config.length
        end = model.begin if model.end is None else model.end
        order = model.order if model.packing == "documents" else "l2r"
        blocks = pack(stream, lengths, order=order, block=size, bos=model.begin, eos=end)
        return PackedRows(np.ascontiguousarray(blocks.astype(np.int32)).reshape(-1), size)


def _documents(data: TokenTextConfig | ContinuedTextConfig) -> Iterator[tuple[str, Document]]:
    """Each document under a name that says its split."""
    if isinstance(data, TokenTextConfig):
        if not data.path:
            raise UsageError("data.path is empty; name JSON lines, text files, or a data set of Hugging Face")
        yield from read_documents(data.path, data.column)
        return
    sets = [read_items(place_of(name) if name in SETS else name) for name in data.items]
    items = [item for found in sets for item in found]
    runs = item_runs(items, length=data.overlap) if items else frozenset()
    left_out = 0
    for place, document in read_documents(data.path) if data.path else _verses():
        if shares_run(document.prompt + document.text, runs, length=data.overlap):
            left_out += 1
        else:
            yield place, document
    if items:
        progress.note(f"{left_out} documents share {data.overlap} words in a row with an item, and are left out")


def _verses() -> Iterator[tuple[str, Document]]:
    verses = king_james().split("\n")
    for start in range(0, len(verses), _VERSES):
        yield str(start), Document("\n".join(verses[start : start + _VERSES]))


class Equations:
    """Rows of equations by number, made when they are asked for: all ordered pairs of operands but those left out."""

    def __init__(self, task: Arithmetic, layout: str, held_out: Int64[np.ndarray, " n"], *, only: bool) -> None:
        self.task, self.layout, self.only = task, layout, only
        self.held_out = held_out if only else np.sort(held_out)
        # The i-th number that is not held out is i and as many as are held out below it.
        self._gaps = self.held_out - np.arange(len(self.held_out))
        self.fingerprint = sha256(repr((task, layout, only)), self.held_out.tobytes())

    def __len__(self) -> int:
        return len(self.held_out) if self.only else self.task.pairs - len(self.held_out)

    def pairs(self, indices: Int64[np.ndarray, " b"]) -> Int64[np.ndarray, "b 2"]:
        """Operands (m, n) of rows."""
        number = self.held_out[indices] if self.only else indices + np.searchsorted(self._gaps, indices, side="right")
        first, second = np.divmod(number, 10**self.task.digits - self.task.lowest)
        return np.stack([first, second], 1).astype(np.int64) + self.task.lowest

    def batch(self, indices: np.ndarray) -> dict[str, Tensor]:
        """Rows as tokens, which are their digits, "*" 10, "+" 11 and "=" 12."""
        pairs = self.pairs(np.asarray(indices, np.int64))
        first, second = pairs.T
        sign, digits = 10 if self.task.operation == "*" else 11, self.task.digits
        marks = [np.full((len(pairs), 1), mark, np.int64) for mark in (sign, 12)]
        operands = [_digits(first, digits), marks[0], _digits(second, digits)]
        result = _digits(self.task.result(first, second), self.task.result_digits)
        parts = [*operands, marks[1], result] if self.layout == "forward" else [result, marks[1], *operands]
        return {"tokens": torch.from_numpy(np.concatenate(parts, 1))}

    def some(self, count: int) -> "Equations":
        """The first of those that are held out, which are in random order; all for 0."""
        if not self.only or not 0 < count < len(self):
            return self
        return Equations(self.task, self.layout, self.held_out[:count], only=True)


def _digits(numbers: Int64[np.ndarray, " b"], count: int) -> Int64[np.ndarray, "b count"]:
    return numbers[:, None] // 10 ** np.arange(count - 1, -1, -1) % 10


class EquationCorpus:
    """The study of arithmetic: which equations are held out depends on the seed of the split alone."""

    def __init__(self, model: OrderLMConfig, config: ArithmeticDataConfig) -> None:
        self.hash, self.config = model.characters_hash, config
        self.tokenizer = CharacterTokenizer(model)
        self.task = Arithmetic(config.digits, config.operation, config.lowest)

    @cached_property
    def splits(self) -> OrderSplits:
        """The equations."""
        data, count = self.config, self.config.test + self.config.validation
        draws = numpy_generator(data.split_seed, "held-out", data.digits, data.operation, data.lowest)
        held_out = draws.choice(self.task.pairs, count, replace=False).astype(np.int64)
        made = {"test": held_out[: data.test], "validation": held_out[data.test :]}
        parts = {name: Equations(self.task, data.layout, numbers, only=True) for name, numbers in made.items()}
        train = Equations(self.task, data.layout, held_out, only=False)
        return OrderSplits(train, parts["validation"], parts["test"])


Corpus = Characters | Documents | EquationCorpus
"""Texts as rows (``splits``), what made their tokens (``tokenizer``), and its ``hash``."""
