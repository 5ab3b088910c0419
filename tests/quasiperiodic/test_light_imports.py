"""Sets, counts and sequences work without PyTorch, and help pages without NumPy."""

from tests.test_imports import HEAVY, command, run

WORK = """
from tenfold.shifts import Kronecker, SkewShift, best_dual, ShiftSampler
from tenfold.quasiperiodic import count, discrepancy, parse_set, separation_bound, worst_slab
S = parse_set("abs(y - x^2) <= 1/100", 2)
assert count(S, Kronecker("cubic"), 0, 2000, "lattice").count <= separation_bound(S, "cubic", 2000).bound
assert ShiftSampler(2, "kronecker").next(4).shape == (4, 2)
discrepancy(Kronecker("cubic").points(0, 20))
"""


def test_no_torch() -> None:
    done = run(WORK, ("torch",))
    assert done.returncode == 0, done.stderr


def test_nothing_heavy_for_help() -> None:
    for code in (
        "import tenfold.quasiperiodic",
        command("shifts", "--help"),
        command("discrepancy", "count", "--help"),
    ):
        done = run(code, HEAVY)
        assert done.returncode == 0, done.stderr


def test_the_faces_lead_to_modules_and_names() -> None:
    for name in ("hopping", "potentials", "presets", "box", "torch_states"):
        done = run(f"from tenfold.quasiperiodic import {name}", ())
        assert done.returncode == 0, done.stderr
    every = "[getattr(face, name) for face in (s, q) for name in face.__all__]"
    done = run(f"import tenfold.shifts as s, tenfold.quasiperiodic as q; {every}", ())
    assert done.returncode == 0, done.stderr
