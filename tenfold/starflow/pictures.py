"""The pictures of a trained latent flow."""

from pathlib import Path

import torch
from torch import Tensor

from tenfold.data.captions.captioned import CaptionedSplits
from tenfold.data.images.splits import ImageSplits, read_all
from tenfold.figures.images import image_grid
from tenfold.figures.style import write_captions
from tenfold.flows.guidance import Guidance
from tenfold.flows.loss import to_unit_range
from tenfold.starflow.autoencoder.evaluation import noisy
from tenfold.starflow.captions.evaluation import pictures
from tenfold.starflow.config import StarFlowEvaluation
from tenfold.starflow.data import Latents
from tenfold.starflow.evaluation import condition_of
from tenfold.starflow.generator import ImageGenerator

_COLUMNS = 12


def draw(generator: ImageGenerator, latents: Latents, options: StarFlowEvaluation, directory: Path) -> list[Path]:
    """All pictures that fit the model, as PNG files in ``directory``, with captions beside them."""
    directory.mkdir(parents=True, exist_ok=True)
    if isinstance(latents.images, ImageSplits):
        captions = _samples(generator, options, directory) | _decoders(generator, latents, directory)
    else:
        assert isinstance(latents.images, CaptionedSplits)
        captions = pictures(generator, latents.images, options, directory)
    write_captions(directory, captions)
    return [directory / name for name in captions]


def _samples(generator: ImageGenerator, options: StarFlowEvaluation, directory: Path) -> dict[str, str]:
    """One grid a guidance weight and rule, all from the same noise: a row a class where there are classes."""
    flow, captions = generator.flow, {}
    classes = min(flow.config.classes, 10)
    count = _COLUMNS * (classes or 4)
    device = flow.var.device
    labels = torch.arange(classes, device=device).repeat_interleave(_COLUMNS) if classes else None
    shape = (count, flow.config.tokens, flow.config.token_dim)
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(device)
    largest = max(options.guidance, default=0.0)
    ways = [Guidance()]
    if classes:
        ways += [Guidance(weight, "starflow") for weight in sorted(options.guidance) if weight]
        ways += [Guidance(largest, "tarflow")] * (largest > 0)
    for way in ways:
        images, _ = generator.draw(count, labels, noise=noise, guidance=way)
        name = f"samples-{way.rule}-{way.weight:g}.png" if way.rule else "samples.png"
        image_grid(images, directory / name, columns=_COLUMNS)
        captions[name] = (
            f"Samples{', one class a row' if classes else ''}, "
            + (f"guidance {way.weight:g} by rule {way.rule}" if way.rule else "no guidance")
            + "; the same noise in every grid."
        )
    return captions


def _decoders(generator: ImageGenerator, latents: Latents, directory: Path) -> dict[str, str]:
    """Test images and what comes back from their noisy latents, a row a way of decoding."""
    images, flow = latents.images, generator.flow
    assert isinstance(images, ImageSplits)
    pixels = read_all(images.test, _COLUMNS)[0]
    batch = latents.test.batch(torch.arange(len(pixels)).numpy())
    given = condition_of(batch, flow)
    z = noisy(batch["latent"], generator.sigma).to(flow.var.device)
    rows: list[tuple[str, Tensor]] = [
        ("images", to_unit_range(pixels, images.levels)),
        ("plain decoder", generator.decode(z, how="plain")),
        ("score step", generator.decode(z, None if given is None else given.to(z.device), how="denoise")),
    ]
    if generator.decoder is not None:
        rows.append(("fine-tuned", generator.decode(z)))
    image_grid(
        torch.cat([part for _, part in rows]),
        directory / "decoders.png",
        columns=len(pixels),
        row_titles=[title for title, _ in rows],
    )
    return {
        "decoders.png": f"Test images, and what comes back from their latents with noise {generator.sigma:g}: by the "
        "plain decoder, by it after one step along the flow's score, and by the decoder that was taught to remove the "
        "noise."
    }
