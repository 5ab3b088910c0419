"""Samples in a folder."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from tenfold.discrete_samplers.config import Lattice
from tenfold.discrete_samplers.result import SamplerResult
from tenfold.files import check_writable, write_json


def write_samples(found: SamplerResult, config: Lattice, name: str, options: Any, folder: Path) -> list[Path]:
    """``samples.npz`` (tokens and log weights) and ``samples.json`` (log Z, its error, notes and what it cost)."""
    check_writable(folder, "samples", folder=True)
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / "samples.npz", folder / "samples.json"]
    lattice = found.samples.view(-1, config.height, config.width)
    np.savez_compressed(
        files[0], tokens=lattice.to(torch.uint8).cpu().numpy(), log_weights=found.log_weights.cpu().numpy()
    )
    about = {"log_z": found.log_z, "log_z_standard_error": found.log_z_standard_error, "elbo": found.elbo}
    more = {"ess": found.ess, "diagnostics": dict(found.diagnostics), "notes": list(found.notes)}
    write_json(files[1], {"model": name, "options": vars(options), **about, **more, "counts": vars(found.counts)})
    return files
