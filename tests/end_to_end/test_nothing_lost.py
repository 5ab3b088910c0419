"""What fails before the first step leaves no folder in the way, and what is done is not done again."""

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from tenfold import api
from tenfold.errors import TenfoldError, UsageError
from tenfold.runs.run_folder import RunFolder
from tenfold.training.interrupt import Interrupted
from tests.training.toys import Regression, configuration, run

CONFIG = configuration()
SMALL: dict[str, Any] = {
    "model": {"width": 16, "layers": 1, "heads": 2, "length": 16},
    "evaluation": {"rows": 8, "holes": 0},
}
HOW = {"steps": 2, "batch_size": 4, "tracker": "none", "validate_every": 0, "threads": 1}


def test_a_run_whose_data_cannot_be_read_leaves_nothing(tmp_path: Path) -> None:
    data = {"source": "file", "path": str(tmp_path / "text.txt"), "length": 16, "block": 256}
    (tmp_path / "text.txt").write_text("too short")
    with pytest.raises(UsageError):
        api.train("kjv-masked", tmp_path / "run", data=data, train=HOW, **SMALL)
    assert not (tmp_path / "run").exists()
    (tmp_path / "text.txt").write_text("the cat sat on the mat and then it ran " * 200)
    done = api.train("kjv-masked", tmp_path / "run", data=data, train=HOW, device="cpu", **SMALL)
    assert done.folder.report.exists()


def test_a_source_that_fails_at_its_first_batch_leaves_nothing(tmp_path: Path) -> None:
    task = Regression(CONFIG)
    source = task.train_source()

    def broken(indices: np.ndarray) -> dict[str, Tensor]:
        raise TenfoldError("picture 3 is truncated")

    source.batch = broken
    task.train_source = lambda: source
    kept = tmp_path / "run" / "notes.txt"
    kept.parent.mkdir()
    kept.write_text("mine")
    with pytest.raises(TenfoldError, match="picture 3"):
        run(tmp_path / "run", task)
    assert [path.name for path in kept.parent.iterdir()] == ["notes.txt"]
    run(tmp_path / "run", Regression(CONFIG))


def test_a_finished_run_is_not_measured_again(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("the cat sat on the mat and then it ran " * 200)
    data = {"source": "file", "path": str(tmp_path / "text.txt"), "length": 16, "block": 256}
    done = api.train("kjv-masked", tmp_path / "run", data=data, train=HOW, device="cpu", **SMALL)
    page, rows = done.folder.report.stat().st_mtime_ns, done.folder.evaluation.read_text()
    api.resume(tmp_path / "run", device="cpu")
    assert done.folder.report.stat().st_mtime_ns == page
    api.resume(tmp_path / "run", device="cpu", train={"steps": 3})
    assert done.folder.report.stat().st_mtime_ns > page
    assert done.folder.evaluation.read_text() != rows


def test_the_first_record_after_a_resume_covers_its_window(tmp_path: Path) -> None:
    run(tmp_path / "whole", Regression(CONFIG))
    with pytest.raises(Interrupted, match="at step 6"):
        run(tmp_path / "parts", Regression(CONFIG, at={5: lambda: os.kill(os.getpid(), signal.SIGTERM)}))
    run(tmp_path / "parts", Regression(CONFIG), resume=True)
    records = []
    for name in ("whole", "parts"):
        read = RunFolder(tmp_path / name).read_metrics()
        records.append([(r["step"], r["loss"], r["gradient_norm"], r["out"]) for r in read if r["kind"] == "train"])
    assert [record[0] for record in records[1]] == [4, 8, 12]  # stopped between two of them
    assert records[1] == records[0]
