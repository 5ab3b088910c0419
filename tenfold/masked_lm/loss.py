"""The masked-diffusion objective and its bound on −log p(x): pure functions of tensors.

Masking at time t hides each token with probability 1 − α_t, and the bound is E_t w(t) Σ_n 1[x_t^n = m] CE_n with
w = −α'/(1 − α), 1/t for the linear schedule (arXiv 2506.20639, section 3; arXiv 2406.07524, equation 10).
"""

from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tenfold.discrete.masking import mask_exactly, mask_independently
from tenfold.discrete.objectives import score_form_from_data
from tenfold.discrete.schedules import Linear, Schedule, likelihood_weight
from tenfold.errors import UsageError

_CAP = 20.0  # of −log q: beyond it 1/q goes on as its tangent
Normaliser = Literal["token", "sequence", "batch", "none"]


class Noised(NamedTuple):
    """Masked rows: ``tokens`` x_t, where the masks are, and the weight of a masked token's cross entropy."""

    tokens: Int[Tensor, "b n"]
    masked: Bool[Tensor, "b n"]
    weight: Float[Tensor, " b"]


def mask_at_times(
    clean: Int[Tensor, "b n"],
    maskable: Bool[Tensor, "b n"],
    t: Float[Tensor, " b"],
    uniforms: Float[Tensor, "b n"],
    mask: int,
    schedule: Schedule | None = None,
) -> Noised:
    """x_t at given times in (0, 1], each maskable token hidden by itself; the weight is −α'/(1 − α).

    Raises UsageError for a time outside (0, 1], and uniforms outside [0, 1], NaN among them."""
    if not bool(((t > 0) & (t <= 1)).all() & _unit(uniforms)):
        if not bool(_unit(uniforms)):
            raise UsageError("uniforms must lie in [0, 1], but some do not (or are NaN)")
        wrong = t[~((t > 0) & (t <= 1))][0].item()
        raise UsageError(f"a time is {wrong:g}; masking is defined for t in (0, 1]")
    schedule = schedule or Linear()
    masked = mask_independently(maskable, schedule.alpha(t), uniforms)
    return Noised(torch.where(masked, mask, clean), masked, likelihood_weight(schedule, t))


def mask_counts(
    clean: Int[Tensor, "b n"],
    maskable: Bool[Tensor, "b n"],
    places: Float[Tensor, " b"],
    uniforms: Float[Tensor, "b n"],
    mask: int,
) -> Noised:
    """The other form of the same expectation: exactly l of the L maskable tokens are hidden, l uniform in 1 … L (from
    ``places`` in [0, 1)), and the weight is L/l. The number of masks then adds no noise of its own.

    Raises UsageError for places or uniforms outside [0, 1], NaN among them."""
    if not bool(_unit(places) & _unit(uniforms)):
        raise UsageError("places and uniforms must lie in [0, 1], but some do not (or are NaN)")
    total = maskable.sum(1)
    count = (1 + (places * total).long()).clamp(max=total)
    masked = mask_exactly(maskable, count, uniforms)
    return Noised(torch.where(masked, mask, clean), masked, total / count.clamp(min=1))


def _unit(numbers: Tensor) -> Tensor:
    return ((numbers >= 0) & (numbers <= 1)).all()


def score(log_probs: Float[Tensor, "b n k"], clean: Int[Tensor, "b n"]) -> Float[Tensor, "b n"]:
    """The score form of target concrete score matching from data (``tenfold.discrete.objectives``) per token of the
    vocabulary, so that its size is that of a cross entropy."""
    return score_form_from_data(log_probs, clean, cap=_CAP) / log_probs.shape[-1]


def bound(nll: Float[Tensor, "b n"], noised: Noised) -> Float[Tensor, " b"]:
    """An unbiased estimate, per row, of the bound on −log p(x_0) in nats: the weighted sum over masked tokens.

    ``nll`` is −log p(x_0^n | x_t), 0 where no mask is."""
    return noised.weight.to(nll.dtype) * torch.where(noised.masked, nll, 0.0).sum(1)


def normaliser_of(maskable: Bool[Tensor, "b n"], by: Normaliser) -> Int[Tensor, ""]:
    """What ``normalised`` divides by: maskable tokens, rows that have some, rows, or 1."""
    counts = {"token": maskable, "sequence": maskable.any(1), "batch": torch.ones_like(maskable[:, 0])}
    return counts[by].sum() if by in counts else torch.ones((), dtype=torch.long, device=maskable.device)


def normalised(
    bounds: Float[Tensor, " b"],
    maskable: Bool[Tensor, "b n"],
    by: Normaliser = "token",
    count: Float[Tensor, ""] | Int[Tensor, ""] | None = None,
) -> Float[Tensor, ""]:
    """One loss of the rows' bounds (nats).

    by = "token": their sum over the number of maskable tokens; "sequence": the mean over rows of each row's bound per
    maskable token; "batch": the mean over rows; "none": the sum. ``count`` takes the place of the rows' own
    ``normaliser_of``: its mean over all parts of a batch that is split, so that the parts' mean is the whole's loss.

    Raises UsageError where there is no maskable token to be normalised by."""
    alone = count is None
    count = normaliser_of(maskable, by) if count is None else count
    if bool(count <= 0) or (alone and not bool(maskable.any())):
        raise UsageError("no token of the batch may be masked, so there is no loss; shorten prompts or prefixes")
    if by == "sequence":
        bounds = bounds / maskable.sum(1).clamp(min=1)
    return bounds.sum() / count


def causal_attention(n: int, device: torch.device | str = "cpu") -> Bool[Tensor, "1 1 n n"]:
    """Each token looks at itself and to the left: the network as an autoregressive model."""
    return torch.ones(n, n, dtype=torch.bool, device=device).tril()[None, None]


def annealed_attention(uniforms: Float[Tensor, "n n"], step: int, steps: int) -> Bool[Tensor, "1 1 n n"]:
    """The pattern between causal and full attention: each entry above the diagonal is open with probability
    min(1, i/S) at step i of S (arXiv 2410.17891, section 3.2). Step 0 is causal, step S full.

    >>> annealed_attention(torch.rand(3, 3), 0, 10).long().sum(), annealed_attention(torch.rand(3, 3), 10, 10).all()
    (tensor(6), tensor(True))
    """
    n = uniforms.shape[0]
    share = min(1.0, step / steps) if steps else 1.0
    return causal_attention(n, uniforms.device) | (uniforms < share)[None, None]


def with_padding(pattern: Bool[Tensor, "p 1 n n"], real: Bool[Tensor, "b n"]) -> Bool[Tensor, "q 1 n n"]:
    """A pattern of attention whose keys are real tokens only; a token may always look at itself."""
    if bool(real.all()):
        return pattern
    itself = torch.eye(real.shape[1], dtype=torch.bool, device=real.device)
    return (pattern & real[:, None, None, :]) | itself
