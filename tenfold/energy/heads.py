"""How a network N with outputs like its inputs gives one number U(y), the scaled negative energy of a sample.

Each function computes U of shape (n,) for y of shape (n, *shape), noise inputs (n,) and labels (n,) or None; sums run
over all dimensions of a sample, in float32 at least. Where N is the (scaled) network of a denoiser, ∇U is what stands
in its place: see ``model.EnergyModel``.
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from tenfold.energy.networks.build import Backbone

Head = Callable[
    [Backbone, Float[Tensor, "n *shape"], Float[Tensor, " n"], Int[Tensor, " n"] | None], Float[Tensor, " n"]
]


def inner(a: Float[Tensor, "n *shape"], b: Float[Tensor, "n *shape"]) -> Float[Tensor, " n"]:
    """<a, b> of every sample, in float32 at least: sums of many half-precision numbers lose what energies differ by."""
    kind = torch.promote_types(torch.promote_types(a.dtype, b.dtype), torch.float32)
    return (a.to(kind) * b.to(kind)).flatten(1).sum(1)


def dot(
    network: Backbone,
    y: Float[Tensor, "n *shape"],
    noise: Float[Tensor, " n"],
    label: Int[Tensor, " n"] | None = None,
    scale: float = 0.5,
) -> Float[Tensor, " n"]:
    """κ <y, N(y)>, so that ∇U = κ (N + J_Nᵀ y): N itself for a linear symmetric N and κ = ½ (arXiv 2506.16471)."""
    return scale * inner(y, network(y, noise, label))


def norm(
    network: Backbone, y: Float[Tensor, "n *shape"], noise: Float[Tensor, " n"], label: Int[Tensor, " n"] | None = None
) -> Float[Tensor, " n"]:
    """½ |y|² − ½ |y − N(y)|² (the family of arXiv 2302.11552)."""
    rest = y - network(y, noise, label)
    return 0.5 * (inner(y, y) - inner(rest, rest))


def sqnorm(
    network: Backbone, y: Float[Tensor, "n *shape"], noise: Float[Tensor, " n"], label: Int[Tensor, " n"] | None = None
) -> Float[Tensor, " n"]:
    """½ |N(y)|²."""
    out = network(y, noise, label)
    return 0.5 * inner(out, out)


def path(
    network: Backbone,
    y: Float[Tensor, "n *shape"],
    noise: Float[Tensor, " n"],
    label: Int[Tensor, " n"] | None = None,
    nodes: int = 4,
) -> Float[Tensor, " n"]:
    """∫₀¹ <y, N(s y)> ds by Gauss and Legendre: the potential of N where N is conservative (∇U = N, up to quadrature).

    The Q = ``nodes`` copies are one batch, of Q n samples."""
    places, weights = _gauss_legendre(nodes)
    s = torch.tensor(places, dtype=y.dtype, device=y.device)
    copies = (s.view(-1, 1, *[1] * (y.ndim - 1)) * y).flatten(0, 1)
    out = network(copies, noise.repeat(nodes), None if label is None else label.repeat(nodes))
    along = inner(y.repeat(nodes, *[1] * (y.ndim - 1)), out).view(nodes, -1)
    return torch.tensor(weights, dtype=along.dtype, device=along.device) @ along


@lru_cache
def _gauss_legendre(nodes: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Nodes and weights on [0, 1]; the weights sum to 1."""
    places, weights = np.polynomial.legendre.leggauss(nodes)
    return tuple((0.5 * (places + 1)).tolist()), tuple((0.5 * weights).tolist())


def scalar(
    network: Backbone,
    y: Float[Tensor, "n *shape"],
    noise: Float[Tensor, " n"],
    label: Int[Tensor, " n"] | None,
    readout: Float[Tensor, "*shape"],
) -> Float[Tensor, " n"]:
    """<a, N(y)> with a learned a: a network of one output. A teacher's N is no start for it."""
    out = network(y, noise, label)
    return inner(readout.expand_as(out), out)
