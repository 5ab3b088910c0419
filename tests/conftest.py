"""Shapes in annotations are checked at every call (jaxtyping with beartype), before tenfold is imported."""

from pathlib import Path

import jaxtyping
import pytest

from tests.checked import checked

jaxtyping.jaxtyped = checked  # type: ignore[assignment]
jaxtyping.install_import_hook("tenfold", "tests.checked.checked")

FIXTURES = Path(__file__).parent / "fixtures"


@pytest.fixture(autouse=True)
def _seeded() -> None:
    import torch

    torch.manual_seed(0)


@pytest.fixture
def fixtures() -> Path:
    return FIXTURES


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that are marked as long begin first, so that no process waits at the end for one of them."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)  # stable: files stay together
