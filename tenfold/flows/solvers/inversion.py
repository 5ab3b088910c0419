"""Noise to tokens by inverting the flow block by block, each by the solver of its plan."""

import time
import warnings

import torch
from jaxtyping import Float
from torch import Tensor

from tenfold import progress
from tenfold.errors import TenfoldError, UsageError
from tenfold.flows.chain import Branches, ChainNetwork
from tenfold.flows.guidance import Guidance
from tenfold.flows.network import FlowNetwork, GivenCondition, evaluating
from tenfold.flows.solvers.choice import Solver, choices, name_of
from tenfold.flows.solvers.frontier import frontier
from tenfold.flows.solvers.info import BlockInfo, SamplingInfo
from tenfold.flows.solvers.jacobi import certify, segmented
from tenfold.flows.solvers.plan import SEQUENTIAL, Plan, default_tol
from tenfold.flows.solvers.sequential import sequential
from tenfold.nn.border import Values, as_tensor, floats
from tenfold.nn.memory import free_bytes, require


def invert_states(
    flow: FlowNetwork,
    z: Values,
    condition: GivenCondition | None = None,
    guidance: Guidance | None = None,
    solver: Solver = SEQUENTIAL,
    *,
    check: bool | None = None,
    compiled: bool = False,
    generator: torch.Generator | None = None,
) -> tuple[list[Float[Tensor, "b t d"]], SamplingInfo]:
    """Noise z and the tokens after each sampled block, in image order, and the record of the work.

    ``check`` (there ``certify``), ``compiled`` and ``generator`` as in ``tenfold.flows.sampling.draw_samples``. Raises
    TenfoldError where the inverse overflows, UsageError for noise of a wrong shape, NaN or infinite, and for plans
    that do not fit."""
    config, z = flow.config, as_tensor(z, "the noise", flow.precision)
    if z.ndim != 3 or tuple(z.shape[1:]) != (config.tokens, config.token_dim):
        raise UsageError(
            f"the noise has shape {tuple(z.shape)}; this flow expects (batch, {config.tokens}, {config.token_dim})"
        )
    z = floats(z, "the noise", flow.precision)
    count, batch = len(flow.blocks), z.shape[0]
    guidance = (guidance or Guidance()).of(flow.default_rule)
    chosen = choices(solver, flow, batch, guidance)
    exact, tol = all(plan.exact for plan, _ in chosen), chosen[0].plan.tol or default_tol(z.dtype)
    info = SamplingInfo(batch, name_of(solver), exact, tol)
    each = sample_bytes(
        flow, bool(guidance.guided_blocks(count)), any(plan.solver != "sequential" for plan, _ in chosen)
    )
    fewer = max(1, int(free_bytes(z.device) // (2 * each)))
    require(batch * each, z.device, f"sampling {batch} at once", f"take fewer at a time, {fewer} say (--batch {fewer})")
    if not batch:
        return [z.clone() for _ in range(count + 1)], info
    with torch.inference_mode(), evaluating(flow):
        branches, guided = _branches(flow, condition, guidance, batch, info)
        states = [z]
        with progress.task("tokens", sum(block.steps for block in flow.blocks), "tokens") as done:
            for position, (plan, reason) in enumerate(chosen):
                record = BlockInfo(count - 1 - position, plan.solver, reason=reason)
                info.blocks.append(record)
                own = guidance if position in guided else None
                net = ChainNetwork(flow.blocks[record.block], branches, own, batch, record)
                states.append(_invert_block(net, states[-1], plan, check, compiled, generator, done))
    # Copies made outside of inference mode can take part in autograd later.
    return [state.clone() for state in states], info


def sample_bytes(flow: FlowNetwork, guided: bool = False, parallel: bool = False) -> int:
    """About the bytes that one sample takes while the largest block is inverted: keys and values of all layers, a
    network call's activations (of all tokens where a solver sweeps them), and the tokens after each block."""
    most, branches = 0, 1 + guided
    for block in flow.blocks:
        layer, slots = block.layer, block.steps + block.prefix
        cache = 2 * slots * layer.key_heads * layer.head_size * len(block.layers)
        call = (slots if parallel else block.prefix + 1) * (2 * layer.hidden + 6 * layer.width)
        most = max(most, branches * (cache + call) * block.proj_in.weight.itemsize)
    return most + (2 * len(flow.blocks) + 2) * flow.config.dimensions * flow.precision.itemsize


def invert(
    flow: FlowNetwork,
    z: Values,
    condition: GivenCondition | None = None,
    guidance: Guidance | None = None,
    solver: Solver = SEQUENTIAL,
) -> tuple[Float[Tensor, "b t d"], SamplingInfo]:
    """The inverse of ``flow.forward``: noise z, not rescaled by the prior, to tokens, and the record of the work;
    arguments and errors as in ``invert_states``."""
    states, info = invert_states(flow, z, condition, guidance, solver)
    return states[-1], info


def _branches(
    flow: FlowNetwork, condition: GivenCondition | None, guidance: Guidance, batch: int, info: SamplingInfo
) -> tuple[Branches, frozenset[int]]:
    """The conditions, and the sampled blocks whose two branches differ."""
    guided = guidance.guided_blocks(len(flow.blocks))
    branches = Branches(flow.condition_weights(condition, batch))
    if guided:
        branches = Branches(branches.conditional, flow.condition_weights(guidance.unconditional, batch))
    if guidance.attn_temp == 1.0:
        # Without a condition both branches of a block are the same.
        guided = frozenset(p for p in guided if flow.blocks[len(flow.blocks) - 1 - p].conditional)
    if guidance.weight and guidance.attn_temp == 1.0 and (not guided or branches.alike):
        guided = frozenset()
        info.warnings.append(
            "guidance has no effect: there is no condition and attn_temp is 1; give a condition or another attn_temp"
        )
        warnings.warn(info.warnings[-1], stacklevel=5)
    return branches, guided


def _invert_block(
    net: ChainNetwork,
    tokens: Float[Tensor, "b t d"],
    plan: Plan,
    check: bool | None,
    compiled: bool,
    generator: torch.Generator | None,
    done: progress.Meter,
) -> Float[Tensor, "b t d"]:
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
    if bad is not None and plan.solver != "sequential" and (plan.exact or not bool(torch.isfinite(chain).all())):
        residual = record.certificate.residual if record.certificate else float("nan")
        record.fallback = f"sequential from slot {bad} on: residual {residual:.3g} at tolerance {limit:.3g}"
        chain = sequential(net, noise, chain, bad - 1)
        record.certificate, _ = certify(net, noise, chain, limit)
    if plan.solver != "sequential":
        done(net.steps)
    if not bool((finite := torch.isfinite(chain)).all()):
        slot = int((~finite).any(dim=2).any(dim=0).nonzero()[0])
        sample = int((~finite[:, slot]).any(dim=1).nonzero()[0])
        value = float(chain[sample, slot][~finite[sample, slot]][0])
        raise TenfoldError(
            f"the inverse of block {record.block} overflows at token {slot - 1 + block.first_output} (in the block's "
            f"order) of sample {sample}: {value}; the flow's scales grow too large there (see its conditioning), or "
            "the guidance is too strong"
        )
    record.seconds = time.perf_counter() - began
    return block.order(block.unchain(chain))
