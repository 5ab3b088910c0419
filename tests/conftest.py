"""Shapes in annotations are checked at every call (jaxtyping with beartype), before tenfold is imported."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "2")

from jaxtyping import install_import_hook

install_import_hook(["tenfold.nn", "tenfold.flows"], "beartype.beartype")

from pathlib import Path

import pytest
import torch

FIXTURES = Path(__file__).parent / "fixtures"


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture()
def fixtures() -> Path:
    return FIXTURES
