"""Memory does not grow with what is only reduced, printed or streamed; what is beyond it is refused in one sentence, in
every verb, before the work."""

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tenfold import quasiperiodic as room
from tenfold import shifts
from tenfold.cli.main import main
from tenfold.errors import UsageError
from tenfold.quasiperiodic import presets
from tenfold.quasiperiodic.commands import discrepancy, dynamics
from tenfold.quasiperiodic.commands import shifts as sequences
from tenfold.quasiperiodic.commands.arrays import Parts, Spool, write_arrays
from tenfold.quasiperiodic.commands.computed import perform
from tenfold.quasiperiodic.commands.config import ACTIONS, ModelOptions, WorkOptions
from tenfold.quasiperiodic.dynamics.averages import TimeAverage
from tenfold.quasiperiodic.propagation import adaptive, methods, panels
from tenfold.quasiperiodic.spectral import goodbox
from tenfold.runs import machine
from tenfold.shifts import costs

OPERATOR = presets.aubry_andre(1.5, theta=0.3)
RUNS: dict[str, Callable[[np.ndarray, object], room.Evolution]] = {
    method: lambda t, keep, method=method: room.evolve(OPERATOR.box(300), None, t, method=method, keep=keep, tol=1e-13)
    for method in ("chebyshev", "lanczos", "dense")
} | {
    "trotter": lambda t, keep: room.evolve(OPERATOR.ring(987), None, t, method="trotter", keep=keep, tol=1e-3),
    "adaptive": lambda t, keep: room.evolve(OPERATOR, {0: 1, 150: 1}, t, method="chebyshev", box="adaptive", keep=keep),
    "adaptive lanczos": lambda t, keep: room.evolve(
        OPERATOR, {0: 1, 150: 1}, t, method="lanczos", box="adaptive", keep=keep, tol=1e-10
    ),
    "a batch by lanczos": lambda t, keep: room.evolve(
        OPERATOR.at([[0.1], [0.2], [0.7]]).box(200), None, t, method="lanczos", keep=keep, tol=1e-8
    ),
}


def moments(box: room.Box, states: np.ndarray) -> np.ndarray:
    return (np.abs(states) ** 2) @ box.distance()[:, None] ** 2


def peak(work: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def few_together(monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    for module in (adaptive, methods, panels):
        monkeypatch.setattr(module, "most_times", lambda size: times)


@pytest.mark.parametrize("name", RUNS)
def test_reduced_states_are_those_that_were_held(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    times = np.linspace(-2, 9, 23)
    whole, held = RUNS[name](times, moments), RUNS[name](times, None)
    few_together(monkeypatch, 3)
    found = RUNS[name](times, moments)
    tol = 1e-11 if "adaptive" in name else 1e-12
    assert np.allclose(found.psi, whole.psi, rtol=tol, atol=tol)
    assert np.allclose(np.squeeze(whole.psi, -1), held.moments(2.0), rtol=tol, atol=tol)
    if "lanczos" in name or name == "dense":  # the same steps, however many times are handed on together
        assert found.products == whole.products
        assert found.parts["polynomial"] == whole.parts["polynomial"]


@pytest.mark.parametrize("name", RUNS)
def test_memory_does_not_grow_with_the_times(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    few_together(monkeypatch, 8)
    few, many = (np.linspace(0, 3, n) for n in (24, 240))
    RUNS[name](few, moments)
    size = RUNS[name](few[:1], lambda box, states: states.real).psi.size
    grown = peak(lambda: RUNS[name](many, moments)) - peak(lambda: RUNS[name](few, moments))
    # Holding the states of 216 more times would take 16 · 216 · size bytes.
    assert grown < 16 * 216 * size / 8, (grown, size)


def test_averages_do_not_hold_what_is_not_kept() -> None:
    def average(n: int, keep: object) -> TimeAverage:
        return room.time_averaged(OPERATOR.box(300), None, np.linspace(1, 2, n), 2.0, method="resolvent", keep=keep)

    def nothing(box: room.Box, rows: np.ndarray) -> np.ndarray:
        return rows[..., :0]

    held = average(9, None)
    assert np.array_equal(average(9, nothing).moments, held.moments)
    assert np.array_equal(average(9, lambda box, rows: rows).probabilities, held.probabilities)
    few, many = peak(lambda: average(4, nothing)), peak(lambda: average(24, nothing))
    assert many - few < 8 * 20 * 601 / 4


def test_lyapunov_exponents_hold_no_steps() -> None:
    def taken(steps: int) -> int:
        return peak(lambda: room.lyapunov_exponents(OPERATOR, np.linspace(0, 1, 2000), steps))

    taken(1 << 10)
    assert taken(1 << 12) - taken(1 << 10) < 8 * 2000 * (3 << 10) / 8 / 4


def test_determinants_hold_no_sites(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(goodbox, "_TOGETHER", 1 << 14)
    theta = np.linspace(0, 1, 64)
    room.determinant_scan(OPERATOR, 1 << 10, 0.3, theta)
    few, many = (peak(lambda n=n: room.determinant_scan(OPERATOR, n, 0.3, theta)) for n in (1 << 10, 1 << 12))
    assert many < 1.2 * few
    one = room.determinant_scan(OPERATOR, 700, 0.3, theta)
    monkeypatch.setattr(goodbox, "_TOGETHER", 1 << 22)
    assert np.array_equal(room.determinant_scan(OPERATOR, 700, 0.3, theta).log_abs, one.log_abs)


@pytest.mark.parametrize("box", ["1500", "adaptive", "certified"])
def test_files_of_states_are_streamed(box: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(count: int, name: str) -> None:
        work = WorkOptions(times=f"0.1:9:{count}", p="2,4", box=box)
        with Spool(tmp_path) as spool:
            made = perform("evolve", ModelOptions(coupling=3.0), work, lambda _: None, spool)
            write_arrays(tmp_path / f"{name}.npz", **made.arrays)

    few_together(monkeypatch, 8)
    run(8, "warm")
    few, many = peak(lambda: run(58, "few")), peak(lambda: run(258, "many"))
    found = np.load(tmp_path / "many.npz")
    times, sites = found["times"], found["sites"]
    # The probabilities alone would be four times as much; a time has its row of facts.
    assert many - few < 8 * 200 * len(sites) / 4 + 200 * 2048
    kind = int(box) if box.isdigit() else box
    held = room.evolve(presets.aubry_andre(3.0), None, times, box=kind)
    assert np.allclose(found["probabilities"], held.probabilities(), rtol=0, atol=1e-12)
    assert np.allclose(found["moments"], held.moments([2.0, 4.0]), rtol=1e-13)
    assert not list(tmp_path.glob("**/.*writing*"))


def test_parts_make_the_array(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).random((7, 3))
    parts = Parts(rows.shape, "<f8", (rows[i : i + 2] for i in range(0, 7, 2)))
    write_arrays(tmp_path / "a.npz", parts=parts, whole=rows, text=np.array("x"), none=rows[:0], turned=rows.T)
    found = np.load(tmp_path / "a.npz")
    assert np.array_equal(found["parts"], rows)
    assert np.array_equal(found["whole"], rows)
    assert np.array_equal(found["turned"], rows.T)
    assert found["none"].shape == (0, 3)
    assert str(found["text"]) == "x"

    def broken() -> object:
        yield rows[:2]
        raise UsageError("no more")

    with pytest.raises(UsageError):
        write_arrays(tmp_path / "a.npz", parts=Parts(rows.shape, "<f8", broken()))
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]
    assert np.array_equal(np.load(tmp_path / "a.npz")["whole"], rows)
    with Spool(tmp_path / "not" / "there") as spool:
        at = [*spool.put(rows), *spool.put(rows[:, :2])]
        assert spool.get(at[8], 2).tolist() == rows[1, :2].tolist()
        assert spool.get(at[6], 3).tolist() == rows[6].tolist()


# One request of every action that a machine with a mebibyte cannot hold. Actions that hold little whatever is asked are
# excused with the reason.
LARGE = {
    "shifts points": "--count 1000000 --json",
    "discrepancy points": "--stop 1000000 --kind L2star",
    "dynamics evolve": "--times 1:10:5 --box 200000",
    "dynamics average": "--method eig --scales 2 --box 900",
    "dynamics lyapunov": "--energies 0:1:20000 --steps 1000",
    "dynamics green": "--energies 0.1+0.1j --box 100000",
    "dynamics boxes": "--energies 0.2 --points 3 --box 300",
    "dynamics front": "--times 100000",
}
LITTLE = {
    "shifts fraction": "some hundred digits",
    "shifts best": "a record a doubling",
    "shifts certify": "a record a doubling",
    "discrepancy count": "counts block by block, and lists as many hits as it says",
    "discrepancy bound": "counts block by block",
    "discrepancy cover": "counts block by block",
    "discrepancy slab": "counts block by block",
    "dynamics bound": "a formula",
}


def test_every_action_is_in_a_table() -> None:
    verbs = {"shifts": sequences.ACTIONS, "discrepancy": discrepancy.ACTIONS, "dynamics": ACTIONS}
    assert {f"{verb} {action}" for verb, actions in verbs.items() for action in actions} == {*LARGE, *LITTLE}
    assert dynamics.ACTIONS is ACTIONS


@pytest.fixture
def little(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(costs, "LITTLE", 0)
    monkeypatch.setattr(machine, "free_memory", lambda: 1 << 20)


@pytest.mark.parametrize("action", LARGE)
def test_what_memory_does_not_hold_is_refused(
    action: str, little: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*action.split(), *LARGE[action].split()]) == 2
    said = capsys.readouterr()
    lines = [line for line in said.err.splitlines() if line.startswith("tenfold: ")]
    assert len(lines) == 1, said.err
    assert "GiB of memory, but" in lines[0]
    assert said.out == ""


@pytest.mark.parametrize("line", [
    "shifts points --alpha rd:2 --count 400000 --out {}/p.npz",
    "discrepancy count --set x^2+y^2<1/4 --alpha cubic --stop 2e5 --method enumerate --json",
    "discrepancy cover --set abs(y-x^2)<=1/50 --cells 2000",
    "discrepancy slab --alpha cubic --sizes 262144",
])  # fmt: skip
def test_what_is_counted_or_written_takes_little(line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert peak(lambda: main(line.format(tmp_path).split())) < 1 << 26


@pytest.mark.parametrize("work", [
    lambda: shifts.Scrambled(shifts.Kronecker("golden"), 1).points(0, 10**5),
    lambda: room.good_box(OPERATOR.box(100), 0.1, 0.5, 0.5),
    lambda: room.eigenvalues(OPERATOR.ring(377)),
    lambda: room.eigenbasis_moments(OPERATOR.box(100), None, [1.0], 2.0),
    lambda: room.bloch_spectrum(OPERATOR, 377, [0.0]),
    lambda: room.green_columns(OPERATOR.box(1000), [1j] * 99),
    lambda: room.torch_states(OPERATOR.box(1000), None, [50.0]),
    lambda: room.determinant_scan(OPERATOR, 10**6, 0.1, [0.1] * 1000),
    lambda: room.theta_grid(100, 3),
    lambda: room.discrepancy(np.zeros((5, 2)), exact=False, budget=10**5),
    lambda: room.time_averaged(OPERATOR.box(500), None, [1.0] * 999, method="resolvent"),
    lambda: room.count_over_theta(room.ball(["1/2", "1/2"], "1/3"), "cubic", [0, 0.5], 10**10, method="lattice"),
])  # fmt: skip
def test_functions_ask_for_memory(work: Callable[[], object], little: None) -> None:
    with pytest.raises(UsageError, match="GiB of memory, but"):
        work()


def test_what_is_written_says_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With and without a folder the numbers are the same."""
    line = "dynamics average --model sturmian --coupling 8 --scales 2:9:3 --box 60 --json"
    found = []
    for more in ("", f" --out {tmp_path}/run"):
        assert main((line + more).split()) == 0
        found.append(json.loads(capsys.readouterr().out)["results"]["moments"])
    assert found[0] == found[1]
    assert np.load(tmp_path / "run" / "arrays.npz")["probabilities"].shape == (3, 121)
