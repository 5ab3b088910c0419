"""How uncertain a model is of what it says next: H(continuation | context), in nats, summed over the steps.

Arrays of (items, rollouts); what is estimated is the entropy of the model, not the cross-entropy of data under it. Of
an exact model the two agree. Source: arXiv:2502.18435, which takes one roll-out of ten tokens for each item.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from tenfold import progress
from tenfold.errors import UsageError
from tenfold.nn.border import as_tensor, whole
from tenfold.nn.tensors import read_tensors, require_axes
from tenfold.runs.machine import require_memory
from tenfold.settings.arguments import read_arguments
from tenfold.text.causal import CausalReader, Continuation
from tenfold.training.streams import numpy_generator

_TOGETHER = 16  # contexts that are read at a time
_PROBABILITIES = 2**23  # at a time: 64 MiB
_GIVEN = "what next_token gives"
NextToken = Callable[[Int64[np.ndarray, "rows tokens"]], Float64[np.ndarray, "rows vocabulary"]]
"""Log-probabilities of the token that follows each row."""


class Rollouts(NamedTuple):
    """Two estimators of one entropy by the same continuations, both (items, rollouts), in nats over all steps.

    ``surprise`` is −Σ_t log p(x_t | x_<t) of what was drawn; ``path`` is Σ_t H(p(· | x_<t)) along it, the same in the
    mean and of less variance: what a step draws is averaged over (Rao-Blackwell)."""

    surprise: Float64[np.ndarray, "items rollouts"]
    path: Float64[np.ndarray, "items rollouts"]

    @staticmethod
    @read_tensors()
    def mean(values: Float64[np.ndarray, "items rollouts"]) -> tuple[float, float]:
        """The mean over items, and its standard error over items (NaN for one item)."""
        each = values.mean(1)
        error = each.std(ddof=1) / np.sqrt(len(each)) if len(each) > 1 else np.nan
        return float(each.mean()), float(error)


@read_arguments
def rollout_entropy(
    next_token: NextToken,
    contexts: Sequence[Sequence[int]],
    *,
    length: int = 10,
    rollouts: int = 1,
    seed: int = 0,
    suppress: int | None = None,
) -> Rollouts:
    """Continuations of every context by exactly ``length`` tokens at temperature 1, and how surprising they are.

    Args:
        next_token: log-probabilities of the next token, for rows of one length.
        contexts: tokens in the order in which the model reads; at least one each.
        length: tokens of a continuation.
        rollouts: continuations of each context.
        seed: a draw depends on it, and on the item's, the roll-out's and the step's number.
        suppress: a token that is never drawn (end of text): its probability is shared by the others.

    Raises UsageError for no contexts, an empty one, no roll-outs or steps, log-probabilities that are NaN or no
    distribution, and a token to suppress that does not exist."""
    if length < 1 or rollouts < 1:
        raise UsageError(f"length is {length} and rollouts is {rollouts}; give at least 1 of both")
    if not callable(next_token):
        raise UsageError(f"next_token is no function but {type(next_token).__name__}; give one of rows of tokens")
    contexts = _read_contexts(contexts)
    require_memory(
        8 * len(contexts) * rollouts * (length + 2), f"{rollouts:,} roll-outs of {length:,} tokens", "ask for fewer"
    )
    surprise, path = (np.empty((len(contexts), rollouts)) for _ in range(2))
    sizes = np.array([len(context) for context in contexts])
    for size in np.unique(sizes):  # rows of one length at a time
        items = np.flatnonzero(sizes == size)
        rows = np.repeat(np.array([contexts[int(i)] for i in items], np.int64), rollouts, 0)
        uniform = _uniform(seed, items, rollouts, length)
        found = _continued(_Rows(next_token, rows), uniform, suppress)
        for table, values in zip((surprise, path), found, strict=True):
            table[items] = values.reshape(len(items), rollouts)
    return Rollouts(surprise, path)


@read_arguments
def reader_entropy(
    model: CausalReader,
    contexts: Sequence[Sequence[int]],
    *,
    length: int = 10,
    rollouts: int = 1,
    seed: int = 0,
    suppress: int | None = None,
) -> Rollouts:
    """``rollout_entropy`` of a causal network, which keeps what it has read in its cache: the same draws, less work.

    Contexts are read as they stand, the token of the begin included. Raises UsageError as ``rollout_entropy`` does, and
    for contexts that leave no room for the continuation."""
    if length < 1 or rollouts < 1:
        raise UsageError(f"length is {length} and rollouts is {rollouts}; give at least 1 of both")
    rows = _read_contexts(contexts)
    surprise, path = (np.empty((len(rows), rollouts)) for _ in range(2))
    for some, read in read_together(model, rows, copies=rollouts, room=length):
        uniform = _uniform(seed, np.array(some), rollouts, length)
        for table, values in zip((surprise, path), _continued(read, uniform, suppress), strict=True):
            table[some] = values.reshape(len(some), rollouts)
    return Rollouts(surprise, path)


def read_together(
    model: CausalReader, rows: Sequence[list[int]], *, copies: int = 1, room: int = 0
) -> Iterator[tuple[list[int], Continuation]]:
    """Rows of like lengths, a few at a time, read once and then standing ``copies`` times each, one after another.

    Raises UsageError for a row that leaves no room for so many tokens more."""
    if (longest := max(map(len, rows)) + room) > model.longest:
        raise UsageError(f"a context with {room} tokens more has {longest}; {model.name} reads {model.longest}")
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    size = max(1, min(_TOGETHER, _PROBABILITIES // (model.vocabulary * copies)))
    for start in progress.track(range(0, len(order), size), "reading", "batches"):
        some = order[start : start + size]
        read = model.continued([rows[i] for i in some])
        yield some, read.fork([i for i in range(len(some)) for _ in range(copies)]) if copies > 1 else read


def _read_contexts(contexts: Sequence[Sequence[int]]) -> list[list[int]]:
    if not isinstance(contexts, Sequence | np.ndarray | Tensor) or isinstance(contexts, str | bytes):
        raise UsageError(f"contexts is no list but {type(contexts).__name__}; give the tokens of each context")
    rows = [whole(context, f"contexts[{i}]") for i, context in enumerate(contexts)]
    if not rows or not all(row.ndim == 1 and len(row) for row in rows):
        raise UsageError("contexts are none, or one has no tokens; give each at least one, BOS say")
    return [list(map(int, row.tolist())) for row in rows]


def _uniform(
    seed: int, items: Int64[np.ndarray, " items"], rollouts: int, length: int
) -> Float64[np.ndarray, "rows length"]:
    """Numbers in [0, 1): a row's do not depend on what stands beside it, nor its first steps on the length."""
    draws = [numpy_generator(seed, "rollout", i, turn).random(length) for i in items for turn in range(rollouts)]
    return np.stack(draws)


class _Rows:
    """Rows that a function of whole rows continues."""

    def __init__(self, next_token: NextToken, rows: Int64[np.ndarray, "rows tokens"]) -> None:
        self._next_token, self._rows = next_token, rows

    def next_log_p(self) -> Float64[np.ndarray, "rows vocabulary"]:
        given = as_tensor(self._next_token(self._rows), _GIVEN, torch.float64).detach().cpu().double()
        require_axes(given, _GIVEN, ("rows", "vocabulary"), {"rows": (len(self._rows), "the rows")})
        return given.numpy()

    def follow(self, tokens: Int64[np.ndarray, " rows"]) -> None:
        self._rows = np.concatenate([self._rows, tokens[:, None]], 1)


def _continued(
    rows: _Rows | Continuation, uniform: Float64[np.ndarray, "rows length"], suppress: int | None
) -> tuple[Float64[np.ndarray, " rows"], Float64[np.ndarray, " rows"]]:
    surprise, path = np.zeros(len(uniform)), np.zeros(len(uniform))
    for step in range(uniform.shape[1]):
        p = _distribution(np.exp(rows.next_log_p()), suppress)
        log_p = np.log(np.where(p > 0, p, 1.0))
        path -= (p * log_p).sum(1)
        below = p.cumsum(1)
        # The draw is below the row's own total, so that rounding never chooses a token of probability 0.
        drawn = (uniform[:, step, None] * below[:, -1:] >= below).sum(1)
        surprise -= log_p[np.arange(len(drawn)), drawn]
        if step + 1 < uniform.shape[1]:
            rows.follow(drawn)
    return surprise, path


def _distribution(
    p: Float64[np.ndarray, "rows vocabulary"], suppress: int | None
) -> Float64[np.ndarray, "rows vocabulary"]:
    total = p.sum(1)
    if not (np.abs(total - 1) < 1e-3).all():  # NaN too
        raise UsageError(f"next_token gives probabilities that add up to {total[np.argmax(np.abs(total - 1))]}, not 1")
    if suppress is not None:
        if not 0 <= suppress < p.shape[1]:
            raise UsageError(f"suppress is {suppress}; expected a token from 0 to {p.shape[1] - 1}")
        p[:, suppress] = 0.0
    total = p.sum(1, keepdims=True)
    if not (total > 0).all():
        raise UsageError(f"token {suppress} is certain and may not be drawn; leave suppress out")
    return np.asarray(p / total)
