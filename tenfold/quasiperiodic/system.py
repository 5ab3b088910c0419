"""What the room is to the command line and the API. Imports no PyTorch and no NumPy."""

from tenfold.quasiperiodic import commands
from tenfold.quasiperiodic.results import JOBS
from tenfold.quasiperiodic.worked import EXAMPLES
from tenfold.runs.system import Command, System

SYSTEMS = (
    System(
        name="quasiperiodic",
        title="Semi-algebraic discrepancy, quasi-periodic dynamics",
        paper="arXiv:2507.19783",
        commands={
            "discrepancy": Command(
                "hits of semi-algebraic sets by shift orbits; evenness of points",
                lambda argv: commands.discrepancy.run(argv),
            ),
            "shifts": Command("exact shift sequences and Diophantine tools", lambda argv: commands.shifts.run(argv)),
            "dynamics": Command(
                "quasi-periodic operators: wave packets, averages, exponents, bounds",
                lambda argv: commands.dynamics.run(argv),
            ),
        },
        examples=EXAMPLES,
        jobs=JOBS,
        benchmarks=("quasiperiodic", "quasiperiodic_counting", "quasiperiodic_dynamics"),
    ),
)
