"""Completions as groups draw them: a chain with what was predicted at every step, and the policy behind it."""

from itertools import pairwise
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tenfold.discrete.masking import reveal_probability
from tenfold.discrete.schedules import Schedule
from tenfold.discrete_diffusion.networks.model import DiscreteDiffusion
from tenfold.discrete_diffusion.networks.protocol import DenoisingNetwork
from tenfold.discrete_diffusion.samplers.options import ChainOptions
from tenfold.discrete_diffusion.samplers.prediction import Predictor
from tenfold.discrete_diffusion.samplers.random import Random
from tenfold.discrete_diffusion.samplers.steps import grid, interval


class PolicyMixture(nn.Module):
    """log p ∝ λ log p_one + β log p_other at masks, λ + β = 1: what groups are drawn from."""

    def __init__(self, one: DiscreteDiffusion, other: DiscreteDiffusion, share: float) -> None:
        super().__init__()
        self.one, self.other, self.share = one, other, share
        self.source, self.view, self.time_conditioned = one.source, one.view, one.time_conditioned

    def forward(
        self, noisy: Int[Tensor, "b n"], time: Float[Tensor, " b"] | None, rows: Tensor
    ) -> Float[Tensor, "k v"]:
        """Log-probabilities of the chosen rows."""
        both = self.share * self.one(noisy, time, rows) + (1 - self.share) * self.other(noisy, time, rows)
        return both.log_softmax(-1)


class Completions(NamedTuple):
    """Completed texts, and of the steps of their chains what was noisy and what was predicted of it."""

    tokens: Int[Tensor, "b n"]
    noisy: Int[Tensor, "s b n"]
    predicted: Int[Tensor, "s b n"]


@torch.no_grad()
def predicted_chain(
    network: DenoisingNetwork, schedule: Schedule, noisy: Int[Tensor, "b n"], steps: int, random: Random
) -> Completions:
    """The ancestral chain of a mask source, each step as a whole prediction of which some masks are kept."""
    predict, before, predicted = Predictor(network, schedule, ChainOptions(steps=steps)), [], []
    for t, s in pairwise(grid(steps)):
        at = torch.full((len(noisy),), t, dtype=torch.float64, device=noisy.device)
        step = interval(schedule, at, torch.full_like(at, s))
        before.append(noisy)
        predicted.append(random.tokens(predict(noisy, at).exp()))
        kept = random(*noisy.shape, device=noisy.device) < reveal_probability(step.alpha_next, step.alpha)[:, None]
        noisy = torch.where(kept & predict.source.active(noisy), predicted[-1], noisy)
    return Completions(noisy, torch.stack(before), torch.stack(predicted))
