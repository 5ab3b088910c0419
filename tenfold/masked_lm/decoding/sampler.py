"""The loop that fills a block: a pass, proposals of its masks, a rule that chooses which to reveal, writing them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from tenfold import progress
from tenfold.masked_lm.decoding.caches import Passes
from tenfold.masked_lm.decoding.generation import Canvas
from tenfold.masked_lm.decoding.proposals import Proposer
from tenfold.masked_lm.decoding.schedules import RevealSchedule
from tenfold.masked_lm.decoding.strategies import Moment, Seen, Strategy, spread
from tenfold.masked_lm.decoding.uniforms import Uniforms

TokensHook = Callable[[int | None, Tensor, Tensor | None], Tensor]
LogitsHook = Callable[[int, Tensor, Tensor], Tensor]


class Hooks(NamedTuple):
    """What looks on, and may change tokens or logits."""

    tokens: TokensHook | None = None
    logits: LogitsHook | None = None

    @property
    def given(self) -> bool:
        """Whether there is any."""
        return self != (None, None)


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
            masks = canvas.masks & inside
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
        if self.hooks.given:
            logits = self.network.all_logits(canvas.x)
            if self.hooks.logits is not None:
                logits = self.hooks.logits(canvas.step, canvas.x, logits)
            rows = logits[wanted]
        elif wanted.any():
            rows = self.network.logits(canvas.x, wanted)
        else:  # nothing is revealed, so nothing has to be computed
            rows = torch.empty(0, self.network.model.vocab_size, device=wanted.device)
        found = self.propose(rows, canvas.step, self.uniforms)
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
