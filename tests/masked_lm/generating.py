"""Models, fixtures and shapes for tests of generation."""

from pathlib import Path

import numpy as np
import torch

from tenfold.masked_lm.config import MaskedLMConfig
from tenfold.masked_lm.model import MaskedLM

FOLDER = Path(__file__).parent.parent / "fixtures" / "masked_diffusion_lm"


def fixture_model() -> MaskedLM:
    """The model behind the reference's outputs."""
    return MaskedLM.from_pretrained(FOLDER)


def arrays(name: str) -> dict[str, torch.Tensor]:
    """The tensors of a fixture file."""
    return {key: torch.from_numpy(value) for key, value in np.load(FOLDER / f"{name}.npz").items()}


def random_model(seed: int = 0, shift: bool = True, family: str = "qwen2") -> MaskedLM:
    """A tiny model of bytes whose predictions are not flat."""
    torch.manual_seed(seed)
    config = MaskedLMConfig(
        family=family, width=32, layers=2, heads=4, kv_heads=2, intermediate=64, positions=128, logit_shift=shift
    )
    model = MaskedLM.from_config(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 2:
                parameter.normal_(std=0.6 if "embed" in name or "head" in name else 0.3)
    return model


def prompts(batch: int = 2, length: int = 6, seed: int = 1) -> torch.Tensor:
    """Random bytes."""
    return torch.randint(0, 256, (batch, length), generator=torch.Generator().manual_seed(seed))
