"""Shapes in annotations are checked at every call (jaxtyping with beartype), before tenfold is imported."""

from pathlib import Path

import pytest
from jaxtyping import install_import_hook

from tests import numeric_tower

install_import_hook(
    [
        "tenfold.settings",
        "tenfold.nn",
        "tenfold.data.images",
        "tenfold.data.captions",
        "tenfold.data.latents",
        "tenfold.data.load",
        "tenfold.data.tensor_file",
        "tenfold.metrics",
        "tenfold.flows",
        "tenfold.tarflow",
        "tenfold.starflow",
        "tenfold.masked_lm",
        "tenfold.text",
        "tenfold.data.text",
        "tenfold.discrete",
        "tenfold.discrete_diffusion",
        "tenfold.rl",
    ],
    "beartype.beartype",
)
install_import_hook(["tenfold.quasiperiodic", "tenfold.shifts"], f"{numeric_tower.__name__}.checked")

FIXTURES = Path(__file__).parent / "fixtures"


@pytest.fixture(autouse=True)
def _seeded() -> None:
    import torch

    torch.manual_seed(0)


@pytest.fixture
def fixtures() -> Path:
    return FIXTURES
