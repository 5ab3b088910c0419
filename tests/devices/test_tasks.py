"""Every task on a second device: nothing is left behind on the CPU, and the numbers are the CPU's."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.devices.tasks import CASES, USES, VERBS, write_sources

pytestmark = pytest.mark.long


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
    assert here
    assert there.keys() == here.keys()
    exact = device.type == "second"
    compared = here if exact else [key for key in here if comes_from_no_generator(name, verb, key)]
    assert [key for key in compared if not alike(here[key], there[key], 1e-3 if exact else 2e-2)] == []


def comes_from_no_generator(name: str, verb: str, key: str) -> bool:
    """Whether a result is the same on a GPU, to rounding: its generators have other numbers, and the first step of
    AdamW goes by the sign of a gradient."""
    pooled = name.startswith(("distil", "reward", "groups", "preference"))
    return verb == "score" or (verb == "train" and not pooled and not key.startswith("weight"))


def alike(one: Any, other: Any, tolerance: float) -> bool:
    """Whether two results are equal, up to the order of sums."""
    if isinstance(one, Tensor):
        if one.shape != other.shape:
            return False
        return torch.allclose(one.double(), other.double(), tolerance, tolerance / 10, equal_nan=True)
    near = pytest.approx(other, rel=tolerance, abs=tolerance / 10, nan_ok=True) if isinstance(one, float) else other
    return bool(one == near)
