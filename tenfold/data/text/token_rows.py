"""Texts as rows of equally many tokens: packed or one a row, with prompts and padding told apart; or on end, read one
text at a time, four bytes a token."""

import hashlib
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tenfold import progress
from tenfold.data.text.code import place_of
from tenfold.data.text.config import TokenTextConfig
from tenfold.data.text.documents import read_documents
from tenfold.errors import UsageError
from tenfold.files import sha256


class RowBatch(NamedTuple):
    """A batch of rows: ``maskable`` tells which tokens a model may be asked for, ``real`` is False at padding that no
    token looks at."""

    tokens: Int[Tensor, "b n"]
    maskable: Bool[Tensor, "b n"]
    real: Bool[Tensor, "b n"]


@dataclass(frozen=True)
class DiffusionCollator:
    """Makes rows for masked-diffusion training.

    Attributes:
        length: n, tokens of a row.
        pad: number of the padding token.
        end: number of the token that ends a text.
        begin: number of a token before every text, None for none.
        packed: several texts in a row on end, else one in each.
        stride: tokens between the beginnings of packed rows; 0 for ``length``.
        learn_padding: padding is maskable (and attended to) as text is.
        shifted: position 0 has no predictor and is never masked.
    """

    length: int
    pad: int
    end: int
    begin: int | None = None
    packed: bool = True
    stride: int = 0
    learn_padding: bool = False
    shifted: bool = True

    def __post_init__(self) -> None:
        if self.length < 2 or not self.stride >= 0:
            raise UsageError(f"rows of {self.length} tokens, {self.stride} apart, are not possible; give 2 or more")

    def __call__(self, texts: Sequence[tuple[Sequence[int], Sequence[int]]]) -> dict[str, np.ndarray]:
        """Rows of (prompt tokens, text tokens) pairs: "tokens" int32 (r, n), "maskable" bool (r, n), where neither
        prompt nor padding is, and "real" bool (r, n), False at padding that no token looks at.

        Packed, the last incomplete row is left out. Unpacked, what exceeds the row is cut off, of a long prompt the
        beginning, so that at least half of the row is left for the text.

        Raises UsageError where packed texts do not fill one row."""
        return self._pack(texts) if self.packed else self._pad(texts)

    def _pack(self, texts: Sequence[tuple[Sequence[int], Sequence[int]]]) -> dict[str, np.ndarray]:
        begin = [] if self.begin is None else [self.begin]
        stream: list[int] = []
        given: list[bool] = []
        for prompt, text in texts:
            stream += [*begin, *prompt, *text, self.end]
            given += [True] * (len(begin) + len(prompt)) + [False] * (len(text) + 1)
        if len(stream) < self.length:
            raise UsageError(
                f"the texts have {len(stream)} tokens, less than one row of {self.length}; give more texts "
                "or a smaller data.length"
            )
        tokens, free = (
            np.lib.stride_tricks.sliding_window_view(a, self.length)[:: self.stride or self.length]
            for a in (np.array(stream, np.int32), ~np.array(given))
        )
        maskable = free.copy()
        maskable[:, 0] &= not self.shifted
        return {"tokens": np.ascontiguousarray(tokens), "maskable": maskable, "real": np.ones(maskable.shape, bool)}

    def _pad(self, texts: Sequence[tuple[Sequence[int], Sequence[int]]]) -> dict[str, np.ndarray]:
        shape = (len(texts), self.length)
        tokens, real, maskable = np.full(shape, self.pad, np.int32), np.zeros(shape, bool), np.zeros(shape, bool)
        for row, (prompt, text) in enumerate(texts):
            head = [*([] if self.begin is None else [self.begin]), *prompt]
            room = max(self.length - len(text) - 1, self.length // 2)
            head = head[max(0, len(head) - room) :]
            whole = [*head, *text, self.end][: self.length]
            tokens[row, : len(whole)] = whole
            real[row, : len(whole)] = True
            maskable[row, len(head) : self.length if self.learn_padding else len(whole)] = True
        if self.learn_padding:
            real[:] = True
        maskable[:, 0] &= not self.shifted
        return {"tokens": tokens, "maskable": maskable, "real": real}


class TokenRows:
    """Rows in memory as the training loop reads them: "tokens" int64, "maskable" and "real" bool, each (b, n)."""

    def __init__(self, arrays: dict[str, np.ndarray]) -> None:
        self.arrays = arrays
        self.fingerprint = sha256(
            *(f"{name} {array.shape}" for name, array in arrays.items()),
            *(array.tobytes() for array in arrays.values()),
        )

    def __len__(self) -> int:
        return len(self.arrays["tokens"])

    def some(self, count: int) -> "TokenRows":
        """At most ``count`` of the rows, evenly spread; all of them for 0."""
        if not 0 < count < len(self):
            return self
        chosen = evenly_spread(len(self), count)
        return TokenRows({name: array[chosen] for name, array in self.arrays.items()})

    def batch(self, indices: np.ndarray) -> dict[str, Tensor]:
        """Rows by number."""
        tokens = torch.from_numpy(self.arrays["tokens"][indices].astype(np.int64))
        marks = [name for name in ("maskable", "real") if name in self.arrays]
        return {"tokens": tokens, **{name: torch.from_numpy(self.arrays[name][indices]) for name in marks}}


def evenly_spread(total: int, count: int) -> Int[np.ndarray, " count"]:
    """``count`` of ``total`` places, the first and the last among them.

    >>> evenly_spread(7, 3).tolist()
    [0, 3, 6]
    """
    return np.linspace(0, total - 1, count).round().astype(np.int64)


def keep_random_prefix(rows: RowBatch, uniforms: Float[Tensor, "b 2"], share: float) -> RowBatch:
    """In a share of the rows, a prefix of random length stays unmasked (DiffuCoder: 1 %).

    ``uniforms`` are two U[0, 1) numbers a row: whether, and how long."""
    n = rows.tokens.shape[1]
    length = (uniforms[:, 1] * n).long() * (uniforms[:, 0] < share)
    kept = torch.arange(n, device=rows.tokens.device) < length[:, None]
    return rows._replace(maskable=rows.maskable & ~kept)


def cut_to_random_length(rows: RowBatch, uniforms: Float[Tensor, "b 2"], share: float, pad: int) -> RowBatch:
    """A share of the rows is cut to a random length of at least 2; padding that is not attended to takes the rest
    (DiffuCoder: 1 %)."""
    n = rows.tokens.shape[1]
    length = 2 + (uniforms[:, 1] * (n - 1)).long()
    left = (torch.arange(n, device=rows.tokens.device) < length[:, None]) | (uniforms[:, :1] >= share)
    return RowBatch(torch.where(left, rows.tokens, pad), rows.maskable & left, rows.real & left)


class PackedRows(TokenRows):
    """Rows of a stream of tokens, as the training loop reads them: "tokens" int64 (b, n).

    >>> PackedRows(np.arange(7, dtype=np.int32), 3).batch(np.array([1]))["tokens"]
    tensor([[3, 4, 5]])
    """

    def __init__(self, stream: Int[np.ndarray, " n"], length: int) -> None:
        self.rows = stream[: len(stream) // length * length].reshape(-1, length)
        self.arrays = {"tokens": self.rows}
        self.fingerprint = hashlib.sha256(np.ascontiguousarray(self.rows).data).hexdigest()

    def some(self, count: int) -> "PackedRows":
        """At most ``count`` of the rows, evenly spread; all of them for 0."""
        if not 0 < count < len(self):
            return self
        return PackedRows(self.rows[evenly_spread(len(self), count)].reshape(-1), self.rows.shape[1])


def read_packed(config: TokenTextConfig, encode: Callable[[str], list[int]], end: int) -> dict[str, PackedRows]:
    """Rows of "train", "validation" and "test" of texts, the token ``end`` after each text; what does not fill a
    row at the end of a split is left out. A text that occurs again is left out, so that none is in two splits.

    Raises UsageError for files that are missing or are not as described, and for a split without a row."""
    streams = {name: array("i") for name in ("train", "validation", "test")}
    seen: set[bytes] = set()
    for place, document in progress.track(read_documents(config.path, config.column), "tokens", "texts"):
        digest = hashlib.blake2b(document.text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        if digest in seen:
            continue
        seen.add(digest)
        stream = streams[place_of(place, config.texts)]
        stream.extend(encode(document.prompt + document.text))
        stream.append(end)
    for name, stream in streams.items():
        if len(stream) < config.length:
            raise UsageError(
                f"the {name} split of {config.path} has {len(stream)} tokens, less than one row of {config.length}; "
                "give more texts, a larger share, or a smaller data.length"
            )
    return {name: PackedRows(np.frombuffer(stream, np.int32), config.length) for name, stream in streams.items()}
