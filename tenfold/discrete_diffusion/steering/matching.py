"""A student's site conditionals against a target's, on chosen sites and candidates."""

from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tenfold.discrete.objectives import distribution_form, ratio_divergence
from tenfold.errors import UsageError


def restricted(
    log_posterior: Float[Tensor, "b n v"], sites: Int[Tensor, "b m"], candidates: Int[Tensor, "b m k"]
) -> Float[Tensor, "b m k"]:
    """A student's log-probabilities at sites, of the candidates, not normalised again."""
    rows = torch.arange(len(sites), device=sites.device)[:, None]
    return log_posterior[rows, sites].gather(-1, candidates)


def matching_loss(
    log_posterior: Float[Tensor, "b n v"],
    log_target: Float[Tensor, "b m k"],
    clean: Int[Tensor, "b n"],
    sites: Int[Tensor, "b m"],
    candidates: Int[Tensor, "b m k"],
    real: Bool[Tensor, "b m"],
    share: Float[Tensor, " b"],
    form: Literal["kl", "generalised_kl"] = "kl",
    renormalise: bool = True,
) -> Float[Tensor, " b"]:
    """Σ over the chosen sites × (active / chosen) of D(target ‖ student), nats a row.

    "kl": of the distributions over the candidates, the student's normalised on them, or (``renormalise`` off) left
    as it is, so that it is also drawn to them from the rest of the vocabulary. "generalised_kl": of the ratios to the
    current token, which must be the first candidate.

    Raises UsageError for ratios whose first candidate is another token."""
    student = restricted(log_posterior, sites, candidates)
    absent = log_target == -torch.inf
    if form == "generalised_kl":
        if bool((candidates[..., 0] != clean.gather(1, sites)).any()):
            raise UsageError("ratios are taken to the current token; put it first among the candidates")
        terms = ratio_divergence(log_target - log_target[..., :1], student - student[..., :1])
        value = torch.where(absent, 0.0, terms).sum(-1)
    else:
        student = student.masked_fill(absent, -torch.inf)
        value = distribution_form(log_target, student.log_softmax(-1) if renormalise else student, "kl")
    return share * torch.where(real, value, 0.0).sum(1)
