"""The loops that fill a block: a pass, proposals of its masks, a rule that chooses which to reveal, writing them; and
self-speculative decoding (SSD, arXiv 2510.04147): the tokens of one-token steps, in fewer passes.

There one pass over a state ranks its masks. The first of them is what a one-token step reveals; the next ones are a
draft. States with one, two, … drafted tokens go through the network as one batch, and a draft holds as long as each
state's own first choice is the next drafted token in the same place."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tenfold import progress
from tenfold.masked_lm.decoding.caches import Passes
from tenfold.masked_lm.decoding.generation import Canvas
from tenfold.masked_lm.decoding.proposals import Proposer, Uniforms
from tenfold.masked_lm.decoding.schedules import RevealSchedule
from tenfold.masked_lm.decoding.strategies import Moment, Seen, Strategy, spread

TokensHook = Callable[[int | None, Tensor, Tensor | None], Tensor]
LogitsHook = Callable[[int, Tensor, Tensor], Tensor]


class Hooks(NamedTuple):
    """What looks on, and may change tokens or logits."""

    tokens: TokensHook | None = None
    logits: LogitsHook | None = None


@dataclass(frozen=True)
class Sampler:
    """Reveals the masks of a block in passes.

    Attributes:
        network: the passes, with their cache.
        propose: proposals from logits.
        strategy: the rule that chooses among them.
        schedule: the plan of a block, from the masks of each row.
        uniforms: of all draws.
        hooks: what looks on.
    """

    network: Passes
    propose: Proposer
    strategy: Strategy
    schedule: Callable[[Tensor], RevealSchedule]
    uniforms: Uniforms
    hooks: Hooks

    def fill(self, canvas: Canvas, inside: Bool[Tensor, "B N"], counted: progress.Meter) -> None:
        """Passes until nothing is masked ``inside`` the block, or its schedule ends."""
        masks = canvas.masks & inside
        schedule = self.schedule(masks.sum(dim=1))
        for step in range(schedule.limit):
            masks, self.uniforms.step = canvas.masks & inside, step
            if self.strategy.settles and not masks.any():
                break
            quotas = schedule.quotas(step, masks.sum(dim=1))
            if quotas is None or schedule.empty_passes or bool((quotas > 0).any()):
                before = int(canvas.masks.sum())
                self._pass(Moment(canvas, inside, masks, step, schedule.taus), schedule, quotas)
                canvas.end_step()
                counted(before - int(canvas.masks.sum()))

    def _pass(self, moment: Moment, schedule: RevealSchedule, quotas: Int[Tensor, " B"] | None) -> None:
        canvas = moment.canvas
        drawn = self.strategy.ahead(moment, self.uniforms)
        wanted = moment.masks if drawn is None else drawn.shown
        logits = None
        if any(self.hooks):
            logits = self.network.all_logits(canvas.x)
            if self.hooks.logits is not None:
                logits = self.hooks.logits(canvas.step, canvas.x, logits)
            rows = logits[wanted]
        elif wanted.any():
            rows = self.network.logits(canvas.x, wanted)
        else:  # nothing is revealed, so nothing has to be computed
            rows = torch.empty(0, self.network.model.vocab_size, device=wanted.device)
        heated = self.propose.temperature > 0 and len(rows)
        found = self.propose(rows, canvas.step, self.uniforms.at("tokens", canvas.step, wanted) if heated else None)
        seen = Seen(
            spread(found.confidence, wanted, -torch.inf),
            spread(found.probability, wanted, -torch.inf),
            None if found.entropy is None else spread(found.entropy, wanted, torch.inf),
        )
        chosen = wanted
        if drawn is None:
            chosen = self.strategy.choose(seen, quotas, self.uniforms)
            schedule.chose(quotas, chosen)
        canvas.write(chosen, spread(found.tokens, wanted, canvas.mask_id), seen.score, seen.probability)
        if drawn is not None and drawn.back is not None:
            canvas.take_back(drawn.back)
        if self.hooks.tokens is not None:
            canvas.x = self.hooks.tokens(canvas.step, canvas.x, logits)


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
                sure = draft if level == 0 else after.rows(slice((level - 1) * batch, level * batch))
                rows, at = (level < held) & (level < draft.size) & ~canvas.done, draft.positions[:, level, None]
                chosen = torch.zeros_like(canvas.maskable).scatter(1, at, rows[:, None])
                tokens = canvas.x.scatter(1, at, draft.tokens[:, level, None])
                canvas.write(chosen, tokens, sure.confidence[:, :1], sure.probability[:, :1])
                canvas.end_step()
            index = (held - 1).clamp(min=0) * batch + torch.arange(batch, device=held.device)
            draft = after.rows(index)
            masks = canvas.masks & inside
            draft = draft._replace(size=torch.where(canvas.done, 0, draft.size))
            counted(before - int(masks.sum()))

    def _draft(self, x: Int[Tensor, "B N"], masks: Bool[Tensor, "B N"], step: int) -> Draft:
        """The surest masks after one pass over a batch, which may hold several states of each row of the generation."""
        found = self.propose(self.network.logits(x, masks), step, None)
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
