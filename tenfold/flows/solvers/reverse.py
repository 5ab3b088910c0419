"""The inverse, with gradients.

``reverse_pass`` re-evaluates a known inverse in one parallel pass a block, so that gradients run along the
generative direction at the price of a forward pass (R-REPA, arXiv 2511.22345). ``rsample`` draws samples
that are differentiable in the noise, the condition and the parameters, by the implicit function theorem: of
a solution u = F(u, v, θ) of the triangular fixed point (``tenfold.flows.chain``),

    dL/d(v, θ) = λᵀ ∂F/∂(v, θ)   with   λ = dL/du + (∂F/∂u)ᵀ λ,

and the sweeps for λ end after at most N of them, because ∂F/∂u is strictly triangular.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from tenfold.errors import UsageError
from tenfold.flows.block import Condition, FlowBlock, scale_of
from tenfold.flows.density import sound
from tenfold.flows.flow import Flow
from tenfold.flows.network import GivenCondition, evaluating
from tenfold.flows.sampling import draw_noise
from tenfold.flows.solvers.choice import Solver
from tenfold.flows.solvers.inversion import invert_states
from tenfold.flows.solvers.plan import SEQUENTIAL
from tenfold.nn.attention import differentiable_attention
from tenfold.nn.border import Values, finite, floats


@torch.no_grad()
def block_inputs(flow: Flow, x: Values, condition: GivenCondition | None = None) -> list[Tensor]:
    """The tokens (b, T, D) that enter each block, in image order, and after the last block the noise; detached. Without
    dropout, whatever mode the flow is in."""
    flow, x = flow.taken(x)
    tokens = flow.patchify(x)
    weights = flow.condition_weights(condition, tokens.shape[0])
    states = [tokens]
    with evaluating(flow):
        for block in flow.blocks:
            tokens, _ = block(tokens, weights)
            states.append(sound(tokens, "the tokens"))
    return states


def reverse_pass(
    flow: Flow,
    cache: Sequence[Tensor] | Tensor,
    condition: GivenCondition | None = None,
    noise: Values | None = None,
) -> list[Tensor]:
    """The states of the inverse, noise first and data tokens last, each (b, T, D) and differentiable.

    ``cache`` is the result of ``block_inputs``, or data x (b, *shape) to make it from. The values are those
    of the inverse to rounding; gradients reach the parameters, the condition and ``noise`` (the cached one by
    default) with the context of each block held fixed. Without dropout, whatever mode the flow is in."""
    if isinstance(cache, Tensor):
        flow = flow.like(cache)
    states = block_inputs(flow, cache, condition) if isinstance(cache, Tensor) else cache
    if len(states) != len(flow.blocks) + 1:
        raise UsageError(f"the cache holds {len(states)} states; a flow of {len(flow.blocks)} blocks has one more")
    state = floats(states[-1] if noise is None else noise, "the noise", flow.precision)
    shape = (flow.config.tokens, flow.config.token_dim)
    if state.ndim != 3 or tuple(state.shape[1:]) != shape:
        raise UsageError(f"the noise has shape {tuple(state.shape)}; this flow expects (batch, {shape[0]}, {shape[1]})")
    if wrong := [tuple(part.shape) for part in states if part.shape != state.shape]:
        raise UsageError(f"a state of the cache has shape {wrong[0]}, but the noise has {tuple(state.shape)}")
    weights = flow.condition_weights(condition, state.shape[0])
    reverse = [state]
    with evaluating(flow), differentiable_attention(state, weights):
        for k in reversed(range(len(flow.blocks))):
            block, context = flow.blocks[k], finite(states[k].detach(), "the cache")
            state = block.order(_apply(block, block.order(context), block.order(state), weights))
            reverse.append(state)
    return reverse


def rsample(
    flow: Flow,
    n: int,
    condition: GivenCondition | int | None = None,
    *,
    noise: Values | None = None,
    generator: torch.Generator | None = None,
    solver: Solver = SEQUENTIAL,
    derivatives: Literal["first", "all"] = "first",
) -> Float[Tensor, "b *shape"]:
    """n samples (n, *shape) with gradients in ``noise`` (n, T, D), a floating ``condition`` and all parameters; without
    dropout, whatever mode the flow is in, as ``sample``.

    The values are found by ``solver`` without a graph. The backward pass costs at most N vector-Jacobian products a
    block, fewer once they stop changing, and gives first derivatives; asking for more raises UsageError. With
    ``derivatives`` "all" T sweeps with a graph take its place: T times the memory, and derivatives of every order."""
    if derivatives not in ("first", "all"):
        raise UsageError(f"derivatives is {derivatives!r}; choose first or all")
    z = draw_noise(flow, n, noise, generator)
    if isinstance(condition, int):
        condition = torch.full((n,), condition, dtype=torch.int64, device=z.device)
    tokens = z * flow.var.to(z.dtype).sqrt()
    weights = flow.condition_weights(condition, n)
    states, _ = invert_states(flow, tokens.detach(), condition, solver=solver)
    implicit = _unrolled if derivatives == "all" else _implicit
    with evaluating(flow), differentiable_attention(*[flow.blocks[0].proj_in.weight] * (derivatives == "all")):
        for k, solution in zip(reversed(range(len(flow.blocks))), states[1:], strict=True):
            block = flow.blocks[k]
            tokens = block.order(implicit(block, block.order(solution), block.order(tokens), weights))
    return flow.unpatchify(tokens)


def _apply(
    block: FlowBlock, context: Float[Tensor, "b t d"], noise: Float[Tensor, "b t d"], weights: Condition | None
) -> Float[Tensor, "b t d"]:
    """F(context, v): one sweep over all tokens, in the block's order."""
    log_scale, shift = block.parameters_of(context, weights)
    return noise + shift if log_scale is None else noise * scale_of(log_scale) + shift


def _unrolled(
    block: FlowBlock, solution: Float[Tensor, "b t d"], noise: Float[Tensor, "b t d"], weights: Condition | None
) -> Float[Tensor, "b t d"]:
    """The solution by T sweeps from itself: after as many, nothing depends on where they began."""
    solution = solution.detach()
    for _ in range(block.tokens):
        solution = _apply(block, solution, noise, weights)
    return solution


def _implicit(
    block: FlowBlock, solution: Float[Tensor, "b t d"], noise: Float[Tensor, "b t d"], weights: Condition | None
) -> Float[Tensor, "b t d"]:
    """The solution as a differentiable function of noise, condition and parameters."""
    value = _apply(block, solution.detach(), noise, weights)
    if not value.requires_grad or block.steps == 0:
        return value
    with torch.enable_grad():
        point = solution.detach().requires_grad_(True)
        fixed = weights.detach() if isinstance(weights, Tensor) else weights
        image = _apply(block, point, noise.detach(), fixed)

    def adjoint(gradient: Tensor | None) -> Tensor | None:
        if gradient is None:  # nothing downstream depends on the samples
            return None
        if torch.is_grad_enabled():  # a backward pass whose own graph is asked for
            raise UsageError("rsample has first derivatives only; for higher ones set derivatives='all'")
        total = gradient
        for _ in range(block.tokens):
            (pulled,) = torch.autograd.grad(image, point, total, retain_graph=True)
            new = gradient + pulled
            if torch.equal(new, total):
                break
            total = new
        return total

    value.register_hook(adjoint)
    return value
