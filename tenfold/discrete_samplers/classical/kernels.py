"""What a move of chains is, and what it draws with: numbers keyed by (seed, purpose, turn, chain)."""

from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tenfold.discrete_samplers.targets.protocol import DiscreteTarget
from tenfold.training.streams import Draws


@dataclass(frozen=True)
class ChainDraws:
    """U[0, 1) numbers of chains. Those of a chain depend on the seed, the purpose, the turn and its own number alone,
    not on which chains are computed with it.

    Attributes:
        seed: of all numbers.
        index: (b,) int64 numbers of the chains.
        turn: which step it is.
    """

    seed: int
    index: Int[Tensor, " b"]
    turn: int = 0

    def uniform(self, purpose: str, *shape: int, dtype: torch.dtype = torch.float32) -> Float[Tensor, "b *shape"]:
        """Numbers (b, *shape) for a purpose of this turn."""
        return Draws(self.seed, self.turn).uniform(purpose, self.index, shape, dtype)

    def at(self, turn: int) -> "ChainDraws":
        """Of another turn."""
        return ChainDraws(self.seed, self.index, turn)


class Moved(NamedTuple):
    """Chains after a move, and the share of proposals that each accepted."""

    x: Int[Tensor, "b d"]
    accepted: Float[Tensor, " b"]


@runtime_checkable
class ChainKernel(Protocol):
    """A move that leaves a target's law invariant."""

    def __call__(self, target: DiscreteTarget, x: Tensor, draws: ChainDraws) -> Moved:
        """Chains (b, d) one move on; a move is a sweep, about one update a site, where the kernel says no other."""


def drawn(probabilities: Float[Tensor, "*b s"], uniforms: Float[Tensor, "*b"]) -> Int[Tensor, "*b"]:
    """Outcomes by inverting the distribution function, without waiting for the device; probabilities need not sum to
    1, and an outcome of probability 0 is never drawn."""
    levels = probabilities.cumsum(-1)
    point = uniforms.to(levels.dtype)[..., None] * levels[..., -1:]
    return (levels <= point).sum(-1).clamp(max=levels.shape[-1] - 1)


def metropolis(
    log_ratio: Float[Tensor, " b"],
    uniforms: Float[Tensor, " b"],
    proposed: Int[Tensor, "b d"],
    x: Int[Tensor, "b d"],
) -> Moved:
    """Accept with probability min(1, e^{log_ratio}); a ratio that is NaN (from one forbidden state to another) is
    refused."""
    accepted = uniforms.log() < torch.where(log_ratio.isnan(), -torch.inf, log_ratio)
    return Moved(torch.where(accepted[:, None], proposed, x), accepted.to(log_ratio.dtype))
