"""What a dry run says of memory is what training takes, for every task that can be trained."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tenfold.api import catalogue
from tests.training.peaks import CASES

pytestmark = pytest.mark.long


def test_every_task_has_a_case() -> None:
    """A new system is measured too."""
    trained = {name for name, system in catalogue.systems().items() if system.task is not None}
    assert {case.made(Path("folder")).system for case in CASES.values()} == trained


def test_estimates_are_within_a_quarter_of_the_peak(tmp_path: Path) -> None:
    # Every large tensor is given back to the system at once, so that one process can measure all of them.
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": "65536"}
    command = [sys.executable, "-W", "ignore", "-m", "tests.training.peaks", str(tmp_path)]
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment, cwd=tmp_path, check=False, timeout=900
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert set(found) == set(CASES)
    told = {name: estimate / peak for name, (peak, estimate) in found.items()}
    assert all(ratio == pytest.approx(1.0, abs=0.25) for ratio in told.values()), told
