"""Which sampler is best on a target, at equal seconds: one table of effective draws, bias and log Z."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from tenfold import progress
from tenfold.discrete_samplers.classical.annealing import annealed_sampling
from tenfold.discrete_samplers.classical.bits import packed_gibbs
from tenfold.discrete_samplers.classical.chains import run_chains
from tenfold.discrete_samplers.classical.clusters import SwendsenWang, Wolff
from tenfold.discrete_samplers.classical.gibbs import Gibbs, HiddenGibbs
from tenfold.discrete_samplers.classical.informed import Informed
from tenfold.discrete_samplers.classical.langevin import Jumps, Langevin
from tenfold.discrete_samplers.classical.tempering import parallel_tempering
from tenfold.discrete_samplers.flow.process import FlowProcess
from tenfold.discrete_samplers.flow.simulation import sample_flow, times
from tenfold.discrete_samplers.result import SamplerResult
from tenfold.discrete_samplers.targets.binary import Ising, PairwiseBinary
from tenfold.discrete_samplers.targets.machines import BoltzmannMachine
from tenfold.discrete_samplers.targets.potts import Potts
from tenfold.discrete_samplers.targets.protocol import DiscreteTarget, check_function, check_law
from tenfold.errors import UsageError
from tenfold.runs.measurement import Measurement
from tenfold.settings.arguments import read_arguments

_SMALLEST = 4
_LARGEST = 2**16
Run = Callable[[int, int], SamplerResult]


@dataclass(frozen=True)
class Compared:
    """A row of the comparison.

    Attributes:
        sampler: its name.
        seconds: that it ran.
        work: moves, or steps of the schedule.
        mean: of the observable, over the second half of every chain or over weighted samples, with its standard error
            between chains or samples.
        bias: mean less the exact value, in standard errors; None where nothing exact is known.
        draws_per_second: (sd of the observable/standard error)² a second: independent draws.
        log_z: estimate, or None; ``log_z_error`` its standard error.
        target_calls: ratios and log-probabilities, in rows.
        notes: what it says against itself.
    """

    sampler: str
    seconds: float
    work: int
    mean: float
    error: float
    bias: float | None
    draws_per_second: float
    log_z: float | None
    log_z_error: float | None
    target_calls: float
    notes: tuple[str, ...]


def samplers_for(
    target: DiscreteTarget,
    chains: int,
    flow: FlowProcess | None = None,
    watched: Callable[[Tensor], Tensor] | None = None,
) -> dict[str, Run]:
    """Every sampler that fits a target, as a function of (work, seed)."""

    def chain(kernel: Any) -> Run:
        return lambda work, seed: run_chains(target, kernel, chains, work, seed=seed, watched=watched)

    def schedule(work: int) -> Tensor:
        return torch.linspace(0, 1, work + 1)

    found: dict[str, Run] = {
        "gibbs": chain(Gibbs()),
        "gwg": chain(Informed()),
        "pas": chain(Informed(length=4)),
        "dmala": chain(Langevin(0.4)),
        "dlmc": chain(Jumps(0.4)),
        "parallel tempering": lambda work, seed: parallel_tempering(
            target, Gibbs(), max(2, chains // 8), work, torch.linspace(0, 1, 8), seed=seed, watched=watched
        ),
        "annealed importance sampling": lambda work, seed: annealed_sampling(
            target, Gibbs(), chains, betas=schedule(work), threshold=0.0, seed=seed
        ),
        "annealed smc": lambda work, seed: annealed_sampling(
            target, Gibbs(), max(2, chains // 8), 8, betas=schedule(work), seed=seed
        ),
    }
    ferromagnet = isinstance(target, Potts) or (isinstance(target, PairwiseBinary) and target.low == -1)
    if ferromagnet and bool((target.couplings.weights >= 0).all()):  # type: ignore[attr-defined]
        found["swendsen-wang"] = chain(SwendsenWang())
        if not isinstance(target, PairwiseBinary) or not bool(target.linear.any()):
            found["wolff"] = chain(Wolff())
    if isinstance(target, BoltzmannMachine):
        found["hidden gibbs"] = chain(HiddenGibbs())
    if (
        isinstance(target, Ising)
        and not (target.height % 2 or target.width % 2)
        and min(target.height, target.width) > 3
    ):
        found["packed gibbs"] = lambda work, seed: packed_gibbs(target, 2048, work, seed)
    found["conditional flow"] = lambda work, seed: sample_flow(
        FlowProcess(None, 0.5), target, chains, times(work), seed=seed
    )
    if flow is not None:
        found["neural flow"] = lambda work, seed: sample_flow(flow, target, chains, times(work), seed=seed)
    return found


@read_arguments
@torch.no_grad()
def compare(
    target: DiscreteTarget,
    observable: Callable[[Tensor], Tensor],
    exact: float | None = None,
    seconds: float = 5.0,
    chains: int = 256,
    names: tuple[str, ...] = (),
    flow: FlowProcess | None = None,
    seed: int = 0,
    more: Mapping[str, Run] | None = None,
) -> list[Compared]:
    """Run the samplers that fit, each for about as many seconds: the work is doubled until the next doubling would
    exceed them, and the last run, made for the whole remaining time at once, is what is told.

    Args:
        observable: tokens (n, d) to (n,).
        exact: its exact mean.
        chains: of each sampler (ladders and populations share them).
        names: of the samplers; all by default.
        flow: a trained process to the target.
        more: functions of (work, seed) by name, which are compared too (``trained_runs``).

    Raises:
        UsageError: names of samplers that there are not or that do not fit, a time that is not positive.
    """
    if not seconds > 0:
        raise UsageError(f"seconds is {seconds}; give a positive number")
    check_law(target)
    check_function(observable, "observable")
    known = {**samplers_for(target, chains, flow, observable), **(more or {})}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UsageError(f"{unknown[0]!r} does not fit this target; choose of {', '.join(known)}")
    rows = []
    with progress.task("comparison", len(names or known), "samplers") as step:
        for name in names or known:
            rows.append(_timed(name, known[name], observable, exact, seconds, seed))
            step()
    return rows


def _timed(
    name: str, run: Run, observable: Callable[[Tensor], Tensor], exact: float | None, seconds: float, seed: int
) -> Compared:
    work, began = _SMALLEST, time.perf_counter()
    found = run(work, seed)
    spent = last = time.perf_counter() - began
    while spent + 2.2 * last < seconds and work < _LARGEST:
        # As much as is left, at the rate of the last run, but not more than four times as much at once.
        work = min(_LARGEST, int(work * min(4.0, max(1.5, 0.9 * (seconds - spent) / last))))
        start = time.perf_counter()
        found = run(work, seed)
        last = time.perf_counter() - start
        spent += last
    spread = float(
        (found.mean(lambda x: observable(x).double() ** 2) - found.mean(observable) ** 2).clamp(min=0).sqrt()
    )
    if found.chain_means is None:
        mean, error = float(found.mean(observable)), float(found.standard_error(observable))
    else:
        mean = float(found.chain_means.mean())
        error = float(found.chain_means.std()) / math.sqrt(len(found.chain_means))
    draws = (spread / error) ** 2 / last if error > 0 else math.nan
    calls = found.counts.ratios + found.counts.log_probs
    bias = None if exact is None or error == 0 else (mean - exact) / error
    return Compared(
        name, last, work, mean, error, bias, draws, found.log_z, found.log_z_standard_error, calls, found.notes
    )


def compared_rows(
    name: str, found: list[Compared], exact: float | None = None, log_z: float | None = None
) -> list[Measurement]:
    """What each sampler says of a law; draws a second of those that are within four standard errors of the ``exact``
    mean, where it is known, and at the end which has most of them."""
    rows = []
    for row in found:
        away = "" if row.bias is None else f"{row.bias:+.1f} s.e. from exact"
        note = "; ".join(part for part in (f"{row.seconds:.1f} s, {row.work} moves", away, *row.notes) if part)
        rows.append(Measurement("mean", row.mean, "", name, row.sampler, row.error, note=note))
        if row.log_z is not None:
            rows.append(Measurement("log_z", row.log_z, "nats", name, row.sampler, row.log_z_error))
    right = [row for row in found if row.error > 0 and (exact is None or abs(row.mean - exact) < 4 * row.error)]
    rows += [Measurement("draws_a_second", row.draws_per_second, "", name, row.sampler) for row in right]
    if exact is not None:
        rows.append(Measurement("mean", exact, "", name, "exact"))
    if log_z is not None:
        rows.append(Measurement("log_z", log_z, "nats", name, "exact"))
    if right:
        best = max(right, key=lambda row: row.draws_per_second)
        rows.append(
            Measurement("best", best.draws_per_second, "draws a second", name, best.sampler, note=_beaten(best, found))
        )
    return rows


def _beaten(best: Compared, found: list[Compared]) -> str:
    wrong = [row.sampler for row in found if row.bias is not None and abs(row.bias) >= 4]
    return f"{best.mean:.4g} ± {best.error:.2g}" + (f"; off by 4 s.e. or more: {', '.join(wrong)}" if wrong else "")


def magnetisation(x: Tensor) -> Float[Tensor, " n"]:
    """|Σ s|/d of spins."""
    return (2.0 * x - 1).mean(1).abs()
