"""``tenfold dynamics``: actions, folders, examples, and every bad input as one sentence."""

import json
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from tenfold.quasiperiodic.commands.config import ACTIONS, MODEL_USED, USED, ModelOptions, WorkOptions
from tenfold.quasiperiodic.commands.dynamics import EXAMPLES
from tenfold.quasiperiodic.dynamics.evolution import evolve
from tenfold.quasiperiodic.operators import presets
from tenfold.runs import machine
from tenfold.shifts import costs
from tests.test_imports import command
from tests.test_imports import run as blocked


def results(done) -> dict:
    assert done.code == 0, done.err
    return json.loads(done.out)["results"]


def test_help_imports_nothing_heavy() -> None:
    done = blocked(command("dynamics", "--help"))
    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in (*ACTIONS, *EXAMPLES))


def test_evolve(tenfold, tmp_path: Path) -> None:
    words = ["evolve", "--coupling", "0.5", "--theta", "0.2", "--times", "10:100:6", "--p", "2,4", "--json"]
    done = tenfold("dynamics", *words, "--out", tmp_path / "run")
    facts = results(done)
    exact = evolve(presets.aubry_andre(0.5, theta=0.2), None, facts["times"]).moments([2.0, 4.0])
    assert np.allclose(facts["moments"], exact, rtol=1e-10)
    assert facts["certificate"] == "a priori"
    assert facts["fits"][0]["beta"]["slope"] == pytest.approx(0.96, abs=0.03)
    files = {p.name for p in (tmp_path / "run").iterdir()}
    assert files >= {"results.json", "arrays.npz", "evaluation.json", "provenance.json", "report.html", "figures"}
    with np.load(tmp_path / "run" / "arrays.npz", allow_pickle=False) as arrays:
        assert np.allclose(arrays["moments"], exact, rtol=1e-10)
        assert np.allclose(arrays["probabilities"].sum(1), 1)
    page = (tmp_path / "run" / "report.html").read_text()
    assert "data:image/png" in page
    assert "Beta p2" in page
    rows = json.loads((tmp_path / "run" / "evaluation.json").read_text())["metrics"]
    assert {row["name"] for row in rows} >= {"moment_p2", "moment_p4", "beta_p2", "error_bound"}


def test_average(tenfold) -> None:
    facts = results(tenfold("dynamics", "average", "--model", "sturmian", "--coupling", 8, "--scales", "10", "--json"))
    assert facts["moments"][0][0] == pytest.approx(1.3759, rel=1e-4)
    assert facts["box_bound"][0] < 1e-6


def test_lyapunov(tenfold) -> None:
    line = ["lyapunov", "--model", "maryland", "--coupling", 1.7, "--theta", "0.1234", "--energies", "-4:4:3"]
    facts = results(tenfold("dynamics", *line, "--steps", 8192, "--json"))
    exact = [presets.maryland_lyapunov(e, 1.7) for e in (-4.0, 0.0, 4.0)]
    assert np.allclose([row[0] for row in facts["exponents"]], exact, atol=2e-3)
    assert "complex" not in tenfold("dynamics", "lyapunov", "--energies", "0.1+0.2j", "--steps", 512).err


def test_green_and_boxes(tenfold, tmp_path: Path) -> None:
    facts = results(tenfold("dynamics", "green", "--model", "free", "--energies", "3", "--box", 60, "--json"))
    assert facts["fits"][0]["rate"] == pytest.approx(presets.free_lyapunov(3.0), abs=1e-6)
    line = ["boxes", "--coupling", 3, "--energies", 0.2, "--box", 5, "--points", 20, "--out", tmp_path / "b"]
    assert results(tenfold("dynamics", *line, "--json"))["points"] == 20
    with np.load(tmp_path / "b" / "arrays.npz", allow_pickle=False) as arrays:
        assert arrays["good"].shape == (20,)


def test_front_and_bound(tenfold) -> None:
    facts = results(tenfold("dynamics", "front", "--model", "free", "--times", "50", "--json"))
    assert facts["front_radius"] == 145
    assert facts["truncation_bound"] <= 1e-12
    facts = results(tenfold("dynamics", "front", "--model", "free", "--mu", 0.7, "--json"))
    assert facts["growth"] == pytest.approx(2 * np.sinh(0.7))
    facts = results(tenfold("dynamics", "bound", "--torus", 2, "--degree", 1.5, "--json"))
    assert facts["moment_exponent"] == pytest.approx(6.0)
    facts = results(tenfold("dynamics", "bound", "--torus", 1, "--quotients", "1,1,1,1,1,1", "--side", 2, "--json"))
    assert facts["good_within"] is not None


def test_hopping_in_words(tenfold) -> None:
    for hopping in ("nearest:0.5", "exponential:1:6", "exponential:0.8", "power:3:4", "list:1=1,2=0.3+0.1j"):
        done = tenfold("dynamics", "evolve", "--hopping", hopping, "--times", 1, "--tol", 1e-8, "--json")
        assert results(done)["error_bound"] < 1e-8


def test_tables_for_people(tenfold) -> None:
    done = tenfold("dynamics", "evolve", "--times", "1,2")
    assert done.code == 0
    assert "Moment p2" in done.out
    assert "a priori" in done.out


def example(tenfold, tmp_path: Path, name: str) -> tuple[list[dict], dict]:
    done = tenfold("dynamics", "--example", name, "--quick", "--out", tmp_path / name, "--json")
    assert done.code == 0, done.err
    assert (tmp_path / name / "report.html").exists()
    return json.loads(done.out)["metrics"], json.loads((tmp_path / name / "data.json").read_text())


def test_the_log_power_example(tenfold, tmp_path: Path) -> None:
    _, data = example(tenfold, tmp_path, "log-power")
    assert data["fits"]["2"]["preferred"] == "bounded"
    assert (tmp_path / "log-power" / "figures" / "log-power.png").stat().st_size > 10_000


def test_the_expected_values(tenfold, tmp_path: Path) -> None:
    rows, data = example(tenfold, tmp_path, "expected")
    assert data["failed"] == []
    assert len(data["checks"]) == 17
    assert rows[-1]["note"] == "17 hold"


def test_the_transition_example(tenfold, tmp_path: Path) -> None:
    _, data = example(tenfold, tmp_path, "aubry-andre")
    assert data["fits"]["0.5"]["beta"]["slope"] == pytest.approx(0.96, abs=0.04)
    assert data["green_3"]["rate"] == pytest.approx(np.log(3), abs=0.05)
    assert "Aubry-André transition" in (tmp_path / "aubry-andre" / "report.html").read_text()


BAD = {
    "no-action": ([], ["name an action", "--example"]),
    "action": (["evolv"], ["'evolv'", "did you mean 'evolve'"]),
    "model": (["evolve", "--model", "aubry"], ["'aubry'", "did you mean 'aubry-andre'"]),
    "option": (["evolve", "--cuopling", 1], ["'--cuopling'", "did you mean '--coupling'"]),
    "example": (["--example", "scales"], ["'scales'", "did you mean 'scale'"]),
    "example-without-out": (["--example", "expected"], ["--out"]),
    "example-and-action": (["evolve", "--example", "expected"], ["not both"]),
    "quick": (["evolve", "--quick"], ["--quick belongs to --example"]),
    "rational": (["evolve", "--frequency", "377/610"], ["610·ω1", "--allow-resonant"]),
    "dependent": (
        ["evolve", "--model", "multi-frequency", "--frequency", "sqrt(2),sqrt(8)"],
        ["2·ω1 + -1·ω2", "--allow-resonant"],
    ),
    "frequency": (["evolve", "--frequency", "goldne"], ["'goldne'", "did you mean 'golden'"]),
    "several-frequencies": (["evolve", "--frequency", "golden,silver"], ["one frequency", "multi-frequency"]),
    "theta-of-another-torus": (
        ["evolve", "--model", "multi-frequency", "--theta", "0.1,0.2,0.3"],
        ["theta has 3 phases", "T^2"],
    ),
    "not-hermitian": (["evolve", "--hopping", "list:1=1,-1=2"], ["not Hermitian at m = -1", "conj"]),
    "not-summable": (["evolve", "--hopping", "power:1:10"], ["power-law", "not summable"]),
    "negative-rate": (["evolve", "--hopping", "exponential:-1"], ["rate -1", "summable"]),
    "hopping": (["evolve", "--hopping", "exponental:1"], ["'exponental:1'", "exponential:RATE"]),
    "mu": (["front", "--model", "exponential", "--mu", 1.0], ["mu is 1", "decay rate 1"]),
    "pole": (
        ["evolve", "--model", "maryland", "--frequency", "1/4", "--allow-resonant", "--box", 5],
        ["pole of the tangent at n = -2"],
    ),
    "coupling-infinite": (["evolve", "--coupling", "inf"], ["--coupling is 'inf'", "expected a number"]),
    "coupling-nan": (["evolve", "--coupling", "nan"], ["--coupling is 'nan'", "expected a number"]),
    "deformation": (["evolve", "--model", "gps", "--deformation", 1], ["g is 1", "|g| < 1"]),
    "negative-T": (["average", "--scales", "-5"], ["T is", "above 0", "t >= 0"]),
    "zero-T": (["average", "--scales", "0"], ["T above 0"]),
    "p": (["evolve", "--p", "0"], ["p is", "above 0"]),
    "p-negative": (["average", "--p", "-2"], ["p is", "above 0"]),
    "tol": (["evolve", "--tol", "1e-16"], ["tol is 1e-16", "1e-14"]),
    "times": (["evolve", "--times", "1:10"], ["--times is '1:10'", "FIRST:LAST:COUNT"]),
    "times-log": (["evolve", "--times", "0:10:3"], ["0 < FIRST <= LAST"]),
    "times-nan": (["evolve", "--times", "nan"], ["not finite"]),
    "energies": (["lyapunov", "--energies", "a"], ["--energies is 'a'"]),
    "method": (["evolve", "--method", "chebyshef"], ["did you mean 'chebyshev'"]),
    "resolvent": (["average", "--method", "resolvent", "--kind", "cesaro"], ["abel", "'cesaro'"]),
    "kind": (["average", "--kind", "abl"], ["did you mean 'abel'"]),
    "norm": (["evolve", "--norm", "l3"], ["no norm 'l3'"]),
    "box": (["evolve", "--box", "certfied"], ["did you mean 'certified'"]),
    "box-negative": (["evolve", "--box", "-3"], ["at least 0"]),
    "boxes-box": (["boxes", "--box", "adaptive"], ["needs a number of sites"]),
    "boxes-energy": (["boxes", "--energies", "1,2"], ["one real energy"]),
    "short-window": (["evolve", "--times", "10:50:8", "--fit"], ["over a decade or more"]),
    "few-times": (["evolve", "--times", "10,100", "--fit"], ["4 times"]),
    "beyond-63-bits": (["evolve", "--centre", 2**63], ["2^63"]),
    "steps": (["lyapunov", "--steps", 10], ["at least 512"]),
    "certified-too-far": (["evolve", "--times", "1e9"], ["box='adaptive'"]),
    "bound-tau": (["bound", "--torus", 3, "--tau", 0.9], ["tau is 0.9", "< 0.5"]),
    "bound-smallness": (["bound", "--smallness", 2], ["0 < s < 1"]),
    "averaged-too-many": (["average", "--model", "free", "--scales", "1e4"], ["too many for method 'eig'"]),
}


VALUES = {"times": "1,2", "scales": "3", "energies": "3", "p": "1", "norm": "l1", "box": "30", "centre": "1",
          "tol": "1e-9", "edge_tol": "0.1", "method": "lanczos", "kind": "cesaro", "fit": "true", "steps": "512",
          "points": "3", "decay": "0.1", "smallness": "0.4", "mu": "0.5", "torus": "1", "degree": "2", "tau": "1",
          "dual": "1", "quotients": "1,2,3", "side": "2", "coupling": "3", "frequency": "silver", "theta": "0.1",
          "hopping": "nearest:2", "deformation": "0.1", "dim": "2", "allow_resonant": "true"}  # fmt: skip


def test_every_option_is_used_or_refused(refused) -> None:
    # Before any work: an option that an action or a model does not use is no option of it.
    for action in ACTIONS:
        for option, value in VALUES.items():
            of_model = option in MODEL_USED["free"].split() and action != "bound"
            if option not in USED[action].split() and not of_model:
                model = [] if action == "bound" else ["--model", "free"]
                line = [action, *model, f"--{option.replace('_', '-')}", value]
                assert "does not use" in refused("dynamics", *line), (action, option)
    assert set(VALUES) == {f.name for c in (ModelOptions, WorkOptions) for f in fields(c)} - {"model"}
    assert "does not use --coupling" in refused("dynamics", "--example", "scale", "--out", "x", "--coupling", 1)
    assert "--side" in refused("dynamics", "bound", "--side", 2)
    assert "one exponent" in refused("dynamics", "bound", "--p", "1,2")
    assert "leave one away" in refused("dynamics", "front", "--mu", 0.1, "--times", 3)


def test_json_is_strict(tenfold, tmp_path: Path) -> None:
    def no_constant(word: str) -> float:
        raise AssertionError(word)

    bound = ["bound", "--torus", 1, "--quotients", "2,3,123456789012345678901234567890,1,1", "--side", 20]
    for line in (
        ["evolve", "--times", "1,2"],
        ["average", "--coupling", 3, "--scales", "2"],
        ["lyapunov", "--coupling", "1e120", "--steps", 512],
        ["boxes", "--coupling", 3, "--box", 0, "--points", 3],
        ["bound", "--torus", 1, "--smallness", 0.1, "--quotients", ",".join("1" * 40), "--side", 2],
        bound,
    ):
        done = tenfold("dynamics", *line, "--json")
        assert done.code == 0, done.err
        json.loads(done.out, parse_constant=no_constant)
    facts = results(tenfold("dynamics", *bound, "--json"))
    assert facts["good_within"] == 7 * 123456789012345678901234567890 + 2  # whole quotients keep their digits
    facts = results(tenfold("dynamics", "evolve", "--times", "1,2", "--json", "--out", tmp_path / "run"))
    assert facts["error_bound"] == sum(facts["error_parts"].values()) > facts["error_parts"]["rounding"] > 0
    json.loads((tmp_path / "run" / "results.json").read_text(), parse_constant=no_constant)


def test_frequencies_as_shifts_reads_them(tenfold) -> None:
    for model, frequency in (("aubry-andre", "liouville:1,1000"), ("multi-frequency", "cubic"), ("lattice", "rd:2")):
        line = ["front", "--model", model, "--frequency", frequency, "--times", 1, "--json"]
        assert results(tenfold("dynamics", *line))["reach"] > 1


@pytest.mark.parametrize("case", BAD)
def test_bad_input(refused, case: str) -> None:
    arguments, words = BAD[case]
    message = refused("dynamics", *arguments)
    assert [w for w in words if w not in message] == [], message


def test_a_box_that_is_too_small_fails_after_the_work(tenfold, tmp_path: Path) -> None:
    done = tenfold("dynamics", "evolve", "--model", "free", "--times", 50, "--box", 80, "--out", tmp_path / "run")
    assert done.code == 1
    assert done.out == ""
    assert done.err.count("\n") == 1
    assert "too small" in done.err
    assert "--box" in done.err
    assert not (tmp_path / "run").exists()


def test_memory_is_told_before_it_is_taken(refused, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(costs, "LITTLE", 0)
    monkeypatch.setattr(machine, "free_memory", lambda: 1 << 20)
    assert "of memory, but" in refused("dynamics", "evolve", "--box", 1_000_000, "--times", 1)


def test_a_folder_that_holds_a_run(refused, tenfold, tmp_path: Path) -> None:
    line = ["dynamics", "bound", "--out", tmp_path / "run"]
    assert tenfold(*line).code == 0
    assert "already holds a run" in refused(*line)
