"""Runs that earlier code wrote: they resume, sample, score and are measured to the same values as then.

``tests/fixtures/formats/make.py`` wrote them, and says what is done with each.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.fixtures.formats import make
from tests.fixtures.formats.make import KINDS, differences, observed, recorded

FORMATS = Path(__file__).parents[1] / "fixtures" / "formats"
EXPECTED, ARRAYS = recorded(FORMATS)


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of all runs, in the working directory: they name each other by relative paths."""
    for part in ("data", "runs"):
        shutil.copytree(FORMATS / part, tmp_path / "tree" / part)
    monkeypatch.chdir(tmp_path / "tree")
    monkeypatch.delenv("TENFOLD_TRACEBACK", raising=False)
    monkeypatch.setattr(make, "DEVICE", ("--device", "cpu"))  # where they were trained
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield tmp_path
    torch.set_num_threads(threads)


def test_every_kind_is_recorded() -> None:
    assert list(EXPECTED) == list(KINDS)
    assert sorted(path.name for path in (FORMATS / "runs").iterdir()) == sorted(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_of_earlier_code(kind: str, tree: Path) -> None:
    assert differences(observed(kind, tree), EXPECTED[kind], ARRAYS) == []
