"""``tenfold shifts`` and ``tenfold discrepancy``: what they print and write, and every line they refuse."""

import json
from pathlib import Path

import numpy as np
import pytest

BAND = ("--set", "abs(y - x^2) <= 1/1000000", "--alpha", "cubic")


def as_json(done):
    assert done.code == 0, done.err
    return json.loads(done.out)


@pytest.mark.parametrize(
    "words",
    [
        ["shifts"],
        ["shifts", "points"],
        ["shifts", "best"],
        ["shifts", "fraction"],
        ["shifts", "certify"],
        ["discrepancy"],
        ["discrepancy", "count"],
        ["discrepancy", "bound"],
        ["discrepancy", "cover"],
        ["discrepancy", "slab"],
        ["discrepancy", "points"],
    ],
)
def test_help_has_examples(tenfold, words):
    done = tenfold(*words, "--help")
    assert done.code == 0
    assert f"tenfold {' '.join(words)}" in done.out.split("examples:")[1]


def test_points(tenfold, tmp_path: Path):
    far = as_json(tenfold("shifts", "points", "--alpha", "cubic", "--start", "1e12", "--count", 2, "--json"))
    assert np.allclose(far["points"][0], [0.8731647672106072, 0.1994747517056392], atol=1e-15)
    assert far["phase_error"] < 1e-25
    out = tmp_path / "deep" / "points.npz"
    done = tenfold("shifts", "points", "--alpha", "rd:2", "--count", 64, "--scramble", 1, "--out", out)
    assert done.out.strip() == str(out)
    content = np.load(out)
    assert content["points"].shape == (64, 2)
    assert json.loads(str(content["about"]))["scramble"] == 1
    skew = tenfold("shifts", "points", "--skew", 3, "--theta", "1/10,3/10,7/10", "--count", 5, "--bits", 256)
    assert "0.9541019662496845" in skew.out


def test_diophantine_actions(tenfold):
    assert as_json(tenfold("shifts", "fraction", "--alpha", "pi", "--terms", 5, "--json"))["quotients"] == [
        0,
        7,
        15,
        1,
        292,
    ]
    best = as_json(tenfold("shifts", "best", "--alpha", "golden", "--limit", "1e9", "--json"))
    assert [r["size"] for r in best["records"]][:5] == [1, 2, 3, 5, 8]
    assert best["estimate"]["statement"].startswith("consistent with")
    dual = tenfold("shifts", "best", "--alpha", "sqrt2,sqrt3", "--limit", 40, "--dual")
    assert "[35, -28]" in dual.out
    certified = tenfold("shifts", "certify", "--alpha", "golden", "--kappa", 0.38, "--limit", "1e12")
    assert "holds, for 1 <= n <= 1000000000000" in certified.out
    refuted = as_json(tenfold("shifts", "certify", "--alpha", "pi", "--kappa", 0.1, "--limit", 1000, "--json"))
    assert refuted["violation"] == 7
    assert not refuted["holds"]


def test_counts(tenfold, tmp_path: Path):
    found = as_json(tenfold("discrepancy", "count", *BAND, "--stop", "1e7", "--json"))
    assert found["hits"] == [0, 5041840, 5554290, 5707209, 5972138, 6013475, 6219686, 6716269, 7895034, 8760742]
    assert (found["method"], found["certified"], found["range_inclusive"]) == ("lattice", True, True)
    assert (
        "249999999999999997 hits"
        in tenfold("discrepancy", "count", "--set", "1/4 <= x < 1/2", "--stop", "999999999999999999").out
    )
    figure, hits = tmp_path / "a.png", tmp_path / "hits.npz"
    done = tenfold(
        "discrepancy",
        "count",
        "--set",
        "x^2 + y^2 < 1/4",
        "--alpha",
        "cubic",
        "--ladder",
        "1e2,1e3,1e4",
        "--figure",
        figure,
        "--out",
        hits,
    )
    assert done.code == 0
    assert figure.read_bytes()[:4] == b"\x89PNG"
    assert len(np.load(hits)["hits"]) == int(done.out.split()[0])
    assert "N = 1000: " in done.out


def test_sets_from_files(tenfold, tmp_path: Path):
    from tenfold.quasiperiodic import parse_set

    file = tmp_path / "set.json"
    file.write_text(json.dumps(parse_set("x < 1/3", 1).to_dict()))
    found = as_json(tenfold("discrepancy", "count", "--set-file", file, "--stop", 1000, "--json"))
    again = as_json(tenfold("discrepancy", "count", "--set", "x < 1/3", "--stop", 1000, "--json"))
    assert found["count"] == again["count"]


def test_bounds_covers_slabs_and_points(tenfold, tmp_path: Path):
    bound = as_json(tenfold("discrepancy", "bound", "--set", "x < 1/20", "--stop", 5000, "--json"))
    assert bound["hits"] <= bound["bound"] <= bound["plain"]
    cover = as_json(tenfold("discrepancy", "cover", "--set", "x + 2*y <= 13/10", "--cells", 100, "--json"))
    assert cover["measure"]["exact"] == "2/5"
    assert cover["cover"]["low"] <= cover["cover"]["cells"]
    figure = tmp_path / "slabs.png"
    slab = as_json(tenfold("discrepancy", "slab", "--sizes", "256,512,1024,4096", "--figure", figure, "--json"))
    assert len(slab["slabs"]) == 4
    assert slab["exponent"]["theory"] == 0
    assert figure.exists()
    star = as_json(tenfold("discrepancy", "points", "--alpha", "sqrt2,sqrt3", "--stop", 24, "--json"))
    assert abs(star["value"] - 0.1830106426765477) < 0.2
    assert star["exact"]
    np.savetxt(tmp_path / "p.csv", np.random.default_rng(0).random((20, 2)), delimiter=",")
    assert "centred" in tenfold("discrepancy", "points", "--file", tmp_path / "p.csv", "--kind", "centred").out
    periodic = tenfold("discrepancy", "points", "--alpha", "cubic", "--kind", "periodic", "--stop", 1000)
    assert "root mean square" in periodic.out


LINES = {
    "ladder-order": (["discrepancy", "count", *BAND, "--ladder", "9,5"], ["--ladder", "increasing"]),
    "out-suffix": (["discrepancy", "count", *BAND, "--stop", "1e17", "--out", "hits.txt"], ["--out", ".npz"]),
    "figure-suffix": (
        ["discrepancy", "slab", "--sizes", "256,512,1024,4096", "--figure", "x.pdf"],
        ["--figure", ".png"],
    ),
    "out-of-line": (
        ["discrepancy", "count", "--set", "x < 1/2", "--stop", "1e18", "--out", "h.npz"],
        ["without listing"],
    ),
    "idle-alpha": (["discrepancy", "points", "--file", "x.npy", "--alpha", "pi"], ["--file", "--alpha"]),
    "idle-resonant": (
        ["discrepancy", "count", "--set", "x < 1/2", "--skew", 1, "--stop", 9, "--allow-resonant"],
        ["--allow-resonant"],
    ),
    "much-json": (["shifts", "points", "--count", "1e8", "--json"], ["--out FILE.npz"]),
    "negative-seed": (["shifts", "points", "--shift", -1], ["seed is -1"]),
    "kappa-inf": (["shifts", "certify", "--kappa", "inf"], ["kappa"]),
    "tol-nan": (["discrepancy", "cover", "--set", "x < y", "--tol", "nan"], ["tol"]),
    "skew-dim": (["shifts", "points", "--skew", "1e9"], ["--skew", "64"]),
    "no-action": (["discrepancy"], ["name an action", "--example"]),
    "action": (["discrepancy", "cuont"], ["'cuont'", "did you mean 'count'"]),
    "shift-action": (["shifts", "pionts"], ["did you mean 'points'"]),
    "no-shift-action": (["shifts"], ["action"]),
    "no-set": (["discrepancy", "count", "--stop", 10], ["--set 'x < 1/2'"]),
    "set": (["discrepancy", "count", "--set", "x <", "--stop", 10], ["'x <'", "no formula", "expected inequalities"]),
    "set-variable": (["discrepancy", "count", "--set", "y < 1/2", "--stop", 10], ["no variable 'y' in 1"]),
    "dimensions": (
        ["discrepancy", "bound", "--set-file", "SET1", "--alpha", "cubic"],
        ["b = 1 dimensions", "2", "must agree"],
    ),
    "empty-set": (["discrepancy", "count", "--set-file", "EMPTY", "--stop", 10], ["no clause", "at least one"]),
    "empty-clause": (["discrepancy", "count", "--set-file", "CLAUSE", "--stop", 10], ["clause 0", "is empty"]),
    "nan": (["discrepancy", "count", "--set-file", "NAN", "--stop", 10], ["coefficient", "nan"]),
    "set-file": (["discrepancy", "count", "--set-file", "none.json", "--stop", 10], ["none.json", "does not exist"]),
    "stop-missing": (["discrepancy", "count", "--set", "x < 1/2"], ["--stop is missing", "--stop 1e6"]),
    "stop-word": (["discrepancy", "count", "--set", "x < 1/2", "--stop", "many"], ["--stop is 'many'", "1e12"]),
    "stop-half": (["discrepancy", "count", "--set", "x < 1/2", "--stop", "1.5"], ["--stop is '1.5'", "whole number"]),
    "reversed": (
        ["discrepancy", "count", "--set", "x < 1/2", "--start", 10, "--stop", 5],
        ["N = 5 is below n0 = 10", "n0 ≤ N"],
    ),
    "too-far": (["discrepancy", "count", "--set", "x < 1/2", "--stop", "1e19"], ["10000000000000000000", "2^63"]),
    "bits": (
        ["discrepancy", "count", "--set", "x < 1/2", "--stop", 5, "--bits", 100],
        ["bits is 100", "64, 128 or 256"],
    ),
    "too-few-bits": (
        ["discrepancy", "count", "--set", "x < 1/2", "--stop", "1e12", "--bits", 64],
        ["64 bits are too few", "5.4e-08", "n·2^-64", "closest |P|", "use more bits"],
    ),
    "resonant": (
        ["discrepancy", "count", "--set", "x < y", "--alpha", "sqrt2,sqrt8", "--stop", 5],
        ["resonant", "2·(sqrt2) + -1·(sqrt8)", "--allow-resonant"],
    ),
    "rational": (["shifts", "points", "--alpha", "3/7"], ["7·(3/7)", "--allow-resonant"]),
    "method": (["discrepancy", "count", *BAND, "--stop", 5, "--method", "fast"], ["'fast'", "choose one of"]),
    "method-fits": (
        ["discrepancy", "count", *BAND, "--stop", 5, "--method", "floor_sum"],
        ["dimension 1", "'lattice'"],
    ),
    "skew-lattice": (
        ["discrepancy", "count", "--set", "x < y", "--skew", 2, "--stop", 5, "--method", "lattice"],
        ["skew shift", "'enumerate'"],
    ),
    "fine-grid": (["discrepancy", "cover", "--set", "x < y", "--cells", "1e8"], ["K is 100000000", "10000000"]),
    "alpha": (["shifts", "points", "--alpha", "goldn"], ["'goldn'", "did you mean 'golden'"]),
    "theta": (["shifts", "points", "--alpha", "cubic", "--theta", "0,0,0"], ["2 frequencies", "not 3"]),
    "count": (["shifts", "points", "--count", 0], ["--count is 0", "at least 1"]),
    "vector-fraction": (["shifts", "fraction", "--alpha", "cubic"], ["one number"]),
    "limit": (["shifts", "best", "--limit", 0], ["limit is 0", "at least 1"]),
    "kappa": (["shifts", "certify", "--kappa", -1], ["kappa is -1", "positive"]),
    "short-window": (["discrepancy", "slab", "--sizes", "256,300,350,400"], ["256", "400", "factor of 10", "widen"]),
    "few-sizes": (["discrepancy", "slab", "--sizes", "256,4096"], ["2 values of N", "at least 4"]),
    "small-size": (["discrepancy", "slab", "--sizes", "2,20,200,2000"], ["N is 2", "4 ≤ N"]),
    "kind": (["discrepancy", "points", "--kind", "sta"], ["'sta'", "did you mean 'star'"]),
    "exact": (
        ["discrepancy", "points", "--alpha", "rd:3", "--stop", 1000, "--exact"],
        ["exact star", "certified bounds"],
    ),
    "squared": (["discrepancy", "points", "--squared"], ["no squared form"]),
    "file": (["discrepancy", "points", "--file", "none.npz"], ["none.npz", "does not exist"]),
    "file-kind": (["discrepancy", "points", "--file", "SET1"], ["no .npz, .npy or .csv"]),
    "out": (["shifts", "points", "--out", "a.txt"], ["'a.txt'", ".npz"]),
    "figure": (["discrepancy", "count", "--set", "x < 1/2", "--stop", 5, "--figure", "a.png"], ["--ladder"]),
    "example": (["discrepancy", "--example", "slab", "--out", "x"], ["'slab'", "did you mean 'slabs'"]),
    "example-out": (["discrepancy", "--example", "slabs"], ["--out runs/slabs"]),
    "runs": (["discrepancy", "--example", "slabs", "--runs", "runs/a", "--out", "x"], ["--runs", "'samplers'"]),
    "block": (["discrepancy", "bound", "--set", "x < 1/2", "--block", "0"], ["block is 0", "'auto'"]),
    "option": (["discrepancy", "count", "--sett", "x"], ["'--sett'", "did you mean '--set'"]),
}


@pytest.fixture
def files(tmp_path: Path):
    one = [[[[["1", [1]], ["-1/2", [0]]], "<"]]]
    made = {"SET1": one, "EMPTY": [], "CLAUSE": [[]], "NAN": [[[[["nan", [1]]], "<"]]]}
    for name, content in made.items():
        (tmp_path / name).write_text(json.dumps(content))
    return {name: str(tmp_path / name) for name in made}


@pytest.mark.parametrize("case", LINES)
def test_refused(refused, files, case):
    arguments, words = LINES[case]
    message = refused(*(files.get(a, a) if isinstance(a, str) else a for a in arguments))
    assert [w for w in words if w not in message] == [], message


STRICT = [
    ["shifts", "points", "--skew", 3, "--start", "1e15", "--count", 2],
    ["shifts", "fraction", "--alpha", "liouville:2,1" + "0" * 400],
    ["shifts", "best", "--alpha", "1/3", "--limit", 100],
    ["shifts", "best", "--alpha", "liouville:2,1" + "0" * 400, "--limit", 1000],
    ["shifts", "best", "--alpha", "sqrt2,sqrt3", "--limit", 100, "--dual"],
    ["shifts", "certify", "--alpha", "1/3", "--limit", 5, "--kappa", 0.1],
    ["discrepancy", "count", "--set", "1e-330*x > 1e-331", "--stop", 100, "--ladder", "0,50"],
    ["discrepancy", "count", "--set", "x < 1/2", "--alpha", "1/3", "--allow-resonant", "--stop", "1e18"],
    ["discrepancy", "bound", "--set", "x < 1/3", "--alpha", "liouville:2,1" + "0" * 400, "--stop", 1000],
    ["discrepancy", "cover", "--set", "x < 1/3", "--cells", "1e40"],
    ["discrepancy", "slab", "--sizes", "256,512,1024,2560", "--alpha", "1/4", "--allow-resonant"],
    ["discrepancy", "points", "--stop", 1, "--kind", "periodic"],
    ["discrepancy", "points", "--stop", 1],
]


@pytest.mark.parametrize("line", STRICT, ids=lambda line: " ".join(map(str, line[:2])))
def test_json_is_strict(tenfold, line):
    def refuse(word):
        raise AssertionError(word)

    done = tenfold(*line, "--json")
    assert done.code == 0, done.err
    json.loads(done.out, parse_constant=refuse)


@pytest.mark.parametrize("name", ["slabs", "bad-set"])
def test_worked_examples(tenfold, refused, tmp_path: Path, monkeypatch, name):
    from tenfold.quasiperiodic.examples import bad_sets, slabs

    monkeypatch.setattr(slabs, "QUICK_POWERS", (8, 12))
    monkeypatch.setattr(slabs, "QUICK_BANDS", (4, 8))
    monkeypatch.setattr(bad_sets, "QUICK_SIDES", (8, 16))
    folder = tmp_path / "run"
    found = as_json(tenfold("discrepancy", "--example", name, "--out", folder, "--quick", "--json"))
    page = Path(found["report"]).read_text()
    assert page.count("<figure") == page.count("data:image/png;base64") >= 2
    rows = json.loads((folder / "evaluation.json").read_text())["metrics"]
    assert rows == found["metrics"]
    assert (folder / "data.json").exists()
    values = {(r["name"], r["model"], r.get("split")): r["value"] for r in rows}
    if name == "slabs":
        slopes = {model: v for (what, model, _), v in values.items() if what == "cells_visited_exponent"}
        assert all(abs(v - 0.5) < 0.02 for v in slopes.values())
    else:
        hits = {split: v for (what, _, split), v in values.items() if what == "hits"}
        bounds = {split: v for (what, _, split), v in values.items() if what == "block_separation_bound"}
        assert hits
        assert all(hits[split] <= bounds[split] for split in hits)
    assert "already holds a run" in refused("discrepancy", "--example", name, "--out", folder, "--quick")


def test_a_flow_as_a_loss_of_its_noise(runs):
    from tenfold.api.examples import losses_of
    from tenfold.errors import UsageError
    from tenfold.quasiperiodic.examples.samplers import Design, variance_rows

    (found,) = losses_of(runs["likelihood"])
    assert found.dim == 64
    rows = variance_rows(found.loss, found.dim, ("iid", "kronecker"), Design(4, 1, 3), found.name)
    assert rows[0].value > 0
    assert found.loss(np.full((1, 64), 0.5)).shape == (1,)
    with pytest.raises(UsageError, match="no flow with uniform dequantisation"):
        losses_of(runs["noise"])


def test_the_losses_of_trained_runs_reach_the_example(tenfold, runs, tmp_path: Path, monkeypatch):
    from tenfold.quasiperiodic.examples import samplers
    from tenfold.runs.measurement import Measurement
    from tenfold.runs.outcome import Outcome

    def run(figures, quick, progress, losses=()):
        return Outcome([Measurement("numbers", loss.dim, model=loss.name) for loss in losses], {})

    monkeypatch.setattr(samplers, "run", run)
    words = ["discrepancy", "--example", "samplers", "--runs", runs["likelihood"], runs["likelihood"]]
    (first, second) = as_json(tenfold(*words, "--out", tmp_path / "run", "--json"))["metrics"]
    assert first == second
    assert first["value"] == 64
