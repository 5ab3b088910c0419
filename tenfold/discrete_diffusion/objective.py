"""The training objectives by name, on a model's outputs: pure functions of tensors.

Outputs may be all tokens (b, n, V), or chosen ones as rows of one token each, (k, 1, V); α and the rate are one number
a row.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tenfold.discrete import bounds
from tenfold.discrete import objectives as tcsm
from tenfold.discrete.paths import (
    MaskSource,
    Source,
    View,
    leave_one_out_from_posterior,
    posterior_from_leave_one_out,
)
from tenfold.discrete_diffusion.options import DiffusionObjective


def losses(
    objective: DiffusionObjective,
    outputs: Float[Tensor, "b n k"],
    clean: Int[Tensor, "b n"],
    noisy: Int[Tensor, "b n"],
    alpha: Float[Tensor, " b"],
    rate: Float[Tensor, " b"],
    source: Source,
    view: View,
    uniforms: Float[Tensor, "b n m"] | None = None,
) -> Float[Tensor, "b n"]:
    """The objective at each token, in nats, weighted; the active tokens count, and the caller takes their mean.

    ``outputs`` are log-probabilities of the ``view``, or log-ratios for "sedd"; ``uniforms`` U[0, 1) numbers for the
    drawn entropy term."""
    name = objective.loss
    if name == "sedd":
        return bounds.score_entropy(outputs, clean, noisy, alpha, rate, source)
    if name == "mdlm":
        assert isinstance(source, MaskSource)  # options made sure
        return bounds.masked(outputs, clean, noisy, alpha, rate, source)
    if name == "udlm":
        return bounds.uniform(outputs, clean, noisy, alpha, rate, view)
    if name == "d3pm":
        before = (alpha + rate / objective.steps).clamp(max=1.0)
        return bounds.finite_steps(outputs, clean, noisy, before, alpha, objective.steps, source)
    posterior = as_posterior(outputs, noisy, alpha, source, view)
    if name == "flow_matching":
        return bounds.generalised_kl(posterior, clean, noisy, alpha, rate, source)
    if name == "distribution":
        value = tcsm.cross_entropy(posterior, clean)
    elif uniforms is not None:
        drawn = tcsm.sampled_entropy_term(posterior, uniforms, objective.cap)
        value = tcsm.pseudo_likelihood(posterior, clean, objective.cap) + drawn
    else:
        # Per token of the vocabulary, so that its size is that of a cross entropy.
        size = posterior.shape[-1]
        value = tcsm.score_form_from_data(posterior, clean, objective.divergence, objective.cap) / size
    return value if objective.weight == "flat" else value * (rate / (1 - alpha)).to(value)[:, None]


def as_posterior(outputs: Tensor, noisy: Tensor, alpha: Tensor, source: Source, view: View) -> Tensor:
    """Log-probabilities of either view as those of the posterior."""
    if view == "posterior" or isinstance(source, MaskSource):
        return outputs
    return posterior_from_leave_one_out(outputs, noisy, alpha, source)


def as_leave_one_out(outputs: Tensor, noisy: Tensor, alpha: Tensor, source: Source, view: View) -> Tensor:
    """Log-probabilities of either view as those of the leave-one-out view."""
    if view == "leave_one_out" or isinstance(source, MaskSource):
        return outputs
    return leave_one_out_from_posterior(outputs, noisy, alpha, source)


def is_weighted(objective: DiffusionObjective) -> bool:
    """Whether the losses carry the bound's weight: their sum is then divided by all tokens, else by the active ones."""
    return objective.loss not in ("distribution", "score") or objective.weight == "bound"


def mean(values: Tensor, active: Tensor, tokens: int, weighted: bool) -> Tensor:
    """What training minimises: the mean over all ``tokens`` of a weighted loss, over the active ones of a flat one."""
    total = torch.where(active, values, 0.0).sum()
    return total / tokens if weighted else total / active.sum().clamp(min=1)
