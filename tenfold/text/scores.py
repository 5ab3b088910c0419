"""Log-likelihoods of a user's texts, whatever model reads them: cut into rows, scored, and put together again."""

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from tenfold.data.text.texts import NamedText, Texts
from tenfold.errors import UsageError
from tenfold.runs.scores import Scores

_AT_ONCE = 2**24  # tokens that wait to be scored with others of their length


class Rows(NamedTuple):
    """−log p of rows (b,) in nats, or a bound on it, and its standard error (b,) over the noise, NaN where unknown."""

    nats: Tensor
    standard_error: Tensor


def score_texts(
    texts: Texts | Sequence[NamedText],
    encode: Callable[[str], Sequence[int]],
    sizes: Callable[[Sequence[int]], Sequence[int]],
    likelihood: Callable[[Tensor], Rows],
    length: int,
    unit: str,
    model: str,
    note: str,
    given: int = 0,
    of_text: Callable[[Sequence[int], str], Sequence[int]] | None = None,
) -> Scores:
    """The texts from the least to the most likely one: log p in nats and its standard error, bits for each ``unit``,
    and how many units were scored.

    Args:
        encode: text to tokens.
        sizes: units that each token stands for, characters or bytes.
        likelihood: of rows (b, n), all of one length.
        length: most tokens of a row; a longer text is several rows that know nothing of each other.
        of_text: the same, told the text too; where tokens alone do not say it.
        given: tokens at the beginning of a row that are not scored. Rows overlap by as many, so that only the first
            ones of the text are left out.

    Raises:
        UsageError: a text that has no token to score.
    """
    rows: dict[int, list[tuple[int, np.ndarray]]] = defaultdict(list)
    counted, names = [0] * len(texts), []
    nats, squares = torch.zeros(2, len(texts), dtype=torch.float64)
    waiting = 0

    def flush() -> None:
        for alike in rows.values():
            found = likelihood(torch.from_numpy(np.stack([row for _, row in alike]).astype(np.int64)))
            which = torch.tensor([number for number, _ in alike])
            nats.index_add_(0, which, found.nats.double().cpu())
            squares.index_add_(0, which, found.standard_error.double().cpu().square())
        rows.clear()

    for number, (name, text) in enumerate(texts):
        tokens = encode(text)
        names.append(name)
        if len(tokens) <= given:
            raise UsageError(f"{name!r} has {len(tokens)} tokens, too few to be scored; leave it out")
        counted[number] = sum((of_text(tokens, text) if of_text else sizes(tokens))[given:])
        stored = np.array(tokens, np.int32)
        for start in range(0, len(tokens) - given, length - given):
            rows[len(stored[start : start + length])].append((number, stored[start : start + length]))
            waiting += length
            if waiting >= _AT_ONCE:
                flush()
                waiting = 0
    flush()
    bits = [value / math.log(2) / max(count, 1) for value, count in zip(nats.tolist(), counted, strict=True)]
    columns: dict[str, tuple[str, Sequence[float]]] = {
        "log_prob": ("nats", (-nats).tolist()),
        "standard_error": ("nats", squares.sqrt().tolist()),
        f"bits_per_{unit}": (f"bits/{unit}", bits),
        f"{unit}s": ("", [float(count) for count in counted]),
    }
    return Scores.ranked(model, names, columns, note)
