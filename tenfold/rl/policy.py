"""Group relative policy optimisation (GRPO, arXiv 2402.03300; for masked models arXiv 2506.20639, section 4.2) as pure
functions: advantages in a group, the clipped surrogate, the penalty that keeps to a reference."""

from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tenfold.errors import UsageError
from tenfold.nn.border import finite, visible
from tenfold.nn.tensors import read_tensors
from tenfold.settings.arguments import read_arguments

Baseline = Literal["mean", "leave_one_out"]
_LEAST_SPREAD = 1e-4  # as published


@read_arguments
@read_tensors(unknown=("rewards",))
def advantages(
    rewards: Float[Tensor, "b g"], baseline: Baseline = "leave_one_out", scaled: bool = False
) -> Float[Tensor, "b g"]:
    """A_i = r_i − the mean of the group, or of its other completions (then G/(G−1) times the former); ``scaled``: over
    the group's standard deviation (unbiased) + 1e-4. Equal rewards give 0.

    Raises UsageError for a reward that is NaN or infinite, and for groups of one."""
    size = rewards.shape[1]
    if size < 2:
        raise UsageError(f"a group has {size} completion; advantages compare at least 2")
    if not bool(rewards.isfinite().all()):
        raise UsageError("a reward is NaN or infinite; every completion needs a finite reward")
    found = rewards - rewards.mean(1, keepdim=True)
    if baseline == "leave_one_out":
        found = found * (size / (size - 1))
    # A mean of equal numbers may miss them by a rounding.
    found = torch.where((rewards == rewards[:, :1]).all(1, keepdim=True), 0.0, found)
    return found / (rewards.std(1, keepdim=True) + _LEAST_SPREAD) if scaled else found


@read_arguments
@read_tensors()
def until_end(tokens: Int[Tensor, "b l"], ends: tuple[int, ...]) -> Bool[Tensor, "b l"]:
    """Tokens of a completion up to and including the first of the ``ends``.

    Raises UsageError for ends that are no whole numbers.

    >>> until_end(torch.tensor([[5, 9, 9, 5], [5, 5, 5, 5]]), (9,)).long().tolist()
    [[1, 1, 0, 0], [1, 1, 1, 1]]
    """
    end = torch.isin(tokens, torch.tensor(ends, device=tokens.device, dtype=tokens.dtype))
    return end.long().cumsum(1) - end.long() == 0


@read_arguments
@read_tensors()
def surrogate(
    log_p: Float[Tensor, "b l"],
    old: Float[Tensor, "b l"],
    advantage: Float[Tensor, " b"],
    low: float,
    high: float,
) -> Float[Tensor, "b l"]:
    """min(ρ A, clip(ρ, 1 − ε_low, 1 + ε_high) A) per token, ρ = exp(log p − old).

    Raises UsageError for what is NaN or infinite, and clips outside [0, 1] and [0, ∞)."""
    if not 0 <= low <= 1 or not high >= 0:
        raise UsageError(f"the clips are {low} and {high}; give a share in [0, 1], and a number of at least 0")
    ratio = (log_p - old).exp()
    each = advantage[:, None]
    return torch.minimum(ratio * each, ratio.clamp(1 - low, 1 + high) * each)


@read_tensors()
def reference_penalty(log_p: Float[Tensor, "b l"], reference: Float[Tensor, "b l"]) -> Float[Tensor, "b l"]:
    """exp(d) − d − 1 with d = reference − log p per token: an estimate of KL(p ‖ reference) that is never negative
    ("k3"), with mean KL over draws of p."""
    rise = reference - log_p
    return rise.exp() - rise - 1


class PolicyLoss(NamedTuple):
    """−Σ over valid tokens of (surrogate − β penalty) over ``count``, and what to watch (detached scalars)."""

    loss: Float[Tensor, ""]
    metrics: dict[str, Tensor]


@read_arguments
@read_tensors(unknown=("log_p", "old", "reference"))
def policy_loss(
    log_p: Float[Tensor, "b l"],
    old: Float[Tensor, "b l"],
    advantage: Float[Tensor, " b"],
    valid: Bool[Tensor, "b l"],
    clip: tuple[float, float],
    beta: float = 0.0,
    reference: Float[Tensor, "b l"] | None = None,
    count: Tensor | float | None = None,
) -> PolicyLoss:
    """The loss of an update on completions (arXiv 2506.20639, equation 5).

    Args:
        log_p: log-probability estimates of the policy that is trained.
        old: of the policy that drew the completions, with the same masks; constant.
        advantage: of each completion.
        valid: tokens that count; nothing is asked of the estimates of others.
        clip: ε_low and ε_high.
        beta: β of the penalty; 0 needs no reference.
        reference: estimates of the reference with the same masks.
        count: what the sum is divided by; the number of valid tokens if left out.

    Raises UsageError for β below 0 or without a reference, where no token is valid, and for an estimate of a valid
    token or an advantage that is NaN or infinite."""
    if not beta >= 0:
        raise UsageError(f"beta is {beta:g}; the weight of the penalty is at least 0")
    if beta and reference is None:
        raise UsageError(f"beta is {beta:g}, but there are no estimates of a reference; give them, or beta 0")
    log_p, old = _known(log_p, valid, "log_p"), _known(old.detach(), valid, "old")
    own = valid.sum()
    if count is None and not bool(own > 0):
        raise UsageError("no token of the completions is valid, so there is no loss")
    total = own if count is None else torch.as_tensor(count, device=own.device)
    if visible(total) and (total.ndim or not bool((total > 0) & total.isfinite())):
        raise UsageError(f"count is {total.tolist()}; the sum is divided by one positive number")
    gain = surrogate(log_p, old, advantage, *clip)
    ratio = (log_p.detach() - old).exp()
    each = advantage[:, None]
    low, high = (ratio < 1 - clip[0]) & (each < 0), (ratio > 1 + clip[1]) & (each > 0)
    shares = {"clipped_low": low, "clipped_high": high}
    metrics = {name: (what & valid).sum() / own.clamp(min=1) for name, what in shares.items()}
    metrics["ratio"] = torch.where(valid, ratio, 0.0).sum() / own.clamp(min=1)
    if beta and reference is not None:
        penalty = reference_penalty(log_p, _known(reference.detach(), valid, "reference"))
        gain = gain - beta * penalty
        metrics["kl"] = torch.where(valid, penalty.detach(), 0.0).sum() / own.clamp(min=1)
    return PolicyLoss(-torch.where(valid, gain, 0.0).sum() / total, metrics)


def _known(estimates: Float[Tensor, "b l"], valid: Bool[Tensor, "b l"], name: str) -> Float[Tensor, "b l"]:
    """Estimates of valid tokens, 0 elsewhere. Raises UsageError where one is NaN or infinite."""
    return finite(torch.where(valid, estimates, 0.0), name)
