"""Self-speculative decoding (SSD, arXiv 2510.04147): the tokens of one-token steps, in fewer passes.

One pass over a state ranks its masks. The first of them is what a one-token step reveals; the next ones are a draft.
States with one, two, … drafted tokens go through the network as one batch, and a draft holds as long as each state's
own first choice is the next drafted token in the same place.
"""

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from tenfold import progress
from tenfold.masked_lm.decoding.caches import Passes
from tenfold.masked_lm.decoding.checks import check_finite
from tenfold.masked_lm.decoding.options import GenerationOptions
from tenfold.masked_lm.decoding.proposals import propose
from tenfold.masked_lm.decoding.state import State


class Draft:
    """For each row of a batch, its masks in order of confidence: positions and greedy tokens (B, n), and how many of
    the n there are."""

    def __init__(self, positions: Tensor, tokens: Tensor, confidence: Tensor, probability: Tensor, count: Tensor):
        self.positions, self.tokens, self.count = positions, tokens, count
        self.confidence, self.probability = confidence, probability

    def rows(self, index: Tensor | slice) -> "Draft":
        """The drafts of some rows."""
        parts = (self.positions, self.tokens, self.confidence, self.probability, self.count)
        return Draft(*(part[index] for part in parts))


def fill_speculatively(
    network: Passes,
    state: State,
    inside: Bool[Tensor, "B N"],
    options: GenerationOptions,
    counted: progress.Work,
) -> None:
    """Fill a block as greedy one-token steps would."""
    masks = state.masks & inside
    if not masks.any():
        return
    batch = len(state.x)
    draft = _draft(network, state.x, masks, options, state.step)
    while masks.any():
        # The states with 1 … n drafted tokens, of all rows; the last of a short draft are repeated.
        depth = int(torch.clamp(draft.count, max=options.draft).max())
        states = [state.x]
        for level in range(depth):
            filled = states[-1].clone()
            more = level < draft.count
            rows = more.nonzero().squeeze(1)
            filled[rows, draft.positions[rows, level]] = draft.tokens[rows, level]
            states.append(filled)
        tried = torch.cat(states[1:])
        candidates = (tried == state.mask_id) & (state.maskable & inside & ~state.done[:, None]).repeat(depth, 1)
        after = _draft(network, tried, candidates, options, state.step)
        held = _held(draft, after, batch, depth)
        before = int(masks.sum())
        for level in range(int(held.max())):
            # Told one by one, so that history and ends are those of one-token steps.
            # How sure a token is, the state before it says.
            before_it = draft if level == 0 else after.rows(slice((level - 1) * batch, level * batch))
            sure = before_it.confidence[:, 0], before_it.probability[:, 0]
            _reveal(state, draft, level, (level < held) & (level < draft.count) & ~state.done, *sure)
            state.end_step()
        index = (held - 1).clamp(min=0) * batch + torch.arange(batch, device=held.device)
        draft = after.rows(index)
        masks = state.masks & inside
        draft.count = torch.where(state.done, 0, draft.count)
        counted(before - int(masks.sum()))


def _draft(
    network: Passes, x: Int[Tensor, "B N"], masks: Bool[Tensor, "B N"], options: GenerationOptions, step: int
) -> Draft:
    network_logits = network_rows(network, x, masks)
    if options.suppress_mask:
        network_logits[:, network.model.special.mask] = -torch.inf
    found = propose(network_logits, options.alg, 0.0, options.top_p, options.top_k)
    check_finite(found.probability, step)
    full = [torch.full(x.shape, fill, dtype=v.dtype, device=x.device) for v, fill in (
        (found.confidence, -torch.inf), (found.probability, 0.0), (found.tokens, 0))]  # fmt: skip
    for target, values in zip(full, (found.confidence, found.probability, found.tokens), strict=True):
        target[masks] = values
    order = full[0].argsort(dim=1, descending=True, stable=True)[:, : options.draft]
    confidence, probability, tokens = (values.gather(1, order) for values in full)
    return Draft(order, tokens, confidence, probability, masks.sum(dim=1).clamp(max=options.draft))


def network_rows(network: Passes, x: Int[Tensor, "B N"], masks: Bool[Tensor, "B N"]) -> Tensor:
    """One pass over a batch that may hold several states of each row of the generation."""
    times = 1 if network.attention_mask is None else len(x) // len(network.attention_mask)
    kept = network.attention_mask, network.position_ids
    if times > 1:
        network.attention_mask, network.position_ids = (None if k is None else k.repeat(times, 1) for k in kept)
    try:
        return network.logits(x, masks)
    finally:
        network.attention_mask, network.position_ids = kept


def _held(draft: Draft, after: Draft, batch: int, depth: int) -> Int[Tensor, " B"]:
    """Drafted tokens that hold in each row: the first always, the next while the state before it chooses it too."""
    held = torch.clamp(draft.count, max=1)
    going = held > 0
    for level in range(1, depth):
        own = slice((level - 1) * batch, level * batch)
        same = (after.positions[own, 0] == draft.positions[:, level]) & (after.tokens[own, 0] == draft.tokens[:, level])
        going = going & same & (level < draft.count) & (after.count[own] > 0)
        held = held + going.long()
    return held


def _reveal(
    state: State, draft: Draft, level: int, rows: Bool[Tensor, " B"], confidence: Tensor, probability: Tensor
) -> None:
    chosen = torch.zeros_like(state.maskable)
    index = rows.nonzero().squeeze(1)
    at = draft.positions[index, level]
    chosen[index, at] = True
    tokens = torch.zeros_like(state.x)
    tokens[index, at] = draft.tokens[index, level]
    spread = (values[:, None].expand(state.x.shape) for values in (confidence, probability))
    state.write(chosen, tokens, *spread)
