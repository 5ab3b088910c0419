"""The text that a flow is of: rows of characters, or of a tokenizer's tokens, and how texts become either and back."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from jaxtyping import Int
from torch import Tensor

from tenfold.data.text.characters import CharacterSplits, encode, read_characters, tell_foreign
from tenfold.data.text.config import CharacterDataConfig, TokenTextConfig
from tenfold.data.text.token_rows import PackedRows, read_packed
from tenfold.errors import UsageError
from tenfold.text.tokenizer import FileTokenizer, end_of, find_tokenizer
from tenfold.text_flows.config import TextFlowConfig
from tenfold.text_flows.networks.model import TextFlow

_NO_TEXT = "the model's tokens are no characters (model.alphabet is empty) and it has no tokenizer"


class FlowTokens(NamedTuple):
    """Rows of a tokenizer's tokens of three splits."""

    train: PackedRows
    validation: PackedRows
    test: PackedRows


FlowSplits = CharacterSplits | FlowTokens


class FlowCharacters:
    """Rows of characters.

    Raises UsageError for data of other characters than the model's, and for longer rows; a model without an alphabet
    is one of other tokens, and has no data here."""

    def __init__(self, model: TextFlowConfig, config: CharacterDataConfig) -> None:
        if model.alphabet != config.alphabet and model.alphabet:
            raise UsageError(
                f"model.alphabet {model.alphabet!r} and data.alphabet {config.alphabet!r} must be the same, of "
                f"model.vocabulary ({model.vocabulary}) characters"
            )
        _check_length(model, config.length)
        self.config, self.known = config, bool(model.alphabet)

    @cached_property
    def splits(self) -> CharacterSplits:
        """The text as rows. Raises UsageError for a model of other tokens."""
        if not self.known:
            raise UsageError("the model's tokens are no characters (model.alphabet is empty); its text cannot be read")
        return read_characters(self.config)

    def export(self, model: TextFlow, folder: Path, extra: Mapping[str, Any]) -> None:
        """Write the model folder, with how text is read."""
        read = {name: getattr(self.config, name) for name in ("alphabet", "lower", "others", "length")}
        model.save_pretrained(folder, {**extra, "recipe": {"data": read}})


class FlowDocuments:
    """Texts in a tokenizer's tokens, on end, a token of the end between two.

    Raises UsageError for a model of characters, and for longer rows."""

    def __init__(self, model: TextFlowConfig, config: TokenTextConfig) -> None:
        if model.alphabet:
            raise UsageError("the data's tokens are no characters; leave model.alphabet empty")
        _check_length(model, config.length)
        self.config, self.vocabulary = config, model.vocabulary

    @cached_property
    def tokenizer(self) -> FileTokenizer:
        """The tokenizer."""
        return find_tokenizer(self.config.tokenizer, self.vocabulary)

    @cached_property
    def splits(self) -> FlowTokens:
        """The texts as rows. Raises UsageError where none are named, and for a tokenizer without a token of the end."""
        if not self.config.path:
            raise UsageError(
                "data.path is empty: OpenWebText does not come with tenfold; name it (or other texts) as JSON lines, "
                "text files, or a data set of Hugging Face"
            )
        end = end_of(self.tokenizer, self.config.tokenizer)
        return FlowTokens(**read_packed(self.config, self.tokenizer.encode, end))

    def export(self, model: TextFlow, folder: Path, extra: Mapping[str, Any]) -> None:
        """Write the model folder, the tokenizer in it."""
        model.tokenizer = model.tokenizer or self.tokenizer
        model.save_pretrained(folder, extra)


FlowCorpus = FlowCharacters | FlowDocuments


class FlowReading(NamedTuple):
    """How a model reads texts: what is counted ("char" or "byte"), a text's tokens, and the units of each of them."""

    unit: str
    encode: Callable[[str], list[int]]
    sizes: Callable[..., Sequence[int]]


def reading_of(model: TextFlow, config: CharacterDataConfig | TokenTextConfig, texts: Iterable[str]) -> FlowReading:
    """In the model's characters, read as ``config`` says (how many of those of ``texts`` it does not know is noted), or
    in its tokenizer's tokens.

    Raises UsageError for a model whose tokens are no text."""
    if model.config.alphabet and isinstance(config, CharacterDataConfig):
        tell_foreign(texts, config)

        def letters(text: str) -> list[int]:
            return [int(token) for token in encode(text, config)]

        return FlowReading("char", letters, lambda tokens, text="": [1] * len(tokens))
    if model.tokenizer is None:
        raise UsageError(f"{_NO_TEXT}; texts cannot be read in them")
    return FlowReading("byte", model.tokenizer.encode, model.tokenizer.sizes)


def texts_of(model: TextFlow, tokens: Int[Tensor, "b n"]) -> list[str]:
    """Tokens as text. Raises UsageError for a model whose tokens are no characters and that has no tokenizer."""
    if model.config.alphabet:
        return ["".join(model.config.alphabet[i] for i in row) for row in tokens.tolist()]
    if model.tokenizer is None:
        raise UsageError(f"{_NO_TEXT}, so its samples are no text; see sampling.decode_noise")
    return [model.tokenizer.decode(row) for row in tokens.tolist()]


def _check_length(model: TextFlowConfig, length: int) -> None:
    if length > model.length:
        raise UsageError(f"data.length {length} exceeds model.length {model.length}; shorten the rows")
