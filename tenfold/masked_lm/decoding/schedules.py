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


def times_of(step: int, taus: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """t and s of a step, and whether it is the last one or later; of each row where ``taus`` are (B, S + 1), the last
    time repeated in rows of fewer steps."""
    t, s = (taus[..., min(i, taus.shape[-1] - 1)] for i in (step, step + 1))
    return t, s, s <= taus[..., -1]


def reveal_probability(step: int, taus: Tensor) -> Tensor:
    """1 − s / t of a step, float32, a scalar or (B,); 1 in the last step."""
    t, s, last = times_of(step, taus)
    return torch.where(last, 1.0, 1 - s / t)


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
        return torch.clamp(masked, max=int(mean * share.max()))
    return (masked.to(torch.float32) * share).to(torch.int64)


def exact_quotas(masks: Int[Tensor, " B"], steps: int | Int[Tensor, " B"]) -> Int[Tensor, "S B"]:
    """LLaDA's rule for every step and row: base = masks // steps, one more in the first masks % steps of them.

    >>> exact_quotas(torch.tensor([7]), 3).flatten().tolist()
    [3, 2, 2]
    """
    steps = torch.as_tensor(steps, device=masks.device).expand(masks.shape)
    step = torch.arange(int(steps.max()), device=masks.device)[:, None]
    return torch.where(step < steps, masks // steps + (step < masks % steps), 0)


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
        steps: S of each row (B,), as many as it has masks where no number is given. (For the quota of a batch, as
            many as its fullest row has.)
        limit: most passes: S where ``bounded``, else enough for one token a pass.
        taus: τ_0 … τ_S of each row (B, S + 1), the last one repeated in rows of fewer steps.
        quota: "row", or "batch" for one number of tokens for all rows.
        empty_passes: whether a pass that reveals nothing takes place.
    """

    def __init__(
        self,
        masks: Int[Tensor, " B"],
        steps: int | Int[Tensor, " B"] | None = None,
        eps: float = 1e-3,
        quota: str = "row",
        bounded: bool = True,
        empty_passes: bool = False,
    ) -> None:
        own = masks if steps is None else torch.as_tensor(steps, device=masks.device).expand(masks.shape)
        self.steps = own.max().expand(masks.shape) if quota == "batch" else own
        self.limit = int(self.steps.max() if bounded else torch.maximum(self.steps, masks).max())
        numbers = [max(1, number) for number in self.steps.tolist()]
        laid = {number: times(number, eps) for number in set(numbers)}
        longest = max(numbers) + 1
        rows = [torch.cat([laid[n], laid[n][-1:].expand(longest - len(laid[n]))]) for n in numbers]
        self.masks, self.taus = masks, torch.stack(rows).to(masks.device)
        self.quota, self.empty_passes = quota, empty_passes

    @cached_property
    def planned(self) -> Int[Tensor, "S B"]:
        """The masks of each row spread evenly over the steps."""
        return exact_quotas(self.masks, self.steps.clamp(min=1))

    def quotas(self, step: int, left: Int[Tensor, " B"]) -> Int[Tensor, " B"] | None:
        """Tokens to reveal in each row, of which ``left`` are masked; None where the rule alone says."""
        return None

    def chose(self, quotas: Int[Tensor, " B"] | None, chosen: Bool[Tensor, "B N"]) -> None:
        """Called with what the rule chose of the quotas."""


class ExactSchedule(RevealSchedule):
    """As planned, and everything that is left in the last step."""

    def quotas(self, step: int, left: Int[Tensor, " B"]) -> Int[Tensor, " B"]:
        planned = torch.where(step >= self.steps - 1, left, self.planned[step])
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
        planned = self.planned[step] if step < len(self.planned) else torch.zeros_like(left)
        return torch.minimum(planned + self.held_back, left)

    def chose(self, quotas: Int[Tensor, " B"] | None, chosen: Bool[Tensor, "B N"]) -> None:
        assert quotas is not None
        self.held_back = quotas - chosen.sum(dim=1)
