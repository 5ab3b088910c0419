"""The benchmark of oriented detection: the re-creations have the reference's numbers, and every record is emitted."""

from pathlib import Path

import numpy as np
import torch

from benchmarks import detection
from benchmarks import reference_detection as reference
from benchmarks.harness import Record
from tenfold.detection.geometry import BoxCoder


def test_the_re_creations_are_the_reference(fixtures: Path) -> None:
    folder = fixtures / "oriented_tiny_detection"
    metrics = {name: torch.from_numpy(value) for name, value in np.load(folder / "gaussian_metrics.npz").items()}
    found = reference.published_gjsd(metrics["boxes_a"], metrics["boxes_b"])
    assert (found - metrics["gjsd"]).abs().max() < 1e-6
    case = {name: torch.from_numpy(np.atleast_1d(value)) for name, value in np.load(folder / "assigner.npz").items()}
    for c in ("c1", "c2"):
        k, q, g = case[f"{c}_hyper"].tolist()
        boxes = BoxCoder().decode(case[f"{c}_static_priors"].double(), case[f"{c}_reg_deltas"].double().T)
        objects, priors = case[f"{c}_gt"].double(), case[f"{c}_priors"].double()
        logits = case[f"{c}_cls_logits"].double().T
        assigned = reference.looped_dcfl(objects, priors, logits, boxes, int(k), int(q), g)
        want = case[f"{c}_final_gt_inds"]
        assert torch.equal(assigned, torch.where(want > 0, want - 1, -1))


def test_all_records() -> None:
    records: list[Record] = []
    detection.benchmarks(True, records.append)
    found = {record.name: record for record in records}
    assert {"gjsd", "assigner", "evaluator"} <= set(found)
    assert found["gjsd"].details["ours_error"] < 1e-4 < found["gjsd"].details["other_error"]
    assert found["assigner"].details["agreement"] > 0.99
    assert found["evaluator"].max_error == 0
    assert all((record.max_error or 0) < 1e-4 for record in records)
    assert all(record.ours > 0 and record.other > 0 for record in records)
