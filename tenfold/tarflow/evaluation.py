"""Everything that is measured about a trained image flow, in one call; and its loss as a function of its noise."""

import math
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from tenfold import progress
from tenfold.data.images.bundled import ood_sets
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
    ood_rows,
)
from tenfold.flows.flow import Flow
from tenfold.flows.guidance import Guidance
from tenfold.flows.loss import dequantise, to_levels, to_unit_range
from tenfold.flows.sampling import draw_samples
from tenfold.metrics import features
from tenfold.metrics.images import real_floor, sample_metrics
from tenfold.runs.measurement import Measurement
from tenfold.runs.sampled_loss import SampledLoss
from tenfold.tarflow.baselines import baseline_rows
from tenfold.tarflow.config import FlowEvaluation, FlowObjective
from tenfold.tarflow.scoring import noised
from tenfold.training.task import MapSource


def measure(
    flow: Flow,
    splits: ImageSplits,
    objective: FlowObjective,
    options: FlowEvaluation,
    name: str,
    seconds: float = 0.0,
) -> list[Measurement]:
    """Rows of ``evaluation.json`` on the test split, baselines included.

    Uniform noise: bits per dimension, inversion error, out-of-distribution detection, baselines (the spline flow
    gets ``options.baseline_seconds``, or else ``seconds``). Gaussian noise: inversion error, classification
    on clean and noised images, denoising; with ``options.samples``, also FID, KID, precision and recall."""
    refuse_impossible(splits, options if objective.noise == "gaussian" else replace(options, samples=0))
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
            rows += baseline_rows(splits, options.baseline_seconds or seconds, draws=options.draws)
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


def refuse_impossible(splits: ImageSplits, options: FlowEvaluation) -> None:
    """Raise UsageError, before any work, where the data do not suffice for what ``options`` ask for."""
    width = features.CLASSIFIER_FEATURES
    if not len(splits.test):
        raise UsageError("there are no test images to measure with; set data.test when training")
    if not options.samples:
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
        pixels = to_levels(class_balanced(flow, options.samples, weight, objective), splits.levels).cpu()
        rows += sample_metrics(extractor, real, pixels, name, f"guidance {weight:g}")
    return rows


def class_balanced(
    flow: Flow, count: int, guidance: float, objective: FlowObjective, batch: int = 256, seed: int = 0
) -> Float[Tensor, "n *shape"]:
    """``count`` samples with the classes in turn, denoised when the flow was trained with Gaussian noise."""
    device = flow.var.device
    generator = torch.Generator(device).manual_seed(seed)
    denoising = Denoising(objective.sigma) if objective.noise == "gaussian" else None
    parts = []
    batches = torch.arange(count, device=device).split(batch)
    for rows in progress.track(batches, f"samples, guidance {guidance:g}", "batches"):
        labels = rows % flow.config.classes if flow.config.classes else None
        images, _ = draw_samples(
            flow, len(rows), labels, guidance=Guidance(guidance), denoising=denoising, generator=generator
        )
        parts.append(images)
    return torch.cat(parts).clamp(-1, 1)


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
