"""From noise to tokens: one run of a chain and the moves that all samplers share; the samplers, on a grid of times
(solvers and corrections, re-masking, masks revealed in shares) or every jump at its own time; and the one that the
options name, with prompts that stay and what may steer it."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import count, pairwise
from typing import TypeVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tenfold import progress
from tenfold.discrete.masking import categorical, mask_exactly, reveal_probability
from tenfold.discrete.paths import MaskSource, Source, UniformSource, noisy_ratios
from tenfold.discrete.schedules import Schedule, time_of
from tenfold.discrete_diffusion.networks.model import DenoisingNetwork
from tenfold.discrete_diffusion.options import MASK_ONLY, ChainOptions
from tenfold.discrete_diffusion.samplers.prediction import Candidates, Guide, LogRatioOf, Predictor, Random
from tenfold.discrete_diffusion.samplers.steps import STEPS, RemaskingRule, analytic, corrector, grid, interval, remask
from tenfold.errors import UsageError
from tenfold.rl.rewards import Reward

T = TypeVar("T")


class Chain:
    """The state of one run.

    Attributes:
        noisy: (b, n), what a sampler moves.
        prompt: sites whose token stays.
        guide, candidates: what steers the chain, where something does.
    """

    def __init__(
        self,
        predict: Predictor,
        noisy: Int[Tensor, "b n"],
        prompt: Bool[Tensor, "b n"],
        random: Random,
        guide: Guide | None = None,
        candidates: Candidates | None = None,
    ) -> None:
        self.predict, self.noisy, self.prompt, self.random = predict, noisy, prompt, random
        self.guide, self.candidates = guide, candidates
        self.options, self.source, self.schedule = predict.options, predict.source, predict.schedule
        self.size, self.device = len(noisy), noisy.device

    @property
    def masks(self) -> Bool[Tensor, "b n"]:
        """Where masks are; nowhere under uniform noise."""
        if isinstance(self.source, MaskSource):
            return self.noisy == self.source.mask
        return torch.zeros_like(self.prompt)

    def uniforms(self, purpose: str, *shape: int) -> Float[Tensor, "b ..."]:
        """U[0, 1) numbers of every row in float64, for a purpose of this turn."""
        return self.random(self.size, *shape, device=self.device, purpose=purpose)

    def turns(self, numbers: Iterable[T]) -> Iterator[T]:
        """The numbers of calls or events, in turn: draws are keyed by it."""
        for self.random.turn, item in enumerate(numbers):
            yield item

    def times(self, t: float) -> Float[Tensor, " b"]:
        """One time for all rows."""
        return torch.full((self.size,), t, dtype=torch.float64, device=self.device)

    def grid(self) -> Iterator[tuple[float, float]]:
        """The steps of the grid, from t down to s."""
        return self.turns(progress.track(list(pairwise(grid(self.options.steps, self.options.power))), "steps"))

    def move(self, transition: Float[Tensor, "b n s"], purpose: str = "move") -> None:
        """Draw every token anew from its distribution, but the prompt."""
        drawn = self.random.tokens(transition, purpose)
        self.noisy = torch.where(self.prompt, self.noisy, drawn)

    def reveal(self, going: Bool[Tensor, "b n"], t: Float[Tensor, " b"]) -> None:
        """Draw the masks ``going`` from the prediction; rows without any are not asked for."""
        which = going.any(1).nonzero()[:, 0]
        if len(which):
            site, fresh = going[which], self.noisy[which]
            log_probs = self.predict.at_masks(fresh, t[which], site, which)
            if self.guide is not None:
                log_probs = self.guide.at_site(log_probs, fresh, site, t[which], which)
            numbers = self.random(*site.shape, device=self.device, purpose="reveal", rows=which)
            fresh[site] = categorical(log_probs.exp(), numbers[site])
            self.noisy = self.noisy.index_copy(0, which, fresh)

    def finish(self, t: float) -> Int[Tensor, "b n"]:
        """The tokens; masks that a solver left at the end are drawn from the prediction."""
        if bool(self.masks.any()):
            drawn = self.random.tokens(self.predict(self.noisy, self.times(t)).exp(), "rest")
            self.noisy = torch.where(self.masks, drawn, self.noisy)
        return self.noisy


def on_grid(chain: Chain) -> Int[Tensor, "b n"]:
    """Steps by name, each after a corrector's move if one is asked for, or towards a candidate."""
    options, source = chain.options, chain.source
    for number, (t, s) in enumerate(chain.grid()):
        at, step = chain.times(t), interval(chain.schedule, chain.times(t), chain.times(s))
        if options.corrector and number > 0:
            strength = torch.full_like(at, options.corrector)
            corrected = corrector(chain.predict(chain.noisy, at), chain.noisy, step.alpha, strength, source)
            chain.move(corrected, "corrector")
        if chain.candidates is not None and number < chain.candidates.window * options.steps:
            chain.move(chain.candidates.transition(chain.predict, chain.random, chain.noisy, at, step))
        elif options.kind == "analytic":
            prediction = chain.predict(chain.noisy, at).double()
            ratios = noisy_ratios(prediction, chain.noisy, step.alpha, source)
            if chain.guide is not None:
                ratios = chain.guide.ratios(ratios, chain.noisy, at)
            chain.move(analytic(ratios, chain.noisy, step, source))
        else:
            transition, view = STEPS[options.kind]
            chain.move(transition(chain.predict(chain.noisy, at, view), chain.noisy, step, source))
    return chain.finish(t)


def remasked(chain: Chain) -> Int[Tensor, "b n"]:
    """Steps in which revealed tokens may return to the mask."""
    source, options = chain.source, chain.options
    assert isinstance(source, MaskSource)  # run_chain made sure
    how = RemaskingRule(options.sigma, options.eta, options.loop)
    surety = torch.ones(chain.noisy.shape, dtype=torch.float64, device=chain.device)
    for t, s in chain.grid():
        at, before = chain.times(t), chain.masks
        step, sigma = how.step(chain.schedule, at, chain.times(s), chain.noisy, surety, source)
        asked = time_of(chain.schedule, step.alpha) if how.kind == "loop" else at
        prediction = chain.predict(chain.noisy, asked).double()
        # A prompt is never masked, so it takes no part in the softmax of confidences either.
        chain.move(remask(prediction, chain.noisy, step, sigma.masked_fill(chain.prompt, 0.0), source))
        drawn = prediction.exp().gather(-1, chain.noisy.clamp(max=source.vocabulary - 1)[..., None])[..., 0]
        surety = torch.where(before & ~chain.masks, drawn, surety)
    return chain.finish(t)


def cached(chain: Chain) -> Int[Tensor, "b n"]:
    """Ancestral steps: which masks go is drawn first, and the network is asked for the rows where any goes."""
    for t, s in chain.grid():
        step = interval(chain.schedule, chain.times(t), chain.times(s))
        reveal = reveal_probability(step.alpha_next, step.alpha)
        going = chain.uniforms("going", chain.noisy.shape[1]) < reveal[:, None]
        chain.reveal(going & chain.masks, chain.times(t))
    return chain.finish(t)


def by_confidence(chain: Chain) -> Int[Tensor, "b n"]:
    """Equally many masks a step, the ones whose drawn token is the most probable."""
    steps = chain.options.steps
    for number in chain.turns(progress.track(range(steps), "steps")):
        masked = chain.masks
        left = masked.sum(1)
        if not bool(left.any()):
            break
        going = -(-left // (steps - number))
        alpha = 1 - left.double() / chain.noisy.shape[1]
        prediction = chain.predict(chain.noisy, time_of(chain.schedule, alpha))
        drawn = chain.random.tokens(prediction.exp(), "move")
        surety = prediction.gather(-1, drawn[..., None])[..., 0].double()
        # Masks alone look all alike to a network: rounding, which the batch changes, is not to choose among them.
        surety = ((4096 * surety).round() + chain.uniforms("ties", masked.shape[1])).masked_fill(~masked, -torch.inf)
        rank = surety.argsort(dim=1, descending=True).argsort(dim=1)
        chain.noisy = torch.where(masked & (rank < going[:, None]), drawn, chain.noisy)
    return chain.noisy


def first_hitting(chain: Chain) -> Int[Tensor, "b n"]:
    """With n masks left the next one goes at 1 − α' = (1 − α) U^{1/n} (arXiv 2409.02908): no grid, no error of time,
    ⌈n/k⌉ calls."""
    k = chain.options.per_call
    noise_left = 1 - chain.predict.alpha(chain.times(1.0))
    most = int(chain.masks.sum(1).max())
    for _ in chain.turns(progress.track(range(-(-most // k)), "calls")):
        masked = chain.masks
        left = masked.sum(1)
        # The hitting times of k masks in turn; the network is told the first.
        turns = (left[:, None] - torch.arange(k, device=chain.device)).clamp(min=1)
        levels = noise_left[:, None] * (chain.uniforms("times", k) ** (1 / turns)).cumprod(1)
        going = mask_exactly(masked, left.clamp(max=k), chain.uniforms("places", masked.shape[1]))
        chain.reveal(going, time_of(chain.schedule, 1 - levels[:, 0]))
        noise_left = levels[:, -1]
    return chain.noisy


def gillespie(chain: Chain) -> Int[Tensor, "b n"]:
    """Every free site is redrawn from the prediction at rate λ: in −log(1 − α) the events come at a rate of one a site.
    What is left at 1 − α = floor is drawn at once."""
    free, floor = ~chain.prompt, chain.options.floor
    sites = free.sum(1).double()
    clock = -(1 - chain.predict.alpha(chain.times(1.0))).log()
    end = -math.log(floor)
    running = sites > 0
    for _ in chain.turns(count()):
        clock = clock - torch.log1p(-chain.uniforms("clock")) / sites.clamp(min=1)
        running &= clock < end
        which = running.nonzero()[:, 0]
        if not len(which):
            break
        t = time_of(chain.schedule, -torch.expm1(-clock[which]))
        prediction = chain.predict(chain.noisy[which], t, "posterior")
        site = chain.random.tokens(free[which].double(), "site", which)
        rows = torch.arange(len(which), device=chain.device)
        chain.noisy[which, site] = chain.random.tokens(prediction[rows, site].exp(), "move", which)
    t = time_of(chain.schedule, torch.full_like(clock, 1 - floor))
    chain.random.turn = 0  # rows have had different numbers of events
    chain.move(chain.predict(chain.noisy, t, "posterior").exp(), "rest")
    return chain.noisy


SAMPLERS: dict[str, Callable[[Chain], Tensor]] = {
    "cached": cached,
    "confidence": by_confidence,
    "first_hitting": first_hitting,
    "gillespie": gillespie,
    "remask": remasked,
}
"""Samplers by kind; all others are steps on a grid."""


@dataclass(frozen=True)
class Sampled:
    """``tokens`` (b, n) without a mask, the network's ``calls``, and the sequences in all of them."""

    tokens: Int[Tensor, "b n"]
    calls: int
    rows: int


def noise(source: Source, clean: Int[Tensor, "b n"], prompt: Bool[Tensor, "b n"], random: Random) -> Int[Tensor, "b n"]:
    """Pure noise where no prompt stands."""
    nothing = torch.zeros(len(clean), dtype=torch.float64, device=clean.device)
    whether, which = (random(*clean.shape, device=clean.device) for _ in range(2))
    return torch.where(prompt, clean, source.noise(clean, nothing, whether, which))


@torch.no_grad()
def run_chain(
    network: DenoisingNetwork,
    schedule: Schedule,
    noisy: Int[Tensor, "b n"],
    options: ChainOptions,
    seed: int | torch.Generator | Random = 0,
    prompt: Bool[Tensor, "b n"] | None = None,
    log_ratio: LogRatioOf | None = None,
    reward: Reward | None = None,
) -> Sampled:
    """Tokens from noise.

    Args:
        network: what predicts clean tokens.
        schedule: of α; should be near 0 at t = 1 and near 1 at t = 0.
        noisy: what the chain starts from (``noise``).
        options: the kind of chain.
        seed: of the draws, keyed by the row's number; the ``Random`` that drew the noise knows the rows' numbers in a
            larger whole. Of a generator, the next number that it draws.
        prompt: sites whose token stays as given; none by default.
        log_ratio: of ``options.candidates``.
        reward: R of clean sequences, of ``options.values``.

    Raises UsageError for options that the source or the network cannot follow."""
    source = network.source
    source.check_noisy(noisy, "the start")
    _check(network, options, log_ratio is not None, reward is not None)
    if prompt is None:
        prompt = torch.zeros_like(noisy, dtype=torch.bool)
    elif isinstance(source, MaskSource) and bool((noisy[prompt] == source.mask).any()):
        raise UsageError("the prompt holds masks; give tokens there, or leave these sites out of the prompt")
    predict = Predictor(network, schedule, options, prompt)
    random = seed if isinstance(seed, Random) else Random(seed)
    random.chain, random.turn = random.chain + 1, 0
    guide = None if reward is None else Guide(predict, reward, random)
    candidates = None if log_ratio is None else Candidates(log_ratio, options.candidates, options.window)
    tokens = SAMPLERS.get(options.kind, on_grid)(Chain(predict, noisy, prompt, random, guide, candidates))
    return Sampled(tokens, predict.calls, predict.rows)


def _check(network: DenoisingNetwork, options: ChainOptions, by_ratio: bool, by_reward: bool) -> None:
    if options.kind in MASK_ONLY and isinstance(network.source, UniformSource):
        raise UsageError(f"{options.kind!r} needs a source with a mask; use 'ancestral' or 'gillespie'")
    if options.kind == "gillespie" and isinstance(network.source, MaskSource):
        raise UsageError("'gillespie' is for the uniform source; with masks 'first_hitting' has no wasted calls")
    if options.kind == "cached" and network.time_conditioned:
        raise UsageError(
            "'cached' keeps predictions while no token changes, but this network is told the time, which does; use "
            "'ancestral'"
        )
    if (options.candidates > 1) != by_ratio:
        raise UsageError(
            f"candidates is {options.candidates}: several candidates and a density ratio to choose by go together"
        )
    if bool(options.values) != by_reward:
        raise UsageError(f"values is {options.values}: draws of values and a reward to guide by go together")
