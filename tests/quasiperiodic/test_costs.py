"""Whatever of the two faces can take minutes says so before: the table names each, with a call whose clock runs fast;
what it does not name is excused below, with the reason why it cannot."""

import inspect
from collections.abc import Callable
from fractions import Fraction
from itertools import count as counted
from pathlib import Path

import numpy as np
import pytest

from tenfold import quasiperiodic as room
from tenfold import shifts
from tenfold.cli.main import main
from tenfold.errors import UsageError
from tenfold.quasiperiodic import hopping, potentials, presets
from tenfold.quasiperiodic.spectral import goodbox
from tenfold.shifts import costs, reduction

GOLDEN, CUBIC = shifts.Kronecker("golden"), shifts.Kronecker("cubic")
DISC, BAND = room.ball(["1/2", "1/2"], "1/8"), room.parse_set("abs(y - x^2) <= 1/50", 2)
LINE = room.intervals([("1/10", "3/10"), ("1/2", "3/5")])
OPERATOR = presets.aubry_andre(0.7, theta=0.3)
RANDOM = np.random.default_rng(0).random((40, 2))

LONG: dict[str, Callable[[], object]] = {
    "shifts.best_simultaneous": lambda: shifts.best_simultaneous("rd:5", 1000, "lattice"),
    "shifts.best_dual": lambda: shifts.best_dual("rd:4", 50),
    "shifts.estimate_dc": lambda: shifts.estimate_dc("rd:4", "dual", 51),
    "shifts.certify_wdc": lambda: shifts.certify_wdc("rd:5", 0.1, 0.2, 1001),
    "shifts.relation": lambda: shifts.relation("richtmyer:9"),
    "shifts.Kronecker": lambda: shifts.Kronecker("richtmyer:10"),
    "shifts.continued_fraction": lambda: shifts.continued_fraction("pi", 20),
    "shifts.ShiftSampler": lambda: shifts.ShiftSampler(2, "sobol").batch(1000, 10),
    "count enumerate": lambda: room.count(DISC, CUBIC, 0, 300_000, "enumerate"),
    "count": lambda: room.count(DISC, CUBIC, 0, 50_000, "lattice"),
    "count roots": lambda: room.count(room.parse_set("x^9 - x^4/3 + 1/100 > 0", 1), GOLDEN, 0, 10**12),
    "count_over_theta": lambda: room.count_over_theta(LINE, "golden", [0.1, 0.2, 0.3], 1000),
    "first_hit": lambda: room.first_hit(room.ball(["1/3", "1/7"], "1/3000"), CUBIC, 0, 10**6),
    "hits": lambda: room.hits(room.intervals([(0, Fraction(1, 10**9))]), GOLDEN, 0, 10**11),
    "running_counts": lambda: room.running_counts(LINE, GOLDEN, [10, 100, 1000]),
    "separation_bound": lambda: room.separation_bound(BAND, "cubic", 10**7),
    "good_box_distance": lambda: room.good_box_distance("liouville:5,7,1,1,3,2", 20.0, 1.0, 0.5),
    "discrepancy star": lambda: room.discrepancy(RANDOM),
    "discrepancy bounds": lambda: room.discrepancy(RANDOM, exact=False, budget=3000),
    "discrepancy extreme": lambda: room.discrepancy(RANDOM, "extreme"),
    "discrepancy cube": lambda: room.discrepancy(RANDOM, "cube"),
    "discrepancy halfplane": lambda: room.discrepancy(RANDOM, "halfplane"),
    "discrepancy": lambda: room.discrepancy(np.random.default_rng(0).random((2500, 1)), "centred"),
    "periodic_discrepancy": lambda: room.periodic_discrepancy(GOLDEN, 70_000),
    "worst_slab": lambda: room.worst_slab("cubic", 1 << 18),
    "fit_exponent": lambda: room.fit_exponent([1, 10, 100, 1000], [1, 5, 20, 90], resamples=20),
    "Set": lambda: BAND.cover(2000),
    "Set measure": lambda: DISC.measure(1e-3),
    "evolve": lambda: room.evolve(OPERATOR, None, [30.0], method="chebyshev"),
    "evolve lanczos": lambda: room.evolve(OPERATOR, None, [50.0], method="lanczos"),
    "evolve dense": lambda: room.evolve(OPERATOR.box(140), None, [50.0], method="dense"),
    "evolve trotter": lambda: room.evolve(OPERATOR.ring(34), None, [1.0], method="trotter", tol=1e-4),
    "evolve adaptive": lambda: room.evolve(
        presets.aubry_andre(3.0), None, [2000.0], method="chebyshev", box="adaptive"
    ),
    "time_averaged": lambda: room.time_averaged(OPERATOR.box(20), None, [1.0, 2.0, 3.0]),
    "time_averaged resolvent": lambda: room.time_averaged(OPERATOR.box(20), None, [5.0, 6.0], method="resolvent"),
    "time_averaged quadrature": lambda: room.time_averaged(OPERATOR.box(20), None, 2.0, method="quadrature"),
    "eigenbasis_moments": lambda: room.eigenbasis_moments(OPERATOR.box(140), None, [1.0], 2.0),
    "eigenvalues": lambda: room.eigenvalues(OPERATOR.box(1500)),
    "eigenvalues of a ring": lambda: room.eigenvalues(OPERATOR.ring(377)),
    "bloch_spectrum": lambda: room.bloch_spectrum(OPERATOR, 377, [0.0]),
    "green_columns": lambda: room.green_columns(OPERATOR.box(40), [1j, 2j, 3j]),
    "green_columns dense": lambda: room.green_columns(OPERATOR.ring(377), 1j),
    "green_decay": lambda: room.green_decay(presets.lattice_cosines(3.0, "golden,silver").box(40), 0.1 + 0.01j),
    "good_box": lambda: room.good_box(presets.aubry_andre(3.0).box(200), 0.3, 0.5, 0.5),
    "theta_scan": lambda: room.theta_scan(OPERATOR, 3, 9.0, [0.0, 0.4, 0.7], 0.5, 0.5),
    "determinant_scan": lambda: room.determinant_scan(OPERATOR, 30, 0.3, [0.0, 0.4, 0.7]),
    "determinant_of": lambda: room.determinant_of(OPERATOR, 30, 0.3)([0.0, 0.4, 0.7]),
    "lyapunov_exponents": lambda: room.lyapunov_exponents(OPERATOR, np.linspace(0, 1, 1000), 1024),
    "transfer_bound": lambda: room.transfer_bound(OPERATOR, 5.0, 200),
    "transport_exponents": lambda: room.transport_exponents(np.geomspace(2, 30, 9), np.geomspace(2, 30, 9)),
    "torch_states": lambda: room.torch_states(OPERATOR.box(20), None, [60.0]),
    "torch_moments": lambda: room.torch_moments(OPERATOR.box(20), None, [60.0]),
}
# Why the others cannot: they hold results, their work grows as what is given to them or made by them, or they end at
# a size that takes seconds.
RESULTS = [
    "ContinuedFraction",
    "Records",
    "DiophantineEstimate",
    "WdcCertificate",
    "HitCount",
    "HitBound",
    "Exponent",
    "Discrepancy",
    "WorstSlab",
    "Evolution",
    "Cover",
    "Measure",
    "BoxTooSmallError",
    "Box",
    "LongRange",
    "Hopping",
    "Kernel",
    "Poly",
]
BOUNDED = {
    "as what is given": "khintchine_transfer nested_uniform Frequency Number Scrambled SkewShift LatticeShift Stream "
    "lattice_orbit skew_orbit hopping potentials presets transport_bound front_radius",
    "as what is made": "theta_grid box ball band halfspace slab polytope intervals variables",
    "logarithmic": "floor_sum",
    "limited": "generalised_golden halfspace_volume parse_set from_sympy trigonometric_sublevel",
    "no work": "patience use_compiled_points",
}


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that runs a second at each look, and nothing is too small to be said."""
    ticks = counted()
    monkeypatch.setattr(costs, "now", lambda: float(next(ticks)))
    monkeypatch.setattr(costs, "SAID_FROM", -1.0)
    monkeypatch.setattr(costs, "FEW", 0)
    monkeypatch.setattr(reduction, "_NODES", 8)
    monkeypatch.setattr(goodbox, "_TOGETHER", 16)


@pytest.mark.parametrize("name", LONG)
def test_minutes_are_said(name: str, fast: None, capsys: pytest.CaptureFixture[str]) -> None:
    with shifts.patience(1e12):
        LONG[name]()
    said = [line for line in capsys.readouterr().err.splitlines() if "will take about" in line]
    assert said, name
    for line in said:
        what, _, cheaper = line.partition("; ")
        assert what.split(" will take about ")[0], name
        assert any(word in cheaper for word in ("quicker", "cheaper", "at once", "in no time", "seconds")), line


def test_the_table_is_the_face() -> None:
    named = {name.split()[0].removeprefix("shifts.") for name in LONG}
    excused = {name for names in BOUNDED.values() for name in names.split()} | set(RESULTS)
    faces = {*shifts.__all__, *room.__all__}
    assert named | excused == faces | {"SkewShift"}, (named | excused) ^ faces
    assert not named & excused, named & excused
    modules = {name for face in (shifts, room) for name in face.__all__ if inspect.ismodule(getattr(face, name))}
    assert modules == {module.__name__.rpartition(".")[2] for module in (hopping, potentials, presets)}


def test_days_are_refused_unless_they_are_allowed(fast: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert not costs.say(-2.0, "this", "give less")
    assert capsys.readouterr().err == ""
    for seconds, time in ((100.0, "100 s"), (600.0, "10 min"), (36000.0, "10 h")):
        assert costs.say(seconds, "this", "give less")
        assert f"this will take about {time}; give less" in capsys.readouterr().err
    with pytest.raises(UsageError, match=r"this will take about 2 days; give less, or allow that with --days N"):
        costs.say(2 * 86400.0, "this", "give less")
    with shifts.patience(3):
        assert costs.say(2 * 86400.0, "this", "give less")
    for wrong in (0, -1.0, float("nan"), "soon"):
        with pytest.raises(UsageError, match=r"above 0|expected a number"), shifts.patience(wrong):
            pass


def test_work_of_days_is_refused(fast: None) -> None:
    for days in (
        lambda: room.evolve(presets.free().box(5000), None, [1e12]),
        lambda: room.time_averaged(presets.free().box(5000), None, 1e12, method="quadrature"),
        lambda: room.theta_scan(OPERATOR, 30, 0.3, np.linspace(0, 1, 10**6), 0.5, 0.5),
        lambda: room.lyapunov_exponents(presets.free(), 0.3, 10**12),
        lambda: room.count(DISC, CUBIC, 0, 10**13, "enumerate"),
        lambda: shifts.best_dual("rd:40", 10),
    ):
        with pytest.raises(UsageError, match="days"):
            days()


def test_commands_say_it_and_take_days(fast: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["shifts", "best", "--alpha", "rd:3", "--limit", "60", "--dual"]) == 0
    assert "will take about" in capsys.readouterr().err
    line = ["discrepancy", "count", "--alpha", "cubic", "--stop", "1e12", "--method", "enumerate", "--set"]
    assert main([*line, "x^2 + y^2 < 1/4"]) == 2
    assert "--days N" in capsys.readouterr().err
    assert main(["discrepancy", "count", "--set", "x<1/2", "--stop", "100", "--days", "0"]) == 2
    assert "days is 0" in capsys.readouterr().err
    assert main(["dynamics", "front", "--model", "free", "--times", "5", "--days", "2"]) == 0


def test_a_search_knows_its_boxes(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Of ten boxes of 1000 nodes the first 100 nodes are a hundredth."""
    times = iter([0.0, 1.0, 2.0])
    monkeypatch.setattr(costs, "now", lambda: next(times))
    search = reduction.Search("searching", "less is quicker", boxes=10)
    search.look(100, 1000.0)
    assert "searching will take about 99 s; less is quicker" in capsys.readouterr().err


def test_time_is_told_about_right() -> None:
    """The brute search and the lattice agree where the cheaper one is taken."""
    for alpha in ("rd:8", "richtmyer:9"):
        assert shifts.best_simultaneous(alpha, 500).sizes == shifts.best_simultaneous(alpha, 500, "lattice").sizes


def test_points_in_many_dimensions_start_at_once() -> None:
    """Relations are looked for among neighbours, and found there."""
    assert shifts.Kronecker("richtmyer:30").dim == 30
    twice = [*shifts.Frequency.of("richtmyer:20").components, shifts.Frequency.of("sqrt71").components[0]]
    assert shifts.relation(shifts.Frequency(tuple(twice))) == (*[0] * 19, 1, -1)
    assert room.lattice_orbit("richtmyer:20", 0.1).torus == 20


def test_files_come_part_by_part(tmp_path: Path) -> None:
    assert main(f"shifts points --alpha rd:2 --count 600000 --out {tmp_path}/points.npz".split()) == 0
    found = np.load(tmp_path / "points.npz")
    assert np.array_equal(found["points"], shifts.Kronecker("rd:2").points(0, 600_000))
    assert np.array_equal(found["n"], np.arange(600_000))
