"""Preferences between two texts, learnt from the rise of a bound on their likelihoods."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from tenfold.errors import UsageError
from tenfold.rl.pool import Pool


class Pairs(NamedTuple):
    """Texts of which the first is preferred."""

    winner: Int[Tensor, "b n"]
    loser: Int[Tensor, "b n"]

    def to(self, device: torch.device, dtype: torch.dtype | None = None) -> "Pairs":
        """The same on a device."""
        return Pairs(self.winner.to(device), self.loser.to(device))


def paired(pool: Pool, uniforms: Float[Tensor, " h"]) -> Pairs:
    """The two halves of a pool as pairs, who wins drawn from σ(R_1 − R_2) (Bradley-Terry) by U[0, 1) numbers."""
    half = len(uniforms)
    first = uniforms < (pool.rewards[:half] - pool.rewards[half : 2 * half]).sigmoid()
    one, two = pool.tokens[:half], pool.tokens[half : 2 * half]
    return Pairs(torch.where(first[:, None], one, two), torch.where(first[:, None], two, one))


def check_pairs(winner: Int[Tensor, "b n"], loser: Int[Tensor, "b k"], prompt: Bool[Tensor, "b n"]) -> None:
    """Raises UsageError unless both texts of a pair have one length and one prompt."""
    if winner.shape != loser.shape:
        raise UsageError(
            f"winners have shape {tuple(winner.shape)} and losers {tuple(loser.shape)}; pad the texts of a pair to one "
            "length"
        )
    if bool(((winner != loser) & prompt).any()):
        row = int(((winner != loser) & prompt).any(1).nonzero()[0, 0])
        raise UsageError(f"pair {row} has two different prompts; a preference is between two answers to one prompt")


def gain(
    log_model: Float[Tensor, "*b n v"],
    log_reference: Float[Tensor, "*b n v"],
    clean: Int[Tensor, "*b n"],
    active: Bool[Tensor, "*b n"],
    weight: Float[Tensor, "*b"],
) -> Float[Tensor, "*b"]:
    """Δ = w_t Σ_{active} (log p_θ − log p_ref)(x_0^i | x_t): how much the bound of a text rose, estimated at one
    noise."""
    # At tokens that stand this may be −∞ less −∞, which is left out.
    rise = (log_model - log_reference).gather(-1, clean[..., None])[..., 0]
    return weight * torch.where(active, rise, 0.0).sum(-1)


def preference_loss(
    winner: Float[Tensor, "b m"], loser: Float[Tensor, "b m"], beta: float
) -> tuple[Float[Tensor, " b"], dict[str, Tensor]]:
    """−log σ(β [Δ_w − Δ_l]), each Δ the mean of m noises, which are the same for both texts and both models
    (arXiv 2305.18290, with the bound in place of the likelihood). Its optimum under Bradley-Terry rewards is
    p_ref e^{R/β}/Z. Metrics: the margin, and how often it is positive.

    Raises UsageError unless β is positive."""
    if not beta > 0:
        raise UsageError(f"beta is {beta}; it must be positive")
    margin = beta * (winner.mean(1) - loser.mean(1))
    metrics = {"margin": margin.detach().mean(), "accuracy": (margin.detach() > 0).float().mean()}
    return -F.logsigmoid(margin), metrics
