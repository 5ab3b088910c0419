"""The exact model of a joint of four symbols, in either order."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tenfold.text.language_model import ReadingOrder, TokenScores

FOLDER = Path(__file__).parent.parent / "fixtures/factorization_order"
SYMBOLS = "abc"
STRINGS = [a + b for a in SYMBOLS for b in SYMBOLS]


class ExactModel:
    """p(x) of strings of a, b, c, by a table of four axes; blanks are no tokens. A stop token has the probability
    ``mass``."""

    def __init__(self, joint: np.ndarray, order: ReadingOrder = "l2r", longest: int = 6, mass: float = 1.0) -> None:
        self.table = joint if order == "l2r" else joint.transpose(3, 2, 1, 0)
        self.name, self.longest, self.mass = "exact", longest, mass
        self.order: ReadingOrder = order
        self.begin: tuple[int, ...] = (3,)
        self.opening: int | None = None
        self.stop: int | None = 4
        self.calls: list[tuple[list[int], int]] = []

    def encode(self, text: str) -> list[int]:
        return [SYMBOLS.index(c) for c in text if c in SYMBOLS]

    def token_scores(self, stem: Sequence[int], rows: Sequence[Sequence[int]]) -> list[TokenScores]:
        assert stem[0] == 3
        self.calls.append((list(stem), len(rows)))
        return [self._row(list(stem[1:]), row) for row in rows]

    def _row(self, seen: list[int], row: Sequence[int]) -> TokenScores:
        values, greedy = [], []
        for token in row:
            if token == 4:
                values.append(np.log(self.mass))
                greedy.append(self.mass > 0.5)
                continue
            p = self.table[tuple(seen)]
            p = p.reshape(3, -1).sum(1) / p.sum()
            values.append(float(np.log(p[token])))
            greedy.append(bool(p.argmax() == token))
            seen = [*seen, token]
        return TokenScores(np.array(values), np.array(greedy, bool))
