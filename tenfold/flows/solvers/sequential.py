"""The exact sampler: one token after the other, with key-value caches."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from tenfold.flows.chain import ChainNetwork, solve
from tenfold.flows.solvers.static_step import compiled_stepper
from tenfold.flows.solvers.stepping import stepper


def sequential(
    net: ChainNetwork,
    noise: Float[Tensor, "b n1 d"],
    solved: Float[Tensor, "b n1 d"] | None = None,
    start: int = 0,
    compiled: bool = False,
    done: Callable[[], None] | None = None,
) -> Float[Tensor, "b n1 d"]:
    """The chain with noise ``noise`` (its slot 0 is the known one), exactly, in N network calls.

    ``solved`` with slots 0..``start`` given continues there after one call that reads the finished slots. ``done`` is
    called after each slot."""
    net.reset()
    # Slot by slot, so that each is one contiguous (b, d). A clone: of one sample, contiguous() is the input itself.
    slots = noise.transpose(0, 1).clone(memory_format=torch.contiguous_format)
    if start:
        assert solved is not None
        slots[: start + 1] = solved[:, : start + 1].transpose(0, 1)
        net.evaluate(solved[:, :start])
        net.commit(start)
    step = compiled_stepper(net) if compiled else stepper(net)
    views = slots.unbind(0)
    dtype = net.block.proj_in.weight.dtype
    for j in range(start, net.steps):
        log_scale, shift = step(views[j].to(dtype), j)
        views[j + 1].copy_(solve(views[j + 1], log_scale, shift))
        if done is not None:
            done()
    net.info.sweeps += net.steps - start
    return slots.transpose(0, 1).contiguous()
