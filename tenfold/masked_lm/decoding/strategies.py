"""Which masked positions a pass reveals. Pure functions of what the pass found out.

All take (B, N) tensors and return (B, N) bool; positions that are not candidates have rank −inf. Every rule reveals at
least one candidate of each row that has any, or its quota.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def ranks(score: Float[Tensor, "B N"]) -> Int[Tensor, "B N"]:
    """Place of each position in its row, 0 for the largest score; among equals the left one comes first."""
    order = score.argsort(dim=1, descending=True, stable=True)
    places = torch.arange(score.shape[1], device=score.device).expand_as(order)
    return torch.empty_like(order).scatter_(1, order, places)


def best(score: Float[Tensor, "B N"], quotas: Int[Tensor, " B"]) -> Bool[Tensor, "B N"]:
    """The ``quotas[b]`` candidates of row b with the largest scores, or as many as there are."""
    return (ranks(score) < quotas[:, None]) & (score > -torch.inf)


def drawn_by_rank(
    score: Float[Tensor, "B N"], quotas: Int[Tensor, " B"], alg_temp: float, uniforms: Float[Tensor, "B N"]
) -> Bool[Tensor, "B N"]:
    """``quotas[b]`` candidates of row b, drawn one after the other without putting back with weights
    softmax(score / alg_temp): the largest of score / alg_temp plus Gumbel noise (float64)."""
    noise = -torch.log(-torch.log(uniforms.to(torch.float64).clamp(min=torch.finfo(torch.float64).tiny)))
    return best(score.to(torch.float64) / alg_temp + noise, quotas)


def above_threshold(
    score: Float[Tensor, "B N"],
    probability: Float[Tensor, "B N"],
    threshold: float,
    quotas: Int[Tensor, " B"] | None = None,
) -> Bool[Tensor, "B N"]:
    """Fast-dLLM (arXiv 2505.22618): candidates whose proposal has at least that probability, and the best one by score
    whatever its probability; with ``quotas`` only among the best of each row."""
    place = ranks(score)
    chosen = (probability >= threshold) | (place == 0)
    if quotas is not None:
        chosen &= place < quotas[:, None]
    return chosen & (score > -torch.inf)


def by_factor(probability: Float[Tensor, "B N"], factor: float) -> Bool[Tensor, "B N"]:
    """Fast-dLLM's factor rule: in order of probability c_(1) ≥ c_(2) ≥ …, as long as c_(r) ≥ 1 − f / (r + 1); the first
    always."""
    ordered = probability.sort(dim=1, descending=True, stable=True).values
    rank = torch.arange(1, ordered.shape[1] + 1, device=ordered.device)
    accepted = ordered >= 1 - factor / (rank + 1)
    accepted[:, 0] = True
    return best(probability, accepted.long().cumprod(dim=1).sum(dim=1))


def by_entropy_bound(score: Float[Tensor, "B N"], entropy: Float[Tensor, "B N"], gamma: float) -> Bool[Tensor, "B N"]:
    """EB-Sampler (arXiv 2505.24857): in order of score, the largest n with Σ_{r≤n} H_r − max_{r≤n} H_r ≤ γ (nats)."""
    candidates = score > -torch.inf
    order = score.argsort(dim=1, descending=True, stable=True)
    nats = entropy.masked_fill(~candidates, torch.inf).gather(1, order)
    excess = nats.cumsum(dim=1) - nats.cummax(dim=1).values
    accepted = (excess <= gamma) & candidates.gather(1, order)
    accepted[:, 0] = candidates.any(dim=1)
    return best(score, accepted.long().cumprod(dim=1).sum(dim=1))
