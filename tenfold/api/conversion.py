"""From published checkpoints to model folders."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tenfold.api import catalogue
from tenfold.errors import UsageError
from tenfold.files import check_writable
from tenfold.settings.options import call_reader

if TYPE_CHECKING:
    from torch import nn


def convert(
    system: str, checkpoint: str | os.PathLike[str], out: str | os.PathLike[str], *, device: str = "cpu", **options: Any
) -> nn.Module:
    """Read a published checkpoint, check every tensor, and write a model folder; returns the model, on ``device``.

    ``options`` go to the system's reader (``channels`` and ``height`` for TarFlow, ``scale_factor`` for an
    autoencoder, the fields of ``PublishedGeometry`` for STARFlow), besides ``sigma``, the Gaussian noise that the model
    was trained with, which is noted for ``sample --denoise`` of a flow, and for whoever uses a decoder.
    """
    from tenfold import hub
    from tenfold.training.devices import device_named

    reader, where = catalogue.reader_of(system), device_named(device)
    if Path(out).exists() and (not Path(out).is_dir() or any(Path(out).iterdir())):
        raise UsageError(f"{out} already exists and is not an empty folder; choose another OUT_DIR")
    check_writable(out, "the model", folder=True)
    sigma = options.pop("sigma", None)
    if sigma is not None and not sigma > 0:
        raise UsageError(f"sigma is {sigma}; give the standard deviation of the training noise, above 0")
    model: nn.Module = call_reader(reader, checkpoint, options, system)
    extra: dict[str, Any] = {"name": Path(checkpoint).stem}
    if sigma is not None:
        extra |= _noise_note(system, sigma)
    own: Any = getattr(model, "save_pretrained", None)
    if own is None:
        hub.save_pretrained(model, Path(out), extra)
    else:
        own(Path(out), extra)
    return model.to(where)


def _noise_note(system: str, sigma: float) -> dict[str, Any]:
    """What ``config.json`` says of the training noise: a setting of the recipe of what is sampled, else a number."""
    if "sample" not in catalogue.system(system).options:
        return {"sigma": sigma}
    kind = getattr(catalogue.plain(system), "objective", None)
    return {"recipe": {"objective": {"sigma": sigma, **({"noise": "gaussian"} if hasattr(kind, "noise") else {})}}}
