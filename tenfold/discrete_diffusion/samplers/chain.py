"""From noise to tokens: the sampler that the options name, prompts that stay, and what may steer it."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from tenfold.discrete.paths import MaskSource, Source, UniformSource
from tenfold.discrete.schedules import Schedule
from tenfold.discrete_diffusion.networks.protocol import DenoisingNetwork
from tenfold.discrete_diffusion.samplers.guidance import Candidates, Guide, LogRatioOf
from tenfold.discrete_diffusion.samplers.kinds import (
    Chain,
    by_confidence,
    cached,
    first_hitting,
    gillespie,
    on_grid,
    remasked,
)
from tenfold.discrete_diffusion.samplers.options import MASK_ONLY, ChainOptions
from tenfold.discrete_diffusion.samplers.prediction import Predictor, Random
from tenfold.errors import UsageError
from tenfold.rl.rewards import Reward

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
        seed: of the draws, or their generator: the one that drew the noise, so that no number is used twice.
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
