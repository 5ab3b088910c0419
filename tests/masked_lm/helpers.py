"""Models that the tests share."""

from pathlib import Path

import numpy as np
import torch

from tenfold.masked_lm.config import MaskedLMConfig
from tenfold.masked_lm.model import MaskedLM

load = MaskedLM.from_pretrained


def fixture_model(fixtures: Path) -> MaskedLM:
    """The reference's tiny model, through the reader of published checkpoints."""
    folder = fixtures / "masked_diffusion_lm"
    return load(folder)


def arrays(fixtures: Path, name: str) -> dict[str, torch.Tensor]:
    """The tensors of an ``.npz`` of the fixtures."""
    with np.load(fixtures / "masked_diffusion_lm" / f"{name}.npz") as file:
        return {key: torch.from_numpy(file[key]) for key in file.files}


def tiny(**changes: object) -> MaskedLM:
    """A random model of bytes, small enough for anything."""
    settings = {"width": 32, "layers": 2, "heads": 4, "kv_heads": 2, "intermediate": 64, "positions": 64, **changes}
    return MaskedLM.from_config(MaskedLMConfig(**settings)).eval()  # type: ignore[arg-type]
