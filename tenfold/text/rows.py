"""Language models without a cache: every row is read whole, with its stem. Causal ones in one pass, models of masks
token by token."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from tenfold.settings.values import read
from tenfold.text.language_model import ReadingOrder, TokenScores, require_finite_scores, require_rows

Causal = Callable[[Int[Tensor, "b m"]], Float[Tensor, "b m k"]]
"""Log-probabilities of what follows each input."""
Masked = Callable[[Int[Tensor, "b n"], Int[Tensor, " b"]], Float[Tensor, "b k"]]
"""Log-probabilities of the token at one hidden place of each text."""


class WholeRows:
    """A ``LanguageModel`` of any causal function.

    Args:
        log_probs: inputs (b, m) in the model's order to log-probabilities (b, m, k) of what follows each.
        encode: text to tokens, in reading order of the language.
        order: in which the model reads.
        begin: tokens before every text, at least one.
        stop: the token of the end; None where there is none.
        longest: most tokens, ``begin`` included.
        name: in reports.
        device: of the inputs.
        batch: rows computed together.
    """

    opening: int | None = None

    def __init__(
        self,
        log_probs: Causal,
        encode: Callable[[str], list[int]],
        *,
        order: str = "l2r",
        begin: Sequence[int],
        stop: int | None = None,
        longest: int,
        name: str = "model",
        device: torch.device | str = "cpu",
        batch: int = 64,
    ) -> None:
        self.order: ReadingOrder = read(ReadingOrder, order, "order")
        self.begin, self.stop, self.longest, self.name = tuple(begin), stop, longest, name
        self._log_probs, self._encode, self._device, self._batch = log_probs, encode, device, batch

    def encode(self, text: str) -> list[int]:
        """Tokens of a text."""
        return self._encode(text)

    def token_scores(self, stem: Sequence[int], rows: Sequence[Sequence[int]]) -> list[TokenScores]:
        """Each row's tokens given the stem and those before.

        Raises UsageError for an empty stem, rows without tokens, and more tokens than ``longest``."""
        require_rows(self.name, self.longest, stem, rows)
        found: list[TokenScores] = []
        for start in range(0, len(rows), self._batch):
            part = rows[start : start + self._batch]
            width = max(map(len, part))
            whole = torch.tensor([[*stem, *row, *[0] * (width - len(row))] for row in part], device=self._device)
            with torch.inference_mode():
                log_p = self._log_probs(whole[:, :-1])[:, len(stem) - 1 :]
            targets = whole[:, len(stem) :]
            found += scores_of(log_p, targets, list(map(len, part)))
        require_finite_scores(self.name, found)
        return found


class MaskedRows:
    """A ``LanguageModel`` of a model of masks, which is asked for one token after the other: the chain of what it says
    at each place given those that were read before it, all later ones hidden. As many passes as tokens.

    The model sees how long the text is; its log-probabilities are those of a text of that length.

    Args:
        log_probs: texts (b, n) with masks, and a place of each (b,), to log-probabilities (b, k) of the token there.
        encode: text to tokens.
        mask: the number of the mask.
        order: in which tokens are asked for.
        begin: a token that stands before every text and is never hidden; the model itself never sees it where
            ``drop_begin``.
        longest: most tokens, the begin included.
        name: in reports.
        device: of the texts.
        batch: texts computed together.
        drop_begin: whether the begin only stands for an empty text.
    """

    opening: int | None = None
    stop: int | None = None

    def __init__(
        self,
        log_probs: Masked,
        encode: Callable[[str], list[int]],
        *,
        mask: int,
        order: str = "l2r",
        begin: int,
        longest: int,
        name: str = "model",
        device: torch.device | str = "cpu",
        batch: int = 64,
        drop_begin: bool = True,
    ) -> None:
        self.order: ReadingOrder = read(ReadingOrder, order, "order")
        self.begin: tuple[int, ...] = (begin,)
        self.longest, self.name, self.mask = longest, name, mask
        self._log_probs, self._encode, self._device = log_probs, encode, device
        self._batch, self._drop = batch, drop_begin

    def encode(self, text: str) -> list[int]:
        """Tokens of a text."""
        return self._encode(text)

    def token_scores(self, stem: Sequence[int], rows: Sequence[Sequence[int]]) -> list[TokenScores]:
        """Each row's tokens given the stem and those before.

        Raises UsageError for an empty stem, rows without tokens, and more tokens than ``longest``."""
        require_rows(self.name, self.longest, stem, rows)
        found = [self._chain(list(stem), row) for row in rows]
        require_finite_scores(self.name, found)
        return found

    def _chain(self, stem: list[int], row: Sequence[int]) -> TokenScores:
        given = stem[1:] if tuple(stem[:1]) == self.begin else stem
        read_first = torch.tensor([*given, *row], device=self._device)
        size, known = len(read_first), torch.arange(len(given), len(given) + len(row), device=self._device)
        # Row j of the batch knows all that is read before its j-th token.
        texts = torch.where(torch.arange(size, device=self._device) < known[:, None], read_first, self.mask)
        places = known
        if self.order == "r2l":
            texts, places = texts.flip(1), size - 1 - known
        if not self._drop:
            texts = torch.cat([torch.full_like(texts[:, :1], self.begin[0]), texts], 1)
            places = places + 1
        with torch.inference_mode():
            parts = zip(texts.split(self._batch), places.split(self._batch), strict=True)
            log_p = torch.cat([self._log_probs(*part) for part in parts])
        return scores_of(log_p[None], torch.tensor([list(row)], device=self._device), [len(row)])[0]


def scores_of(log_p: Float[Tensor, "b n k"], targets: Int[Tensor, "b n"], sizes: Sequence[int]) -> list[TokenScores]:
    """The first ``sizes`` tokens of each row, and whether they are the likeliest."""
    values = log_p.gather(-1, targets[..., None])[..., 0].double().cpu().numpy()
    greedy = (log_p.argmax(-1) == targets).cpu().numpy()
    return [TokenScores(np.ascontiguousarray(values[i, :n]), greedy[i, :n]) for i, n in enumerate(sizes)]
