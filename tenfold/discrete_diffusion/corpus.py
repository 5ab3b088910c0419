"""The text that a model is of: rows of characters, or of a tokenizer's tokens, and what is done with them."""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from tenfold.data.text.characters import CharacterSplits, encode, read_characters, tell_foreign
from tenfold.data.text.config import CharacterDataConfig, TokenTextConfig
from tenfold.data.text.texts import TextScoring, read_texts
from tenfold.data.text.token_rows import PackedRows, TokenRows, read_packed
from tenfold.discrete import bounds
from tenfold.discrete_diffusion import likelihood, pictures
from tenfold.discrete_diffusion.config import DiffusionConfig, NetworkConfig
from tenfold.discrete_diffusion.evaluation import measure, measure_tokens
from tenfold.discrete_diffusion.networks.model import DiscreteDiffusion
from tenfold.discrete_diffusion.networks.stacked import Autoregressive
from tenfold.discrete_diffusion.options import DiffusionEvaluation, TokenRowEvaluation
from tenfold.errors import UsageError
from tenfold.runs.measurement import Measurement
from tenfold.runs.scores import Scores
from tenfold.text.scores import Rows as ScoredRows
from tenfold.text.scores import score_texts
from tenfold.text.tokenizer import FileTokenizer, end_of, find_tokenizer
from tenfold.training.streams import key_of
from tenfold.training.task import device_of

TextModel = DiscreteDiffusion | Autoregressive


class CharacterCorpus:
    """Rows of characters.

    Raises UsageError for data of other tokens than the model's; a model without an alphabet is one that was converted,
    and has no data here."""

    def __init__(self, model: NetworkConfig, config: CharacterDataConfig) -> None:
        if model.alphabet and (model.vocabulary != len(config.alphabet) or model.alphabet != config.alphabet):
            raise UsageError(
                f"model.alphabet {model.alphabet!r} and data.alphabet {config.alphabet!r} must be the same, of "
                f"model.vocabulary ({model.vocabulary}) characters"
            )
        if model.alphabet:
            _check_length(model, config.length)
        self.config, self.known = config, bool(model.alphabet)

    @cached_property
    def splits(self) -> CharacterSplits:
        """The text as rows.

        Raises UsageError for a model of other tokens."""
        if not self.known:
            raise UsageError(
                "the model's tokens are no characters (model.alphabet is empty), so the text cannot be read in them; "
                "it can be sampled, and recipes 'mdlm-owt' and 'sedd-owt' train such models"
            )
        return read_characters(self.config)

    def export(self, model: Any, folder: Path, extra: Mapping[str, Any]) -> None:
        """Write the model folder, with how text is read."""
        read = {name: getattr(self.config, name) for name in ("alphabet", "lower", "others", "length")}
        model.save_pretrained(folder, {**extra, "recipe": {"data": read}})

    def measure(self, model: TextModel, options: DiffusionEvaluation, name: str) -> list[Measurement]:
        """Bits per character of the test split, beside models that count."""
        return measure(model, self.splits, options, name)

    def draw(self, model: TextModel, directory: Path) -> list[Path]:
        """What is left to be known of a token, as a PNG file with its caption."""
        return pictures.plot(model, self.splits, directory)


class TokenSplits(NamedTuple):
    """Rows of tokens of three splits."""

    train: PackedRows
    validation: PackedRows
    test: PackedRows


class TokenCorpus:
    """JSON lines in a tokenizer's tokens.

    Raises UsageError for a model of characters, or of shorter rows."""

    def __init__(self, model: DiffusionConfig, config: TokenTextConfig) -> None:
        if model.alphabet:
            raise UsageError("the data's tokens are no characters; leave model.alphabet empty")
        _check_length(model, config.length)
        self.config, self.vocabulary = config, model.vocabulary

    @cached_property
    def tokenizer(self) -> FileTokenizer:
        """The tokenizer."""
        return find_tokenizer(self.config.tokenizer, self.vocabulary)

    @cached_property
    def splits(self) -> TokenSplits:
        """The texts on end, a token of the end between two, as rows.

        Raises UsageError where no texts are named, and for a tokenizer without such a token."""
        if not self.config.path:
            raise UsageError(
                "data.path is empty: OpenWebText does not come with tenfold; name it (or other texts) as JSON lines, "
                "text files, or a data set of Hugging Face"
            )
        end = end_of(self.tokenizer, self.config.tokenizer)
        return TokenSplits(**read_packed(self.config, self.tokenizer.encode, end))

    def export(self, model: DiscreteDiffusion, folder: Path, extra: Mapping[str, Any]) -> None:
        """Write the model folder, the tokenizer in it."""
        model.tokenizer = model.tokenizer or self.tokenizer
        model.save_pretrained(folder, extra)

    def measure(self, model: DiscreteDiffusion, options: TokenRowEvaluation, name: str) -> list[Measurement]:
        """Bits per token and perplexity of the test split, beside the frequencies of tokens."""
        return measure_tokens(model, self.splits.train, self.splits.test, options, name)

    def draw(self, model: DiscreteDiffusion, directory: Path) -> list[Path]:
        """None besides the curves of training."""
        return no_pictures(directory)


def rows_of(tokens: Int[Tensor, "b n"]) -> TokenRows:
    """Tokens as the training loop reads them."""
    rows = tokens.cpu().numpy().astype(np.int32)
    whole = np.ones(rows.shape, bool)
    return TokenRows({"tokens": rows, "maskable": whole, "real": whole})


def no_pictures(directory: Path) -> list[Path]:
    """An empty folder of pictures."""
    directory.mkdir(parents=True, exist_ok=True)
    return []


def _check_length(model: NetworkConfig, length: int) -> None:
    if length > model.length:
        raise UsageError(f"data.length {length} exceeds model.length {model.length}; shorten the rows")


# --- a user's own texts -------------------------------------------------------------------------------------------


def score(
    model: TextModel, options: TextScoring, source: Any, name: str, config: CharacterDataConfig | TokenTextConfig
) -> Scores:
    """log p of the texts in ``source`` (see ``tenfold.data.text.texts.read_texts``), from the least likely one; of
    characters, read as ``config`` says.

    Raises UsageError, before any work, for what is no text in the model's tokens."""
    texts, (unit, into, sizes) = read_texts(source, options.lines), _units(model, config)
    if model.config.alphabet:
        assert isinstance(config, CharacterDataConfig)  # _units made sure
        tell_foreign((text.text for text in texts), config)
    model.eval()
    what = "log p, exact from left to right"
    if not isinstance(model, Autoregressive):
        bound = bounds.NAMES[likelihood.default_bound(model.source)]
        what = f"log p is at least this: minus the {bound}, {options.draws} draws of noise a row"
    note = f"{what}; rows of up to {model.config.length} tokens, which know nothing of each other"

    def nats(rows: Tensor) -> ScoredRows:
        rows = rows.to(device_of(model))
        if isinstance(model, Autoregressive):
            found = likelihood.autoregressive(model, rows, options.batch)
        else:
            # Keyed by the row itself: a text has its value whatever is scored beside it.
            index = torch.tensor([key_of(row) >> 2 for row in rows.tolist()])
            found = likelihood.bound(model, rows, options.draws, seed=options.seed, batch=options.batch, index=index)
        return ScoredRows(found.nats, found.standard_error)

    return score_texts(texts, into, sizes, nats, model.config.length, unit, name, note, of_text=sizes)


def _units(
    model: TextModel, config: CharacterDataConfig | TokenTextConfig
) -> tuple[str, Callable[[str], Sequence[int]], Callable[..., Sequence[int]]]:
    """What is counted, how a text becomes tokens, and how many of those units each token (of a text) stands for."""
    if model.config.alphabet:
        assert isinstance(config, CharacterDataConfig)  # the corpus made sure
        return "char", lambda text: encode(text, config).tolist(), lambda tokens, text="": [1] * len(tokens)
    tokenizer = model.tokenizer if isinstance(model, DiscreteDiffusion) else None
    if tokenizer is None:
        raise UsageError("the model has no tokenizer to read texts with; convert its checkpoint with --tokenizer")
    return "byte", tokenizer.encode, tokenizer.sizes
