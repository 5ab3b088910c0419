"""Passes of a masked model with and without caches of keys and values, and their exact number.

A pass computes some positions anew and takes keys, values and hidden rows of the others from earlier passes. All kinds
but "none" are approximate: what is kept is of an earlier sequence."""

from typing import Any, ClassVar, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import cosine_similarity, max_pool1d

from tenfold.errors import UsageError
from tenfold.masked_lm.decoding.options import GenerationOptions
from tenfold.masked_lm.model import MaskedLM

Where = slice | Tensor | None


class Layout(NamedTuple):
    """How a batch lies: ``padding`` (B, N) is 0 there, None where there is none, ``positions`` (B, N) count real tokens
    from 0, None for 0 … N − 1, and new tokens begin at ``start``, one for all rows or (B,)."""

    padding: Int[Tensor, "B N"] | None = None
    positions: Int[Tensor, "B N"] | None = None
    start: int | Tensor = 0


class Passes:
    """Every position in every pass; the base of the cached kinds.

    Attributes:
        nfe: passes so far; a pass of several rows is one.
        token_forwards: positions computed in them, over all rows.
    """

    def __init__(self, model: MaskedLM, layout: Layout, options: GenerationOptions | None = None) -> None:
        self.model, self.layout, self.options = model, layout, options or GenerationOptions()
        self.nfe, self.token_forwards = 0, 0

    def begin_block(self, low: int | Tensor, high: int | Tensor) -> None:
        """The next passes reveal positions low ≤ i < high, the same in all rows, or (B,)."""

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
        # There may be several states of each row of the batch, one after the other.
        padding, positions = (None if kept is None else kept.repeat(len(x) // len(kept), 1) for kept in self.layout[:2])
        return self.model.hidden(x, padding, positions)

    def count(self, tokens: int) -> None:
        """One more pass over ``tokens`` positions."""
        self.nfe += 1
        self.token_forwards += tokens


class InPlace:
    """Keys and values of all N positions of a layer; ``update`` writes those at ``where``: all (None), a range, or
    indices (B, Q), but for the rows that are ``kept`` (B,). They lie in memory position by position, so that a written
    position is one copy.

    Stands before a layer of the cache of ``transformers``."""

    where: Where = None
    kept: Tensor | None = None
    keys: Tensor
    values: Tensor

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Write, and return the keys and values of all positions."""
        if self.where is None:
            self.is_initialized = True
            both = (states.transpose(1, 2).contiguous() for states in (key_states, value_states))
            self.keys, self.values = (states.transpose(1, 2) for states in both)
            return self.keys, self.values
        for kept, new in ((self.keys, key_states), (self.values, value_states)):
            if isinstance(self.where, slice):
                kept[:, :, self.where] = _but(self.kept, kept[:, :, self.where], new)
            else:
                if self.kept is not None:
                    new = _but(self.kept, kept.gather(2, self.where[:, None, :, None].expand_as(new)), new)
                b, n = kept.shape[0], kept.shape[2]
                rows = self.where + n * torch.arange(b, device=self.where.device)[:, None]
                kept.transpose(1, 2).view(b * n, -1).index_copy_(
                    0, rows.flatten(), new.transpose(1, 2).reshape(rows.numel(), -1)
                )
        return self.keys, self.values

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """All positions are keys."""
        return (query_length if self.where is None else self.keys.shape[-2]), 0


def _but(kept: Tensor | None, old: Tensor, new: Tensor) -> Tensor:
    """``new`` values, ``old`` ones in the rows that are kept."""
    return new if kept is None else torch.where(kept.view(-1, *[1] * (new.ndim - 1)), old, new)


class CachedPasses(Passes):
    """Passes that compute what ``chosen`` says and keep the rest; a full one after ``refresh`` (the options' or else
    the class's), 0 for never, and where they go by ``blocks`` at the start of each.

    A row of which nothing is wanted takes no part in a pass, as if it were alone: nothing of it is kept or counted."""

    blocks: ClassVar[bool] = False
    refresh = 0

    def __init__(self, model: MaskedLM, layout: Layout, options: GenerationOptions | None = None) -> None:
        from transformers.cache_utils import Cache, DynamicLayer

        super().__init__(model, layout, options)
        self.refresh = self.options.refresh or self.refresh
        kind: Any = type("InPlaceLayer", (InPlace, DynamicLayer), {})
        self.layers: list[Any] = [kind() for _ in range(model.network.config.num_hidden_layers)]
        self.cache = Cache(layers=self.layers)
        self.rows: Tensor | None = None
        self.since_full: int | Tensor = 0  # passes of each row, a full one included
        self.active: Tensor | None = None
        self.low, self.high = torch.zeros(1), torch.zeros(1)

    def begin_block(self, low: int | Tensor, high: int | Tensor) -> None:
        if self.blocks:
            self.low, self.high, self.since_full = torch.as_tensor(low).view(-1), torch.as_tensor(high).view(-1), 0

    def inside(self, x: Int[Tensor, "B N"]) -> Bool[Tensor, "B N"]:
        """The positions of the block."""
        places = torch.arange(x.shape[1], device=x.device)
        low, high = (bound.to(x.device)[:, None] for bound in (self.low, self.high))
        return ((places >= low) & (places < high)).expand_as(x)

    def logits(self, x: Int[Tensor, "B N"], wanted: Bool[Tensor, "B N"]) -> Float[Tensor, "R K"]:
        self.active = wanted.any(dim=1)
        return super().logits(x, wanted)

    def chosen(self, x: Int[Tensor, "B N"]) -> slice | Bool[Tensor, "B N"]:
        """What the next pass computes."""
        raise NotImplementedError

    def hidden(self, x: Int[Tensor, "B N"]) -> Float[Tensor, "B N D"]:
        """The hidden rows, some of them from earlier passes."""
        active = torch.ones_like(x[:, 0], dtype=torch.bool) if self.active is None else self.active
        since = torch.as_tensor(self.since_full, device=x.device).expand(len(x))
        stale = (since == 0) | ((since >= self.refresh) if self.refresh else False)
        self.since_full = torch.where(active, torch.where(stale, 1, since + 1), since)
        where: Where = None
        kept = None
        if self.rows is not None and not bool((stale & active).all()):
            where = self.chosen(x)
            if isinstance(where, slice) and bool((stale & active).any()):
                columns = torch.arange(x.shape[1], device=x.device)
                where = ((columns >= where.start) & (columns < where.stop)).expand_as(x)
            if isinstance(where, Tensor):
                where, active = indices(where | stale[:, None], active)
            kept = None if bool(active.all()) else ~active
        for layer in self.layers:
            layer.where, layer.kept = where, kept
        part, positions = self._selected(x, where)
        self.count(part.numel())
        found = self.model.hidden(part, self.layout.padding, positions, self.cache)
        if where is None or self.rows is None:
            self.rows = found
        elif isinstance(where, slice):
            self.rows[:, where] = _but(kept, self.rows[:, where], found)
        else:
            index = where[:, :, None].expand_as(found)
            self.rows.scatter_(1, index, _but(kept, self.rows.gather(1, index), found))
        self.remember(x, active)
        return self.rows

    def remember(self, x: Int[Tensor, "B N"], active: Bool[Tensor, " B"]) -> None:
        """Called with the sequence of the pass that is over, and which rows took part in it."""

    def _selected(self, x: Tensor, where: Where) -> tuple[Tensor, Tensor]:
        positions = self.layout.positions
        if positions is None:
            positions = torch.arange(x.shape[1], device=x.device).expand_as(x)
        if where is None:
            return x, positions
        if isinstance(where, slice):
            return x[:, where], positions[:, where]
        return x.gather(1, where), positions.gather(1, where)


class BlockPasses(CachedPasses):
    """A full pass at a block's start, then the block and what is right of it (prefix cache), or the block alone (dual
    cache; both Fast-dLLM, arXiv 2505.22618)."""

    blocks = True

    @property
    def right(self) -> bool:
        """Whether what is right of the block is computed with it."""
        return self.options.cache != "dual"

    def chosen(self, x: Int[Tensor, "B N"]) -> slice | Bool[Tensor, "B N"]:
        high = torch.full_like(self.low, x.shape[1]) if self.right else self.high
        if bool((self.low == self.low[0]).all() & (high == high[0]).all()):
            return slice(int(self.low[0]), min(int(high[0]), x.shape[1]))
        inside = self.inside(x)
        return inside.cumsum(dim=1) > 0 if self.right else inside


class DelayedPasses(CachedPasses):
    """dKV-Cache (arXiv 2505.15781): masks, the rows that predict them, and what was revealed in the pass before, whose
    keys and values settle one pass after the reveal; a full pass now and then. With a ``window`` (its greedy variant)
    of the masks those that near to what changed."""

    refresh = 8
    previous: Tensor | None = None

    def chosen(self, x: Int[Tensor, "B N"]) -> slice | Bool[Tensor, "B N"]:
        masks = x == self.model.special.mask
        assert self.previous is not None
        changed = x != self.previous
        if self.blocks:
            masks, changed = masks & self.inside(x), changed & self.inside(x)
        if window := self.options.window:
            near = max_pool1d(changed[:, None].float(), 2 * window + 1, 1, window)[:, 0] > 0
            masks = masks & near
        needed = masks | changed
        if self.model.logit_shift:
            needed[:, :-1] |= masks[:, 1:]
        return needed & self.inside(x) if self.blocks else needed

    def remember(self, x: Int[Tensor, "B N"], active: Bool[Tensor, " B"]) -> None:
        """Keep the sequence, to see what changes."""
        self.previous = x.clone() if self.previous is None else torch.where(active[:, None], x, self.previous)


class BlockDelayedPasses(DelayedPasses):
    """A full pass at a block's start, then what is delayed within the block: fewer rows than with the dual cache, and
    fewer and fewer of them."""

    blocks = True
    refresh = 0


class AdaptivePasses(CachedPasses):
    """dLLM-Cache (arXiv 2506.06295): every layer keeps keys, values and the outputs of attention and feed-forward. The
    prompt is refreshed every ``prompt_refresh``, the response every ``refresh`` passes, and in between the ``share`` of
    response positions whose values moved most; the parts of the stock layers run on the chosen rows.

    ``token_forwards`` is the mean over the layers; the value projections of the response, which choose, are not in
    it."""

    refresh = 8

    def __init__(self, model: MaskedLM, layout: Layout, options: GenerationOptions | None = None) -> None:
        super().__init__(model, layout, options)
        kind = model.network.config.model_type
        if kind not in ("qwen2", "llama"):
            raise UsageError(f"the adaptive cache knows layers of qwen2 and llama models, not of {kind!r}")
        self.added: list[dict[str, Tensor]] = [{} for _ in self.layers]

    def hidden(self, x: Int[Tensor, "B N"]) -> Float[Tensor, "B N D"]:
        """The hidden rows, most of them put together from what the layers added earlier."""
        b, n = x.shape
        active = torch.ones_like(x[:, 0], dtype=torch.bool) if self.active is None else self.active
        since = torch.as_tensor(self.since_full, device=x.device).expand(b)
        self.since_full = since + active
        begin = torch.as_tensor(self.layout.start, device=x.device).expand(b)[:, None]
        region = torch.arange(n, device=x.device) >= begin
        prompt, response = since % self.options.prompt_refresh == 0, since % self.refresh == 0
        fresh = torch.where(region, response[:, None], prompt[:, None])
        everything, whole = not self.added[0] or bool(fresh.all()), bool(active.all())
        body = self.model.network.base_model
        h = body.embed_tokens(x)
        rotation = body.rotary_emb(h, self._selected(x, None)[1])
        computed = 0
        for number, layer in enumerate(body.layers):
            where: Tensor | None = None
            writing = active
            if not everything:
                moved = self._moved(number, layer, h, region) & ~response[:, None]
                where, writing = indices(fresh | moved, active)
            if everything or (whole and writing is active) or bool(writing.any()):
                still = None if everything or (whole and writing is active) else ~writing
                h = self._layer(number, layer, h, where, still, rotation)
                computed += x.numel() if where is None else where.numel()
            else:
                h = h + self.added[number]["attention"] + self.added[number]["feed"]
        self.count(round(computed / len(self.layers)))
        return body.norm(h)

    def _moved(self, number: int, layer: Any, h: Tensor, region: Bool[Tensor, "B N"]) -> Bool[Tensor, "B N"]:
        """The share of each row's response whose values moved most."""
        low = int(region.any(dim=0).long().argmax())
        new = layer.self_attn.v_proj(layer.input_layernorm(h[:, low:]))
        kept = self.layers[number].values[:, :, low:].transpose(1, 2).reshape(new.shape)
        # Values that did not move differ by rounding alone, which must not choose: the left one comes first.
        similarity = cosine_similarity(new, kept, dim=-1).mul(1e5).round().masked_fill(~region[:, low:], torch.inf)
        most = (self.options.share * region.sum(dim=1).double()).long()[:, None]
        order = low + similarity.argsort(dim=1, stable=True)
        return torch.zeros_like(region).scatter(1, order, torch.arange(order.shape[1], device=h.device) < most)

    def _layer(
        self,
        number: int,
        layer: Any,
        h: Tensor,
        where: Tensor | None,
        still: Tensor | None,
        rotation: tuple[Tensor, Tensor],
    ) -> Tensor:
        kept = self.added[number]
        cos, sin = rotation
        part = h
        if where is not None:
            part = _rows(h, where)
            cos, sin = (_rows(angle.expand(len(h), -1, -1), where) for angle in rotation)
        self.layers[number].where, self.layers[number].kept = where, still
        mask = self.layout.padding
        if mask is not None:
            mask = self.model.pattern(mask.bool()[:, None, None, :].expand(-1, 1, part.shape[1], -1))
        attention, _ = layer.self_attn(
            layer.input_layernorm(part), (cos, sin), mask, self.cache, use_cache=True, is_causal=False
        )
        feed = layer.mlp(layer.post_attention_layernorm(part + attention))
        for name, value in (("attention", attention), ("feed", feed)):
            if where is None:
                kept[name] = value
            else:
                index = where[:, :, None].expand_as(value)
                kept[name].scatter_(1, index, _but(still, kept[name].gather(1, index), value))
        return h + kept["attention"] + kept["feed"]

    def chosen(self, x: Int[Tensor, "B N"]) -> slice | Bool[Tensor, "B N"]:
        """Each layer chooses by itself."""
        raise NotImplementedError


def indices(needed: Bool[Tensor, "B N"], active: Bool[Tensor, " B"]) -> tuple[Int[Tensor, "B Q"], Bool[Tensor, " B"]]:
    """The needed positions of the active rows, shorter rows repeating one of their own, and which rows have any."""
    needed = needed & active[:, None]
    counts = needed.sum(dim=1)
    most = int(counts.max())
    if most and bool((counts == most).all()):
        return needed.nonzero()[:, 1].view(len(needed), most), active
    order = needed.long().argsort(dim=1, descending=True, stable=True)[:, : max(1, most)]
    return torch.where(needed.gather(1, order), order, order[:, :1]), active & needed.any(dim=1)


def _rows(values: Tensor, where: Tensor) -> Tensor:
    return values.gather(1, where[:, :, None].expand(-1, -1, values.shape[-1]))


KINDS: dict[str, type[Passes]] = {
    "none": Passes,
    "prefix": BlockPasses,
    "dual": BlockPasses,
    "delayed": DelayedPasses,
    "block_delayed": BlockDelayedPasses,
    "adaptive": AdaptivePasses,
}
