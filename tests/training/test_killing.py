"""SIGKILL at any moment, inside a save too, and the run still ends in the same bits."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.training.killing import CONFIG, POINTS

pytestmark = pytest.mark.long


def test_killed_runs_end_in_the_same_weights(tmp_path: Path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.training.killing", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    outcomes = [outcome for outcome, _ in found["outcomes"]]
    assert outcomes[-1] == "finished"
    assert set(outcomes[:-1]) == {"killed", "killed in a save"}
    assert len(outcomes) - 1 >= 20
    assert {point for _, point in found["outcomes"] if point} == set(POINTS)
    assert found["leftovers"] > 0  # some kills did leave half a checkpoint behind
    assert found["steps"] > CONFIG.steps  # and steps were lost and done again
    assert not [name for name in found["remaining"] if name.startswith(".")]
    assert found["equal"]
