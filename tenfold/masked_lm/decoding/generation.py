"""The sequence that is being generated, what is known of it, and the result."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Commit = Callable[[int, list[int]], None]


@dataclass(frozen=True)
class Generation:
    """What a generation found, and what it cost.

    Attributes:
        sequences: (B, N) tokens, prompts included.
        start: where the new tokens begin; with infilling, the first mask of any row.
        order: (B, N) number of the pass that revealed a token; −1 for given ones.
        confidence: (B, N) rank score at that time (see ``Proposals``); NaN for given ones.
        probability: (B, N) probability of the token at that time; NaN for given ones.
        history: the sequences after each pass, if asked for.
        nfe: passes of the network.
        token_forwards: positions computed in them, over all rows.
        generated: (B,) new tokens before the end token, if there is one.
    """

    sequences: Int[Tensor, "B N"]
    start: int
    order: Int[Tensor, "B N"]
    confidence: Float[Tensor, "B N"]
    probability: Float[Tensor, "B N"]
    nfe: int
    token_forwards: int
    generated: Int[Tensor, " B"]
    history: list[Tensor] = field(default_factory=list)

    @property
    def completions(self) -> Int[Tensor, "B L"]:
        """The sequences from ``start`` on."""
        return self.sequences[:, self.start :]


class Canvas:
    """The sequence ``x`` (B, N), with masks at ``maskable`` positions, and when and how surely each was revealed.

    ``settles`` says that a revealed token stays, so that a prefix without masks can be told before the end."""

    def __init__(
        self,
        x: Int[Tensor, "B N"],
        mask_id: int,
        start: int,
        stop_ids: Sequence[int] = (),
        keep_history: bool = False,
        on_commit: Commit | None = None,
        settles: bool = True,
        ending: Sequence[bool] | None = None,
    ) -> None:
        self.x, self.mask_id, self.start = x, mask_id, start
        self.maskable = x == mask_id
        self.order = torch.full_like(x, -1)
        self.confidence = torch.full(x.shape, torch.nan, dtype=torch.float32, device=x.device)
        self.probability = self.confidence.clone()
        self.history: list[Tensor] = []
        self.stop_ids = torch.tensor(list(stop_ids), dtype=x.dtype, device=x.device)
        self.done = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        self.ending = torch.ones_like(self.done) if ending is None else torch.tensor(list(ending), device=x.device)
        self.step = 0
        self._keep, self._on_commit, self._settles = keep_history, on_commit, settles
        self._committed = [0] * len(x)

    @property
    def masks(self) -> Bool[Tensor, "B N"]:
        """What is still to be revealed; nothing in rows that have ended."""
        return (self.x == self.mask_id) & self.maskable & ~self.done[:, None]

    def write(self, where: Bool[Tensor, "B N"], tokens: Tensor, confidence: Tensor, probability: Tensor) -> None:
        """Reveal positions; values are (B, N), or (B, 1) for one of each row."""
        self.x = torch.where(where, tokens, self.x)
        self.order = self.order.masked_fill(where, self.step)
        self.confidence = torch.where(where, confidence.float(), self.confidence)
        self.probability = torch.where(where, probability.float(), self.probability)

    def take_back(self, where: Bool[Tensor, "B N"]) -> None:
        """Return revealed positions to the mask."""
        self.x = self.x.masked_fill(where, self.mask_id)
        self.order = self.order.masked_fill(where, -1)

    def end_step(self) -> None:
        """A pass is over: find rows that have ended, tell what is committed, keep the history."""
        if len(self.stop_ids):
            stop, mask = self.first_stop(), self._first(self.masks)
            self.done |= stop < mask
        if self._keep:
            self.history.append(self.x.clone())
        self.step += 1
        if self._settles:
            self.commit()

    def commit(self) -> None:
        """Call back with the tokens that have no mask left of them any more, row by row."""
        if self._on_commit is None:
            return
        end = self.first_stop() + 1 if len(self.stop_ids) else torch.full_like(self.x[:, 0], self.x.shape[1])
        end = torch.minimum(self._first(self.masks), end.clamp(max=self.x.shape[1]))
        for row, last in enumerate(end.tolist()):
            first = self.start + self._committed[row]
            if last > first:
                self._committed[row] = last - self.start
                self._on_commit(row, self.x[row, first:last].tolist())

    def first_stop(self) -> Int[Tensor, " B"]:
        """Position of the first new end token of each row; N without one."""
        return self._first(torch.isin(self.x, self.stop_ids) & self.maskable & self.ending[:, None])

    def _first(self, where: Bool[Tensor, "B N"]) -> Int[Tensor, " B"]:
        n = where.shape[1]
        return torch.where(where.any(dim=1), where.long().argmax(dim=1), n)

    def finish(self, filler: int) -> None:
        """Put ``filler`` behind the first end token of each row, where new tokens stand."""
        if len(self.stop_ids):
            places = torch.arange(self.x.shape[1], device=self.x.device)
            self.x = self.x.masked_fill((places > self.first_stop()[:, None]) & self.maskable, filler)
        self.commit()

    def result(self, nfe: int, token_forwards: int, ends: Sequence[int]) -> Generation:
        """Everything; new tokens are counted up to the first of ``ends``."""
        ended = torch.isin(self.x, torch.tensor(list(ends), dtype=self.x.dtype, device=self.x.device)) & self.maskable
        places = torch.arange(self.x.shape[1], device=self.x.device)
        generated = (self.maskable & (places < self._first(ended)[:, None])).sum(dim=1)
        return Generation(
            self.x, self.start, self.order, self.confidence, self.probability, nfe, token_forwards, generated,
            self.history,
        )  # fmt: skip
