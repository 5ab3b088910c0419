"""From noise to tokens: grids of steps, jumps at their own times, prompts that stay."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Bool, Int
from torch import Tensor, nn

from tenfold import discrete, progress
from tenfold.discrete import Schedule
from tenfold.discrete.paths import MaskSource, Source, UniformSource, noisy_ratios
from tenfold.discrete_diffusion.samplers.guidance import Guide
from tenfold.discrete_diffusion.samplers.options import MASK_ONLY, ChainOptions
from tenfold.discrete_diffusion.samplers.prediction import Predictor
from tenfold.discrete_diffusion.samplers.random import Random
from tenfold.discrete_diffusion.samplers.remasking import looped_alpha, remask, sigmas
from tenfold.discrete_diffusion.samplers.steps import (
    STEPS,
    Interval,
    analytic,
    ancestral,
    corrector,
    grid,
    interval,
)
from tenfold.discrete_diffusion.targets.densities import LogDensity
from tenfold.errors import UsageError

LogRatio = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(clean (b, n), noisy (b, n), t (b,)) ↦ log r (b,): which candidates are kept."""


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
    network: nn.Module,
    schedule: Schedule,
    noisy: Int[Tensor, "b n"],
    options: ChainOptions,
    seed: int | torch.Generator | Random = 0,
    prompt: Bool[Tensor, "b n"] | None = None,
    log_ratio: LogRatio | None = None,
    reward: LogDensity | None = None,
) -> Sampled:
    """Tokens from noise.

    Args:
        network: with ``source``, ``view`` and ``time_conditioned``.
        schedule: of α; should be near 0 at t = 1 and near 1 at t = 0.
        noisy: what the chain starts from (``noise``).
        options: the kind of chain.
        seed: of the draws, or their generator: the one that drew the noise, so that no number is used twice.
        prompt: sites whose token stays as given; none by default.
        log_ratio: of ``options.candidates``.
        reward: R of clean sequences, of ``options.values``.

    Raises UsageError for options that the source or the network cannot follow."""
    source: Source = network.source  # type: ignore[assignment]
    source.check_noisy(noisy, "the start")
    _check(source, network, options, log_ratio, reward)
    if prompt is None:
        prompt = torch.zeros_like(noisy, dtype=torch.bool)
    elif isinstance(source, MaskSource) and bool((noisy[prompt] == source.mask).any()):
        raise UsageError("the prompt holds masks; give tokens there, or leave these sites out of the prompt")
    predict = Predictor(network, schedule, options, prompt)
    random = seed if isinstance(seed, Random) else Random(seed)
    guide = None if reward is None else Guide(predict, reward, random)
    chain = _Chain(predict, noisy, prompt, random, options, guide)
    if options.kind == "first_hitting":
        tokens = chain.first_hitting()
    elif options.kind == "gillespie":
        tokens = chain.gillespie()
    elif options.kind == "cached":
        tokens = chain.cached()
    elif options.kind == "confidence":
        tokens = chain.by_confidence()
    elif options.kind == "remask":
        tokens = chain.remasked()
    else:
        tokens = chain.on_grid(log_ratio)
    return Sampled(tokens, predict.calls, predict.rows)


def _check(
    source: Source, network: nn.Module, options: ChainOptions, log_ratio: LogRatio | None, reward: LogDensity | None
) -> None:
    if options.kind in MASK_ONLY and isinstance(source, UniformSource):
        raise UsageError(f"{options.kind!r} needs a source with a mask; use 'ancestral' or 'gillespie'")
    if options.kind == "gillespie" and isinstance(source, MaskSource):
        raise UsageError("'gillespie' is for the uniform source; with masks 'first_hitting' has no wasted calls")
    if options.kind == "cached" and network.time_conditioned:
        raise UsageError(
            "'cached' keeps predictions while no token changes, but this network is told the time, which does; use "
            "'ancestral'"
        )
    if (options.candidates > 1) != (log_ratio is not None):
        raise UsageError(
            f"candidates is {options.candidates}: several candidates and a density ratio to choose by go together"
        )
    if bool(options.values) != (reward is not None):
        raise UsageError(f"values is {options.values}: draws of values and a reward to guide by go together")


class _Chain:
    """The state of one run."""

    def __init__(
        self,
        predict: Predictor,
        noisy: Tensor,
        prompt: Tensor,
        random: Random,
        options: ChainOptions,
        guide: Guide | None = None,
    ) -> None:
        self.predict, self.noisy, self.prompt, self.random, self.options = predict, noisy, prompt, random, options
        self.guide = guide
        self.source = predict.source
        self.size, self.device = len(noisy), noisy.device

    def _times(self, t: float) -> Tensor:
        return torch.full((self.size,), t, dtype=torch.float64, device=self.device)

    def _move(self, transition: Tensor) -> None:
        drawn = self.random.tokens(transition)
        self.noisy = torch.where(self.prompt, self.noisy, drawn)

    def _finish(self, t: Tensor) -> Tensor:
        """Masks that a solver left at the end are drawn from the prediction."""
        source = self.source
        if isinstance(source, MaskSource) and bool((self.noisy == source.mask).any()):
            drawn = self.random.tokens(self.predict(self.noisy, t).exp())
            self.noisy = torch.where(self.noisy == source.mask, drawn, self.noisy)
        return self.noisy

    def on_grid(self, log_ratio: LogRatio | None) -> Tensor:
        options, source = self.options, self.source
        times = grid(options.steps, options.power)
        for number, (t, s) in enumerate(progress.track(list(pairwise(times)), "steps")):
            at, step = self._times(t), interval(self.predict.schedule, self._times(t), self._times(s))
            if options.corrector and number > 0:
                strength = torch.full_like(at, options.corrector)
                self._move(corrector(self.predict(self.noisy, at), self.noisy, step.alpha, strength, source))
            if log_ratio is not None and number < options.window * options.steps:
                self._move(self._from_candidates(log_ratio, at, step))
            elif options.kind == "analytic":
                prediction = self.predict(self.noisy, at).double()
                ratios = noisy_ratios(prediction, self.noisy, step.alpha, source)
                if self.guide is not None:
                    ratios = self.guide.ratios(ratios, self.noisy, at)
                self._move(analytic(ratios, self.noisy, step, source))
            else:
                transition, view = STEPS[options.kind]
                self._move(transition(self.predict(self.noisy, at, view), self.noisy, step, source))
        return self._finish(at)

    def _from_candidates(self, log_ratio: LogRatio, at: Tensor, step: Interval) -> Tensor:
        """Draw k clean sequences from the prediction, choose one by softmax(log r), and step towards it."""
        k, source = self.options.candidates, self.source
        posterior = self.predict(self.noisy, at, "posterior")
        drawn = self.random.tokens(posterior.exp().repeat_interleave(k, 0))
        noisy, t = self.noisy.repeat_interleave(k, 0), at.repeat_interleave(k, 0)
        chosen = self.random.tokens(log_ratio(drawn, noisy, t).view(-1, k).double().softmax(-1))
        clean = drawn.view(self.size, k, -1)[torch.arange(self.size, device=self.device), chosen]
        certain = torch.nn.functional.one_hot(clean, source.vocabulary).double().log()
        return ancestral(certain, self.noisy, step, source)

    def remasked(self) -> Tensor:
        options, source = self.options, self.source
        assert isinstance(source, MaskSource)
        surety = torch.ones(self.noisy.shape, dtype=torch.float64, device=self.device)
        for t, s in progress.track(list(pairwise(grid(options.steps, options.power))), "steps"):
            at, after = self._times(t), self._times(s)
            if options.sigma == "loop":
                alpha, following = looped_alpha(at, options.loop), looped_alpha(after, options.loop)
                asked = discrete.time_of(self.predict.schedule, alpha)
            else:
                alpha, following, asked = self.predict.alpha(at), self.predict.alpha(after), at
            if s == 0:
                following = torch.ones_like(following)
            step = Interval(alpha, following, torch.zeros_like(alpha), s == 0)
            prediction = self.predict(self.noisy, asked).double()
            inside = t <= options.loop[0] and s >= options.loop[1]
            eta = options.eta if options.sigma != "loop" or inside else 0.0
            sigma = sigmas(options.sigma, eta, step, self.noisy, surety, source)
            # A prompt is never masked, so it takes no part in the softmax of confidences either.
            sigma = sigma.masked_fill(self.prompt, 0.0)
            before = self.noisy
            self._move(remask(prediction, self.noisy, step, sigma, source))
            fresh = (before == source.mask) & (self.noisy != source.mask)
            drawn = prediction.exp().gather(-1, self.noisy.clamp(max=source.vocabulary - 1)[..., None])[..., 0]
            surety = torch.where(fresh, drawn, surety)
        return self._finish(at)

    def cached(self) -> Tensor:
        """Ancestral steps: which masks go is drawn first, and the network is asked for the rows where any goes."""
        source, schedule = self.source, self.predict.schedule
        assert isinstance(source, MaskSource)
        for t, s in progress.track(list(pairwise(grid(self.options.steps, self.options.power))), "steps"):
            step = interval(schedule, self._times(t), self._times(s))
            reveal = discrete.reveal_probability(step.alpha_next, step.alpha)
            going = self.random(*self.noisy.shape, device=self.device) < reveal[:, None]
            going &= self.noisy == source.mask
            self._reveal(going, self._times(t))
        return self._finish(self._times(t))

    def _reveal(self, going: Tensor, t: Tensor) -> None:
        """Draw the masks ``going`` from the prediction; rows without any are not asked for."""
        which = going.any(1).nonzero()[:, 0]
        if len(which):
            site, fresh = going[which], self.noisy[which]
            log_probs = self.predict.at_masks(fresh, t[which], site, which)
            if self.guide is not None:
                log_probs = self.guide.at_site(log_probs, fresh, site, t[which])
            fresh[site] = self.random.tokens(log_probs.exp())
            self.noisy = self.noisy.index_copy(0, which, fresh)

    def by_confidence(self) -> Tensor:
        """Equally many masks a step, the ones whose drawn token is the most probable."""
        source, steps = self.source, self.options.steps
        assert isinstance(source, MaskSource)
        for number in progress.track(range(steps), "steps"):
            masked = self.noisy == source.mask
            left = masked.sum(1)
            if not bool(left.any()):
                break
            count = -(-left // (steps - number))
            alpha = 1 - left.double() / self.noisy.shape[1]
            prediction = self.predict(self.noisy, discrete.time_of(self.predict.schedule, alpha))
            drawn = self.random.tokens(prediction.exp())
            surety = prediction.gather(-1, drawn[..., None])[..., 0].masked_fill(~masked, -torch.inf)
            rank = surety.argsort(dim=1, descending=True).argsort(dim=1)
            self.noisy = torch.where(masked & (rank < count[:, None]), drawn, self.noisy)
        return self.noisy

    def first_hitting(self) -> Tensor:
        """With n masks left the next one goes at 1 − α' = (1 − α) U^{1/n} (arXiv 2409.02908): no grid, no error of
        time, ⌈n/k⌉ calls."""
        source, k = self.source, self.options.per_call
        assert isinstance(source, MaskSource)
        noise_left = 1 - self.predict.alpha(self._times(1.0))
        most = int((self.noisy == source.mask).sum(1).max())
        for _ in progress.track(range(-(-most // k)), "calls"):
            masked = self.noisy == source.mask
            left = masked.sum(1)
            # The hitting times of k masks in turn; the network is told the first.
            turns = (left[:, None] - torch.arange(k, device=self.device)).clamp(min=1)
            levels = noise_left[:, None] * (self.random(self.size, k, device=self.device) ** (1 / turns)).cumprod(1)
            going = discrete.mask_exactly(masked, left.clamp(max=k), self.random(*masked.shape, device=self.device))
            self._reveal(going, discrete.time_of(self.predict.schedule, 1 - levels[:, 0]))
            noise_left = levels[:, -1]
        return self.noisy

    def gillespie(self) -> Tensor:
        """Every free site is redrawn from the prediction at rate λ: in −log(1 − α) the events come at a rate of one a
        site. What is left at 1 − α = floor is drawn at once."""
        free = ~self.prompt
        sites = free.sum(1).double()
        clock = -(1 - self.predict.alpha(self._times(1.0))).log()
        end = -math.log(self.options.floor)
        running = sites > 0
        while bool(running.any()):
            clock = clock - torch.log1p(-self.random(self.size, device=self.device)) / sites.clamp(min=1)
            running &= clock < end
            which = running.nonzero()[:, 0]
            if not len(which):
                break
            t = discrete.time_of(self.predict.schedule, -torch.expm1(-clock[which]))
            prediction = self.predict(self.noisy[which], t, "posterior")
            site = self.random.tokens(free[which].double())
            rows = torch.arange(len(which), device=self.device)
            self.noisy[which, site] = self.random.tokens(prediction[rows, site].exp())
        t = discrete.time_of(self.predict.schedule, torch.full_like(clock, 1 - self.options.floor))
        self._move(self.predict(self.noisy, t, "posterior").exp())
        return self.noisy
