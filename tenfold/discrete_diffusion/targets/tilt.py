"""Rewards as targets: p^R ∝ p exp(R/β). Noising does not change, so p^R(x_0 | x_t) ∝ p(x_0 | x_t) exp(R(x_0)/β)."""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tenfold.discrete_diffusion.targets.densities import Energy
from tenfold.discrete_diffusion.targets.protocol import Target
from tenfold.rl.rewards import Reward, check_beta


class RewardTilt:
    """A base target with the reward R/β of every edit added to its log-ratios; the number of sequences rewarded is
    ``reward.calls``.

    Raises UsageError unless β is positive, and on use for a reward that is not finite."""

    def __init__(self, base: Target, reward: Reward, beta: float, batch: int = 4096) -> None:
        check_beta(beta)
        self.base, self.reward, self.beta = base, Energy(reward, batch), beta

    def site_log_ratio(self, clean: Tensor, noisy: Tensor, sites: Tensor, candidates: Tensor) -> Tensor:
        """See ``Target``."""
        gain = self.reward.site_log_ratio(clean, noisy, sites, candidates)
        return self.base.site_log_ratio(clean, noisy, sites, candidates) + gain / self.beta


class Reference:
    """The frozen reference's own conditionals: log p_ref(x_0^i = y | x_t) of a factorised prediction, which already
    contains the likelihood of x_t. ``predict`` takes noisy sequences to leave-one-out log-probabilities (b, n, V), so
    that ``site_target`` adds it once."""

    def __init__(self, predict: Callable[[Tensor], Tensor]) -> None:
        self.predict = predict

    @torch.no_grad()
    def site_log_ratio(self, clean: Tensor, noisy: Tensor, sites: Tensor, candidates: Tensor) -> Tensor:
        """See ``Target``."""
        rows = torch.arange(len(clean), device=clean.device)[:, None]
        log_q = self.predict(noisy)[rows, sites]
        return log_q.gather(-1, candidates) - log_q.gather(-1, clean.gather(1, sites)[..., None])


def value_of(clean: Int[Tensor, "b k n"], reward: Reward, beta: float) -> Float[Tensor, " b"]:
    """A_t(x_t) = log E_{p_ref(x_0 | x_t)} exp(R/β), as the log of the mean over k draws x_0 of each row (biased low).

    The noisy law of the tilted process is p_t e^{A_t}/Z with one Z for all t, so its scores are the reference's times
    exp(A_t(y) − A_t(x)): guidance without training, and the twist of a particle sampler.

    Raises UsageError unless β is positive and rewards are finite."""
    check_beta(beta)
    values = Energy(reward).values(clean.flatten(0, 1)).view(clean.shape[:2]) / beta
    return values.logsumexp(1) - math.log(clean.shape[1])


def guided_ratios(
    ratios: Float[Tensor, "b n s"], value: Float[Tensor, " b"], neighbours: Float[Tensor, "b n s"]
) -> Float[Tensor, "b n s"]:
    """Noisy ratios of the tilted process from the reference's: times exp(A_t(y) − A_t(x)), ``neighbours`` the values
    A_t of the sequences with y at i."""
    return ratios * (neighbours - value[:, None, None]).exp()
