"""Fixed-point samplers: Jacobi over all tokens, and Gauss-Seidel over segments with Jacobi inside.

A sweep F(u)_{j+1} = v_{j+1} exp(a_j(u)) + m_j(u) is one causal pass. F is strictly triangular: t sweeps make
the first t unknown slots exact from any first iterate (arXiv 2505.12849, arXiv 2505.24791). The change may
grow for many sweeps before it vanishes, so only a small change stops the iteration, never a large one. One more
pass over the result tells whether it is the solution, whatever the solver did (``certify``).
"""

from itertools import pairwise

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from tenfold.flows.block import scale_of
from tenfold.flows.chain import ChainNetwork, solve
from tenfold.flows.solvers.info import Certificate
from tenfold.flows.solvers.plan import Plan, default_tol, first_iterate


def overflow_limit(dtype: torch.dtype) -> float:
    """The magnitude beyond which an iterate counts as overflown: its square must stay finite in the network's
    normalisations, or NaN would reach earlier tokens through masked attention (0 · inf)."""
    return torch.finfo(dtype).max ** 0.4


def sweep(
    net: ChainNetwork, inputs: Float[Tensor, "b n d"], noise: Float[Tensor, "b n d"]
) -> tuple[Float[Tensor, "b n d"], Float[Tensor, "b n d"] | None, Bool[Tensor, "b n d"] | None]:
    """F on the n slots behind the committed ones: their successors, given the successors' noise; the
    log-scales; and a mark on overflown entries, which are replaced by the noise (None where there are none)."""
    log_scale, shift = net.evaluate(inputs)
    new = solve(noise, log_scale, shift)
    # One reduction decides the usual case; NaN fails the comparison too.
    if bool(new.abs().amax() <= overflow_limit(new.dtype)):
        return new, log_scale, None
    broken = ~(new.abs() <= overflow_limit(new.dtype))
    net.info.repairs += int(broken.sum())
    return torch.where(broken, noise, new), log_scale, broken


def segmented(
    net: ChainNetwork, noise: Float[Tensor, "b n1 d"], plan: Plan, generator: torch.Generator | None = None
) -> Float[Tensor, "b n1 d"]:
    """Gauss-Seidel over ``plan.segments`` (one for the Jacobi solver) with Jacobi sweeps inside each.

    A finished segment's keys and values enter the cache with the first sweep of the next one, which reads
    both; samples that have converged leave the batch."""
    net.reset()
    chain = first_iterate(noise, plan.init, generator)
    count = min(plan.segments, net.steps) if plan.solver == "gs" else 1
    edges = [net.steps * g // count for g in range(count + 1)] if net.steps else [0]
    for start, end in pairwise(edges):
        _solve_segment(net, noise, chain, start, end, plan)
    return chain


def _solve_segment(
    net: ChainNetwork, noise: Float[Tensor, "b n1 d"], chain: Float[Tensor, "b n1 d"], start: int, end: int, plan: Plan
) -> None:
    """Jacobi on the slots start + 1..end of ``chain``, in place; slots up to ``start`` are solved."""
    tol = default_tol(chain.dtype) if plan.tol is None else plan.tol
    batch, dims = chain.shape[0], chain.shape[2]
    full = net
    rows: Tensor | None = None  # the samples still in the batch; None for all
    done: Tensor | None = None  # which of those have converged: what they are must not depend on the others
    # t sweeps make t slots exact: one more than the segment's slots can change nothing.
    cap = min(end - start, plan.max_sweeps or end - start)
    residual = torch.zeros(batch, dtype=chain.dtype, device=chain.device)
    for number in range(1, cap + 1):
        pick = slice(None) if rows is None else rows
        pending = start - net.committed  # solved slots whose keys and values are not cached yet
        inputs, target = chain[pick, net.committed : end], noise[pick, net.committed + 1 : end + 1]
        new, _, broken = sweep(net, inputs, target)
        new = new[:, pending:]
        if pending:
            net.commit(pending)
        old = chain[pick, start + 1 : end + 1]
        change = (new - old).abs()
        if broken is not None:
            change = change.masked_fill(broken[:, pending:], torch.inf)
        peaks = change.amax(dim=(1, 2))
        if done is not None:
            new, peaks = torch.where(done.view(-1, 1, 1), old, new), torch.where(done, residual[pick], peaks)
        chain[pick, start + 1 : end + 1] = new
        net.info.sweeps += 1
        residual[pick] = peaks
        if plan.stop == "frobenius":
            if float(change.square().sum().sqrt()) / (batch * dims) < tol:
                break
            continue
        active = residual[pick] >= tol
        if not bool(active.any()):
            break
        done = ~active
        if number < cap and 2 * int(active.sum()) <= net.batch:
            keep = active.nonzero()[:, 0]
            rows = keep if rows is None else rows[keep]
            net, done = net.rows(keep), None
    # After as many sweeps as slots the last change says nothing: the segment is exact.
    finished = cap == end - start
    full.info.residual = max(full.info.residual, 0.0 if finished and number == cap else float(residual.max()))
    if not finished and bool((residual >= tol).any()) and plan.stop == "change":
        full.info.converged = False


def certify(
    net: ChainNetwork, noise: Float[Tensor, "b n1 d"], chain: Float[Tensor, "b n1 d"], limit: float
) -> tuple[Certificate, int | None]:
    """max |v′ − v| and max |F(u) − u| of a chain, and the first slot whose residual is not finite or exceeds
    ``limit``·(1 + |u|) (None if there is none). Costs one network call."""
    if net.steps == 0:
        return Certificate(0.0, 0.0), None
    net.reset()
    log_scale, shift = net.evaluate(chain[:, :-1])
    residual = (solve(noise[:, 1:], log_scale, shift) - chain[:, 1:]).abs()
    recovered = (chain[:, 1:] - shift) if log_scale is None else (chain[:, 1:] - shift) * scale_of(-log_scale)
    error = float((recovered - noise[:, 1:]).abs().max())
    # "not <=" instead of ">": NaN counts as bad.
    bad = ~(residual <= limit * (1.0 + chain[:, 1:].abs()))
    return Certificate(error, float(residual.max())), first_slot(bad)


def first_slot(bad: Bool[Tensor, "b n d"]) -> int | None:
    """The index (from 1) of the first slot with a bad entry in any sample."""
    slots = bad.any(dim=2).any(dim=0).nonzero()
    return int(slots[0]) + 1 if len(slots) else None
