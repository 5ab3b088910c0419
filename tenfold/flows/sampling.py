"""Sampling: noise to data by inverting the flow block by block, with one interface to all solvers.

Every solver computes the same fixed point (see ``tenfold.flows.chain``), guided or not. "sequential" solves
it token by token; "jacobi", "gs" and "frontier" sweep many tokens at once and check the result; "selective"
(SeJD, arXiv 2505.24791) is sequential in the first sampled block and stops early in the others: fast and
approximate; "auto" takes, block by block, what a saved calibration says is quickest.
"""

import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from tenfold import progress
from tenfold.errors import TenfoldError, UsageError, suggest
from tenfold.flows.block import Condition, FlowBlock
from tenfold.flows.chain import Branches, ChainNetwork
from tenfold.flows.guidance import Blocks, Guidance
from tenfold.flows.network import FlowNetwork, is_half
from tenfold.flows.solvers.calibration import automatic_plans
from tenfold.flows.solvers.certificate import certify, first_bad_sample
from tenfold.flows.solvers.frontier import frontier
from tenfold.flows.solvers.info import BlockInfo, SamplingInfo
from tenfold.flows.solvers.jacobi import segmented
from tenfold.flows.solvers.plan import SELECTIVE_TOL, SOLVERS, Plan, default_tol
from tenfold.flows.solvers.sequential import sequential


def sample(
    flow: FlowNetwork,
    n: int,
    condition: Condition | int | None = None,
    *,
    guidance: float = 0.0,
    rule: str | None = None,
    what: str = "ab",
    schedule: str = "const",
    blocks: Blocks = "all",
    attn_temp: float = 1.0,
    solver: str | Sequence[Plan] = "sequential",
    tol: float | None = None,
    max_sweeps: int | None = None,
    init: str = "v",
    segments: int = 8,
    window: int = 32,
    stop: str = "change",
    certify: bool | None = None,
    denoise_sigma: float | None = None,
    denoise_rate: float = 1.0,
    clip: bool = False,
    unconditional: Condition | None = None,
    noise: Tensor | None = None,
    generator: torch.Generator | None = None,
    compiled: bool = False,
    return_info: bool = False,
) -> Any:
    """n samples (n, *shape) of a flow; with ``return_info`` a pair, the samples and a ``SamplingInfo``.

    Args:
        flow: a TarFlow; its training mode is left as it was, sampling uses evaluation mode.
        n: number of samples.
        condition: labels (n,) int64 with −1 for none, one label for all, class mixtures (n, classes), contexts
            (n, context), or None.
        guidance, rule, what, schedule, blocks, attn_temp: see ``tenfold.flows.guidance.Guidance``.
        solver: "sequential", "jacobi", "gs", "selective", "frontier", "auto", or one ``Plan`` per block in
            sampling order.
        tol, max_sweeps, init, segments, window, stop: see ``tenfold.flows.solvers.plan.Plan``. ``tol`` of the
            selective solver is 0.5 by default.
        certify: check the result of each block by one more pass; by default what is not sequential is checked.
        denoise_sigma: standard deviation of the Gaussian noise that the flow was trained with; removes it at the end
            by one step along the score (``tenfold.flows.density.denoise``), times ``denoise_rate``.
        clip: clip the result to [−1, 1], after denoising.
        noise: standard normal (n, T, D) to start from; else drawn with ``generator``.
        compiled: compile the sequential solver's step with static shapes (CUDA graphs); worth its minute of
            compilation for many samples on a GPU.
        return_info: return (samples, SamplingInfo).

    Exact solvers whose check fails are finished by the sequential solver, from the first bad token. Raises
    TenfoldError, naming block, token and sample, where that one overflows too: nothing is redrawn; and
    UsageError for bad arguments.

    >>> from tenfold.flows import TarFlow, TarFlowConfig
    >>> sample(TarFlow(TarFlowConfig(shape=(1, 8, 8))), 2).shape
    torch.Size([2, 1, 8, 8])
    """
    settings = Guidance(guidance, rule or flow.default_rule, what, schedule, blocks, attn_temp)
    options = dict(tol=tol, max_sweeps=max_sweeps, init=init, segments=segments, window=window, stop=stop)
    if denoise_sigma is not None and not denoise_sigma >= 0:
        raise UsageError(f"denoise_sigma is {denoise_sigma}; the noise that the flow was trained with is at least 0")
    z = draw_noise(flow, n, noise, generator)
    if isinstance(condition, int):
        condition = torch.full((n,), condition, dtype=torch.int64, device=z.device)
    plans, reasons = _plans(flow, solver, options, n, settings)
    tokens, info = invert(
        flow,
        z * flow.var.to(z.dtype).sqrt(),
        condition,
        settings,
        plans,
        unconditional=unconditional,
        certify=certify,
        compiled=compiled,
        generator=generator,
        solver=solver if isinstance(solver, str) else "plans",
        reasons=reasons,
    )
    x = flow.unpatchify(tokens)
    if denoise_sigma is not None:
        from tenfold.flows.density import denoise

        with _evaluation(flow):
            x = denoise(flow, x, denoise_sigma, condition, denoise_rate)
    if clip:
        x = x.clamp(-1.0, 1.0)
    return (x, info) if return_info else x


def invert(
    flow: FlowNetwork,
    z: Tensor,
    condition: Condition | None = None,
    guidance: Guidance | None = None,
    plans: Sequence[Plan] | None = None,
    **options: Any,
) -> tuple[Tensor, SamplingInfo]:
    """The inverse of ``flow.forward``: noise z (b, T, D), not rescaled by the prior, to tokens (b, T, D), and
    the record of the work; arguments and errors as in ``invert_states``."""
    states, info = invert_states(flow, z, condition, guidance, plans, **options)
    return states[-1], info


def invert_states(
    flow: FlowNetwork,
    z: Tensor,
    condition: Condition | None = None,
    guidance: Guidance | None = None,
    plans: Sequence[Plan] | None = None,
    *,
    unconditional: Condition | None = None,
    certify: bool | None = None,
    compiled: bool = False,
    generator: torch.Generator | None = None,
    solver: str = "sequential",
    reasons: Sequence[str] | None = None,
) -> tuple[list[Tensor], SamplingInfo]:
    """Noise z (b, T, D) and the tokens after each sampled block, in image order, and the record of the work.

    ``plans`` holds one Plan a block in sampling order, sequential by default; ``reasons`` why they were
    chosen. Raises TenfoldError where the inverse overflows, UsageError for a wrong shape, NaN or infinite noise."""
    config = flow.config
    expected = (config.tokens, config.token_dim)
    if z.ndim != 3 or tuple(z.shape[1:]) != expected:
        raise UsageError(
            f"the noise has shape {tuple(z.shape)}; this flow expects (batch, {expected[0]}, {expected[1]})"
        )
    if not bool(torch.isfinite(z).all()):
        raise UsageError("the noise holds NaN or infinite values; give finite noise")
    count, batch = len(flow.blocks), z.shape[0]
    guidance = guidance or Guidance()
    plans = [Plan()] * count if plans is None else list(plans)
    if len(plans) != count:
        raise UsageError(f"{len(plans)} plans were given for a flow of {count} blocks; give one a block")
    info = SamplingInfo(batch, solver, all(p.exact for p in plans), plans[0].tol or default_tol(z.dtype))
    guided = guidance.guided_blocks(count)
    with torch.inference_mode(), _evaluation(flow):
        branches = Branches(flow.condition_weights(condition, batch))
        if guided:
            branches = Branches(branches.conditional, flow.condition_weights(unconditional, batch))
        if guidance.attn_temp == 1.0:
            # Without a condition both branches of a block are the same.
            guided = frozenset(p for p in guided if flow.blocks[count - 1 - p].conditional)
        if guidance.weight and guidance.attn_temp == 1.0 and (not guided or _same(branches)):
            guided = frozenset()
            info.warnings.append(
                "guidance has no effect: there is no condition and attn_temp is 1; give a condition or "
                "another attn_temp"
            )
            warnings.warn(info.warnings[-1], stacklevel=4)
        states = [z]
        with progress.task("tokens", sum(block.steps for block in flow.blocks), "tokens") as done:
            for position, plan in enumerate(plans):
                record = BlockInfo(count - 1 - position, plan.solver, reason=reasons[position] if reasons else "")
                info.blocks.append(record)
                block = flow.blocks[record.block]
                assert isinstance(block, FlowBlock)
                net = ChainNetwork(block, branches, guidance if position in guided else None, batch, record)
                states.append(_invert_block(net, states[-1], plan, certify, compiled, generator, done))
    # Copies made outside of inference mode can take part in autograd later.
    return [state.clone() for state in states], info


def _invert_block(
    net: ChainNetwork,
    tokens: Tensor,
    plan: Plan,
    check: bool | None,
    compiled: bool,
    generator: torch.Generator | None,
    done: progress.Work,
) -> Tensor:
    """Invert one block on tokens in image order, check the result, and repair it if it must be exact."""
    block, record = net.block, net.info
    began = time.perf_counter()
    noise = block.chain(block.order(tokens))
    limit = 10.0 * (default_tol(noise.dtype) if plan.tol is None or not plan.exact else plan.tol)
    bad: int | None = None
    if plan.solver == "sequential":
        chain = sequential(net, noise, compiled=compiled, done=done)
        check = bool(check)
    elif plan.solver == "frontier":
        chain, record.certificate, bad = frontier(net, noise, plan, limit, generator)
        check = False
    else:
        chain = segmented(net, noise, plan, generator)
        check = check is None or check
    if check:
        record.certificate, bad = certify(net, noise, chain, limit)
    if bad is not None and plan.solver != "sequential" and (plan.exact or not _finite(chain)):
        residual = record.certificate.residual if record.certificate else float("nan")
        record.fallback = f"sequential from slot {bad} on: residual {residual:.3g} at tolerance {limit:.3g}"
        chain = sequential(net, noise, chain, bad - 1)
        record.certificate, _ = certify(net, noise, chain, limit)
    if plan.solver != "sequential":
        done(net.steps)
    if not _finite(chain):
        raise _overflow(chain, record.block, block.first_output)
    record.seconds = time.perf_counter() - began
    return block.order(block.unchain(chain))


def _finite(chain: Tensor) -> bool:
    return bool(torch.isfinite(chain).all())


def _overflow(chain: Tensor, index: int, first_output: int) -> TenfoldError:
    wrong = first_bad_sample(chain)
    assert wrong is not None
    sample, slot, value = wrong
    return TenfoldError(
        f"the inverse of block {index} overflows at token {slot - 1 + first_output} (in the block's order) "
        f"of sample {sample}: {value}; the flow's scales grow too large there (see its conditioning), or the "
        "guidance is too strong"
    )


def _plans(
    flow: FlowNetwork, solver: str | Sequence[Plan], options: dict[str, Any], n: int, guidance: Guidance
) -> tuple[list[Plan], list[str]]:
    """One plan a block, in sampling order, from the arguments of ``sample``; and why."""
    count = len(flow.blocks)
    if not isinstance(solver, str):
        return list(solver), [""] * count
    if solver not in SOLVERS:
        raise UsageError(f"solver is {solver!r}, which is unknown{suggest(solver, SOLVERS)}")
    if solver == "selective":
        options = options | {"tol": SELECTIVE_TOL if options["tol"] is None else options["tol"]}
        options |= {"init": "zeros" if options["init"] == "v" else options["init"]}
        rest = Plan(solver="jacobi", approximate=True, **options)
        return [Plan()] + [rest] * (count - 1), [""] * count
    if solver == "auto":
        return automatic_plans(flow, n, guidance, options["tol"])
    return [Plan(solver=solver, **options)] * count, [""] * count


def draw_noise(flow: FlowNetwork, n: int, noise: Tensor | None, generator: torch.Generator | None) -> Tensor:
    """Standard normal (n, T, D) on the flow's device, in single precision at least, or ``noise`` checked."""
    if n < 1:
        raise UsageError(f"n is {n}; ask for at least one sample")
    shape = (n, flow.config.tokens, flow.config.token_dim)
    if noise is None:
        device = flow.var.device if generator is None else generator.device
        dtype = torch.float32 if is_half(flow.var) else flow.var.dtype
        drawn = torch.randn(shape, dtype=dtype, device=device, generator=generator)
        return drawn.to(flow.var.device)
    if tuple(noise.shape) != shape:
        raise UsageError(f"the noise has shape {tuple(noise.shape)}; {n} samples of this flow need {shape}")
    return noise.to(flow.var.device)


def _same(branches: Branches) -> bool:
    """Whether the two branches have the same condition in every row."""
    given, without = branches.conditional, branches.unconditional
    if isinstance(given, Tensor) and isinstance(without, Tensor):
        return given.shape == without.shape and bool(torch.equal(given, without))
    return given is None or without is None


@contextmanager
def _evaluation(flow: FlowNetwork) -> Iterator[None]:
    """Evaluation mode for a while: dropout would make the inverse another function at every sweep."""
    training = flow.training
    flow.eval()
    try:
        yield
    finally:
        flow.train(training)
