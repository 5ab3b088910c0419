"""The parts of a generation, made of what a user set: the one place where options become objects."""

from collections.abc import Callable
from functools import partial

from torch import Tensor

from tenfold.errors import UsageError
from tenfold.masked_lm.decoding.caches import (
    AdaptivePasses,
    BlockDelayedPasses,
    BlockPasses,
    DelayedPasses,
    Layout,
    Passes,
)
from tenfold.masked_lm.decoding.options import GenerationOptions
from tenfold.masked_lm.decoding.proposals import Proposer, Uniforms
from tenfold.masked_lm.decoding.sampler import Hooks, Sampler, SpeculativeSampler
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
from tenfold.masked_lm.model import MaskedLM


def passes(
    model: MaskedLM, options: GenerationOptions, padding: Tensor | None, positions: Tensor | None, start: int
) -> Passes:
    """The passes of the cache that ``options`` name, over a batch that lies so (see ``Layout``)."""
    layout, name = Layout(padding, positions, start), options.cache
    # Zero takes the cache's own number.
    refresh = {"refresh": options.refresh} if options.refresh else {}
    if name == "none":
        return Passes(model, layout)
    if name in ("prefix", "dual"):
        return BlockPasses(model, layout, options.refresh, right=name == "prefix")
    if name == "delayed":
        return DelayedPasses(model, layout, window=options.window, **refresh)
    if name == "block_delayed":
        return BlockDelayedPasses(model, layout, options.refresh, options.window)
    return AdaptivePasses(model, layout, prompt_refresh=options.prompt_refresh, share=options.share, **refresh)


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


def schedule(options: GenerationOptions, steps: int | None) -> Callable[[Tensor], RevealSchedule]:
    """The plan of a block of ``steps`` passes, from the masks of each row."""
    published = options.schedule == "reference"
    kind: type[RevealSchedule] = ReferenceSchedule if published else ExactSchedule
    if options.carry:
        kind = CarriedSchedule
    elif options.alg == "origin" or options.chosen != "topk":
        kind = RevealSchedule
    bounded = options.scheduled and not options.carry
    return partial(kind, steps=steps, eps=options.eps, quota=options.quota, bounded=bounded, empty_passes=published)


def sampler(
    network: Passes, options: GenerationOptions, steps: int | None, uniforms: Uniforms, hooks: Hooks
) -> Sampler | SpeculativeSampler:
    """What fills blocks of ``steps`` passes.

    Raises UsageError for hooks where something is computed that they would not see."""
    if hooks.given and (options.cache != "none" or options.chosen == "self_speculative"):
        raise UsageError(
            f"hooks see every logit and may change every token, which cache {options.cache!r} and self-speculation "
            "cannot follow; use cache 'none' and another strategy"
        )
    mask = network.model.special.mask if options.suppress_mask else None
    rule = strategy(options, network.model.logit_shift)
    propose = Proposer(
        options.alg, options.temperature, options.top_p, options.top_k, mask, options.chosen == "entropy_bound"
    )
    if options.chosen == "self_speculative":
        return SpeculativeSampler(network, propose, uniforms, options.draft)
    return Sampler(network, propose, rule, schedule(options, steps), uniforms, hooks)
