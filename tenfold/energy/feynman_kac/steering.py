"""Potentials of Feynman-Kac steering (arXiv 2501.06848): weights from rewards of what is predicted so far.

With r_1, ..., r_k the rewards of x̂_0 at the steps where they are asked for, and strength λ:
"difference" λ (r_k − r_{k−1}), "max" λ max_j r_j, "sum" λ Σ_j r_j, "immediate" λ r_k. At the last step the latter three
have λ r_k less all earlier potentials, so that particles end with e^{λ r} in all.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tenfold.errors import UsageError, suggest

POTENTIALS = ("difference", "max", "sum", "immediate")


@dataclass(frozen=True)
class Steered:
    """What steering remembers of each particle.

    Attributes:
        rewards: the last one; 0 before the first.
        summary: largest, or sum, of all rewards.
        spent: sum of the log potentials so far.
    """

    rewards: Float[Tensor, "*m n"]
    summary: Float[Tensor, "*m n"]
    spent: Float[Tensor, "*m n"]

    def chosen(self, ancestors: Int[Tensor, "*m n"]) -> "Steered":
        """After resampling."""
        return Steered(*(value.gather(-1, ancestors) for value in (self.rewards, self.summary, self.spent)))


def unsteered(rewards: Float[Tensor, "*m n"], potential: str, least: float = 0.0) -> Steered:
    """Before the first step, of the shape of ``rewards``; "max" counts no reward below ``least``."""
    if potential not in POTENTIALS:
        raise UsageError(f"potential is {potential!r}{suggest(str(potential), POTENTIALS)}")
    zero = torch.zeros_like(rewards)
    return Steered(zero, zero + least if potential == "max" else zero, zero)


def log_potential(
    rewards: Float[Tensor, "*m n"], past: Steered, potential: str, strength: float, last: bool
) -> tuple[Float[Tensor, "*m n"], Steered]:
    """log G of this step, and what is remembered then."""
    if potential not in POTENTIALS:
        raise UsageError(f"potential is {potential!r}{suggest(str(potential), POTENTIALS)}")
    summary = torch.maximum(past.summary, rewards) if potential == "max" else past.summary + rewards
    if potential == "difference":
        found = strength * (rewards - past.rewards)
    elif last:
        found = strength * rewards - past.spent
    else:
        found = strength * {"max": summary, "sum": summary, "immediate": rewards}[potential]
    return found, Steered(rewards, summary, past.spent + found)
