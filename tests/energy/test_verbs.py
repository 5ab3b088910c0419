"""Energies through the command line and the API: trained small, sampled, scored, measured, reported."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tenfold import api
from tenfold.cli.main import main
from tenfold.energy import EnergyModel
from tenfold.energy.options import EnergySampling, EnergyScoring
from tenfold.errors import UsageError

pytestmark = pytest.mark.long

_HOW = {"tracker": "none", "threads": 1, "validate_every": 0, "batch_size": 64, "warmup_steps": 5}
_FEW = {
    "levels": [0.2, 1.0], "rows": 32, "draws": 1, "probes": 4, "samples": 40, "steps": 4, "particles": 8,
    "populations": 2, "calibrate": 4,
}  # fmt: skip
_SMALL = {"network": {"width": 24, "layers": 1}}


@pytest.fixture(scope="module", autouse=True)
def _without_training_curves() -> Iterator[None]:
    """Reports draw the curves of a training once for each page; here they are not what is looked at."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("tenfold.reports.html.curves", lambda records, path: None)
        yield


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> api.Run:
    """The newcomer's recipe, small, and measured."""
    return api.train(
        "energy-digits",
        tmp_path_factory.mktemp("runs") / "e",
        device="cpu",
        teacher={"train": {**_HOW, "steps": 150}, "model": _SMALL, "evaluation": {**_FEW, "calibrate": 0}},
        energy={"train": {**_HOW, "steps": 60}, "model": _SMALL, "evaluation": _FEW},
    )


def test_a_run_is_measured_and_reported(digits: api.Run) -> None:
    rows = {(row.name, row.model): row for row in digits.measurements}
    for model in ("energy", "teacher"):
        assert rows["denoising_mse_0.2", model].value < rows["denoising_mse_1", model].value < 1
        assert ("fid", model) in rows
    assert rows["relative_curl_1", "energy"].value < 1e-4 < 1e-2 < rows["relative_curl_1", "teacher"].value
    assert rows["distance_1", "energy"].value < rows["distance_1", "before training"].value
    assert ("auroc_inverted", "Gaussian") in rows
    for target in ("and", "not", "cold"):
        for method in ("plain guidance", "continuous weights", "exact weights", "exact weights and control"):
            assert 0 <= rows[f"{target}_share", method].value <= 1
            assert rows[f"{target}_evaluations", method].value > 0
    captions = json.loads((digits.path / "energy" / "figures" / "captions.json").read_text())
    assert next(iter(captions)) == "compositions.png"
    assert {"weights.png", "particles.png", "denoising.png", "distance.png", "samples-teacher.png"} <= set(captions)
    assert digits.folder.report.read_text().count("<img") >= len(captions)


def test_the_model_folder_knows_its_classes(digits: api.Run) -> None:
    model = EnergyModel.from_pretrained(digits.path / "energy" / "model")
    assert set(model.normalisers) == set(range(-1, 10))
    assert model.named("eights") == 8
    assert model.normalised


def test_ten_lines_of_python(digits: api.Run) -> None:
    """The same composition from Python, with operators."""
    from tenfold.energy.feynman_kac import GridOptions, ParticleSampler

    model: Any = api.load(digits, device="cpu")
    threes, eights, nines = (model.given(model.named(name)) for name in ("threes", "eights", "nines"))
    grid = GridOptions(steps=4, sigma_min=0.1, sigma_max=20.0)
    for target in (0.8 * (eights & threes), (threes | eights) & (eights | nines), 1.3 * eights - 0.3 * threes):
        run = ParticleSampler(target, grid).sample(2, 8)
        assert run.particles.shape == (2, 8, 1, 8, 8)
        assert bool(run.evidence.log_z < np.inf)
    assert threes.normalised


@pytest.mark.parametrize("method", ["smc", "weights", "plain"])
def test_targets_from_the_command_line(digits: api.Run, tmp_path: Path, method: str) -> None:
    line = ["sample", str(digits.path), "--target", "0.8 * (eights & threes)", "--particles", "16", "--method", method]
    assert main([*line, "--steps", "5", "--populations", "2", "--out", str(tmp_path / method)]) == 0
    stored = np.load(tmp_path / method / "samples.npz")
    assert stored["particles"].shape == (2, 16, 1, 8, 8)
    assert stored["pixels"].dtype == np.uint8
    assert stored["pixels"].max() <= 16
    told = json.loads((tmp_path / method / "samples.json").read_text())
    assert told["options"]["target"] == "0.8 * (eights & threes)"
    assert told["network_evaluations"] > 0
    assert np.isfinite(stored["log_weights"]).all()
    assert (np.ptp(stored["log_weights"]) == 0) == (method == "plain")
    assert (tmp_path / method / "samples.png").is_file()


def test_samples_do_not_depend_on_the_chunk(digits: api.Run, tmp_path: Path) -> None:
    task: Any = digits.trained()
    for name, chunk in (("a", 4096), ("b", 7)):
        task.sample(EnergySampling(classes=3, particles=12, steps=4, chunk=chunk), tmp_path / name)
    first, second = (np.load(tmp_path / name / "samples.npz") for name in "ab")
    np.testing.assert_allclose(first["particles"], second["particles"], rtol=1e-4, atol=1e-4)


def test_a_teacher_is_sampled_without_weights(digits: api.Run, tmp_path: Path) -> None:
    teacher = digits.path / "teacher"
    assert (
        main(
            [
                "sample",
                str(teacher),
                "--method",
                "plain",
                "--particles",
                "4",
                "--steps",
                "3",
                "--out",
                str(tmp_path / "t"),
            ]
        )
        == 0
    )
    with pytest.raises(UsageError, match="weights need an energy, and this model is a denoiser"):
        api.sample(teacher, tmp_path / "u", particles=4, steps=3, device="cpu")


def test_images_are_ranked(digits: api.Run, tmp_path: Path) -> None:
    task: Any = digits.trained()
    inside = task.world.images.test.batch(np.arange(20))["image"].numpy()
    outside = 16 - inside
    np.save(tmp_path / "both.npy", np.concatenate([inside, outside]))
    found = api.score(digits, tmp_path / "both.npy", tmp_path / "scores.csv", device="cpu")
    assert list(found.columns) == ["log_density", "rank"]
    ranks = dict(zip(found.names, (row[1] for row in found.values), strict=True))
    order = [
        ranks[name] for name in sorted(ranks, key=lambda name: int(name.strip("[]").split("#")[-1].split(" ")[-1]))
    ]
    assert np.mean(order[:20]) > 0.2 > np.mean(order[20:])
    assert (tmp_path / "scores.png").is_file()
    ratio = api.score(digits, inside, classes=8, against=3, device="cpu")
    other = api.score(digits, inside, classes=3, against=8, device="cpu")
    first, second = (dict(zip(one.names, (row[0] for row in one.values), strict=True)) for one in (ratio, other))
    assert all(first[name] == pytest.approx(-second[name], abs=1e-3) for name in first)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--target", "eights & elevens"], "elevens"),
        (["--target", "eights &"], "is no expression"),
        (["--target", "__import__('os')"], "target"),
        (["--target", "eights - eights"], "powers"),
        (["--class", "11"], r"class 11 is outside \[0, 10\)"),
        (["--particles", "1"], "particles is 1; give at least 2"),
        (["--target", "eights", "--class", "3"], "names its classes; leave --class out"),
    ],
)
def test_bad_samples_are_one_sentence(
    digits: api.Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    assert main(["sample", str(digits.path), *options, "--out", str(tmp_path / "x")]) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 1
    assert re.search(message, error[0])
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sigma": 0.0}, "sigma is 0.0"),
        ({"sigma": 1e4}, "choose one inside"),
        ({"classes": 12}, r"class 12 is outside"),
        ({"against": 3}, "against compares with --class"),
    ],
)
def test_bad_scores_are_one_sentence(digits: api.Run, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        api.score(digits, torch.zeros(1, 1, 8, 8), device="cpu", **changes)


def test_a_model_folder_is_enough(digits: api.Run, tmp_path: Path) -> None:
    """Sampled and scored without its run."""
    folder = digits.path / "energy" / "model"
    api.sample(folder, tmp_path / "s", target="eights | threes", particles=4, steps=3, device="cpu")
    found = api.score(folder, np.zeros((2, 1, 8, 8), np.uint8), device="cpu", options=EnergyScoring(classes=1))
    assert len(found.names) == 2


def test_a_known_density_is_reported(tmp_path: Path) -> None:
    few = {**_FEW, "samples": 0, "compositions": False, "calibrate": 0}
    data = {"samples": 400, "held_out": 40}
    run = api.train(
        "energy-2d",
        tmp_path / "p",
        device="cpu",
        teacher={"train": {**_HOW, "steps": 30}, "model": _SMALL, "evaluation": few, "data": data},
        energy={"train": {**_HOW, "steps": 20}, "model": _SMALL, "evaluation": few, "data": data},
    )
    rows = {(row.name, row.model): row.value for row in run.measurements}
    assert rows["log_density_correlation_1", "energy"] > 0.5
    assert ("score_error_0.5", "teacher") in rows
    captions = json.loads((run.path / "energy" / "figures" / "captions.json").read_text())
    assert {"log-density.png", "density.png"} <= set(captions)
