"""Everything that is measured about a trained latent flow, in one call."""

from torch import Tensor

from tenfold.data.captions.captioned import CaptionedSplits
from tenfold.data.images.splits import ImageSplits
from tenfold.runs.measurement import Measurement
from tenfold.starflow.data import LatentData, Latents
from tenfold.starflow.evaluation import (
    condition_of,
    decoder_rows,
    gaussian_row,
    groups_of,
    guidance_rows,
    likelihood_rows,
    noise_of,
    roundtrip_row,
    timing_rows,
)
from tenfold.starflow.generator import ImageGenerator
from tenfold.starflow.options import StarFlowEvaluation


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
    rows.append(roundtrip_row(flow, noisy[:64], None if given is None else given[:64], name, "test"))
    if options.timing:
        rows += timing_rows(flow.like(some), options.timing, given, name)
    if isinstance(latents.images, ImageSplits):
        if options.images:
            few, conditions = first_latents(generator, latents, options.images)
            rows += decoder_rows(generator, latents.images, few.cpu(), conditions)
        if options.samples and flow.config.classes:
            rows += guidance_rows(generator, latents.images, options.samples, options.guidance, name)
    elif options.samples:
        from tenfold.starflow import captions

        assert isinstance(latents.images, CaptionedSplits)
        rows += captions.matching(generator, data.config.captioned, latents.images, options, data.folder, name)
    return rows


def first_latents(generator: ImageGenerator, latents: Latents, count: int) -> tuple[Tensor, Tensor | None]:
    """The first ``count`` test latents of the first shape, on the flow's device, with their conditions."""
    device = generator.flow.var.device
    batch = latents.test.batch(next(groups_of(latents.test))[:count])
    given = condition_of(batch, generator.flow)
    return batch["latent"].to(device), None if given is None else given.to(device)
