"""Every task on a second device: nothing is left behind on the CPU, and the numbers are the CPU's."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.devices.tasks import CASES, USES, VERBS, write_sources


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of texts and models to start from."""
    path: Path = tmp_path_factory.mktemp("sources")
    write_sources(path)
    return path


@pytest.mark.parametrize(("name", "verb"), USES)
def test_a_task_moves_whole(name: str, verb: str, place: Path, tmp_path: Path, device: torch.device) -> None:
    here = VERBS[verb](CASES[name], place, tmp_path / "here", torch.device("cpu"))
    there = VERBS[verb](CASES[name], place, tmp_path / "there", device)
    assert there.keys() == here.keys()
    assert here
    if device.type == "cuda" and verb in ("sample", "evaluate"):
        return  # its generators have other numbers
    assert [key for key in here if not alike(here[key], there[key])] == []


def alike(one: Any, other: Any) -> bool:
    """Whether two results are equal, up to the order of sums."""
    if isinstance(one, Tensor):
        return one.shape == other.shape and torch.allclose(one.double(), other.double(), 1e-3, 1e-4, equal_nan=True)
    return bool(one == (pytest.approx(other, rel=1e-3, abs=1e-4, nan_ok=True) if isinstance(one, float) else other))
