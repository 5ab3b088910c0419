"""``tenfold score``: what it prints and writes, and what it refuses."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

import tenfold as package
from tenfold.flows.loss import dequantise
from tenfold.training.streams import Draws, index_of


@pytest.fixture(scope="module")
def digits() -> np.ndarray:
    return load_digits().images[:50, None].astype(np.uint8)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, digits: np.ndarray) -> Path:
    """A folder with digits in every form, and with what is wrong."""
    folder = tmp_path_factory.mktemp("data")
    np.save(folder / "digits.npy", digits)
    np.save(folder / "floats.npy", (digits + 0.5) * 2 / 17 - 1)
    np.savez(folder / "two.npz", pixels=digits[:3], values=np.zeros((2, 1, 8, 8)))
    (folder / "images" / "a").mkdir(parents=True)
    for i, image in enumerate(digits[:3, 0]):
        Image.fromarray((image * 15).astype(np.uint8)).save(folder / "images" / ("a" if i else "") / f"{i}.png")
    Image.fromarray(np.zeros((9, 8), np.uint8)).save(folder / "high.png")
    bad = np.zeros((4, 1, 8, 8))
    bad[2, 0, 3, 3] = np.nan
    np.save(folder / "nan.npy", bad)
    np.save(folder / "huge.npy", np.full((1, 1, 8, 8), 17))
    np.save(folder / "colour.npy", np.zeros((2, 3, 8, 8), np.uint8))
    np.save(folder / "flat.npy", np.zeros((2, 64)))
    np.save(folder / "bool.npy", np.zeros((2, 1, 8, 8), bool))
    np.save(folder / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    (folder / "short.npy").write_bytes((folder / "digits.npy").read_bytes()[:200])
    (folder / "text.txt").touch()
    (folder / "empty").mkdir()
    return folder


def test_the_table_the_mean_and_the_files(tenfold, runs, data, tmp_path: Path, digits) -> None:
    done = tenfold("score", runs["likelihood"], data / "digits.npy", "--draws", 2, "--out", tmp_path / "s.csv")
    assert done.code == 0, done.err
    assert "10 more, which --out FILE and --json have" in done.out
    assert "N = 50" in done.out
    assert "mean of 2 draws of uniform noise" in done.out
    assert done.out.splitlines()[-2:] == [str(tmp_path / "s.csv"), str(tmp_path / "s.png")]
    rows = list(csv.DictReader((tmp_path / "s.csv").open()))
    values = [float(row["log_prob"]) for row in rows]
    assert values == sorted(values)
    assert [row["rank"] for row in rows] == [str(i) for i in range(1, 51)]
    # The same by hand, for the least likely digit.
    flow, pixels = package.load(runs["likelihood"]), torch.from_numpy(digits)
    shape, log_p = tuple(pixels.shape[1:]), 0.0
    for k in range(2):
        noise = Draws(0, k).uniform("dequantisation", index_of(digits), shape)
        log_p += flow.log_prob(dequantise(pixels, 17, noise)).detach() / 2
    assert values == pytest.approx(log_p.sort().values.tolist(), rel=1e-5)
    assert int(rows[0]["name"]) == int(log_p.argmin())
    assert float(rows[0]["bits_per_dim"]) == pytest.approx((-values[0] / 64 + np.log(17 / 2)) / np.log(2), rel=1e-9)
    assert Image.open(tmp_path / "s.png").size[0] > 200


def test_json(tenfold, runs, data) -> None:
    line = ("score", runs["likelihood"] / "model", data / "digits.npy", "--json", "--draws", 2, "--bits-per-dim")
    found = json.loads(tenfold(*line).out)
    bits = [row["bits_per_dim"] for row in found["scores"]]
    mean = next(row for row in found["summary"] if row["name"] == "bits_per_dim")
    assert mean["value"] == pytest.approx(np.mean(bits))
    assert mean["standard_error"] == pytest.approx(np.std(bits, ddof=1) / np.sqrt(50))
    assert found["model"] == "tarflow-digits"
    assert found["files"] == []


def test_images_are_called_by_their_files(tenfold, runs, data) -> None:
    found = json.loads(tenfold("score", runs["likelihood"], data / "images", "--json").out)
    assert {row["name"] for row in found["scores"]} == {"0.png", "a/1.png", "a/2.png"}
    one = json.loads(tenfold("score", runs["likelihood"], data / "images" / "0.png", "--json").out)
    assert [row["name"] for row in one["scores"]] == ["0.png"]
    assert "standard_error" not in one["summary"][0]
    resized = tenfold("score", runs["likelihood"], data / "high.png", "--json", "--resize")
    assert resized.code == 0, resized.err


def test_floats_by_class_and_of_all_classes(tenfold, runs, data) -> None:
    x = torch.from_numpy(np.load(data / "floats.npy")).float()
    flow = package.load(runs["noise"])
    given = json.loads(tenfold("score", runs["noise"], data / "floats.npy", "--class", 3, "--json").out)
    truth = flow.log_prob(x, torch.full((50,), 3)).detach().sort().values.tolist()
    assert [row["log_prob"] for row in given["scores"]] == pytest.approx(truth, rel=1e-5)
    assert list(given["units"]) == ["log_prob"]
    mean = json.loads(tenfold("score", runs["noise"], data / "floats.npy", "--json").out)["summary"][0]["value"]
    every = torch.stack([flow.log_prob(x, torch.full((50,), y)).detach() for y in range(10)])
    assert mean == pytest.approx(float((every.logsumexp(0) - np.log(10)).mean()), rel=1e-5)


def test_a_forced_density_of_noisy_data_is_called_that(tenfold, runs, data, tmp_path: Path) -> None:
    options = ("--bits-per-dim", "--force", "--draws", 1, "--out", tmp_path / "s.json")
    done = tenfold("score", runs["noise"], data / "two.npz", "--key", "pixels", *options)
    assert done.code == 0, done.err
    assert "bits/dim of noisy data" in done.out
    content = json.loads((tmp_path / "s.json").read_text())
    assert set(content["scores"][0]) == {"rank", "name", "log_prob", "noisy_density"}


def test_from_python(runs, data, digits, tmp_path: Path) -> None:
    found = package.score(runs["likelihood"], digits[:4], tmp_path / "a.json", draws=3)
    assert len(found.names) == 4
    assert [path.name for path in found.files] == ["a.json", "a.png"]
    again = package.score(runs["likelihood"] / "model", torch.from_numpy(digits[:4]), draws=3)
    assert again.values == found.values
    assert again.files == ()


REFUSED = {
    "bits-of-noise": ("noise", "digits.npy", ["--bits-per-dim"], ["Gaussian noise", "noisy images", "--force"]),
    "bits-of-floats": ("likelihood", "floats.npy", ["--bits-per-dim"], ["integer pixels", "floats"]),
    "force-alone": ("noise", "digits.npy", ["--force"], ["force belongs to bits_per_dim"]),
    "nan": ("likelihood", "nan.npy", [], ["row 2 of the input holds NaN"]),
    "levels": ("likelihood", "huge.npy", [], ["huge.npy has pixel value 17", "[0, 17)", "levels 0 to 16"]),
    "channels": ("likelihood", "colour.npy", [], ["colour.npy has shape (2, 3, 8, 8)", "(N, 1, 8, 8)"]),
    "shape": ("likelihood", "flat.npy", [], ["flat.npy has shape (2, 64)", "(N, 1, 8, 8)"]),
    "dtype": ("likelihood", "bool.npy", [], ["bool.npy holds bool", "integers"]),
    "pickled": ("likelihood", "objects.npy", [], ["objects.npy holds pickled objects", "could run code"]),
    "truncated": ("likelihood", "short.npy", [], ["short.npy is truncated or damaged"]),
    "size": ("likelihood", "high.png", [], ["high.png is 9x8", "8x8", "--resize"]),
    "resize-array": ("likelihood", "digits.npy", ["--resize"], ["arrays are not resized"]),
    "key": ("likelihood", "two.npz", ["--key", "pixel"], ["'pixel'", "did you mean 'pixels'"]),
    "several": ("likelihood", "two.npz", [], ["pixels, values", "key"]),
    "missing": ("likelihood", "none.npy", [], ["none.npy does not exist"]),
    "other": ("likelihood", "text.txt", [], ["text.txt is no image"]),
    "folder": ("likelihood", "empty", [], ["holds no image files"]),
    "label": ("noise", "floats.npy", ["--class", 10], ["class 10", "[0, 10)"]),
    "label-negative": ("noise", "floats.npy", ["--class", -1], ["class -1", "[0, 10)"]),
    "label-unconditional": ("likelihood", "floats.npy", ["--class", 1], ["unconditional", "--class"]),
    "draws": ("likelihood", "digits.npy", ["--draws", 0], ["draws is 0"]),
    "option": ("likelihood", "digits.npy", ["--drawz", 3], ["'--drawz'", "did you mean '--draws'"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(refused, runs, data, tmp_path: Path, case: str) -> None:
    run, name, options, words = REFUSED[case]
    message = refused("score", runs[run], data / name, "--out", tmp_path / "s.csv", *options)
    assert [w for w in words if w not in message] == [], message
    assert list(tmp_path.iterdir()) == []


def test_targets_and_arguments(refused, runs, data, tmp_path: Path) -> None:
    message = refused("score", runs["likelihood"], data / "digits.npy", "--out", tmp_path / "s.txt")
    assert "ends in '.txt'" in message
    assert ".csv or .json" in message
    assert "name a run" in refused("score", runs["likelihood"])
    assert "is neither a run nor a model folder" in refused("score", tmp_path, data / "digits.npy")
