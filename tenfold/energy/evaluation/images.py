"""How good generated images are, and how images that do not belong rank."""

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from tenfold.data.images.bundled import ood_sets
from tenfold.data.images.splits import MapSource, read_all
from tenfold.energy.density import Score
from tenfold.energy.evaluation.denoising import CHUNK, noised
from tenfold.energy.evaluation.ranking import auroc_rows, gaussian_score
from tenfold.energy.generation import generate
from tenfold.energy.noise import karras_grid
from tenfold.energy.options import EnergyEvaluation
from tenfold.energy.worlds.rows import SampleWorld, to_pixels, to_unit
from tenfold.errors import UsageError
from tenfold.metrics.features import shared_classifier
from tenfold.metrics.images import real_floor, sample_metrics
from tenfold.runs.measurement import Measurement

REAL = 2000
RANKED_AT = 0.2
"""Noise level, in units of σ_d, at which images are ranked."""


def sample_rows(
    models: Mapping[str, Callable[[int], Score]],
    world: SampleWorld,
    options: EnergyEvaluation,
    levels: tuple[float, float],
    device: torch.device,
) -> list[Measurement]:
    """FID, KID, precision and recall in the features of a classifier of these images: generated images of every model
    (functions from a class to its score, as many images of each class, by the same noise) and real test images, each
    against training images."""
    images = world.images
    if not options.samples or images is None or images.classes < 2:
        return []
    if not isinstance(images.train, MapSource):
        raise UsageError("samples are compared with random access data; set --data.images.streaming false")
    features = shared_classifier(images)
    real = read_all(images.train, REAL)[0]
    test = read_all(images.test)[0]
    rows = real_floor(features, real, test, min(options.samples, len(test)))
    grid = karras_grid(options.steps, *levels)
    for name, model in models.items():
        count = -(-options.samples // images.classes)
        parts = [generate(model(label), count, grid, label, device).cpu() for label in range(images.classes)]
        found = torch.cat(parts)
        rows += sample_metrics(features, real, to_pixels(found, images.levels), name, "train")
    return rows


def outlier_rows(
    densities: Mapping[str, Callable[[Tensor, float], Float[Tensor, " n"]]],
    world: SampleWorld,
    data_scale: float,
    device: torch.device,
) -> list[Measurement]:
    """The "auroc" of test images against sets that do not belong, by log p_σ (up to a constant) of each density, and by
    a Gaussian fitted to the training images."""
    images = world.images
    if images is None:
        return []
    sigma = RANKED_AT * data_scale

    def at_level(x: Tensor) -> Tensor:
        return noised(x, sigma, 0).to(device)

    sets = {name: to_unit(pixels, images.levels) for name, pixels in ood_sets(images).items()}
    inside = world.some("test", len(next(iter(sets.values()))))[0]
    fitted = gaussian_score(world.some("train", 5000)[0])

    def ranked_by(density: Callable[[Tensor, float], Tensor]) -> Callable[[Tensor], Tensor]:
        return lambda x: torch.cat([density(part, sigma).cpu() for part in at_level(x).split(CHUNK)])

    scores = {name: ranked_by(density) for name, density in densities.items()}
    rows = auroc_rows(scores, inside, sets, f"log p at σ = {RANKED_AT:g} σ_d, noise added")
    return rows + auroc_rows({"Gaussian": fitted}, inside, sets, "fitted to training images, no noise added")
