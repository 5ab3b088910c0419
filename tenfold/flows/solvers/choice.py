"""Which plan serves which block: the solver that a user chose, block by block."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from tenfold.errors import UsageError
from tenfold.flows.guidance import Guidance
from tenfold.flows.network import FlowNetwork
from tenfold.flows.solvers.plan import RULES, SEQUENTIAL, Plan

# The tolerance of SeJD (arXiv 2505.24791): fast and approximate.
SELECTIVE_TOL = 0.5


@dataclass(frozen=True)
class Selective:
    """SeJD (arXiv 2505.24791): sequential in the first sampled block, Jacobi sweeps that stop early in the others; fast
    and approximate. The fields are those of ``Plan``."""

    tol: float = SELECTIVE_TOL
    max_sweeps: int | None = None
    init: str = "zeros"
    stop: str = "change"

    def __post_init__(self) -> None:
        _ = self.rest  # its own checks

    @property
    def rest(self) -> Plan:
        """The plan of all blocks but the first sampled."""
        return Plan("jacobi", self.tol, self.max_sweeps, self.init, stop=self.stop, approximate=True)


@dataclass(frozen=True)
class Auto:
    """Block by block what the flow's calibration says is quickest; sequential where it says nothing. ``tol`` replaces
    the tolerance of the calibration."""

    tol: float | None = None

    def __post_init__(self) -> None:
        Plan("jacobi", self.tol)  # its own check


Solver = Plan | Selective | Auto | Sequence[Plan]
"""One plan for every block, a rule, or one plan a block in sampling order."""


class Choice(NamedTuple):
    """The plan of a block, and why a rule chose it."""

    plan: Plan
    reason: str = ""


def solver_called(name: str, **options: Any) -> Plan | Selective | Auto:
    """The solver of a name, with options among its fields.

    Raises UsageError for an unknown name and for values that a plan refuses."""
    given = {option: value for option, value in options.items() if value is not None}
    if name in RULES:
        return {"selective": Selective, "auto": Auto}[name](**given)
    return Plan(name, **given)


def name_of(solver: Solver) -> str:
    """What records call a solver."""
    if isinstance(solver, Plan):
        return solver.solver
    return type(solver).__name__.lower() if isinstance(solver, Selective | Auto) else "plans"


def choices(solver: Solver, flow: FlowNetwork, samples: int, guidance: Guidance) -> list[Choice]:
    """The plan of each block, in sampling order, for a batch of ``samples``.

    Raises UsageError for another number of plans than blocks."""
    count = len(flow.blocks)
    if isinstance(solver, Plan):
        return [Choice(solver)] * count
    if isinstance(solver, Selective):
        return [Choice(SEQUENTIAL), *[Choice(solver.rest)] * (count - 1)]
    if isinstance(solver, Auto):
        return _calibrated(flow, samples, guidance.weight, solver.tol)
    if len(solver) != count:
        raise UsageError(f"{len(solver)} plans were given for a flow of {count} blocks; give one a block")
    return [Choice(plan) for plan in solver]


def _calibrated(flow: FlowNetwork, samples: int, guidance: float, tol: float | None) -> list[Choice]:
    calibration, count = flow.calibration, len(flow.blocks)
    if calibration is None:
        return [Choice(SEQUENTIAL, "not calibrated: sequential")] * count
    if why := calibration.mismatch(list(flow.blocks), samples, guidance):
        return [Choice(SEQUENTIAL, f"{why}: sequential")] * count
    found = []
    for block in calibration.blocks:
        best, base = block.best, block.sequential_seconds
        if best is None:
            fastest = min((t.seconds for t in block.timings), default=float("nan"))
            found.append(
                Choice(SEQUENTIAL, f"sequential took {base:.3g} s, the quickest parallel solver {fastest:.3g} s")
            )
        else:
            plan = best.plan if tol is None else replace(best.plan, tol=tol)
            found.append(Choice(plan, f"{plan.solver} took {best.seconds:.3g} s, sequential {base:.3g} s"))
    return found
