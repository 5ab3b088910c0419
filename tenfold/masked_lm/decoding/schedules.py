"""How many tokens each pass reveals: the published schedule, bit for bit, and the exact one (arXiv 2506.20639, 2.5).

Times run τ_0 = 1, …, τ_S = eps linearly; step i goes from t = τ_i to s = τ_{i+1}.
"""

from functools import cached_property

import torch
from jaxtyping import Bool, Int
from torch import Tensor


def times(steps: int, eps: float = 1e-3) -> Tensor:
    """τ_0 … τ_S (S + 1,) float32, as the published sampler has them."""
    return torch.linspace(1, eps, steps + 1, dtype=torch.float32)


def reveal_probability(step: int, taus: Tensor) -> Tensor:
    """1 − s / t of a step, a float32 scalar; 1 in the last step."""
    if step >= len(taus) - 2:
        return torch.ones((), dtype=torch.float32)
    return 1 - taus[step + 1] / taus[step]


def reference_quotas(masked: Int[Tensor, " B"], step: int, taus: Tensor, quota: str = "row") -> Int[Tensor, " B"]:
    """int(masks · (1 − s / t)), a float32 product that is cut off; everything that is left in the last step.

    Args:
        masked: masks left in each row.
        quota: "row" counts every row by itself; "batch" takes the rows' mean for all, as published, but never more
            than a row has (published, such rows had their prompts overwritten).
    """
    share = reveal_probability(step, taus)
    if quota == "batch":
        mean = masked.sum() / len(masked)  # float32, as published
        return torch.clamp(masked, max=int(mean * share))
    return (masked.to(torch.float32) * share).to(torch.int64)


def exact_quotas(masks: Int[Tensor, " B"], steps: int) -> Int[Tensor, "S B"]:
    """LLaDA's rule for every step and row: base = masks // steps, one more in the first masks % steps of them.

    >>> exact_quotas(torch.tensor([7]), 3).flatten().tolist()
    [3, 2, 2]
    """
    base, rest = masks // steps, masks % steps
    return base[None] + (torch.arange(steps, device=masks.device)[:, None] < rest[None])


def reference_counts(length: int, steps: int, eps: float = 1e-3) -> list[int]:
    """Tokens revealed at each step of the published schedule from ``length`` masks.

    >>> reference_counts(16, 8)
    [1, 2, 2, 2, 2, 2, 2, 3]
    """
    taus, left, counts = times(steps, eps), length, []
    for step in range(steps):
        counts.append(int(reference_quotas(torch.tensor([left]), step, taus)))
        left -= counts[-1]
    return counts


class RevealSchedule:
    """The plan of a block's passes; this one has times alone, for rules that say themselves what is revealed.

    Attributes:
        steps: S, as many as the fullest row has masks where no number is given.
        limit: most passes: S where ``bounded``, else enough for one token a pass.
        taus: τ_0 … τ_S.
        quota: "row", or "batch" for one number of tokens for all rows.
        empty_passes: whether a pass that reveals nothing takes place.
    """

    def __init__(
        self,
        masks: Int[Tensor, " B"],
        steps: int | None = None,
        eps: float = 1e-3,
        quota: str = "row",
        bounded: bool = True,
        empty_passes: bool = False,
    ) -> None:
        most = int(masks.max())
        self.steps = most if steps is None else steps
        self.limit = self.steps if bounded else max(self.steps, most)
        self.masks, self.taus = masks, times(max(1, self.steps), eps)
        self.quota, self.empty_passes = quota, empty_passes

    @cached_property
    def planned(self) -> Int[Tensor, "S B"]:
        """The masks of each row spread evenly over the steps."""
        return exact_quotas(self.masks, max(1, self.steps))

    def quotas(self, step: int, left: Int[Tensor, " B"]) -> Int[Tensor, " B"] | None:
        """Tokens to reveal in each row, of which ``left`` are masked; None where the rule alone says."""
        return None

    def chose(self, quotas: Int[Tensor, " B"] | None, chosen: Bool[Tensor, "B N"]) -> None:
        """Called with what the rule chose of the quotas."""


class ExactSchedule(RevealSchedule):
    """As planned, and everything that is left in the last step."""

    def quotas(self, step: int, left: Int[Tensor, " B"]) -> Int[Tensor, " B"]:
        planned = left if step == self.steps - 1 else self.planned[step]
        if self.quota == "batch":
            planned = torch.full_like(left, int(planned.sum()) // len(left))
        return torch.minimum(planned, left)


class ReferenceSchedule(RevealSchedule):
    """The published truncation (``reference_quotas``)."""

    def quotas(self, step: int, left: Int[Tensor, " B"]) -> Int[Tensor, " B"]:
        return reference_quotas(left, step, self.taus, self.quota)


class CarriedSchedule(RevealSchedule):
    """The plan as an upper bound: what the rule holds back is added to the next pass's."""

    held_back: Tensor | int = 0

    def quotas(self, step: int, left: Int[Tensor, " B"]) -> Int[Tensor, " B"]:
        planned = self.planned[step] if step < self.steps else torch.zeros_like(left)
        return torch.minimum(planned + self.held_back, left)

    def chose(self, quotas: Int[Tensor, " B"] | None, chosen: Bool[Tensor, "B N"]) -> None:
        assert quotas is not None
        self.held_back = quotas - chosen.sum(dim=1)
