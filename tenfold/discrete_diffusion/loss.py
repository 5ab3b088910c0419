"""The training objectives by name, on a model's outputs: pure functions of tensors."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from tenfold.discrete import bounds
from tenfold.discrete import objectives as tcsm
from tenfold.discrete.paths import MaskSource, Source, View, in_view
from tenfold.discrete_diffusion.noising import NoisyBatch
from tenfold.discrete_diffusion.options import DiffusionObjective


def losses(
    objective: DiffusionObjective,
    outputs: Float[Tensor, "b n k"],
    batch: NoisyBatch,
    source: Source,
    view: View,
    uniforms: Float[Tensor, "b n m"] | None = None,
) -> Float[Tensor, "b n"]:
    """The objective at each token, in nats, weighted; the active tokens count, and the caller takes their mean.

    ``outputs`` are log-probabilities of the ``view``, or log-ratios for "sedd": of all tokens, (b, n, V), or of chosen
    ones as rows of one token each, (k, 1, V), as is the batch then. ``uniforms`` are U[0, 1) numbers for the drawn
    entropy term."""
    name, clean, noisy = objective.loss, batch.clean, batch.noisy
    alpha, rate = batch.alpha.double(), batch.rate.double()
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
    posterior = in_view(outputs, noisy, alpha, source, view, "posterior")
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


def mean(objective: DiffusionObjective, values: Tensor, active: Bool[Tensor, "..."], tokens: int) -> Float[Tensor, ""]:
    """What training minimises: the mean of the losses over all ``tokens`` where they carry the bound's weight, else
    over the active ones."""
    total = torch.where(active, values, 0.0).sum()
    weighted = objective.loss not in ("distribution", "score") or objective.weight == "bound"
    return total / tokens if weighted else total / active.sum().clamp(min=1)
