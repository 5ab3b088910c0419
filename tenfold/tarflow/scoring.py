"""Log-likelihoods of a user's data under a trained flow: what ``tenfold score`` prints."""

import math

import torch
from jaxtyping import Float, Integer
from torch import Tensor

from tenfold.data.images.inputs import Inputs
from tenfold.errors import UsageError
from tenfold.flows.evaluation import mean_log_probs, uniform_noise
from tenfold.flows.flow import finite
from tenfold.flows.loss import dequantise, discrete_log_prob, to_unit_range
from tenfold.runs.measurement import bits_per_dim
from tenfold.runs.scores import Scores
from tenfold.tarflow.config import FlowObjective, FlowScoring
from tenfold.tarflow.model import TarFlow


def check_bits(inputs: Inputs, objective: FlowObjective, options: FlowScoring, name: str) -> None:
    """Raise UsageError where bits per dimension are asked for and are not defined."""
    if not options.bits_per_dim:
        return
    if objective.noise != "uniform" and not options.force:
        raise UsageError(
            f"{name} was trained with Gaussian noise, so that its density is one of noisy images and no bits per "
            "dimension of the data; leave --bits-per-dim out, or add --force for a value labelled as that"
        )
    if objective.noise == "uniform" and not inputs.are_pixels:
        raise UsageError(
            "bits per dimension belong to integer pixels, but the input holds floats; give the integers or leave "
            "--bits-per-dim out"
        )


def score(
    flow: TarFlow, inputs: Inputs, objective: FlowObjective, levels: int, options: FlowScoring, name: str
) -> Scores:
    """log p of every input in nats, summed over dimensions, in the flow's own scale.

    Integer pixels get the noise that the flow was trained with, and the mean over ``options.draws`` draws of it.
    With uniform noise they have bits per dimension too: −log2 of the density on [0, levels), of which the mean is a
    bound of −log2 P(pixels), as in evaluation. Floats are taken as they are.

    Raises UsageError, before any work, for NaN or infinite inputs and for bits per dimension that are not defined;
    TenfoldError where log p overflows."""
    check_bits(inputs, objective, options, name)
    array, device = torch.from_numpy(inputs.array), flow.var.device
    values = finite(array)[None] if not inputs.are_pixels else None
    draws, dims = 1 if values is not None else options.draws, flow.config.dimensions
    labels = None if options.classes is None else torch.full((len(array),), options.classes, device=device)
    drawn = (lambda k: values[k]) if values is not None else lambda k: noised(array, objective, levels, options.seed, k)
    log_p = mean_log_probs(flow, inputs.names, draws, drawn, labels)
    columns = {"log_prob": ("nats", log_p.tolist())}
    if options.force and objective.noise != "uniform":
        # On the scale of the integers, whose neighbours are 2 / (levels − 1) apart in the flow's.
        nats = log_p - dims * math.log((levels - 1) / 2.0)
        columns["noisy_density"] = ("bits/dim of noisy data", [bits_per_dim(v, dims) for v in nats.tolist()])
    elif objective.noise == "uniform" and inputs.are_pixels:
        nats = discrete_log_prob(log_p, dims, levels)
        columns["bits_per_dim"] = ("bits/dim", [bits_per_dim(v, dims) for v in nats.tolist()])
    return Scores.ranked(name, inputs.names, columns, _note(flow, inputs, objective, options))


def noised(
    pixels: Integer[Tensor, "b *shape"], objective: FlowObjective, levels: int, seed: int = 0, draw: int = 0
) -> Float[Tensor, "b *shape"]:
    """Integer pixels as the flow was trained to see them: dequantised, or with Gaussian noise."""
    if objective.noise == "uniform":
        return dequantise(pixels, levels, uniform_noise(tuple(pixels.shape), seed)(draw))
    generator = torch.Generator().manual_seed(1_000_003 * seed + draw)
    return to_unit_range(pixels, levels) + objective.sigma * torch.randn(pixels.shape, generator=generator)


def _note(flow: TarFlow, inputs: Inputs, objective: FlowObjective, options: FlowScoring) -> str:
    parts = ["log p(x) in the flow's own scale, summed over dimensions"]
    if options.classes is not None:
        parts = [parts[0].replace("p(x)", f"p(x|y = {options.classes})")]
    elif flow.config.classes:
        parts.append(f"p averaged over {flow.config.classes} classes")
    if inputs.are_pixels:
        parts.append(f"mean of {options.draws} draws of {objective.noise} noise")
    return "; ".join(parts)
