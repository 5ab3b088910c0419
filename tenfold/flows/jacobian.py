"""How well-conditioned the inverse is: extreme singular values of the Jacobian, per block and in total."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from tenfold import progress
from tenfold.errors import UsageError
from tenfold.flows.block import Condition, FlowBlock, scale_of
from tenfold.flows.density import sound
from tenfold.flows.flow import Flow
from tenfold.flows.network import GivenCondition, evaluating
from tenfold.nn.border import Values

EXACT_DIMENSIONS = 256
# Hidden numbers that one batched backward pass may hold: a few hundred MB with all that goes with them.
_NUMBERS = 1 << 22

Product = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Conditioning:
    """Largest and smallest singular values of dv/du per block, (K, b), and of dz/dx, (b,).

    ``digits_lost`` is log10 of their ratio for the whole flow: about how many of its digits the inverse loses."""

    block_largest: Float[Tensor, "blocks b"]
    block_smallest: Float[Tensor, "blocks b"]
    largest: Float[Tensor, "b"]
    smallest: Float[Tensor, "b"]

    @property
    def digits_lost(self) -> Float[Tensor, "b"]:
        """log10(largest / smallest) of the whole map."""
        return (self.largest / self.smallest).log10()


@dataclass(frozen=True)
class _Products:
    """J t, Jᵀ t and their inverses for one block at one point."""

    forward: Product
    transpose: Product
    inverse: Product
    inverse_transpose: Product


def conditioning(
    flow: Flow,
    x: Values,
    condition: GivenCondition | None = None,
    iterations: int = 30,
    generator: torch.Generator | None = None,
) -> Conditioning:
    """Extreme singular values of the Jacobians at x.

    Up to ``EXACT_DIMENSIONS`` dimensions from the Jacobians themselves; beyond, by power iteration on JᵀJ and on
    its inverse with Jacobian products only: a block's Jacobian is S − L with S = exp(−a) diagonal and L strictly
    triangular over tokens, so that J w = t is solved exactly by at most T steps of w += S⁻¹ (t − J w). Power
    iteration approaches the extreme values from inside, so that its ratio is a lower bound of the true one."""
    flow, x = _taken(flow, x)
    if flow.config.dimensions <= EXACT_DIMENSIONS:
        return exact_conditioning(flow, x, condition)
    return power_conditioning(flow, x, condition, iterations, generator)


def exact_conditioning(flow: Flow, x: Values, condition: GivenCondition | None = None) -> Conditioning:
    """``conditioning`` from the whole Jacobians: (T·D)² numbers a row and block."""
    flow, x = _taken(flow, x)
    tokens = flow.patchify(x)
    weights = flow.condition_weights(condition, tokens.shape[0])
    total, values = None, []
    with evaluating(flow):
        for block in progress.track(flow.blocks, "Jacobians", "blocks"):
            jacobian = sound(_jacobian(block, tokens, weights), "the Jacobian")
            values.append(torch.linalg.svdvals(jacobian))
            total = jacobian if total is None else jacobian @ total
            with torch.no_grad():
                tokens = block(tokens, weights)[0]
    blocks, whole = torch.stack(values), torch.linalg.svdvals(total)
    return Conditioning(blocks[..., 0], blocks[..., -1], whole[:, 0], whole[:, -1])


def _taken(flow: Flow, x: Values) -> tuple[Flow, Tensor]:
    flow, x = flow.taken(x)
    if not len(x):
        raise UsageError("there are no inputs to take a Jacobian at; give at least one")
    return flow, x


def _jacobian(block: FlowBlock, u: Float[Tensor, "b t d"], weights: Condition | None) -> Float[Tensor, "b n n"]:
    """With n = T·D: rows of the batch do not mix, so one batched backward pass serves them all, for as many directions
    at once as ``_NUMBERS`` allows."""
    batch, size = u.shape[0], u[0].numel()
    chunk = max(1, _NUMBERS // (batch * block.tokens * block.layer.hidden))
    with sdpa_kernel(SDPBackend.MATH), torch.enable_grad():
        u = u.detach().requires_grad_(True)
        v = block(u, weights)[0].flatten(1)
        rows = []
        for part in torch.eye(size, dtype=v.dtype, device=u.device).split(chunk):
            directions = part.unsqueeze(1).expand(len(part), batch, size)
            (found,) = torch.autograd.grad(v, u, directions, is_grads_batched=True, retain_graph=True)
            rows.append(found.flatten(2))
    return torch.cat(rows).transpose(0, 1)


def power_conditioning(
    flow: Flow,
    x: Values,
    condition: GivenCondition | None = None,
    iterations: int = 30,
    generator: torch.Generator | None = None,
) -> Conditioning:
    """``conditioning`` by power iteration, for sizes whose Jacobians do not fit into memory."""
    flow, x = _taken(flow, x)
    # The fused attention kernels have no forward-mode derivative.
    with evaluating(flow), sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        tokens = flow.patchify(x)
        weights = flow.condition_weights(condition, tokens.shape[0])
        chain = []
        for block in flow.blocks:
            u = block.order(tokens)
            chain.append(_products(block, u, weights))
            tokens = block(tokens, weights)[0]
        start = torch.randn(tokens.shape, dtype=tokens.dtype, device=tokens.device, generator=generator)
        parts = (_extremes([part], start, iterations) for part in progress.track(chain, "conditioning", "blocks"))
        high, low = zip(*parts, strict=True)
        # Blocks work in their own orders; a flip between them is orthogonal but must be applied.
        turned = [_in_image_order(part, block) for part, block in zip(chain, flow.blocks, strict=True)]
        largest, smallest = _extremes(turned, start, iterations)
    return Conditioning(torch.stack(high), torch.stack(low), largest, smallest)


def _products(block: FlowBlock, u: Tensor, weights: Condition | None) -> _Products:
    def value(point: Tensor) -> Tensor:
        log_scale, shift = block.parameters_of(point, weights)
        return point - shift if log_scale is None else (point - shift) * scale_of(-log_scale)

    log_scale = block.parameters_of(u, weights)[0]
    unscale = torch.ones_like(u) if log_scale is None else scale_of(log_scale)
    _, transposed = torch.func.vjp(value, u)  # type: ignore[misc]

    def forward(t: Tensor) -> Tensor:
        return torch.func.jvp(value, (u,), (t,))[1]

    def transpose(t: Tensor) -> Tensor:
        return transposed(t)[0]

    def solve(product: Product, t: Tensor) -> Tensor:
        w = unscale * t
        for _ in range(block.tokens):
            residual = t - product(w)
            if float(residual.abs().max()) <= 1e-7 * float(t.abs().max()):
                break
            w = w + unscale * residual
        return w

    return _Products(forward, transpose, lambda t: solve(forward, t), lambda t: solve(transpose, t))


def _in_image_order(part: _Products, block: FlowBlock) -> _Products:
    def turned(product: Product) -> Product:
        return lambda t: block.order(product(block.order(t)))

    return _Products(*(turned(p) for p in (part.forward, part.transpose, part.inverse, part.inverse_transpose)))


def _extremes(
    chain: Sequence[_Products], start: Float[Tensor, "b t d"], iterations: int
) -> tuple[Float[Tensor, "b"], Float[Tensor, "b"]]:
    high = _power([p.forward for p in chain], [p.transpose for p in reversed(chain)], start, iterations)
    low = _power([p.inverse for p in reversed(chain)], [p.inverse_transpose for p in chain], start, iterations)
    return high, 1.0 / low


def _power(
    there: list[Product], back: list[Product], start: Float[Tensor, "b t d"], iterations: int
) -> Float[Tensor, "b"]:
    """Largest singular value of the composition ``there``, per row."""
    t = start
    norm = t.new_ones(t.shape[0])
    for _ in range(iterations):
        t = t / t.flatten(1).norm(dim=1).view(-1, 1, 1)
        for product in there:
            t = product(t)
        norm = t.flatten(1).norm(dim=1)
        for product in back:
            t = product(t)
    return norm
