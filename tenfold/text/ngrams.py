"""What a sceptic would ask about first: models of symbols that count."""

import math

import numpy as np
from jaxtyping import Float, Int

BYTES = 257
"""The bytes, and the end of a text."""


class Unigram:
    """Frequencies of symbols 0 … ``symbols`` − 1, one added to each."""

    def __init__(self, stream: Int[np.ndarray, " n"], symbols: int = BYTES) -> None:
        counts = np.bincount(stream, minlength=symbols) + 1.0
        self.bits = -np.log2(counts / counts.sum())

    def cost(self, row: Int[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """Bits of each symbol of a row."""
        return self.bits[row]


class BackOff:
    """A back-off model: the next symbol from the longest context seen in training, mixed with shorter ones by Witten
    and Bell's rule, P_k(y | c) = (count(cy) + T(c) P_{k−1}(y | c')) / (count(c) + T(c)), T the number of different
    successors of c; the shortest is the uniform distribution. ``order`` − 1 symbols are looked back at. (Witten, Bell,
    IEEE Transactions on Information Theory 37, 1991, method C.)"""

    def __init__(self, stream: Int[np.ndarray, " n"], order: int, symbols: int = BYTES) -> None:
        self.order, self.symbols = order, symbols
        self._tables = [self._count(stream, k) for k in range(order)]

    def _count(self, stream: np.ndarray, k: int) -> tuple[np.ndarray, ...]:
        keys = _grams(stream, k + 1, self.symbols)
        grams, counts = np.unique(keys, return_counts=True)
        contexts, first = np.unique(grams // self.symbols, return_index=True)
        different = np.diff(np.append(first, len(grams)))
        return grams, counts, contexts, np.add.reduceat(counts, first), different

    def cost(self, row: Int[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """Bits of each symbol of a row, given those before it in the row."""
        p = np.full(len(row), 1.0 / self.symbols)
        for k, (grams, counts, contexts, totals, different) in enumerate(self._tables):
            if len(row) <= k:
                break
            keys = _grams(row, k + 1, self.symbols)
            hits = _looked_up(grams, counts, keys)
            total, kinds = (_looked_up(contexts, values, keys // self.symbols) for values in (totals, different))
            known = total > 0
            old = p[k:]
            mixed = (hits + kinds * old) / np.maximum(total + kinds, 1)
            p[k:] = np.where(known, mixed, old)
        return -np.log2(p)


def _grams(row: np.ndarray, size: int, symbols: int) -> np.ndarray:
    """Each run of ``size`` symbols as one int64."""
    keys = np.zeros(len(row) - size + 1, np.int64)
    for offset in range(size):
        keys = keys * symbols + row[offset : len(row) - size + 1 + offset]
    return keys


def _looked_up(keys: np.ndarray, values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[place] == wanted, values[place], 0)


def best_order(train: Int[np.ndarray, " n"], rows: list[np.ndarray], most: int = 7, symbols: int = BYTES) -> BackOff:
    """The back-off model of the order, up to ``most``, that costs the ``rows`` the fewest bits."""
    best, least = BackOff(train, 1, symbols), math.inf
    for order in range(1, most + 1):
        model = BackOff(train, order, symbols)
        bits = sum(float(model.cost(row).sum()) for row in rows)
        if bits >= least:
            break
        best, least = model, bits
    return best
