"""A batch is one batch: however it is split over rounds of accumulation, a step has the same loss and gradient."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from tenfold import api
from tenfold.api.runs import open_run
from tenfold.settings.changes import change, hints_of
from tests.fixtures.formats.make import KINDS

FORMATS = Path(__file__).parents[1] / "fixtures" / "formats"
# A discriminator is weighed by gradients of the micro-batch, and its batch norm sees the micro-batch alone.
# The last reads the whole Bible with a tokenizer for every training; its loss is that of kjv-distil.
LEFT_OUT = ("decoder-mnist", "smollm2-distil")
RUNS = [kind for kind in KINDS if "main" not in KINDS[kind] and kind not in LEFT_OUT]
STAGES = [
    f"{kind}/{stage}"
    for kind in KINDS
    if "main" in KINDS[kind]
    for stage in KINDS[kind]["settings"]
    if stage != "decoder"
]


# Rows of unequal length, by everything that a loss is normalised by.
UNEQUAL = [("code-bytes", {"prefix_share": 0.7, "normaliser": by}) for by in ("token", "sequence", "batch", "none")]


@pytest.mark.parametrize(("kind", "objective"), [*((kind, {}) for kind in (*RUNS, *STAGES)), *UNEQUAL])
def test_rounds_of_accumulation_change_nothing(
    kind: str, objective: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for part in ("data", "runs"):
        shutil.copytree(FORMATS / part, tmp_path / part)
    monkeypatch.chdir(tmp_path)
    recipe, records = open_run(f"runs/{kind}").recipe, []
    without: dict[str, Any] = {"objective": objective} if objective else {}
    for name in hints_of(recipe):
        if name.endswith((".dropout", ".calibrate")):
            *groups, last = name.split(".")
            place = without
            for group in groups:
                place = place.setdefault(group, {})
            place[last] = 0
    threads = torch.get_num_threads()
    for rounds in (1, 4):
        how = {"steps": 1, "batch_size": 4, "accumulate": rounds, "log_every": 1, "clip": None, "threads": 1}
        # Dropout masks, which layers draw themselves, are keyed by the step and the process alone.
        done = api.train(change(recipe, without), f"{rounds}", evaluate=False, device="cpu", train=how)
        lines = (done.path / "metrics.jsonl").read_text().splitlines()
        records.append(next(record for record in map(json.loads, lines) if record["kind"] == "train"))
    torch.set_num_threads(threads)
    for record in records[1:]:
        for name in ("loss", "gradient_norm"):
            assert record[name] == pytest.approx(records[0][name], rel=2e-5), name
