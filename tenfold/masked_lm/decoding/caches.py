"""Passes of a masked model with and without caches of keys and values, and their exact number.

A pass computes some positions anew and takes keys, values and hidden rows of the others from earlier passes:

- none: every position;
- prefix (Fast-dLLM, arXiv 2505.22618): a full pass at a block's start, then the block and what is right of it;
- dual: the same, then the block alone;
- delayed (dKV-Cache, arXiv 2505.15781): masks, the rows that predict them, and what was revealed in the pass before,
  whose keys and values settle one pass after the reveal; a full pass now and then. With a window (its greedy variant)
  of the masks those near what was revealed in the pass before;
- block_delayed: a full pass at a block's start as with dual, then those rows of the block alone.

The adaptive cache is in ``adaptive.py``. All but "none" are approximate: what is kept is of an earlier sequence.
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import max_pool1d
from transformers.cache_utils import Cache, DynamicLayer

from tenfold.masked_lm.decoding.options import GenerationOptions
from tenfold.masked_lm.model import MaskedLM

Where = slice | Tensor | None


class InPlaceLayer(DynamicLayer):
    """Keys and values of all N positions; ``update`` writes those at ``where``: all (None), a range, or indices
    (B, Q). They lie in memory position by position, so that a written position is one copy."""

    where: Where = None

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Write, and return the keys and values of all positions."""
        if self.where is None:
            self.is_initialized = True
            both = (states.transpose(1, 2).contiguous() for states in (key_states, value_states))
            self.keys, self.values = (states.transpose(1, 2) for states in both)
            return self.keys, self.values
        for kept, new in zip(self.both, (key_states, value_states), strict=True):
            if isinstance(self.where, slice):
                kept[:, :, self.where] = new
            else:
                b, n = kept.shape[0], kept.shape[2]
                rows = self.where + n * torch.arange(b, device=self.where.device)[:, None]
                kept.transpose(1, 2).view(b * n, -1).index_copy_(
                    0, rows.flatten(), new.transpose(1, 2).reshape(rows.numel(), -1)
                )
        return self.both

    @property
    def both(self) -> tuple[Tensor, Tensor]:
        """Keys and values (B, heads, N, d) after a first full pass."""
        assert self.keys is not None
        assert self.values is not None
        return self.keys, self.values

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """All positions are keys."""
        return (query_length if self.where is None else self.both[0].shape[-2]), 0


class Passes:
    """Every position in every pass; the base of the cached kinds.

    Attributes:
        nfe: passes so far; a pass of several rows is one.
        token_forwards: positions computed in them, over all rows.
    """

    def __init__(
        self,
        model: MaskedLM,
        options: GenerationOptions,
        attention_mask: Int[Tensor, "B N"] | None,
        position_ids: Int[Tensor, "B N"] | None,
        start: int,
    ) -> None:
        self.model, self.options, self.start = model, options, start
        self.attention_mask, self.position_ids = attention_mask, position_ids
        self.nfe, self.token_forwards = 0, 0

    def begin_block(self, low: int, high: int) -> None:
        """The next passes reveal positions low ≤ i < high."""

    def logits(self, x: Int[Tensor, "B N"], wanted: Bool[Tensor, "B N"]) -> Float[Tensor, "R K"]:
        """One pass: the logits that predict the ``wanted`` positions, in row-major order; the head runs on these
        alone."""
        rows, positions = wanted.nonzero(as_tuple=True)
        return self.model.logits(self.hidden(x)[rows, self.model.predictor(positions)])

    def all_logits(self, x: Int[Tensor, "B N"]) -> Float[Tensor, "B N K"]:
        """One pass: logits of every position, shifted so that row i predicts position i."""
        positions = torch.arange(x.shape[1], device=x.device)
        return self.model.logits(self.hidden(x)[:, self.model.predictor(positions)])

    def hidden(self, x: Int[Tensor, "B N"]) -> Float[Tensor, "B N D"]:
        """The hidden rows after one pass."""
        self.count(x.numel())
        return self.model.hidden(x, self.attention_mask, self.position_ids)

    def count(self, tokens: int) -> None:
        """One more pass over ``tokens`` positions."""
        self.nfe += 1
        self.token_forwards += tokens


class CachedPasses(Passes):
    """Passes that compute what ``chosen`` says and keep the rest."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        depth = self.model.network.config.num_hidden_layers
        self.layers = [InPlaceLayer() for _ in range(depth)]
        self.cache = Cache(layers=list(self.layers))
        self.rows: Tensor | None = None
        self.since_full = 0

    @property
    def default_refresh(self) -> int:
        """Passes between two full ones where the user gave no number; 0 for never."""
        return 0

    def chosen(self, x: Tensor) -> Where:
        """What the next pass computes; None for everything."""
        raise NotImplementedError

    def hidden(self, x: Int[Tensor, "B N"]) -> Float[Tensor, "B N D"]:
        """The hidden rows, some of them from earlier passes."""
        refresh = self.options.refresh or self.default_refresh
        stale = self.rows is None or (refresh > 0 and self.since_full >= refresh)
        where = None if stale else self.chosen(x)
        self.since_full = 1 if where is None else self.since_full + 1
        for layer in self.layers:
            layer.where = where
        part, positions = self._selected(x, where)
        self.count(part.numel())
        found = self.model.hidden(part, self.attention_mask, positions, self.cache)
        if where is None or self.rows is None:
            self.rows = found
        elif isinstance(where, slice):
            self.rows[:, where] = found
        else:
            self.rows.scatter_(1, where[:, :, None].expand_as(found), found)
        self.remember(x)
        return self.rows

    def remember(self, x: Tensor) -> None:
        """Called with the sequence of the pass that is over."""

    def _selected(self, x: Tensor, where: Where) -> tuple[Tensor, Tensor]:
        positions = self.position_ids
        if positions is None:
            positions = torch.arange(x.shape[1], device=x.device).expand_as(x)
        if where is None:
            return x, positions
        if isinstance(where, slice):
            return x[:, where], positions[:, where]
        return x.gather(1, where), positions.gather(1, where)


class BlockPasses(CachedPasses):
    """Prefix cache, or dual cache: a full pass at a block's start, then the block with or without its right side."""

    low, high = 0, 0

    def begin_block(self, low: int, high: int) -> None:
        """The next pass is a full one."""
        self.low, self.high, self.rows = low, high, None

    def chosen(self, x: Tensor) -> Where:
        """The block, and with the prefix cache what is right of it."""
        return slice(self.low, self.high if self.options.cache == "dual" else x.shape[1])


class DelayedPasses(CachedPasses):
    """dKV-Cache: masks, the rows that predict them, and what changed in the pass before."""

    previous: Tensor | None = None

    @property
    def default_refresh(self) -> int:
        """A full pass after seven others."""
        return 8

    def chosen(self, x: Tensor) -> Where:
        """Indices (B, Q); shorter rows repeat one of their own."""
        return self._indices(x, 0, x.shape[1])

    def _indices(self, x: Tensor, low: int, high: int) -> Tensor:
        part = x[:, low:high]
        masks = part == self.model.special.mask
        assert self.previous is not None
        changed = part != self.previous[:, low:high]
        if self.options.window:
            width = 2 * self.options.window + 1
            near = max_pool1d(changed[:, None].float(), width, 1, self.options.window)[:, 0] > 0
            masks = masks & near
        needed = masks | changed
        if self.model.logit_shift:
            needed[:, :-1] |= masks[:, 1:]
        most = int(needed.sum(dim=1).max())
        order = needed.long().argsort(dim=1, descending=True, stable=True)[:, : max(1, most)]
        return low + torch.where(needed.gather(1, order), order, order[:, :1])

    def remember(self, x: Tensor) -> None:
        """Keep the sequence, to see what changes."""
        self.previous = x.clone()


class BlockDelayedPasses(DelayedPasses):
    """A full pass at a block's start, then what is delayed within the block: fewer rows than with the dual cache, and
    fewer and fewer of them."""

    low, high = 0, 0

    @property
    def default_refresh(self) -> int:
        """Full passes at a block's start only."""
        return 0

    def begin_block(self, low: int, high: int) -> None:
        """The next pass is a full one."""
        self.low, self.high, self.rows = low, high, None

    def chosen(self, x: Tensor) -> Where:
        """Indices (B, Q) within the block."""
        return self._indices(x, self.low, self.high)


def passes(
    model: MaskedLM,
    options: GenerationOptions,
    attention_mask: Tensor | None,
    position_ids: Tensor | None,
    start: int,
) -> Passes:
    """The passes of the cache that ``options`` names."""
    from tenfold.masked_lm.decoding.adaptive import AdaptivePasses

    kinds: dict[str, Callable[..., Passes]] = {
        "none": Passes,
        "prefix": BlockPasses,
        "dual": BlockPasses,
        "delayed": DelayedPasses,
        "block_delayed": BlockDelayedPasses,
        "adaptive": AdaptivePasses,
    }
    return kinds[options.cache](model, options, attention_mask, position_ids, start)
