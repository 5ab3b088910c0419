"""The King James Bible in the tokens of a large language model, of which a student knows the most frequent."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from tenfold.data.text.characters import king_james
from tenfold.data.text.token_rows import TokenRows
from tenfold.discrete_diffusion.steering.token_distil.recipe import TokenData
from tenfold.errors import UsageError
from tenfold.text import networks as text_models


class TokenText(NamedTuple):
    """Rows of three splits in the student's tokens, the teacher's id of each token, the characters that each stands
    for, and the share of rows that could be kept."""

    train: TokenRows
    validation: TokenRows
    test: TokenRows
    kept: np.ndarray
    characters: np.ndarray
    share: float


def language_model(source: str) -> tuple[Any, Any]:
    """The tokenizer and the network of a language model of transformers."""
    found: tuple[Any, Any] = text_models.load_causal(text_models.find(source, what="language model"))
    return found


def read_tokens(config: TokenData, encode: Callable[[str], Sequence[int]], decode: Callable[[int], str]) -> TokenText:
    """The King James Bible as rows; ``encode`` takes a text to ids, ``decode`` one id to its text.

    Raises UsageError where a split is empty."""
    ids = np.asarray(encode(king_james()), np.int64)
    rows = ids[: len(ids) // config.length * config.length].reshape(-1, config.length)
    counts = np.bincount(ids)
    kept = np.sort(np.argsort(-counts, kind="stable")[: config.vocabulary])
    kept = kept[counts[kept] > 0]
    if len(kept) < config.vocabulary:
        raise UsageError(
            f"the text has {len(kept)} different tokens, fewer than data.vocabulary {config.vocabulary}; lower it"
        )
    numbers = np.full(len(counts), -1, np.int64)
    numbers[kept] = np.arange(len(kept))
    tokens, place = numbers[rows], np.arange(len(rows)) % config.every
    whole = (tokens >= 0).all(1)
    middle = config.every // 2
    splits = {}
    for name, wanted in (
        ("train", (place != middle) & (place != middle - 1)),
        ("validation", place == middle),
        ("test", place == middle - 1),
    ):
        chosen = tokens[whole & wanted].astype(np.int32)
        if not len(chosen):
            raise UsageError(f"no row of the {name} split has the most frequent tokens only; raise data.vocabulary")
        on = np.ones(chosen.shape, bool)
        splits[name] = TokenRows({"tokens": chosen, "maskable": on, "real": on})
    characters = np.array([len(decode(int(i))) for i in kept])
    return TokenText(
        splits["train"].some(config.rows), splits["validation"], splits["test"], kept, characters, float(whole.mean())
    )
