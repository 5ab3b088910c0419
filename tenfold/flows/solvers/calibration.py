"""Measurements that tell which solver is quickest for which block, and the "auto" choice made from them.

* ``initial_guess_metric`` and ``convergence_ranking_metric``: IGM and CRM of GS-Jacobi (arXiv 2505.12849),
  from one forward pass. The published average is signed over the batch, so that errors may cancel.
* ``sweeps_to_tolerance``: our direct measure, the Jacobi sweeps until every sample is within the tolerance.
* ``calibrate``: all of these, and each candidate solver run against the clock on the calibration batch. The
  times hold for the machine, batch size and guidance they were taken with; elsewhere "auto" is sequential and says so.
"""

import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from tenfold import progress
from tenfold.errors import UsageError
from tenfold.files import write_output
from tenfold.flows.block import Condition, FlowBlock, scale_of
from tenfold.flows.chain import Branches, ChainNetwork, solve
from tenfold.flows.guidance import Guidance
from tenfold.flows.network import FlowNetwork
from tenfold.flows.solvers.certificate import certify
from tenfold.flows.solvers.frontier import frontier
from tenfold.flows.solvers.info import BlockInfo
from tenfold.flows.solvers.jacobi import segmented, sweep
from tenfold.flows.solvers.plan import Plan, default_tol, first_iterate
from tenfold.flows.solvers.sequential import sequential
from tenfold.runs.machine import cpu_name

FILE = "calibration.json"
# A parallel solver must win by this much, so that noise in the measurement does not make "auto" slower.
MARGIN = 0.9
CANDIDATES = (
    Plan("jacobi"),
    Plan("jacobi", init="zeros"),
    Plan("frontier", window=8),
    Plan("frontier", window=32),
    Plan("frontier", window=64),
    Plan("frontier", window=1 << 20),
)


@dataclass(frozen=True)
class Timing:
    """One solver of one block: time of the calibration batch in seconds, calls, tokens, and the largest error
    against the sequential solver."""

    plan: Plan
    seconds: float
    calls: int
    tokens: int
    max_error: float


@dataclass(frozen=True)
class BlockCalibration:
    """One block; ``block`` counts from the data side.

    igm: per init "v", "zeros".  crm: ‖mean(e^−a u)‖, ‖W_a‖, ‖W_m‖ and their combination (spectral norms).
    crm_share: its share of all blocks' CRM.  sweeps: per init, Jacobi sweeps to the tolerance.
    sequential_seconds: time of the sequential solver; ``timings`` those of the candidates.
    """

    block: int
    igm: dict[str, float]
    crm: tuple[float, float, float, float]
    crm_share: float
    sweeps: dict[str, int]
    steps: int
    sequential_seconds: float
    timings: tuple[Timing, ...] = ()

    @property
    def best(self) -> Timing | None:
        """The quickest candidate that beats the sequential solver by the margin, if any; not one that overflowed."""
        enough = MARGIN * self.sequential_seconds
        winners = [t for t in self.timings if t.seconds < enough and math.isfinite(t.max_error)]
        return min(winners, key=lambda t: t.seconds) if winners else None


@dataclass(frozen=True)
class Calibration:
    """What ``calibrate`` measured, in sampling order, and where. Saved beside the weights as JSON."""

    blocks: tuple[BlockCalibration, ...]
    batch: int
    guidance: float
    tol: float
    machine: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able dictionary."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Any) -> "Calibration":
        """The inverse of ``to_dict``. Raises UsageError for a dictionary that is no calibration."""
        try:
            blocks = []
            for block in values["blocks"]:
                timings = tuple(Timing(**(t | {"plan": Plan(**t["plan"])})) for t in block["timings"])
                blocks.append(BlockCalibration(**(block | {"crm": tuple(block["crm"]), "timings": timings})))
            return cls(**(values | {"blocks": tuple(blocks)}))
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(f"this is no calibration of a sampler ({error}); calibrate again") from None

    def mismatch(self, flow: FlowNetwork, batch: int, guidance: float) -> str:
        """Why the times do not hold for a run; empty when they do."""
        here = machine(flow)
        different = [name for name in here if self.machine.get(name) != here[name]]
        if len(self.blocks) != len(flow.blocks):
            return f"calibrated for {len(self.blocks)} blocks, not {len(flow.blocks)}"
        steps = flow.blocks[0].steps
        if self.blocks[0].steps != steps:
            return f"calibrated for {self.blocks[0].steps} steps a block, not {steps}"
        if different:
            name = different[0]
            return f"calibrated with {name} {self.machine.get(name)}, not {here[name]}"
        if not self.batch / 2 <= batch <= self.batch * 2:
            return f"calibrated for batches of {self.batch}, not {batch}"
        if bool(guidance) != bool(self.guidance) or guidance > 1.5 * self.guidance:
            return f"calibrated with guidance {self.guidance:g}, not {guidance:g}"
        return ""


def machine(flow: FlowNetwork) -> dict[str, Any]:
    """What the times of a calibration depend on, besides the batch."""
    device = flow.var.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name()
    return {
        "device": f"{device.type}: {name}",
        "threads": torch.get_num_threads(),
        "dtype": str(_block(flow, 0).proj_in.weight.dtype),
        "torch": torch.__version__,
    }


@torch.no_grad()
def initial_guess_metric(block: FlowBlock, x: Float[Tensor, "b t d"], weights: Condition | None) -> dict[str, float]:
    """IGM: spectral norm of the (T, D) matrix mean_b(F(init) − u), for the inits "v" and "zeros"; x in image
    order."""
    u, v = block.order(x), block.order(block(x, weights)[0])
    result = {}
    for init in ("v", "zeros"):
        start = block.unchain(first_iterate(block.chain(v), init))
        log_scale, shift = block.parameters_of(start, weights)
        error = (solve(v, log_scale, shift) - u).mean(dim=0)
        result[init] = float(torch.linalg.matrix_norm(error, ord=2))
    return result


@torch.no_grad()
def convergence_ranking_metric(
    block: FlowBlock, x: Float[Tensor, "b t d"], weights: Condition | None
) -> tuple[float, float, float, float]:
    """CRM: (‖mean_b(e^−a u)‖, ‖W_a‖, ‖W_m‖, ‖mean_b(e^−a u)‖ ‖W_a‖ + ‖W_m‖), spectral norms, where W_a and
    W_m are the halves of the output projection. Large values converge slowly. W_a counts as 0 at unit scale."""
    u = block.order(x)
    log_scale, _ = block.parameters_of(u, weights)
    scaled = u if log_scale is None else u * scale_of(-log_scale)
    data = float(torch.linalg.matrix_norm(scaled.mean(dim=0), ord=2))
    halves = block.proj_out.weight.chunk(1 if block.preserves_volume else 2)
    shift = float(torch.linalg.matrix_norm(halves[-1], ord=2))
    scale = 0.0 if block.preserves_volume else float(torch.linalg.matrix_norm(halves[0], ord=2))
    return data, scale, shift, data * scale + shift


@torch.inference_mode()
def sweeps_to_tolerance(
    net: ChainNetwork,
    noise: Float[Tensor, "b n1 d"],
    solution: Float[Tensor, "b n1 d"],
    init: str = "v",
    tol: float = 1e-4,
) -> int:
    """Jacobi sweeps until max |u − solution| < ``tol`` over the batch (N at most)."""
    net.reset()
    chain = first_iterate(noise, init)
    for number in range(net.steps + 1):
        if float((chain - solution).abs().max()) < tol:
            return number
        new, _, _ = sweep(net, chain[:, :-1], noise[:, 1:])
        chain[:, 1:] = new
    return net.steps


def calibrate(
    flow: FlowNetwork,
    x: Float[Tensor, "b *shape"],
    condition: Tensor | None = None,
    *,
    guidance: Guidance | None = None,
    tol: float | None = None,
    candidates: Sequence[Plan] = CANDIDATES,
    repeats: int = 5,
) -> Calibration:
    """Measure the samplers of ``flow`` on data x (b, *shape) and its condition; the batch size and guidance
    should be those of later sampling.

    Each block is inverted from its own noise of the calibration batch by every candidate, ``repeats`` times
    in alternation (medians count). Costs about ``repeats`` × (candidates + 1) sampling runs."""
    settings = guidance or Guidance()
    tol = default_tol(x.dtype) if tol is None else tol
    training = flow.training
    flow.eval()
    with torch.inference_mode():
        tokens, count = flow.patchify(x), len(flow.blocks)
        flow = flow.like(x)
        given = flow.condition_weights(condition, x.shape[0])
        guided = settings.guided_blocks(count)
        branches = Branches(given, flow.condition_weights(None, x.shape[0]) if guided else None)
        metrics = []
        for k in range(count):
            block = _block(flow, k)
            metrics.append(
                (initial_guess_metric(block, tokens, given), convergence_ranking_metric(block, tokens, given))
            )
            tokens = block(tokens, given)[0]
        total = sum(crm[3] for _, crm in metrics) or 1.0
        measured = []
        for position in progress.track(range(count), "calibration", "blocks"):
            k = count - 1 - position
            block = _block(flow, k)
            net = ChainNetwork(
                block,
                branches,
                settings if position in guided else None,
                x.shape[0],
                BlockInfo(k, "calibration"),
            )
            noise = block.chain(block.order(tokens))
            solution, seconds, timings = _race(net, noise, candidates, tol, repeats)
            igm, crm = metrics[k]
            sweeps = {init: sweeps_to_tolerance(net, noise, solution, init, 10 * tol) for init in ("v", "zeros")}
            measured.append(BlockCalibration(k, igm, crm, crm[3] / total, sweeps, net.steps, seconds, tuple(timings)))
            tokens = block.order(block.unchain(solution))
    flow.train(training)
    return Calibration(tuple(measured), x.shape[0], settings.weight, tol, machine(flow))


def _race(
    net: ChainNetwork, noise: Tensor, candidates: Sequence[Plan], tol: float, repeats: int
) -> tuple[Tensor, float, list[Timing]]:
    """The solution, the sequential solver's median seconds, and the timing of each candidate."""
    solution = sequential(net, noise)
    plans = [replace(plan, tol=tol, window=min(plan.window, max(net.steps, 1))) for plan in candidates]
    seconds: list[list[float]] = [[] for _ in range(len(plans) + 1)]
    results: list[tuple[int, int, float]] = []
    for _ in progress.track(range(repeats), "solvers against the clock", "rounds"):
        seconds[0].append(_clock(lambda: sequential(net, noise), noise.device))
        results = []
        for number, plan in enumerate(plans):
            net.info.calls = net.info.tokens = 0
            chain: list[Tensor] = []
            run = lambda plan=plan, chain=chain: chain.append(_checked(net, noise, plan))  # noqa: E731
            seconds[number + 1].append(_clock(run, noise.device))
            results.append((net.info.calls, net.info.tokens, float((chain[0] - solution).abs().max())))
    medians = [sorted(times)[len(times) // 2] for times in seconds]
    timings = [
        Timing(plan, time_, calls, tokens, error)
        for plan, time_, (calls, tokens, error) in zip(plans, medians[1:], results, strict=True)
    ]
    return solution, medians[0], timings


def _checked(net: ChainNetwork, noise: Tensor, plan: Plan) -> Tensor:
    """A parallel solver's chain, at the cost of its certificate too."""
    if plan.solver == "frontier":
        return frontier(net, noise, plan, torch.inf)[0]
    chain = segmented(net, noise, plan)
    certify(net, noise, chain, torch.inf)
    return chain


def _clock(run: Any, device: torch.device) -> float:
    began = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began


def _block(flow: FlowNetwork, index: int) -> FlowBlock:
    block = flow.blocks[index]
    assert isinstance(block, FlowBlock)
    return block


def automatic_plans(
    flow: FlowNetwork, batch: int, guidance: Guidance, tol: float | None = None
) -> tuple[list[Plan], list[str]]:
    """The plans of solver "auto" in sampling order, from ``flow.calibration``, and the reason for each."""
    count = len(flow.blocks)
    calibration: Calibration | None = getattr(flow, "calibration", None)
    if calibration is None:
        return [Plan()] * count, ["not calibrated: sequential"] * count
    why = calibration.mismatch(flow, batch, guidance.weight)
    if why:
        return [Plan()] * count, [f"{why}: sequential"] * count
    plans, reasons = [], []
    for block in calibration.blocks:
        best, base = block.best, block.sequential_seconds
        if best is None:
            plans.append(Plan())
            fastest = min((t.seconds for t in block.timings), default=float("nan"))
            reasons.append(f"sequential took {base:.3g} s, the quickest parallel solver {fastest:.3g} s")
        else:
            plans.append(best.plan if tol is None else replace(best.plan, tol=tol))
            reasons.append(f"{best.plan.solver} took {best.seconds:.3g} s, sequential {base:.3g} s")
    return plans, reasons


def save_calibration(calibration: Calibration, folder: str | Path) -> Path:
    """Write ``calibration.json`` into a model folder; returns its path."""
    return write_output(Path(folder) / FILE, json.dumps(calibration.to_dict(), indent=2) + "\n")


def load_calibration(folder: str | Path) -> Calibration | None:
    """The calibration of a model folder; None if it has none. Raises UsageError for a broken file."""
    path = Path(folder) / FILE
    if not path.is_file():
        return None
    try:
        return Calibration.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except json.JSONDecodeError as error:
        raise UsageError(f"{path} is not valid JSON ({error}); calibrate again") from None
