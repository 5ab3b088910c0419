"""Inpainting: sampling the masked part of an image given the rest.

The flow has no direction from context to hole in general, since each block mixes all tokens. Exact methods:
ancestral decoding when the hole is a suffix of a one-block flow's order, and Metropolis-Hastings in the masked
pixels with the flow's own density otherwise. The latent-space chain of STARFlow's paper (arXiv 2506.06276,
appendix) is kept for comparison: its acceptance rule supposes a symmetric proposal, which it is not (the step in
x is scaled by the state, and restoring the context moves z), so that its result is approximate.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from tenfold import progress
from tenfold.errors import UsageError
from tenfold.flows.density import log_prob
from tenfold.flows.flow import Flow


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
    x: Float[Tensor, "b *shape"],
    mask: Bool[Tensor, "..."],
    condition: Tensor | None = None,
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
    flow = flow.like(x)
    if tuple(mask.shape) != flow.config.shape:
        raise UsageError(f"the mask has shape {tuple(mask.shape)}, but images are {flow.config.shape}")
    if not bool(mask.any()):
        raise UsageError("the mask is empty; mark the pixels to fill with True")
    if method == "prefix":
        return _prefix(flow, x, mask, condition, generator)
    if method not in ("mh", "mala", "published"):
        raise UsageError(f"unknown inpainting method {method!r}; choose prefix, mh, mala or published")
    return _chain(flow, x, mask, condition, method, steps, warmup if method != "published" else 0, step, generator)


def _normal(like: Tensor, generator: torch.Generator | None) -> Tensor:
    return torch.randn(like.shape, dtype=like.dtype, device=like.device, generator=generator)


@torch.no_grad()
def _prefix(
    flow: Flow, x: Tensor, mask: Tensor, condition: Tensor | None, generator: torch.Generator | None
) -> Inpainting:
    if len(flow.blocks) != 1:
        raise UsageError(
            f"'prefix' is exact for one-block flows only, and this one has {len(flow.blocks)}; use method 'mh'"
        )
    hole = flow.patchify(mask.unsqueeze(0).to(x.dtype))[0]
    hole = flow.blocks[0].order(hole.unsqueeze(0))[0].bool()
    first = int(hole.any(dim=1).to(torch.int64).argmax())
    if not bool(hole[first:].all()):
        raise UsageError("'prefix' fills a suffix of whole tokens in the block's order; use method 'mh' for others")
    context = torch.where(mask, torch.zeros_like(x), x)
    noise = flow.encode(context, condition)
    in_order = flow.blocks[0].order(noise).clone()
    in_order[:, first:] = _normal(in_order[:, first:], generator)
    filled = flow.decode(flow.blocks[0].order(in_order), condition)
    ones = x.new_ones(x.shape[0])
    return Inpainting(torch.where(mask, filled, x), ones, True, ones)


def _chain(
    flow: Flow,
    x: Tensor,
    mask: Tensor,
    condition: Tensor | None,
    method: str,
    steps: int,
    warmup: int,
    step: float,
    generator: torch.Generator | None,
) -> Inpainting:
    langevin, published = method == "mala", method == "published"
    per_row = (-1,) + (1,) * (x.dim() - 1)
    target = 0.57 if langevin else 0.3
    log_step = torch.full((x.shape[0],), math.log(step), dtype=x.dtype, device=x.device)
    state = torch.where(mask, (1.0 if published else 0.5) * _normal(x, generator), x)
    value, gradient = _value_and_gradient(flow, state, condition, mask, langevin)
    accepted = torch.zeros_like(log_step)
    for number in progress.track(range(warmup + steps), "inpainting", "steps"):
        h = log_step.exp().view(per_row)
        drift = 0.5 * h.square() * gradient
        if published:
            proposal = _latent_step(flow, state, mask, condition, step, generator)
        else:
            proposal = state + mask * (drift + h * _normal(state, generator))
        new_value, new_gradient = _value_and_gradient(flow, proposal, condition, mask, langevin)
        log_ratio = new_value - value
        if langevin:
            back = state - proposal - 0.5 * h.square() * new_gradient
            forth = proposal - state - drift
            squares = ((forth.square() - back.square()) * mask / (2 * h.square())).flatten(1).sum(dim=1)
            log_ratio = log_ratio + squares
        coin = torch.rand(log_ratio.shape, dtype=x.dtype, device=x.device, generator=generator)
        # NaN compares as False: a proposal whose density overflows is refused, as one of zero density.
        accept = coin.log() < log_ratio
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
def _latent_step(
    flow: Flow, state: Tensor, mask: Tensor, condition: Tensor | None, tau: float, generator: torch.Generator | None
) -> Tensor:
    z = flow.encode(state, condition)
    latent_mask = flow.patchify(mask.unsqueeze(0).to(state.dtype))
    return torch.where(mask, flow.decode(z + tau * latent_mask * _normal(z, generator), condition), state)


def _value_and_gradient(
    flow: Flow, x: Tensor, condition: Tensor | None, mask: Tensor, langevin: bool
) -> tuple[Tensor, Tensor]:
    if not langevin:
        with torch.no_grad():
            return log_prob(flow, x, condition), torch.zeros_like(x)
    with torch.enable_grad():
        x = x.detach().requires_grad_(True)
        value = log_prob(flow, x, condition)
        (gradient,) = torch.autograd.grad(value.sum(), x)
    return value.detach(), gradient * mask
