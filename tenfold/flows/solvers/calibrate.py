"""Measurements that tell which solver is quickest for which block.

* ``initial_guess_metric`` and ``convergence_ranking_metric``: IGM and CRM of GS-Jacobi (arXiv 2505.12849),
  from one forward pass. The published average is signed over the batch, so that errors may cancel.
* ``sweeps_to_tolerance``: our direct measure, the Jacobi sweeps until every sample is within the tolerance.
* ``calibrate``: all of these, and each candidate solver run against the clock on the calibration batch.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from tenfold import progress
from tenfold.flows.block import Condition, FlowBlock, scale_of
from tenfold.flows.chain import Branches, ChainNetwork, solve
from tenfold.flows.guidance import Guidance
from tenfold.flows.network import FlowNetwork, GivenCondition, evaluating
from tenfold.flows.solvers.calibration import BlockCalibration, Calibration, Timing, machine
from tenfold.flows.solvers.frontier import frontier
from tenfold.flows.solvers.info import BlockInfo
from tenfold.flows.solvers.jacobi import certify, segmented, sweep
from tenfold.flows.solvers.plan import Plan, default_tol, first_iterate
from tenfold.flows.solvers.sequential import sequential
from tenfold.nn.border import Values

CANDIDATES = (
    Plan("jacobi"),
    Plan("jacobi", init="zeros"),
    Plan("frontier", window=8),
    Plan("frontier", window=32),
    Plan("frontier", window=64),
    Plan("frontier", window=1 << 20),
)


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
    x: Values,
    condition: GivenCondition | None = None,
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
    flow, x = flow.taken(x)
    settings = (guidance or Guidance()).of(flow.default_rule)
    tol = default_tol(x.dtype) if tol is None else tol
    with torch.inference_mode(), evaluating(flow):
        tokens, count = flow.patchify(x), len(flow.blocks)
        given = flow.condition_weights(condition, x.shape[0])
        guided = settings.guided_blocks(count)
        away = flow.condition_weights(settings.unconditional, x.shape[0]) if guided else None
        branches = Branches(given, away)
        metrics = []
        for k in range(count):
            block = flow.blocks[k]
            metrics.append(
                (initial_guess_metric(block, tokens, given), convergence_ranking_metric(block, tokens, given))
            )
            tokens = block(tokens, given)[0]
        total = sum(crm[3] for _, crm in metrics) or 1.0
        measured = []
        for position in progress.track(range(count), "calibration", "blocks"):
            k = count - 1 - position
            block = flow.blocks[k]
            own = settings if position in guided else None
            net = ChainNetwork(block, branches, own, x.shape[0], BlockInfo(k, "calibration"))
            noise = block.chain(block.order(tokens))
            solution, seconds, timings = _race(net, noise, candidates, tol, repeats)
            igm, crm = metrics[k]
            sweeps = {init: sweeps_to_tolerance(net, noise, solution, init, 10 * tol) for init in ("v", "zeros")}
            measured.append(BlockCalibration(k, igm, crm, crm[3] / total, sweeps, net.steps, seconds, tuple(timings)))
            tokens = block.order(block.unchain(solution))
    return Calibration(tuple(measured), x.shape[0], settings.weight, tol, machine(flow.blocks[0]))


def _race(
    net: ChainNetwork, noise: Tensor, candidates: Sequence[Plan], tol: float, repeats: int
) -> tuple[Tensor, float, list[Timing]]:
    """The solution, the sequential solver's median seconds, and the timing of each candidate."""
    solution = sequential(net, noise)
    plans = [
        replace(plan, tol=tol, window=min(plan.window, max(net.steps, 1)) if plan.solver == "frontier" else plan.window)
        for plan in candidates
    ]
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


def _checked(net: ChainNetwork, noise: Float[Tensor, "b n1 d"], plan: Plan) -> Float[Tensor, "b n1 d"]:
    """A parallel solver's chain, at the cost of its certificate too."""
    if plan.solver == "frontier":
        return frontier(net, noise, plan, torch.inf)[0]
    chain = segmented(net, noise, plan)
    certify(net, noise, chain, torch.inf)
    return chain


def _clock(run: Callable[[], object], device: torch.device) -> float:
    began = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began
