"""What a flow on captioned compositions shows of its captions: measured by an independent judge, and as pictures."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from tenfold import progress
from tenfold.data.captions.captioned import CaptionedSplits, by_group
from tenfold.data.captions.compositions import Compositions
from tenfold.data.captions.config import CaptionDataConfig
from tenfold.errors import UsageError
from tenfold.figures.images import image_grid
from tenfold.flows.guidance import Guidance
from tenfold.flows.loss import to_levels
from tenfold.flows.sampling import at_once, keyed_noise
from tenfold.runs.measurement import Measurement
from tenfold.starflow.captions.judge import kept_judge
from tenfold.starflow.captions.matching import matching_rows, real_batches
from tenfold.starflow.config import StarFlowEvaluation
from tenfold.starflow.generator import ImageGenerator

_SHOWN = 4


def caption_rows(
    generator: ImageGenerator,
    config: CaptionDataConfig,
    images: CaptionedSplits,
    options: StarFlowEvaluation,
    folder: Path,
    name: str,
) -> list[Measurement]:
    """Shares of samples that show what held-out captions say, at every guidance weight of ``options``, with captions
    exchanged among the samples beside them, and with real images as the ceiling; apart for combinations of digits that
    no training caption has.

    The judge is trained once and kept in ``folder``. Raises UsageError for captions other than those of
    compositions, which no judge can read."""
    source = images.test
    if not isinstance(source, Compositions):
        raise UsageError("captions can be judged for compositions only; set evaluation.samples to 0 for other images")
    judge = kept_judge(config, folder).to(generator.flow.var.device)
    rows = np.arange(min(options.samples, len(source)))
    parts = {"test": rows, "test, unseen combinations": rows[source.unseen[rows]]}
    measured: list[Measurement] = []
    for split, chosen in parts.items():
        measured += matching_rows(judge, real_batches(source, chosen), "real images", split)
    for weight in progress.track(options.guidance, "guidance"):
        made = samples(generator, source, rows, Guidance(weight))
        for split, chosen in parts.items():
            batches = [
                (to_levels(torch.stack([made[i] for i in part]), 256).cpu(), source.attributes[torch.from_numpy(part)])
                for part in by_group(source.groups, chosen)
            ]
            measured += matching_rows(judge, batches, name, f"{split}, guidance {weight:g}")
    return measured


def samples(
    generator: ImageGenerator,
    source: Compositions,
    rows: Int64[np.ndarray, "n"],
    guidance: Guidance | None = None,
    seed: int = 0,
) -> dict[int, Float[Tensor, "c h w"]]:
    """One image for the caption of each record, on its canvas, by the record's number."""
    found: dict[int, Tensor] = {}
    for group in by_group(source.groups, rows):
        _, height, width = source.shapes[source.groups[group[0]]]
        factor = generator.autoencoder.factor
        size = (height // factor, width // factor)
        flow = generator.flow.at(*size)
        batch = at_once(flow)
        for part in np.split(group, range(batch, len(group), batch)):
            noise, texts = keyed_noise(flow, seed, torch.from_numpy(part)), source.captions(part)
            images, _ = generator.draw(len(part), texts, size=size, guidance=guidance, noise=noise)
            found |= zip(part.tolist(), images, strict=True)
    return found


def pictures(
    generator: ImageGenerator, images: CaptionedSplits, options: StarFlowEvaluation, directory: Path
) -> dict[str, str]:
    """Grids of samples with their captions, a row a guidance weight under the real images, one file a canvas; returns
    the files' captions."""
    source, captions = images.test, {}
    for group, ratio in enumerate(images.ratios):
        rows = np.flatnonzero(source.groups == group)[:_SHOWN]
        if not len(rows):
            continue
        assert isinstance(source, Compositions)
        grid, titles = [source.batch(rows)["image"].float() / 127.5 - 1.0], ["real"]
        for weight in options.guidance:
            grid += [image[None].cpu() for image in samples(generator, source, rows, Guidance(weight)).values()]
            titles.append(f"w = {weight:g}")
        name = f"captions-{ratio.replace(':', 'x')}.png"
        image_grid(torch.cat(grid), directory / name, columns=len(rows), row_titles=titles)
        told = "; ".join(f"({i + 1}) {text.splitlines()[0]}" for i, text in enumerate(source.captions(rows)))
        captions[name] = f"Canvas {ratio}: real test images, and samples for their captions by guidance weight. {told}."
    return captions
