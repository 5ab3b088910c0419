"""The metrics of autoencoders, as ``Measurement`` rows, and their pictures."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from tenfold.data.images.splits import ImageSplits, read_all
from tenfold.figures.charts import histograms
from tenfold.figures.images import image_grid
from tenfold.figures.style import write_captions
from tenfold.flows.evaluation import normal_noise
from tenfold.flows.loss import to_levels, to_unit_range
from tenfold.metrics import features
from tenfold.metrics.images import fid, kid, real_floor, reconstruction_rows
from tenfold.nn.autoencoder import Autoencoder
from tenfold.nn.autoencoder_config import AutoencoderConfig
from tenfold.runs.measurement import Measurement
from tenfold.starflow.autoencoder.latents import decode_all, posterior_moments, scaled
from tenfold.starflow.autoencoder.loss import kl_divergence
from tenfold.training.task import MapSource


def measure(
    autoencoders: Mapping[str, Autoencoder], splits: ImageSplits, sigma: float, with_fid: bool
) -> list[Measurement]:
    """Rows of ``evaluation.json`` on the test split.

    ``autoencoders`` by name, all with one encoder and one scale (the first's): for each, the error of images
    rebuilt from clean latents and, with ``sigma`` above 0, from latents with noise of that standard deviation
    (in scaled units, the same noise for all); with ``with_fid``, also FID and KID of what was rebuilt against the
    same test images, beside a floor of other real ones. Then what the encoder does: KL divergence and the
    latents' spread."""
    pixels = read_all(splits.test)[0]
    first = next(iter(autoencoders.values()))
    mean, log_variance = posterior_moments(first, pixels, splits.levels)
    latents = scaled(mean, first.config)
    given = {"test": latents}
    if sigma:
        given[f"test, latent noise {sigma:g}"] = noisy(latents, sigma)
    rebuilt = {
        (name, split): decode_all(autoencoder, z)
        for name, autoencoder in autoencoders.items()
        for split, z in given.items()
    }
    rows: list[Measurement] = []
    for (name, split), images in rebuilt.items():
        rows += reconstruction_rows(to_unit_range(pixels, splits.levels), images, 2.0, name, split)
    if with_fid:
        rows += fid_rows(splits, pixels, rebuilt)
    return rows + latent_rows(mean, log_variance, first.config, pixels[0].numel(), next(iter(autoencoders)))


def noisy(latents: Float[Tensor, "n l i j"], sigma: float, seed: int = 0) -> Float[Tensor, "n l i j"]:
    """Scaled latents with Gaussian noise, the same for every decoder that is compared."""
    return latents + sigma * normal_noise(tuple(latents.shape), seed).to(latents.device)


def fid_rows(
    splits: ImageSplits,
    pixels: UInt8[Tensor, "n c h w"],
    rebuilt: Mapping[tuple[str, str], Float[Tensor, "n c h w"]],
) -> list[Measurement]:
    """FID and KID of rebuilt images, by (model, split), against the images themselves, and of other real ones, in the
    features of a classifier trained on the training split."""
    assert isinstance(splits.train, MapSource)  # checked when the images were read
    extractor = features.shared_classifier(splits)
    others = read_all(splits.train)[0]
    floor = real_floor(extractor, pixels, others, min(len(pixels), len(others)))
    rows = [row for row in floor if row.name in ("fid", "kid")]
    real = extractor(pixels)
    for (name, split), images in rebuilt.items():
        made = extractor(to_levels(images, splits.levels))
        note = f"N = {len(pixels)}, against the same images; {real.shape[1]} features ({extractor.name})"
        mean, spread = kid(real, made)
        rows.append(Measurement("fid", fid(real, made), "", split, name, note=note))
        rows.append(Measurement("kid", mean, "", split, name, note=f"{note}; s.d. over subsets {spread:.2g}"))
    return rows


def latent_rows(
    mean: Float[Tensor, "n l i j"],
    log_variance: Float[Tensor, "n l i j"],
    config: AutoencoderConfig,
    dimensions: int,
    model: str,
) -> list[Measurement]:
    """KL divergence of the posterior from N(0, 1) (unscaled); mean and standard deviation of scaled latents, in all
    and by channel; and the mean standard deviation of the posterior, scaled. ``dimensions`` of an image."""
    latents = scaled(mean, config)
    kl = kl_divergence(mean, log_variance)
    error = float(kl.std() / math.sqrt(len(kl))) if len(kl) > 1 else None
    note = f"of {latents[0].numel()} latent numbers"
    row: Callable[[str, float, str, str], Measurement] = lambda name, value, unit, split: Measurement(  # noqa: E731
        name, value, unit, split, model, note=note
    )
    rows = [
        Measurement("posterior_kl", float(kl.mean()), "nats/image", "test", model, standard_error=error, note=note),
        row("posterior_kl_bits", float(kl.mean()) / (dimensions * math.log(2.0)), "bits/dim of the image", "test"),
        row("latent_mean", float(latents.mean()), "scaled latent", "test"),
        row("latent_std", float(latents.std()), "scaled latent", "test"),
    ]
    for channel, values in enumerate(latents.unbind(dim=1)):
        rows.append(row("latent_std", float(values.std()), "scaled latent", f"test, channel {channel}"))
    spread = config.scale_factor * float((0.5 * log_variance).exp().mean())
    return [*rows, row("posterior_std", spread, "scaled latent", "test")]


def draw(autoencoders: Mapping[str, Autoencoder], splits: ImageSplits, sigma: float, directory: Path) -> list[Path]:
    """Test images above what each autoencoder (all with the first's encoder) makes of their latents, clean and with
    noise ``sigma``; and the distribution of latent values. PNG files with captions beside them."""
    directory.mkdir(parents=True, exist_ok=True)
    pixels = read_all(splits.test, 256)[0]
    first = next(iter(autoencoders.values()))
    latents = scaled(posterior_moments(first, pixels, splits.levels)[0], first.config)
    shown = min(12, len(pixels))
    rows, titles = [to_unit_range(pixels[:shown], splits.levels)], ["image"]
    for name, autoencoder in autoencoders.items():
        mark = f", {name}" if len(autoencoders) > 1 else ""
        rows.append(decode_all(autoencoder, latents[:shown]))
        titles.append(f"rebuilt{mark}")
        if sigma:
            rows.append(decode_all(autoencoder, noisy(latents, sigma)[:shown]))
            titles.append(f"noise {sigma:g}{mark}")
    image_grid(torch.cat(rows), directory / "reconstructions.png", columns=shown, row_titles=titles)
    channels = {f"channel {i}": values for i, values in enumerate(latents.unbind(dim=1))}
    histograms(channels, directory / "latents.png", "scaled latent")
    noise = f", and from latents with Gaussian noise of standard deviation {sigma:g}" if sigma else ""
    captions = {
        "reconstructions.png": f"Test images, as they are rebuilt from their latents{noise}.",
        "latents.png": "Values of the scaled latents of test images, by channel.",
    }
    write_captions(directory, captions)
    return [directory / name for name in captions]
