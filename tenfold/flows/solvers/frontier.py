"""The adaptive frontier: a window of Jacobi sweeps that starts at the first unsolved token.

Each sweep reads the window behind the cached prefix. The first unsolved slot comes out exact, because all it
depends on is final; the slots after it are final too as long as they, and all between, changed by less than
the tolerance. The frontier moves past them. A slot enters the cache only with a sweep that read its final
value, so that nothing in the cache is stale, and that sweep compares F(u) with u on the frozen slots: the
certificate of the result costs no pass of its own.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from tenfold.flows.block import scale_of
from tenfold.flows.chain import ChainNetwork
from tenfold.flows.solvers.info import Certificate
from tenfold.flows.solvers.jacobi import first_slot, sweep
from tenfold.flows.solvers.plan import Plan, default_tol, first_iterate


def frontier(
    net: ChainNetwork,
    noise: Float[Tensor, "b n1 d"],
    plan: Plan,
    limit: float,
    generator: torch.Generator | None = None,
) -> tuple[Float[Tensor, "b n1 d"], Certificate, int | None]:
    """The chain, its certificate, and the first slot whose residual exceeds ``limit``·(1 + |u|), if any.

    At most N calls (window 1 is the sequential solver), plus one small call that certifies the last slots."""
    net.reset()
    tol = default_tol(noise.dtype) if plan.tol is None else plan.tol
    chain = first_iterate(noise, plan.init, generator)
    width, solved, growth, full_steps = plan.window, 0, 0, 0
    previous: list[float] = []  # the last changes of the slots behind the frontier
    residual = noise_error = 0.0
    bad: int | None = None
    # Slots 0..solved are final, slots 0..net.committed − 1 are in the cache.
    while solved < net.steps or net.committed < net.steps:
        start = net.committed
        end = min(solved + width, net.steps)
        frozen = solved - start
        new, log_scale, broken = sweep(net, chain[:, start:end], noise[:, start + 1 : end + 1])
        change = (new - chain[:, start + 1 : end + 1]).abs()
        if broken is not None:
            change = change.masked_fill(broken, torch.inf)
        peaks = change.amax(dim=(0, 2)).tolist()
        if frozen:
            residual = max(residual, *peaks[:frozen])
            error = change[:, :frozen]
            if log_scale is not None:
                error = error * scale_of(-log_scale[:, :frozen])
            noise_error = max(noise_error, float(error.amax()))
            if bad is None and max(peaks[:frozen]) > limit:
                scale = 1.0 + chain[:, start + 1 : solved + 1].abs()
                slot = first_slot(~(change[:, :frozen] <= limit * scale))
                bad = None if slot is None else start + slot
        if bad is None and peaks[frozen:] and peaks[frozen] == float("inf"):
            bad = solved + 1  # the slot is final and overflows
        net.commit(min(frozen + 1, net.steps - start))
        if solved == net.steps:
            break
        net.info.sweeps += 1
        chain[:, solved + 1 : end + 1] = new[:, frozen:]
        fresh = peaks[frozen:]
        advance = next((j for j, peak in enumerate(fresh) if not peak < tol), len(fresh))
        solved += max(1, advance)
        net.info.residual = max(net.info.residual, *fresh[1:advance], 0.0)
        full_steps = full_steps + 1 if advance == len(fresh) else 0
        # Growth is judged on the slots that both windows hold: new ones always come in with large changes.
        both = min(len(previous), len(fresh))
        growth = growth + 1 if both and max(fresh[:both]) > max(previous[:both]) else 0
        previous = fresh[max(1, advance) :]
        if full_steps == 2:
            width, full_steps = 2 * width, 0
        elif growth == 3:
            width, growth = max(1, width // 2), 0
    return chain, Certificate(noise_error, residual), bad
