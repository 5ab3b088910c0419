"""Generation with a masked diffusion language model, under our options and under the published ones (arXiv 2506.20639):
its parts, made of what a user set (the one place where options become objects), and what it refuses before any work.

for each block, left to right:
    until it is full: one pass -> proposals of its masks -> a rule chooses which to reveal -> write them"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tenfold import progress
from tenfold.errors import UsageError, suggest
from tenfold.masked_lm.decoding.caches import KINDS, Layout, Passes
from tenfold.masked_lm.decoding.generation import Canvas, Commit, Generation
from tenfold.masked_lm.decoding.options import REFERENCE, GenerationOptions
from tenfold.masked_lm.decoding.proposals import Proposer, Uniforms, row_keys
from tenfold.masked_lm.decoding.sampler import Hooks, LogitsHook, Sampler, SpeculativeSampler, TokensHook
from tenfold.masked_lm.decoding.schedules import CarriedSchedule, ExactSchedule, ReferenceSchedule, RevealSchedule
from tenfold.masked_lm.decoding.strategies import (
    EntropyBound,
    Factor,
    FirstOfBlock,
    ReMDM,
    ReverseProcess,
    Strategy,
    Threshold,
    TopK,
)
from tenfold.masked_lm.model import MaskedLM, as_tensor, positions_after_padding, token_ids
from tenfold.nn.memory import require
from tenfold.settings.values import read


def passes(
    model: MaskedLM, options: GenerationOptions, padding: Tensor | None, positions: Tensor | None, start: int | Tensor
) -> Passes:
    """The passes of the cache that ``options`` name, over a batch that lies so (see ``Layout``)."""
    return KINDS[options.cache](model, Layout(padding, positions, start), options)


def strategy(options: GenerationOptions, shifted: bool = True) -> Strategy:
    """The rule that ``options`` name; with the published treatment of a block's first token where they say so and the
    model's logits are ``shifted``."""
    if options.chosen == "remdm":
        return ReMDM(options.sigma, options.eta, options.loop)
    if options.alg == "origin":
        return ReverseProcess()
    rule: Strategy = TopK(options.alg_temp)
    if options.threshold is not None:
        rule = Threshold(options.threshold)
    elif options.factor is not None:
        rule = Factor(options.factor)
    elif options.gamma is not None:
        rule = EntropyBound(options.gamma)
    return FirstOfBlock(rule) if options.first_token == "reference" and shifted else rule


def schedule(options: GenerationOptions, steps: int | Tensor | None) -> Callable[[Tensor], RevealSchedule]:
    """The plan of a block of ``steps`` passes, one number or (B,), from the masks of each row."""
    published = options.schedule == "reference"
    kind: type[RevealSchedule] = ReferenceSchedule if published else ExactSchedule
    if options.carry:
        kind = CarriedSchedule
    elif options.alg == "origin" or options.chosen != "topk":
        kind = RevealSchedule
    bounded = options.scheduled and not options.carry
    return partial(kind, steps=steps, eps=options.eps, quota=options.quota, bounded=bounded, empty_passes=published)


def sampler(
    network: Passes, options: GenerationOptions, steps: int | Tensor | None, uniforms: Uniforms, hooks: Hooks
) -> Sampler | SpeculativeSampler:
    """What fills blocks of ``steps`` passes.

    Raises UsageError for hooks where something is computed that they would not see."""
    if any(hooks) and (options.cache != "none" or options.chosen == "self_speculative"):
        raise UsageError(
            f"hooks see every logit and may change every token, which cache {options.cache!r} and self-speculation "
            "cannot follow; use cache 'none' and another strategy"
        )
    mask = network.model.special.mask if options.suppress_mask else None
    propose = Proposer(
        options.alg, options.temperature, options.top_p, options.top_k, mask, options.chosen == "entropy_bound"
    )
    if options.chosen == "self_speculative":
        return SpeculativeSampler(network, propose, options.draft)
    rule = strategy(options, network.model.logit_shift)
    return Sampler(network, propose, rule, schedule(options, steps), uniforms, hooks)


@torch.no_grad()
def diffusion_generate(
    model: MaskedLM,
    input_ids: object,
    attention_mask: object = None,
    options: GenerationOptions | None = None,
    *,
    generator: torch.Generator | None = None,
    seed: int | None = None,
    samples: Sequence[int] | None = None,
    ending: Sequence[bool] | None = None,
    uniforms: Sequence[Tensor] | None = None,
    token_uniforms: Sequence[Tensor] | None = None,
    output_history: bool = False,
    on_commit: Commit | None = None,
    generation_tokens_hook_func: TokensHook | None = None,
    generation_logits_hook_func: LogitsHook | None = None,
    **changes: object,
) -> Generation:
    """Complete prompts, or fill in their masks.

    >>> from tenfold.masked_lm import MaskedLMConfig
    >>> model = MaskedLM.from_config(MaskedLMConfig(width=32, layers=1, heads=2, intermediate=64))
    >>> found = diffusion_generate(model, torch.tensor([[10]]), max_new_tokens=8, alg="entropy", threshold=0.9)
    >>> found.completions.shape, bool((found.sequences == model.special.mask).any())
    (torch.Size([1, 8]), False)

    Args:
        input_ids: (B, P) token ids of prompts, of any integer type, padded on the left; with ``infill`` they hold the
            masks.
        attention_mask: (B, P), 0 at padding.
        options: every choice; ``changes`` are fields of it. ``REFERENCE`` has those of the published sampler.
        generator: what the seed is drawn from, where none is given; None is torch's own.
        seed: of all draws. Those of a row are keyed by it, the row's own tokens and its number among ``samples``: they
            do not depend on the batch.
        samples: (B,) number of each row among those of the same tokens; by default they are counted.
        ending: (B,) rows that ``stop_ids`` end; all of them by default.
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
    laid = check(model, input_ids, attention_mask, options)
    x, padding, positions, starts, special = laid.x, laid.padding, laid.positions, laid.starts, model.special
    masked, start = x == special.mask, int(starts.min()) if len(x) else x.shape[1]
    most, blocks = int(masked.sum(dim=1).max()) if len(x) else 0, max(laid.blocks, default=0)
    if options.scheduled and options.steps is not None and options.steps > most:
        progress.note(f"steps {options.steps} exceeds the {most} masks: not every pass can reveal a token")
    # ReMDM takes tokens back, so that none is settled before the end.
    for name, given_for in (("samples", samples), ("ending", ending)):
        if given_for is not None and len(given_for) != len(x):
            raise UsageError(f"{name} has {len(given_for)} values for {len(x)} rows; give one for each")
    settles = options.chosen != "remdm"
    canvas = Canvas(x, special.mask, start, options.stop_ids, output_history, on_commit, settles, ending)
    network = passes(model, options, padding, positions, starts)
    places = None if positions is None or padding is None else positions.masked_fill(padding == 0, 0)
    draws = Uniforms(seed_of(generator, seed), row_keys(x, padding, samples), places, uniforms, token_uniforms)
    hooks = Hooks(generation_tokens_hook_func, generation_logits_hook_func)
    # Without a number of steps every block of a row has its own: as many as it has masks.
    each = [max(1, (options.steps or 0) // own) for own in laid.blocks]
    given = None if options.steps is None else torch.tensor(each, device=x.device)
    blockwise = sampler(network, options, given, draws, hooks)
    if hooks.tokens is not None:
        canvas.x = hooks.tokens(None, canvas.x, None)
    with progress.task("generating", most * len(x), "tokens") as counted:
        # Places within each row's region; in one block they all are.
        place = torch.arange(x.shape[1], device=x.device) - starts[:, None]
        length = options.block_length or x.shape[1]
        for draws.block in range(blocks):
            inside = (place >= draws.block * length) & (place < (draws.block + 1) * length)
            network.begin_block(starts + draws.block * length, starts + (draws.block + 1) * length)
            blockwise.fill(canvas, inside, counted)
    if options.schedule == "reference" and output_history and blocks == 1:
        # Published, passes without masks go on to the last step.
        canvas.history += [canvas.x.clone() for _ in range((options.steps or most) - len(canvas.history))]
    canvas.finish(special.pad if special.pad is not None else (options.stop_ids or (0,))[0])
    return canvas.result(network.nfe, network.token_forwards, options.stop_ids or special.ends)


def seed_of(generator: torch.Generator | None, seed: int | None = None) -> int:
    """A seed, or one that is drawn from a generator, by default torch's own."""
    if seed is not None:
        return int(read(int, seed, "seed"))
    source = "cpu" if generator is None else generator.device
    return int(torch.randint(2**62, (), generator=generator, device=source))


_OPTIONS = ("eps", "alg", "alg_temp", "temperature", "top_p", "top_k", "num_return_sequences")
_OTHERS = ("generator", "output_history", "generation_tokens_hook_func", "generation_logits_hook_func")


def published_generate(
    model: MaskedLM,
    inputs: object,
    attention_mask: object = None,
    *,
    max_new_tokens: int,
    steps: int = 512,
    mask_token_id: int | None = None,
    return_dict: bool = False,
    return_dict_in_generate: bool = False,
    **options: Any,
) -> Generation | Tensor:
    """``diffusion_generate`` under the names, defaults and rules of Dream's and DiffuCoder's files: the published
    schedule with its batch mean, and the mask token as a legal proposal.

    ``options`` may be eps, alg, alg_temp, temperature, top_p, top_k, num_return_sequences, output_history, a generator
    and the two hooks. Returns the sequences, or with either ``return_dict`` the ``Generation``. ``max_new_tokens`` must
    be given (the published default of 20 tokens in all is a trap); ``mask_token_id`` must be the model's.

    Raises UsageError for another mask token, unknown options, and what ``diffusion_generate`` refuses."""
    if mask_token_id is not None and mask_token_id != model.special.mask:
        raise UsageError(
            f"mask_token_id is {mask_token_id}, but the model's mask is {model.special.mask}; leave it out"
        )
    for name in options:
        if name not in (*_OPTIONS, *_OTHERS):
            raise UsageError(f"the published sampler has no option {name!r}{suggest(name, (*_OPTIONS, *_OTHERS))}")
    others = {name: options.pop(name) for name in _OTHERS if name in options}
    chosen = GenerationOptions(max_new_tokens=max_new_tokens, steps=steps, **options, **REFERENCE)
    found = diffusion_generate(model, inputs, attention_mask, chosen, **others)
    return found if return_dict or return_dict_in_generate else found.sequences


class Laid(NamedTuple):
    """Rows to be filled in: ``x`` (B, N) with their masks, ``padding`` and ``positions`` (B, N) as in ``Layout``, where
    the masks of each row begin, and how many blocks it has from there on."""

    x: Tensor
    padding: Tensor | None
    positions: Tensor | None
    starts: Tensor
    blocks: list[int]


def require_batch(model: MaskedLM, rows: int, masks: int, fix: str) -> None:
    """Raises UsageError where the logits of all masks of a pass, their probabilities, a layer's states and the rows
    themselves take more memory than there is."""
    each = 8 * model.vocab_size + 64
    network = getattr(model, "network", None)
    if network is not None:  # what only answers like a model has no layers that are known
        each += 4 * (6 * network.config.hidden_size + 3 * network.config.intermediate_size)
    require(masks * each, model.device, f"filling in {rows} rows at once", fix)


def check(model: MaskedLM, tokens: object, attention_mask: object, options: GenerationOptions) -> Laid:
    """Rows as they are filled in.

    Raises UsageError for tokens, masks and options that do not fit the model or each other."""
    tokens = token_ids(tokens, model.vocab_size, "the prompt").to(model.device)
    padding, positions = check_inputs(model, tokens, attention_mask, options), None
    masks = int((tokens == model.special.mask).sum()) if options.infill else len(tokens) * options.max_new_tokens
    rows = options.num_return_sequences
    require_batch(model, rows * len(tokens), rows * masks, "give fewer at once")
    x = tokens.repeat_interleave(options.num_return_sequences, dim=0)
    if not options.infill:
        x = torch.cat([x, x.new_full((len(x), options.max_new_tokens), model.special.mask)], dim=1)
    if padding is not None:
        padding = padding.to(x.device).repeat_interleave(options.num_return_sequences, dim=0)
        padding = torch.cat([padding, padding.new_ones(len(x), x.shape[1] - padding.shape[1])], dim=1)
        positions = positions_after_padding(padding)
    masked = x == model.special.mask
    # Every row has blocks of its own, from its first mask on.
    starts = torch.where(masked.any(dim=1), masked.long().argmax(dim=1), x.shape[1] - 1) if len(x) else x.sum(dim=1)
    lengths = (x.shape[1] - starts).tolist()
    blocks = {length: check_schedule(options, length) for length in set(lengths)}
    return Laid(x, padding, positions, starts, [blocks[length] for length in lengths])


def check_inputs(model: MaskedLM, tokens: Tensor, attention_mask: object, options: GenerationOptions) -> Tensor | None:
    """The padding mask (B, P), None where nothing is padded.

    Raises UsageError for tokens and masks that do not fit the model or each other."""
    mask = _check_mask(tokens, attention_mask)
    masked = tokens == model.special.mask
    if options.infill:
        if len(tokens) and not masked.any():
            raise UsageError(f"infill needs masks (id {model.special.mask}) in the prompt, and there are none")
        if mask is not None and (masked & ~mask.bool()).any():
            raise UsageError("a mask stands in the padding of a prompt; pad with another token")
        first = masked[:, 0] if mask is None else (masked & (mask.cumsum(dim=1) == 1)).any(dim=1)
        if model.logit_shift and first.any():
            raise UsageError(
                "the first token of a prompt is masked, and a model with logit shift has nothing to predict it from; "
                "put a token before it (bos, or a line break)"
            )
    else:
        if masked.any():
            raise UsageError(
                f"the prompt holds the mask token (id {model.special.mask}); set infill to fill it in, or take it out"
            )
        if model.logit_shift and (tokens.shape[1] == 0 or (mask is not None and not mask.any(dim=1).all())):
            raise UsageError(
                "the prompt is empty, and a model with logit shift predicts each token from the one before; "
                "begin with a token (bos, or a line break)"
            )
    length = tokens.shape[1] + (0 if options.infill else options.max_new_tokens)
    if length > model.max_positions:
        raise UsageError(
            f"prompt and new tokens are {length} together, but the model has {model.max_positions} positions; shorten "
            "the prompt or ask for fewer new tokens"
        )
    if options.cache != "none" and length > (model.window or length):
        raise UsageError(
            f"the network looks at {model.window} positions around each of the {length}, which cache {options.cache!r} "
            "does not follow; use cache 'none'"
        )
    for name in options.stop_ids:
        if not 0 <= name < model.vocab_size or name == model.special.mask:
            raise UsageError(f"stop id {name} is no token that can be revealed (vocabulary {model.vocab_size})")
    return mask


def check_schedule(options: GenerationOptions, length: int) -> int:
    """The blocks of a region of ``length`` positions.

    Raises UsageError where blocks do not divide it, and where they do not divide the steps."""
    block = options.block_length or length
    if not options.infill and length % block:
        raise UsageError(f"block_length {block} does not divide the {length} new tokens; choose one that does")
    blocks = -(-length // block)
    if options.scheduled and options.steps is not None and options.steps % blocks:
        raise UsageError(
            f"steps {options.steps} cannot be divided over {blocks} blocks of {block}; choose a multiple of {blocks}, "
            "or leave steps out"
        )
    return blocks


def _check_mask(tokens: Tensor, given: object) -> Tensor | None:
    if given is None:
        return None
    mask = as_tensor(given, "the attention mask").to(tokens.device)
    if tuple(mask.shape) != tuple(tokens.shape):
        raise UsageError(
            f"the attention mask has shape {tuple(mask.shape)}, but the prompt {tuple(tokens.shape)}; give one value "
            "a token, 0 at padding"
        )
    if mask.is_floating_point() or not bool(((mask == 0) | (mask == 1)).all()):
        raise UsageError(f"the attention mask is {mask.dtype} with values besides 0 and 1; give integers or booleans")
    mask = mask.long()
    if tokens.shape[1] and bool((mask[:, 1:] < mask[:, :-1]).any()):
        row = int((mask[:, 1:] < mask[:, :-1]).any(dim=1).nonzero()[0])
        raise UsageError(f"row {row} is padded on the right; pad prompts on the left, so that all end together")
    return None if bool(mask.all()) else mask
