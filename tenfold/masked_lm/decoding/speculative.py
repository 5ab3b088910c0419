"""Self-speculative decoding (SSD, arXiv 2510.04147): the tokens of one-token steps, in fewer passes.

One pass over a state ranks its masks. The first of them is what a one-token step reveals; the next ones are a draft.
States with one, two, … drafted tokens go through the network as one batch, and a draft holds as long as each state's
own first choice is the next drafted token in the same place.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tenfold import progress
from tenfold.masked_lm.decoding.caches import Passes
from tenfold.masked_lm.decoding.generation import Canvas
from tenfold.masked_lm.decoding.proposals import Proposer
from tenfold.masked_lm.decoding.strategies import spread
from tenfold.masked_lm.decoding.uniforms import Uniforms


class Draft(NamedTuple):
    """For each row of a batch, its masks in order of confidence: positions and greedy tokens, how sure they are, and
    how many of the n there are."""

    positions: Int[Tensor, "B n"]
    tokens: Int[Tensor, "B n"]
    confidence: Float[Tensor, "B n"]
    probability: Float[Tensor, "B n"]
    size: Int[Tensor, " B"]

    def rows(self, index: Tensor | slice) -> "Draft":
        """The drafts of some rows."""
        return Draft(*(part[index] for part in self))


@dataclass(frozen=True)
class SpeculativeSampler:
    """Fills a block as greedy one-token steps would, ``draft`` tokens a pass at the most."""

    network: Passes
    propose: Proposer
    uniforms: Uniforms
    draft: int = 4

    def fill(self, canvas: Canvas, inside: Bool[Tensor, "B N"], counted: progress.Meter) -> None:
        """Passes until nothing is masked ``inside`` the block."""
        masks = canvas.masks & inside
        if not masks.any():
            return
        batch = len(canvas.x)
        draft = self._draft(canvas.x, masks, canvas.step)
        while masks.any():
            # The states with 1 … n drafted tokens, of all rows; the last of a short draft are repeated.
            depth = int(torch.clamp(draft.size, max=self.draft).max())
            states = [canvas.x]
            for level in range(depth):
                filled = states[-1].clone()
                rows = (level < draft.size).nonzero().squeeze(1)
                filled[rows, draft.positions[rows, level]] = draft.tokens[rows, level]
                states.append(filled)
            tried = torch.cat(states[1:])
            candidates = canvas.maskable & inside & ~canvas.done[:, None]
            after = self._draft(tried, (tried == canvas.mask_id) & candidates.repeat(depth, 1), canvas.step)
            held = _held(draft, after, batch, depth)
            before = int(masks.sum())
            for level in range(int(held.max())):
                # Told one by one, so that history and ends are those of one-token steps.
                # How sure a token is, the state before it says.
                before_it = draft if level == 0 else after.rows(slice((level - 1) * batch, level * batch))
                sure = before_it.confidence[:, 0], before_it.probability[:, 0]
                _reveal(canvas, draft, level, (level < held) & (level < draft.size) & ~canvas.done, *sure)
                canvas.end_step()
            index = (held - 1).clamp(min=0) * batch + torch.arange(batch, device=held.device)
            draft = after.rows(index)
            masks = canvas.masks & inside
            draft = draft._replace(size=torch.where(canvas.done, 0, draft.size))
            counted(before - int(masks.sum()))

    def _draft(self, x: Int[Tensor, "B N"], masks: Bool[Tensor, "B N"], step: int) -> Draft:
        """The surest masks after one pass over a batch, which may hold several states of each row of the generation."""
        found = self.propose(self.network.logits(x, masks), step, self.uniforms)
        score = spread(found.confidence, masks, -torch.inf)
        order = score.argsort(dim=1, descending=True, stable=True)[:, : self.draft]
        full = (spread(found.tokens, masks, 0), score, spread(found.probability, masks, 0.0))
        tokens, confidence, probability = (values.gather(1, order) for values in full)
        return Draft(order, tokens, confidence, probability, masks.sum(dim=1).clamp(max=self.draft))


def _held(draft: Draft, after: Draft, batch: int, depth: int) -> Int[Tensor, " B"]:
    """Drafted tokens that hold in each row: the first always, the next while the state before it chooses it too."""
    held = torch.clamp(draft.size, max=1)
    going = held > 0
    for level in range(1, depth):
        own = slice((level - 1) * batch, level * batch)
        same = (after.positions[own, 0] == draft.positions[:, level]) & (after.tokens[own, 0] == draft.tokens[:, level])
        going = going & same & (level < draft.size) & (after.size[own] > 0)
        held = held + going.long()
    return held


def _reveal(
    canvas: Canvas, draft: Draft, level: int, rows: Bool[Tensor, " B"], confidence: Tensor, probability: Tensor
) -> None:
    chosen = torch.zeros_like(canvas.maskable)
    index = rows.nonzero().squeeze(1)
    at = draft.positions[index, level]
    chosen[index, at] = True
    tokens = torch.zeros_like(canvas.x)
    tokens[index, at] = draft.tokens[index, level]
    spread = (values[:, None].expand(canvas.x.shape) for values in (confidence, probability))
    canvas.write(chosen, tokens, *spread)
