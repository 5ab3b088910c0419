"""Samplers on a grid of times: the solvers and corrections of steps, re-masking, and masks revealed in shares."""

import torch
from jaxtyping import Int
from torch import Tensor

from tenfold import progress
from tenfold.discrete.masking import reveal_probability
from tenfold.discrete.paths import MaskSource, noisy_ratios
from tenfold.discrete.schedules import time_of
from tenfold.discrete_diffusion.samplers.remasking import RemaskingRule, remask
from tenfold.discrete_diffusion.samplers.state import Chain
from tenfold.discrete_diffusion.samplers.steps import STEPS, analytic, corrector, interval


def on_grid(chain: Chain) -> Int[Tensor, "b n"]:
    """Steps by name, each after a corrector's move if one is asked for, or towards a candidate."""
    options, source = chain.options, chain.source
    for number, (t, s) in enumerate(chain.grid()):
        at, step = chain.times(t), interval(chain.schedule, chain.times(t), chain.times(s))
        if options.corrector and number > 0:
            strength = torch.full_like(at, options.corrector)
            chain.move(corrector(chain.predict(chain.noisy, at), chain.noisy, step.alpha, strength, source))
        if chain.candidates is not None and chain.candidates.serve(number, options.steps):
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
        going = chain.uniforms(*chain.noisy.shape) < reveal[:, None]
        chain.reveal(going & chain.masks, chain.times(t))
    return chain.finish(t)


def by_confidence(chain: Chain) -> Int[Tensor, "b n"]:
    """Equally many masks a step, the ones whose drawn token is the most probable."""
    steps = chain.options.steps
    for number in progress.track(range(steps), "steps"):
        masked = chain.masks
        left = masked.sum(1)
        if not bool(left.any()):
            break
        count = -(-left // (steps - number))
        alpha = 1 - left.double() / chain.noisy.shape[1]
        prediction = chain.predict(chain.noisy, time_of(chain.schedule, alpha))
        drawn = chain.random.tokens(prediction.exp())
        surety = prediction.gather(-1, drawn[..., None])[..., 0].masked_fill(~masked, -torch.inf)
        rank = surety.argsort(dim=1, descending=True).argsort(dim=1)
        chain.noisy = torch.where(masked & (rank < count[:, None]), drawn, chain.noisy)
    return chain.noisy
