"""Pictures of trained models: what is left to be known by noise level, and loss against compute."""

import math
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from tenfold.data.text.characters import CharacterSplits
from tenfold.discrete.objectives import cross_entropy
from tenfold.discrete.paths import in_view
from tenfold.discrete.schedules import time_of
from tenfold.discrete_diffusion.networks.autoregressive import Autoregressive
from tenfold.discrete_diffusion.networks.model import DiscreteDiffusion
from tenfold.errors import UsageError
from tenfold.figures import lines, write_captions
from tenfold.runs.run_folder import RunFolder

_LEVELS = (0.02, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.97)
_ROWS = 128


@torch.no_grad()
def draw(model: DiscreteDiffusion | Autoregressive, data: CharacterSplits, directory: Path) -> list[Path]:
    """Bits left of an active token against the share of tokens that are noise (of a token against its place, for a
    model that reads from left to right), on test rows."""
    directory.mkdir(parents=True, exist_ok=True)
    clean = data.test.batch(np.arange(min(_ROWS, len(data.test))))["tokens"].to(next(model.parameters()).device)
    if isinstance(model, Autoregressive):
        bits = -model(clean).gather(-1, clean[..., None])[..., 0].mean(0).cpu() / math.log(2)
        path = lines(
            {"test rows": (range(1, len(bits) + 1), bits.tolist())},
            directory / "by-place.png",
            "character of the row",
            "bits",
        )
        write_captions(directory, {path.name: "What a character costs, by how many stand before it."})
        return [path]
    generator = torch.Generator().manual_seed(0)
    left = []
    for level in _LEVELS:
        alpha = torch.full((len(clean),), 1 - level, device=clean.device)
        whether, which = torch.rand(2, *clean.shape, generator=generator).to(clean.device)
        noisy = model.source.noise(clean, alpha, whether, which)
        found = model(noisy, time_of(model.schedule, alpha))
        posterior = in_view(found, noisy, alpha, model.source, model.view, "posterior")
        active = model.source.active(noisy)
        left.append(cross_entropy(posterior, clean)[active].mean().item() / math.log(2))
    path = lines(
        {"test rows": (_LEVELS, left)},
        directory / "by-noise.png",
        "share of tokens that are noise",
        "bits of an active token",
    )
    write_captions(directory, {path.name: "How much is left to be known of a token that may be noise, by its share."})
    return [path]


def loss_against_compute(
    runs: Mapping[str, str | os.PathLike[str]], path: Path, clock: str = "seconds", unit: str = "character"
) -> Path:
    """Validation loss of several runs by name in bits a token, which is called a ``unit``, against seconds of training
    (or "step").

    Raises UsageError for a run that has validated less than twice."""
    series: dict[str, tuple[list[float], list[float]]] = {}
    for name, folder in runs.items():
        found = [record for record in RunFolder(folder).read_metrics() if record.get("kind") == "validation"]
        if len(found) < 2:
            raise UsageError(f"{folder} has validated {len(found)} times; train it with --train.validate_every")
        series[name] = ([r[clock] for r in found], [r["loss"] / math.log(2) for r in found])
    return lines(
        series,
        path,
        "step" if clock == "step" else f"{clock} of training",
        f"validation bound, bits per {unit}",
        log=(True, False),
    )
