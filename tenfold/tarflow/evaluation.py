"""Everything that is measured about a trained image flow, in one call; its loss as a function of its noise; and the
log-likelihoods of a user's data under it, which ``tenfold score`` prints."""

import math
from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float, Integer, UInt8
from torch import Tensor

from tenfold import progress
from tenfold.data.images.bundled import ood_sets
from tenfold.data.images.inputs import Inputs
from tenfold.data.images.splits import ImageSplits, read_all
from tenfold.errors import UsageError
from tenfold.flows.density import Denoising
from tenfold.flows.evaluation import (
    bits_per_dim_rows,
    classification_rows,
    conditioning_row,
    denoising_rows,
    image_log_probs,
    inversion_error,
    mean_log_probs,
    ood_rows,
    uniform_noise,
)
from tenfold.flows.flow import Flow
from tenfold.flows.guidance import Guidance
from tenfold.flows.loss import dequantise, discrete_log_prob, to_levels, to_unit_range
from tenfold.flows.sampling import at_once, draw_samples, keyed_noise
from tenfold.metrics import features
from tenfold.metrics.images import real_floor, sample_metrics
from tenfold.runs.measurement import Measurement, bits_per_dim
from tenfold.runs.sampled_loss import SampledLoss
from tenfold.runs.scores import Scores
from tenfold.tarflow.baselines import baseline_rows
from tenfold.tarflow.config import FlowEvaluation, FlowObjective, FlowScoring
from tenfold.tarflow.model import TarFlow
from tenfold.training.streams import Draws, index_of
from tenfold.training.task import MapSource


def measure(
    flow: Flow,
    splits: ImageSplits,
    objective: FlowObjective,
    options: FlowEvaluation,
    name: str,
    images: int = 0,
) -> list[Measurement]:
    """Rows of ``evaluation.json`` on the test split, baselines included.

    Uniform noise: bits per dimension, inversion error, out-of-distribution detection, baselines (the spline flow is
    trained on ``images`` images, or for ``options.baseline_seconds``). Gaussian noise: inversion error, classification
    on clean and noised images, denoising; with ``options.samples``, also FID, KID, precision and recall."""
    refuse_impossible(splits, objective, options)
    device, (pixels, labels) = flow.var.device, read_all(splits.test)
    x = noised(pixels, objective, splits.levels).to(device)
    pixels, labels = pixels.to(device), labels.to(device)
    conditional = flow.config.classes > 0
    rows: list[Measurement] = []
    if objective.noise == "uniform":
        rows += bits_per_dim_rows(
            flow, pixels, labels, splits.levels, "uniform", name, "test", options.draws, options.importance
        )
        outside = {
            key: image_log_probs(flow, noised(images, objective, splits.levels, 1).to(device)).cpu().numpy()
            for key, images in ood_sets(splits).items()
        }
        rows += ood_rows(image_log_probs(flow, x).cpu().numpy(), outside, name)
        if options.baselines:
            rows += baseline_rows(splits, options.baseline_seconds, options.draws, images=images)
    else:
        clean = to_unit_range(pixels, splits.levels)
        if conditional:
            rows += classification_rows(flow, clean, labels, name, "test, clean")
            rows += classification_rows(flow, x, labels, name, f"test, noise {objective.sigma:g}")
        rows += denoising_rows(flow, clean, objective.sigma, labels if conditional else None, name, "test")
        if options.samples:
            rows += sample_rows(flow, splits, objective, options, name)
    rows.append(inversion_error(flow, x[:64], labels[:64] if conditional else None, name, "test"))
    rows.append(conditioning_row(flow, x[:16], labels[:16] if conditional else None, name, "test"))
    return rows


def refuse_impossible(splits: ImageSplits, objective: FlowObjective, options: FlowEvaluation) -> None:
    """Raise UsageError, before any work, where the data do not suffice for what ``options`` ask for; samples are those
    of flows with Gaussian noise."""
    width = features.CLASSIFIER_FEATURES
    if not len(splits.test):
        raise UsageError("there are no test images to measure with; set data.test when training")
    if not options.samples or objective.noise != "gaussian":
        return
    if splits.classes < 2:
        raise UsageError(
            "sample metrics use a classifier's features, and these images have no two classes; set evaluation.samples "
            "to 0"
        )
    if not isinstance(splits.train, MapSource):
        raise UsageError("sample metrics need random access to the training images; set data.streaming to false")
    most = len(splits.train)
    if not width < options.samples <= most:
        raise UsageError(
            f"evaluation.samples is {options.samples}; give more than the {width} features that samples are "
            f"compared in, and at most as many as there are training images to compare with, {most}"
        )
    if len(splits.test) <= width:
        raise UsageError(
            f"there are {len(splits.test)} test images, but FID in {width} features needs more than that many; set "
            "evaluation.samples to 0, or data.test when training"
        )


def sample_rows(
    flow: Flow, splits: ImageSplits, objective: FlowObjective, options: FlowEvaluation, name: str
) -> list[Measurement]:
    """FID, KID, precision and recall of class-balanced samples at every guidance weight of ``options``, beside a
    real-against-real floor, in the features of a classifier trained on the same training images."""
    assert isinstance(splits.train, MapSource)
    extractor = features.shared_classifier(splits).to(flow.var.device)
    real = read_all(splits.test)[0]
    rows = real_floor(extractor, real, read_all(splits.train)[0], options.samples)
    for weight in options.guidance if flow.config.classes else (0.0,):
        drawn = class_balanced(flow, options.samples, weight, objective)
        pixels = torch.cat([to_levels(images, splits.levels).cpu() for images in drawn])
        rows += sample_metrics(extractor, real, pixels, name, f"guidance {weight:g}")
    return rows


def class_balanced(
    flow: Flow, count: int, guidance: float, objective: FlowObjective, batch: int = 256, seed: int = 0
) -> Iterator[Float[Tensor, "b *shape"]]:
    """``count`` samples with the classes in turn, denoised when the flow was trained with Gaussian noise, in parts of
    ``batch`` at most, which changes none of them."""
    denoising = Denoising(objective.sigma) if objective.noise == "gaussian" else None
    batches = torch.arange(count).split(at_once(flow, batch))
    for rows in progress.track(batches, f"samples, guidance {guidance:g}", "batches"):
        labels = (rows % flow.config.classes).to(flow.var.device) if flow.config.classes else None
        noise = keyed_noise(flow, seed, rows)
        images, _ = draw_samples(flow, len(rows), labels, guidance=Guidance(guidance), denoising=denoising, noise=noise)
        yield images.clamp(-1, 1)


def sampled_losses(flow: Flow, pixels: UInt8[Tensor, "b *shape"], levels: int) -> list[SampledLoss]:
    """−log2 p per dimension, averaged over the images ``pixels``, which share the noise."""
    dims = pixels[0].numel()

    def loss(noise: Float[np.ndarray, "n dims"]) -> Float[np.ndarray, "n"]:
        values = []
        for row in torch.from_numpy(noise).to(torch.float32):
            x = dequantise(pixels, levels, row.reshape(pixels.shape[1:]).expand(pixels.shape))
            values.append(float(-image_log_probs(flow, x.to(flow.var.device)).mean()) / dims / math.log(2.0))
        return np.array(values)

    return [SampledLoss(f"flow, dequantisation ({dims} dim)", dims, loss, 16, 4, 100)]


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
    values = flow.taken(array)[1][None] if not inputs.are_pixels else None
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
    """Integer pixels as the flow was trained to see them: dequantised, or with Gaussian noise. An image's noise is
    keyed by its pixels, so that it does not depend on the images beside it."""
    if objective.noise == "uniform":
        return dequantise(pixels, levels, uniform_noise(pixels, seed)(draw))
    noise = Draws(seed, draw).normal("noise", index_of(pixels.numpy()), tuple(pixels.shape[1:]))
    return to_unit_range(pixels, levels) + objective.sigma * noise


def _note(flow: TarFlow, inputs: Inputs, objective: FlowObjective, options: FlowScoring) -> str:
    parts = ["log p(x) in the flow's own scale, summed over dimensions"]
    if options.classes is not None:
        parts = [parts[0].replace("p(x)", f"p(x|y = {options.classes})")]
    elif flow.config.classes:
        parts.append(f"p averaged over {flow.config.classes} classes")
    if inputs.are_pixels:
        parts.append(f"mean of {options.draws} draws of {objective.noise} noise")
    return "; ".join(parts)
