"""Inpainting: sampling the masked part of an image given the rest.

The flow has no direction from context to hole in general, since each block mixes all tokens. Exact methods:
ancestral decoding when the hole is a suffix of a one-block flow's order, and Metropolis-Hastings in the masked
pixels with the flow's own density otherwise. The latent-space chain of STARFlow's paper (arXiv 2506.06276,
appendix) is kept for comparison: its acceptance rule supposes a symmetric proposal, which it is not (the step in
x is scaled by the state, and restoring the context moves z), so that its result is approximate.
"""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from tenfold import progress
from tenfold.errors import UsageError
from tenfold.flows.density import raw_log_prob, sound
from tenfold.flows.flow import Flow
from tenfold.flows.network import GivenCondition, evaluating
from tenfold.flows.sampling import row_numbers
from tenfold.nn.attention import first_derivatives
from tenfold.nn.border import Values, as_tensor
from tenfold.settings.values import read
from tenfold.training.streams import Draws


@dataclass(frozen=True)
class Inpainting:
    """The filled images (b, *shape), the acceptance rate of each row (b,), whether the method's stationary law
    is the flow's conditional, and the final step sizes (b,)."""

    x: Tensor
    acceptance: Tensor
    exact: bool
    step: Tensor


def inpaint(
    flow: Flow,
    x: Values,
    mask: Values,
    condition: GivenCondition | None = None,
    method: Literal["prefix", "mh", "mala", "published"] = "mh",
    steps: int = 1000,
    warmup: int = 500,
    step: float = 0.3,
    generator: torch.Generator | None = None,
) -> Inpainting:
    """Draw x[mask] given x[~mask] from the flow's density.

    Args:
        x: images whose unmasked part is kept bit for bit; the masked part is ignored.
        mask: True where to fill, one image's shape.
        method: "prefix", one draw, exact, for one-block flows whose hole is a suffix of the block's order;
            "mh", random-walk Metropolis-Hastings in the masked pixels, and "mala", its Langevin form, both
            exact in the limit of many steps; "published", the latent chain of STARFlow's paper,
            **approximate**.
        steps: Markov steps after the warm-up; the last state is returned.
        warmup: steps during which each row's step size is tuned (to 0.3 acceptance, 0.57 for "mala"), not
            counted in the acceptance.
        step: first step size, or the latent step τ of "published" (published: 1, never tuned).

    Raises UsageError for a mask of another shape, an empty mask, or "prefix" where it is not exact.
    """
    if method not in ("prefix", "mh", "mala", "published"):
        raise UsageError(f"unknown inpainting method {method!r}; choose prefix, mh, mala or published")
    steps, warmup, step = read(int, steps, "steps"), read(int, warmup, "warmup"), read(float, step, "step")
    if steps < 0 or warmup < 0 or not step > 0:
        raise UsageError(f"steps is {steps}, warmup {warmup} and step {step}; give at least 0, 0, and more than 0")
    x = as_tensor(x, "the input", flow.precision)
    hole = as_tensor(mask, "the mask")
    flow = flow.like(x)
    if tuple(hole.shape) != flow.config.shape:
        raise UsageError(f"the mask has shape {tuple(hole.shape)}, but images are {flow.config.shape}")
    if not bool(((hole == 0) | (hole == 1)).all()):
        raise UsageError("the mask holds other values than True and False; mark the pixels to fill with True")
    hole = hole.bool().to(x.device)
    if not bool(hole.any()):
        raise UsageError("the mask is empty; mark the pixels to fill with True")
    flow, x = flow.taken(torch.where(hole, torch.zeros_like(x), x))
    rows = row_numbers(len(x), generator).to(x.device)
    with evaluating(flow):
        if method == "prefix":
            return _prefix(flow, x, hole, condition, rows)
        return _chain(flow, x, hole, condition, method, steps, warmup if method != "published" else 0, step, rows)


def _draws(kind: Literal["normal", "uniform"], rows: Tensor, shape: tuple[int, ...], like: Tensor) -> Iterator[Tensor]:
    """Draws (b, *shape) for one step after the other, keyed by row and step: no row's chain depends on the others. Made
    for several steps at once, which is quicker."""
    several = max(1, min(32, (1 << 16) // max(1, math.prod(shape))))
    for block in itertools.count():
        drawn = getattr(Draws(0, block), kind)(f"inpainting, {kind}", rows, (several, *shape), like.dtype)
        yield from drawn.unbind(1)


@torch.no_grad()
def _prefix(flow: Flow, x: Tensor, mask: Tensor, condition: GivenCondition | None, rows: Tensor) -> Inpainting:
    if len(flow.blocks) != 1:
        raise UsageError(
            f"'prefix' is exact for one-block flows only, and this one has {len(flow.blocks)}; use method 'mh'"
        )
    hole = flow.patchify(mask.unsqueeze(0).to(x.dtype))[0]
    hole = flow.blocks[0].order(hole.unsqueeze(0))[0].bool()
    first = int(hole.any(dim=1).to(torch.int64).argmax())
    if not bool(hole[first:].all()):
        raise UsageError("'prefix' fills a suffix of whole tokens in the block's order; use method 'mh' for others")
    noise = flow.encode(x, condition)
    in_order = flow.blocks[0].order(noise).clone()
    in_order[:, first:] = next(_draws("normal", rows, tuple(in_order[0, first:].shape), noise))
    filled = flow.decode(flow.blocks[0].order(in_order), condition)
    ones = x.new_ones(x.shape[0])
    return Inpainting(torch.where(mask, filled, x), ones, True, ones)


def _chain(
    flow: Flow,
    x: Tensor,
    mask: Tensor,
    condition: GivenCondition | None,
    method: str,
    steps: int,
    warmup: int,
    step: float,
    numbers: Tensor,
) -> Inpainting:
    langevin, published = method == "mala", method == "published"
    per_row = (-1,) + (1,) * (x.dim() - 1)
    target = 0.57 if langevin else 0.3
    log_step = torch.full((x.shape[0],), math.log(step), dtype=x.dtype, device=x.device)
    normals = _draws("normal", numbers, tuple(x.shape[1:]), x)
    coins = _draws("uniform", numbers, (), x)
    state = torch.where(mask, (1.0 if published else 0.5) * next(normals), x)
    value, gradient = _value_and_gradient(flow, state, condition, mask, langevin)
    sound(value)
    accepted = torch.zeros_like(log_step)
    for number in progress.track(range(warmup + steps), "inpainting", "steps"):
        h = log_step.exp().view(per_row)
        drift = 0.5 * h.square() * gradient
        if published:
            proposal = _latent_step(flow, state, mask, condition, step * next(normals))
        else:
            proposal = state + mask * (drift + h * next(normals))
        new_value, new_gradient = _value_and_gradient(flow, proposal, condition, mask, langevin)
        log_ratio = new_value - value
        if langevin:
            back = state - proposal - 0.5 * h.square() * new_gradient
            forth = proposal - state - drift
            squares = ((forth.square() - back.square()) * mask / (2 * h.square())).flatten(1).sum(dim=1)
            log_ratio = log_ratio + squares
        # NaN compares as False: a proposal whose density overflows is refused, as one of zero density.
        accept = next(coins).log() < log_ratio
        rows = accept.view(per_row)
        state = torch.where(rows, proposal, state)
        value = torch.where(accept, new_value, value)
        gradient = torch.where(rows, new_gradient, gradient)
        if number < warmup:
            # Robbins-Monro on the log step; frozen afterwards, so that the chain is Markov and exact.
            log_step = log_step + (accept.to(x.dtype) - target) * 2.0 / math.sqrt(number + 1.0)
        else:
            accepted += accept
    return Inpainting(state, accepted / max(steps, 1), not published, log_step.exp())


@torch.no_grad()
def _latent_step(flow: Flow, state: Tensor, mask: Tensor, condition: GivenCondition | None, move: Tensor) -> Tensor:
    z = flow.encode(state, condition)
    latent_mask = flow.patchify(mask.unsqueeze(0).to(state.dtype))
    moved = flow.decode(z + latent_mask * move.reshape(z.shape), condition)
    return torch.where(mask, moved, state)


def _value_and_gradient(
    flow: Flow, x: Tensor, condition: GivenCondition | None, mask: Tensor, langevin: bool
) -> tuple[Tensor, Tensor]:
    if not langevin:
        with torch.no_grad():
            return raw_log_prob(flow, x, condition), torch.zeros_like(x)
    with torch.enable_grad(), first_derivatives():
        x = x.detach().requires_grad_(True)
        value = raw_log_prob(flow, x, condition)
        (gradient,) = torch.autograd.grad(value.sum(), x)
    return value.detach(), gradient * mask
