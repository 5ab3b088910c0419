"""Everything that is measured about a trained latent flow, in one call, and each of its metrics; and the
log-likelihoods of a user's images under it, which ``tenfold score`` prints."""

import math
import statistics
import time
from collections import defaultdict
from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from tenfold import progress
from tenfold.data.captions.captioned import CaptionedSplits, by_group
from tenfold.data.images.inputs import Inputs
from tenfold.data.images.splits import ImageSplits, read_all
from tenfold.flows.density import HALF_LOG_2PI, denoise, log_prob_mixture, log_probs, rows_of
from tenfold.flows.evaluation import accuracy, inversion_error, mean_log_probs, normal_noise
from tenfold.flows.guidance import RULES, Guidance
from tenfold.flows.loss import to_levels, to_unit_range
from tenfold.flows.sampling import at_once, draw_samples, keyed_noise
from tenfold.metrics import features
from tenfold.metrics.images import real_floor, reconstruction_rows, sample_metrics
from tenfold.runs.measurement import Measurement
from tenfold.runs.scores import Scores
from tenfold.starflow.autoencoder.evaluation import fid_rows, noisy
from tenfold.starflow.autoencoder.latents import at_once as at_once_encoded
from tenfold.starflow.autoencoder.latents import decode_all
from tenfold.starflow.captions.evaluation import caption_rows
from tenfold.starflow.config import StarFlowEvaluation, StarFlowScoring
from tenfold.starflow.data import LatentData, LatentRecords, Latents
from tenfold.starflow.generator import ImageGenerator
from tenfold.starflow.model import StarFlow
from tenfold.training.streams import Draws, index_of
from tenfold.training.task import MapSource


def measure(
    generator: ImageGenerator, data: LatentData, latents: Latents, options: StarFlowEvaluation, name: str
) -> list[Measurement]:
    """Rows of ``evaluation.json`` on the test split: likelihood of held-out noisy latents beside a Gaussian, round
    trip, sampling time; for images with classes, the decoders side by side and guided samples by both rules; for
    captioned images, the matching of captions and samples."""
    flow, sigma = generator.flow, generator.sigma
    rows = likelihood_rows(flow, latents.test, sigma, options.draws, name, "test")
    baseline = gaussian_row(latents.train, latents.test, sigma, "test")
    rows += [] if baseline is None else [baseline]
    some, given = first_latents(generator, latents, max(64, options.timing))
    noisy = some + sigma * noise_of(tuple(some.shape), 0).to(some.device)
    rows.append(inversion_error(flow.like(some), noisy[:64], None if given is None else given[:64], name, "test"))
    if options.timing:
        rows += timing_rows(flow.like(some), options.timing, given, name)
    if isinstance(latents.images, ImageSplits):
        if options.images:
            few, conditions = first_latents(generator, latents, options.images)
            rows += decoder_rows(generator, latents.images, few.cpu(), conditions)
        if options.samples and flow.config.classes:
            rows += guidance_rows(generator, latents.images, options.samples, options.guidance, name)
    elif options.samples:
        assert isinstance(latents.images, CaptionedSplits)
        rows += caption_rows(generator, data.config.captioned, latents.images, options, data.folder, name)
    return rows


def first_latents(
    generator: ImageGenerator, latents: Latents, count: int
) -> tuple[Float[Tensor, "n c h w"], Tensor | None]:
    """The first ``count`` test latents of the first shape, on the flow's device, with their conditions."""
    device = generator.flow.var.device
    batch = latents.test.batch(by_group(latents.test.groups)[0][:count])
    given = condition_of(batch, generator.flow)
    return batch["latent"].to(device), None if given is None else given.to(device)


def noise_of(shape: tuple[int, ...], draw: int) -> Float[Tensor, "..."]:
    """Standard normal noise of evaluation: draw k is the same for every model that is compared."""
    return normal_noise(shape, 10_007 + draw)


def condition_of(batch: Mapping[str, Tensor], flow: StarFlow) -> Tensor | None:
    """What a batch of latents says of the flow's condition: labels, text vectors, or nothing."""
    if flow.config.text_tokens:
        return batch["text"]
    return batch["label"] if flow.config.classes else None


def likelihood_rows(
    flow: StarFlow, source: LatentRecords, sigma: float, draws: int, model: str, split: str
) -> list[Measurement]:
    """−log p of held-out noisy latents in nats per dimension, over ``draws`` draws of the noise: given the class or
    text, and without: averaged over the classes, or with the null text (which is no marginal: the note says so).

    A likelihood of the noisy latent; the autoencoder's part is not counted."""
    device, groups = flow.var.device, by_group(source.groups)
    values: dict[str, list[Tensor]] = defaultdict(list)
    with progress.task("latent likelihood", draws * len(groups)) as step:
        for draw in range(draws):
            parts: dict[str, list[Tensor]] = defaultdict(list)
            for rows in groups:
                batch = source.batch(rows)
                latents, given = batch["latent"], condition_of(batch, flow)
                x = (latents + sigma * noise_of(tuple(latents.shape), draw)).to(device)
                for name, found in _log_probs(flow, x, None if given is None else given.to(device)).items():
                    parts[name].append(found.double().cpu() / x[0].numel())
                step()
            for name, found_parts in parts.items():
                values[name].append(torch.cat(found_parts).mean())
    rows_ = []
    for name, per_draw in values.items():
        numbers = -torch.stack(per_draw)
        error = float(numbers.std()) / math.sqrt(draws) if draws > 1 else None
        note = f"noise {sigma:g}; {_MEANING[name]}"
        rows_.append(Measurement("latent_nll", float(numbers.mean()), "nats/dim", split, model, error, draws, note))
    return rows_


_MEANING = {
    "given": "log p(latent | condition)",
    "marginal": "averaged over the classes",
    "null": "with the null text, which is no marginal over texts",
    "plain": "log p(latent)",
}


def _log_probs(flow: StarFlow, x: Float[Tensor, "b c h w"], given: Tensor | None) -> dict[str, Float[Tensor, "b"]]:
    with torch.no_grad():
        if given is None:
            return {"plain": log_probs(flow, x)}
        named = {"given": log_probs(flow, x, given)}
        if flow.config.classes:
            return named | {"marginal": log_prob_mixture(flow, x)[0]}
        return named | {"null": log_probs(flow, x)}


def gaussian_row(train: LatentRecords, test: LatentRecords, sigma: float, split: str) -> Measurement | None:
    """The same number for one Gaussian with full covariance, fitted to the training latents, as a sceptic's
    baseline; None for latents of several shapes or of more than 1,024 dimensions.

    Exact: of clean latents N(μ, Σ), noisy ones are N(μ, Σ + σ²); the expectation over the noise is in closed form."""
    if len(set(train.shapes)) > 1 or math.prod(train.shapes[0]) > 1024:
        return None
    fitted, held_out = (source.batch(np.arange(len(source)))["latent"].flatten(1).double() for source in (train, test))
    mean, dimensions = fitted.mean(dim=0), fitted.shape[1]
    covariance = torch.cov(fitted.T).reshape(dimensions, dimensions) + sigma**2 * torch.eye(dimensions)
    precision = torch.linalg.inv(covariance)
    distance = torch.einsum("bi,ij,bj->b", held_out - mean, precision, held_out - mean) + sigma**2 * precision.trace()
    nats = 0.5 * (distance + torch.linalg.slogdet(covariance).logabsdet) / dimensions + HALF_LOG_2PI
    error = float(nats.std() / math.sqrt(len(nats)))
    note = f"noise {sigma:g}; full covariance, error over images"
    return Measurement("latent_nll", float(nats.mean()), "nats/dim", split, "gaussian", error, note=note)


def decoder_rows(
    generator: ImageGenerator, images: ImageSplits, latents: Float[Tensor, "n c h w"], condition: Tensor | None
) -> list[Measurement]:
    """How well images come back from their noisy latents, three ways: the plain decoder, the plain decoder after one
    step along the flow's score, and the decoder that was taught to remove the noise. ``latents`` (N, c, h, w) are
    those of the first N test images."""
    pixels = read_all(images.test, len(latents))[0]
    noisy_latents, sigma = noisy(latents, generator.sigma), generator.sigma
    device = generator.flow.var.device
    stepped = denoise(generator.flow, noisy_latents.to(device), sigma, condition)
    split = f"test, latent noise {sigma:g}"
    rebuilt = {
        ("plain decoder", split): decode_all(generator.autoencoder, noisy_latents),
        ("score step, plain decoder", split): decode_all(generator.autoencoder, stepped),
    }
    if generator.decoder is not None:
        rebuilt["fine-tuned decoder", split] = decode_all(generator.decoder, noisy_latents)
    rows = []
    for (name, where), found in rebuilt.items():
        rows += reconstruction_rows(to_unit_range(pixels, images.levels), found, 2.0, name, where)
    if images.classes > 1:
        rows += fid_rows(images, pixels, rebuilt)
    return rows


def class_samples(
    generator: ImageGenerator, count: int, guidance: Guidance | None = None, seed: int = 0
) -> tuple[Float[Tensor, "n c h w"], Int64[Tensor, "n"]]:
    """``count`` images with the classes in turn, and their labels."""
    flow, images, labels = generator.flow, [], []
    for rows in torch.arange(count).split(at_once(flow)):
        wanted, noise = rows % flow.config.classes, keyed_noise(flow, seed, rows)
        images.append(generator.draw(len(rows), wanted.to(flow.var.device), guidance=guidance, noise=noise)[0])
        labels.append(wanted)
    return torch.cat(images), torch.cat(labels)


def guidance_rows(
    generator: ImageGenerator, images: ImageSplits, count: int, weights: tuple[float, ...], model: str
) -> list[Measurement]:
    """Class accuracy (by a classifier trained on the same training images, independently of the flow), diversity, FID,
    KID, precision and recall of ``count`` class-balanced samples at every guidance weight, by both rules, beside real
    test images."""
    assert isinstance(images.train, MapSource)  # checked when latents were made
    classifier = features.shared_classifier(images).to(generator.flow.var.device)
    pixels, labels = read_all(images.test)
    real = classifier(pixels)
    others = read_all(images.train)[0]
    rows = real_floor(classifier, pixels, others, min(count, len(others)))
    share, error = accuracy(classifier.predict(pixels), labels)
    rows.append(Measurement("class_accuracy", share, "share", "test", "real images", error, note=classifier.name))
    ways = [Guidance()] * (0.0 in weights) + [Guidance(weight, rule) for rule in RULES for weight in weights if weight]
    for way in progress.track(ways, "guidance"):
        made, wanted = class_samples(generator, count, way)
        split = f"guidance {way.weight:g}, rule {way.rule}" if way.weight else "no guidance"
        levels = to_levels(made, images.levels).cpu()
        share, error = accuracy(classifier.predict(levels), wanted)
        note = f"N = {count}, {classifier.name}"
        rows.append(Measurement("class_accuracy", share, "share", split, model, error, note=note))
        spread = within_class_spread(classifier(levels), wanted) / within_class_spread(real, labels)
        rows.append(Measurement("diversity", spread, "of real images' spread", split, model, note=note))
        rows += sample_metrics(classifier, pixels, levels, model, split)
    return rows


def within_class_spread(vectors: Float[Tensor, "n f"], labels: Int64[Tensor, "n"]) -> float:
    """Root mean square distance of feature vectors from the mean of their class: falls to 0 as a class' samples become
    alike."""
    total = 0.0
    for label in labels.unique():
        own = vectors[labels == label].double()
        total += float((own - own.mean(dim=0)).square().sum())
    return math.sqrt(total / len(vectors))


def timing_rows(
    flow: StarFlow, count: int, condition: Tensor | None, model: str, repeats: int = 3
) -> list[Measurement]:
    """Median seconds of sampling ``count`` latents token by token, without guidance; of the whole flow and of its
    deep block."""
    seconds, deep = [], []
    given = rows_of(condition, torch.arange(count) % len(condition)) if condition is not None else None
    for _ in range(repeats + 1):
        began = time.perf_counter()
        _, info = draw_samples(flow, count, given)
        seconds.append(time.perf_counter() - began)
        deep.append(info.blocks[0].seconds)
    note = f"{count} latents, token after token, {torch.get_num_threads()} thread(s), median of {repeats}"
    return [
        Measurement("sampling_seconds", statistics.median(seconds[1:]), "s", "", model, note=note),
        Measurement("sampling_seconds", statistics.median(deep[1:]), "s", "deep block", model, note=note),
    ]


@torch.no_grad()
def score(generator: ImageGenerator, inputs: Inputs, levels: int, options: StarFlowScoring, name: str) -> Scores:
    """log p of the noisy scaled latents of every image in nats, summed over dimensions, the mean over draws of the
    training noise; and for each dimension. It is a density of latents, not of pixels: numbers of two autoencoders do
    not compare.

    Raises TenfoldError where log p overflows."""
    flow, array = generator.flow, torch.from_numpy(inputs.array)
    values = to_unit_range(array, levels) if inputs.are_pixels else array.float()
    like = next(generator.autoencoder.parameters())
    chunk = at_once_encoded(generator.autoencoder, *values.shape[2:])
    latents = torch.cat([generator.autoencoder.encode(part.to(like)).float().cpu() for part in values.split(chunk)])
    given = generator.encoded(len(latents), options.text or options.classes)

    # Keyed by the image itself: it has its value whatever is scored beside it.
    index = index_of(inputs.array)

    def noisy(k: int) -> Tensor:
        return latents + generator.sigma * Draws(options.seed, k).normal("noise", index, tuple(latents.shape[1:]))

    log_p, dimensions = mean_log_probs(flow, inputs.names, options.draws, noisy, given), latents[0].numel()
    columns = {"log_prob": ("nats", log_p.tolist()), "latent_nll": ("nats/dim", (-log_p / dimensions).tolist())}
    note = f"log p of latents with noise {generator.sigma:g}, mean of {options.draws} draws"
    if flow.config.classes and given is None:
        note += f"; p averaged over {flow.config.classes} classes"
    elif flow.config.text_tokens and given is None:
        note += "; given the null text"
    elif given is not None:
        note += f"; given {options.text!r}" if options.text else f"; given class {options.classes}"
    return Scores.ranked(name, inputs.names, columns, note)
