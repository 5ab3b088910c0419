"""Generation with a masked diffusion language model: one loop for every schedule, cache and rule (arXiv 2506.20639).

for each block, left to right:
    until it is full: one pass -> proposals of its masks -> a rule chooses which to reveal -> write them
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tenfold import progress
from tenfold.errors import UsageError
from tenfold.masked_lm.decoding import remasking, strategies, transfers
from tenfold.masked_lm.decoding.caches import Passes, passes
from tenfold.masked_lm.decoding.checks import check_finite, check_inputs, check_schedule
from tenfold.masked_lm.decoding.draws import Draws
from tenfold.masked_lm.decoding.options import GenerationOptions
from tenfold.masked_lm.decoding.proposals import Proposals, propose
from tenfold.masked_lm.decoding.speculative import fill_speculatively
from tenfold.masked_lm.decoding.state import Commit, Generation, State
from tenfold.masked_lm.model import MaskedLM, positions_after_padding

TokensHook = Callable[[int | None, Tensor, Tensor | None], Tensor]
LogitsHook = Callable[[int, Tensor, Tensor], Tensor]


@torch.no_grad()
def diffusion_generate(
    model: MaskedLM,
    input_ids: Tensor,
    attention_mask: Tensor | None = None,
    options: GenerationOptions | None = None,
    *,
    generator: torch.Generator | None = None,
    uniforms: Sequence[Tensor] | None = None,
    token_uniforms: Sequence[Tensor] | None = None,
    output_history: bool = False,
    on_commit: Commit | None = None,
    generation_tokens_hook_func: TokensHook | None = None,
    generation_logits_hook_func: LogitsHook | None = None,
    **changes: Any,
) -> Generation:
    """Complete prompts, or fill in their masks.

    >>> from tenfold.masked_lm.config import MaskedLMConfig
    >>> model = MaskedLM.from_config(MaskedLMConfig(width=32, layers=1, heads=2, intermediate=64))
    >>> found = diffusion_generate(model, torch.tensor([[10]]), max_new_tokens=8, alg="entropy", threshold=0.9)
    >>> found.completions.shape, bool((found.sequences == model.special.mask).any())
    (torch.Size([1, 8]), False)

    Args:
        input_ids: (B, P) token ids of prompts, padded on the left; with ``infill`` they hold the masks.
        attention_mask: (B, P), 0 at padding.
        options: every choice; ``changes`` are fields of it. ``REFERENCE`` has those of the published sampler.
        generator: of all draws; None is torch's own.
        uniforms: for alg "origin", a step's numbers over the masked positions, row-major.
        token_uniforms: a step's numbers for the proposals, over the masked positions of the block; with alg "origin"
            over those that are revealed.
        output_history: keep the sequences after each pass.
        on_commit: called with (row, tokens) whenever tokens have nothing masked left of them any more; with strategy
            "remdm" at the end only.
        generation_tokens_hook_func: called with (None, x, None) before the first step, and (step, x, logits) after
            each; returns x. Either hook makes every pass compute all logits (B, N, K), shifted.
        generation_logits_hook_func: called with (step, x, logits) before they are used; returns logits.

    Raises:
        UsageError: options that do not fit the model or each other, before any pass; or NaN logits.
    """
    options = (options or GenerationOptions()).with_changes(**changes)
    hooks = Hooks(generation_tokens_hook_func, generation_logits_hook_func)
    if hooks.given and (options.cache != "none" or options.chosen == "self_speculative"):
        raise UsageError(
            f"hooks see every logit and may change every token, which cache {options.cache!r} and self-speculation "
            "cannot follow; use cache 'none' and another strategy"
        )
    padding = check_inputs(model, input_ids, attention_mask, options)
    x = input_ids.repeat_interleave(options.num_return_sequences, dim=0)
    mask_id = model.special.mask
    if not options.infill:
        x = torch.cat([x, x.new_full((len(x), options.max_new_tokens), mask_id)], dim=1)
    positions = None
    if padding is not None:
        padding = padding.repeat_interleave(options.num_return_sequences, dim=0)
        padding = torch.cat([padding, padding.new_ones(len(x), x.shape[1] - padding.shape[1])], dim=1)
        positions = positions_after_padding(padding)
    masked = x == mask_id
    start = int(masked.any(dim=0).long().argmax())
    most = int(masked.sum(dim=1).max())
    steps, blocks = check_schedule(options, x.shape[1] - start, most)
    # ReMDM takes tokens back, so that none is settled before the end.
    state = State(x, mask_id, start, options.stop_ids, output_history, on_commit, options.chosen != "remdm")
    network = passes(model, options, padding, positions, start)
    draws = Draws(generator, uniforms, token_uniforms)
    state.x = hooks.tokens(None, state.x, None)
    with progress.task("generating", most * len(x), "tokens") as counted:
        for low, high in _blocks(start, x.shape[1], options.block_length):
            network.begin_block(low, high)
            inside = torch.zeros_like(masked)
            inside[:, low:high] = True
            if options.chosen == "self_speculative":
                fill_speculatively(network, state, inside, options, counted)
            else:
                Block(network, state, inside, options, draws, hooks, steps // blocks, counted).fill()
    if options.schedule == "reference" and output_history and blocks == 1:
        # Published, passes without masks go on to the last step.
        state.history += [state.x.clone() for _ in range(steps - len(state.history))]
    special = model.special
    ends = options.stop_ids or [i for i in (special.eos, special.pad) if i is not None]
    state.finish(special.pad if special.pad is not None else (options.stop_ids or (0,))[0])
    return state.result(network.nfe, network.token_forwards, ends)


class Hooks:
    """The two hooks, either of which may be missing."""

    def __init__(self, tokens: TokensHook | None, logits: LogitsHook | None) -> None:
        self._tokens, self._logits = tokens, logits

    @property
    def given(self) -> bool:
        """Whether there is any."""
        return self._tokens is not None or self._logits is not None

    def tokens(self, step: int | None, x: Tensor, logits: Tensor | None) -> Tensor:
        """The sequence after the hook."""
        return x if self._tokens is None else self._tokens(step, x, logits)

    def logits(self, step: int, x: Tensor, logits: Tensor) -> Tensor:
        """The logits after the hook."""
        return logits if self._logits is None else self._logits(step, x, logits)


class Block:
    """One block of a generation."""

    def __init__(
        self,
        network: Passes,
        state: State,
        inside: Bool[Tensor, "B N"],
        options: GenerationOptions,
        draws: Draws,
        hooks: Hooks,
        steps: int,
        counted: progress.Work,
    ) -> None:
        self.network, self.state, self.inside, self.options = network, state, inside, options
        self.draws, self.hooks, self.counted = draws, hooks, counted
        masks = self.masks.sum(dim=1)
        # Without a number of steps every block has its own: as many as its fullest row has masks.
        self.steps = steps if options.steps is not None else int(masks.max())
        self.taus = transfers.times(max(1, self.steps), options.eps)
        self.planned = transfers.exact_quotas(masks, max(1, self.steps))
        self.limit = self.steps if options.scheduled and not options.carry else max(self.steps, int(masks.max()))
        self.held_back = torch.zeros_like(masks)
        self.low = int(inside.any(dim=0).long().argmax())

    @property
    def masks(self) -> Bool[Tensor, "B N"]:
        """The block's candidates."""
        return self.state.masks & self.inside

    def fill(self) -> None:
        """Passes until nothing in the block is masked, or the schedule ends."""
        state, step = self.state, 0
        while step < self.limit and (self.masks.any() or self.options.chosen == "remdm"):
            quotas = self._quotas(step)
            if quotas is None or self.options.schedule == "reference" or bool((quotas > 0).any()):
                before = int(state.masks.sum())
                self._step(step, quotas)
                state.end_step()
                self.counted(before - int(state.masks.sum()))
            step += 1

    def _quotas(self, step: int) -> Int[Tensor, " B"] | None:
        """Tokens to reveal in each row; None where the rule alone says."""
        options = self.options
        if not options.scheduled or options.alg == "origin" or options.chosen == "remdm":
            return None
        left = self.masks.sum(dim=1)
        if options.carry:
            planned = self.planned[step] if step < self.steps else torch.zeros_like(left)
            return torch.minimum(planned + self.held_back, left)
        if options.schedule == "reference":
            return transfers.reference_quotas(left, step, self.taus, options.quota)
        planned = left if step == self.steps - 1 else self.planned[step]
        if options.quota == "batch":
            planned = torch.full_like(left, int(planned.sum()) // len(left))
        return torch.minimum(planned, left)

    def _step(self, step: int, quotas: Int[Tensor, " B"] | None) -> None:
        state, options = self.state, self.options
        masks, taken_back = self.masks, None
        wanted = masks
        chosen: Tensor | None = None
        if options.chosen == "remdm":
            chosen, taken_back = self._remask(step, masks)
            wanted = chosen
        elif options.alg == "origin":
            wanted = chosen = self._reverse_process(step, masks)
        elif options.first_token == "reference" and step == 0 and self.network.model.logit_shift:
            wanted = masks.clone()
            wanted[:, self.low + 1 :] = False
            chosen = wanted
        logits = None
        if self.hooks.given:
            logits = self.hooks.logits(state.step, state.x, self.network.all_logits(state.x))
            rows = logits[wanted]
        elif wanted.any():
            rows = self.network.logits(state.x, wanted)
        else:  # nothing is revealed, so nothing has to be computed
            rows = torch.empty(0, self.network.model.vocab_size, device=masks.device)
        found = self._propose(rows)
        score = _spread(found.confidence, wanted, -torch.inf)
        probability = _spread(found.probability, wanted, -torch.inf)
        if chosen is None:
            chosen = self._choose(score, probability, found, wanted, quotas)
        state.write(chosen, _spread(found.tokens, wanted, state.mask_id), score, probability)
        if taken_back is not None:
            state.take_back(taken_back)
        state.x = self.hooks.tokens(state.step, state.x, logits)

    def _propose(self, rows: Float[Tensor, "R K"]) -> Proposals:
        options, step = self.options, self.state.step
        if options.suppress_mask:
            rows = rows.index_fill(-1, torch.tensor([self.state.mask_id], device=rows.device), -torch.inf)
        numbers = self.draws.tokens(step, len(rows), rows.device) if options.temperature > 0 else None
        found = propose(
            rows, options.alg, options.temperature, options.top_p, options.top_k, numbers,
            entropy=options.chosen == "entropy_bound",
        )  # fmt: skip
        check_finite(found.probability, step)
        return found

    def _choose(
        self,
        score: Float[Tensor, "B N"],
        probability: Float[Tensor, "B N"],
        found: Proposals,
        wanted: Bool[Tensor, "B N"],
        quotas: Int[Tensor, " B"] | None,
    ) -> Bool[Tensor, "B N"]:
        options = self.options
        if options.chosen == "threshold":
            assert options.threshold is not None
            chosen = strategies.above_threshold(score, probability, options.threshold, quotas)
            if quotas is not None:
                self.held_back = quotas - chosen.sum(dim=1)
            return chosen
        if options.chosen == "factor":
            assert options.factor is not None
            return strategies.by_factor(probability, options.factor)
        if options.chosen == "entropy_bound":
            assert options.gamma is not None
            assert found.entropy is not None
            return strategies.by_entropy_bound(score, _spread(found.entropy, wanted, torch.inf), options.gamma)
        assert quotas is not None
        if options.alg_temp:
            return strategies.drawn_by_rank(
                score, quotas, options.alg_temp, self.draws.uniform(score.shape, score.device)
            )
        return strategies.best(score, quotas)

    def _reverse_process(self, step: int, masks: Bool[Tensor, "B N"]) -> Bool[Tensor, "B N"]:
        share = transfers.reveal_probability(step, self.taus)
        numbers = self.draws.reveals(self.state.step, int(masks.sum()), masks.device)
        return _spread(numbers < share, masks, False)

    def _remask(self, step: int, masks: Bool[Tensor, "B N"]) -> tuple[Bool[Tensor, "B N"], Bool[Tensor, "B N"]]:
        """(what is revealed, what goes back to the mask) in a step of ReMDM."""
        state, options = self.state, self.options
        revealed = state.maskable & ~masks
        numbers = _spread(self.draws.reveals(state.step, int(masks.sum()), masks.device).double(), masks, 2.0)
        if step == self.steps - 1:
            return masks, torch.zeros_like(masks)
        t, s = float(self.taus[step]), float(self.taus[step + 1])
        alpha_t, alpha_s = (remasking.alpha(time, options.sigma, options.loop) for time in (t, s))
        sigma = remasking.sigmas(options.sigma, options.eta, t, s, options.loop, state.probability, revealed)
        shown = numbers < remasking.reveal_probability(alpha_t, alpha_s, sigma)
        back = revealed & (self.draws.uniform(masks.shape, masks.device) < sigma) if options.eta else revealed & masks
        return shown, back


def _spread(values: Tensor, where: Bool[Tensor, "B N"], rest: int | float) -> Tensor:
    """Row-major values of the positions ``where`` (B, N), ``rest`` elsewhere."""
    full = torch.full(where.shape, rest, dtype=values.dtype, device=values.device)
    full[where] = values
    return full


def _blocks(start: int, end: int, length: int | None) -> Iterator[tuple[int, int]]:
    length = length or end - start
    return ((low, min(low + length, end)) for low in range(start, end, length))
