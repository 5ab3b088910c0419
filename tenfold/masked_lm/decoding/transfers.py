"""How many tokens each pass reveals: the published schedule, bit for bit, and the exact one (arXiv 2506.20639, 2.5).

Times run τ_0 = 1, …, τ_S = eps linearly; step i goes from t = τ_i to s = τ_{i+1}.
"""

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


def count_masks(masked: Bool[Tensor, "B N"]) -> Int[Tensor, " B"]:
    """Masks of each row."""
    return masked.sum(dim=1)
