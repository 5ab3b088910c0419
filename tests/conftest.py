"""Shapes in annotations are checked at every call (jaxtyping with beartype), before tenfold is imported."""

from pathlib import Path

import pytest
from jaxtyping import install_import_hook

install_import_hook("tenfold", "beartype.beartype")

FIXTURES = Path(__file__).parent / "fixtures"


@pytest.fixture(autouse=True)
def _seeded() -> None:
    import torch

    torch.manual_seed(0)


@pytest.fixture
def fixtures() -> Path:
    return FIXTURES
