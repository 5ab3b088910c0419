"""Texts on end as rows of equally many tokens, read one text at a time: four bytes a token."""

import hashlib
from array import array
from collections.abc import Callable

import numpy as np
from jaxtyping import Int

from tenfold import progress
from tenfold.data.text.code import json_lines, place_of
from tenfold.data.text.token_rows import TokenRows, evenly_spread
from tenfold.data.text.token_text_config import TokenTextConfig
from tenfold.errors import UsageError


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
    """Rows of "train", "validation" and "test" of JSON lines, the token ``end`` after each text; what does not fill a
    row at the end of a split is left out. A text that occurs again is left out, so that none is in two splits.

    Raises UsageError for files that are missing or are not as described, and for a split without a row."""
    streams = {name: array("i") for name in ("train", "validation", "test")}
    seen: set[bytes] = set()
    for place, document in progress.track(json_lines(config.path), "tokens", "texts"):
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
