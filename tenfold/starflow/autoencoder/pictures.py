"""The pictures of an autoencoder."""

from collections.abc import Mapping
from pathlib import Path

import torch

from tenfold.data.images.splits import ImageSplits, read_all
from tenfold.figures.charts import histograms
from tenfold.figures.images import image_grid
from tenfold.figures.style import write_captions
from tenfold.flows.loss import to_unit_range
from tenfold.nn.autoencoder import Autoencoder
from tenfold.starflow.autoencoder.evaluation import noisy
from tenfold.starflow.autoencoder.latents import decode_all, posterior_moments, scaled


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
