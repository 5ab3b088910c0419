"""The d-dimensional mixture map: Rosenblatt's transformation of a mixture of isotropic Gaussians (Mix-d of
arXiv:2507.00425)."""

from collections.abc import Callable
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from tenfold.errors import UsageError
from tenfold.nn.border import Values, floats
from tenfold.settings.arguments import read_all_arguments
from tenfold.text_flows.bijectors.inverse import invert
from tenfold.text_flows.bijectors.mixture import checked_mixture, checked_outer, checked_tolerance
from tenfold.text_flows.bijectors.normal import log_pdf
from tenfold.text_flows.bijectors.scalar import Mapped, from_logistic, log_tails, to_base

Made = TypeVar("Made")
CHUNK = 2**21
"""Numbers of the buffers (rows, d, k) that a gradient keeps: more rows go in chunks, and are computed anew for it. On
an accelerator, whose kernels want more work each, 64 times as many."""


@read_all_arguments
class MixtureRosenblatt:
    """The triangular map of R^d that takes Σ_k π_k N(m_k, s_k² I) to the base distribution, dimension by dimension.

    With a_k the weights after the dimensions before i: F_i = Σ_k a_k Φ((z_i − m_ki) / s_k), u_i = G⁻¹(F_i), and then
    a_k ∝ a_k N(z_i; m_ki, s_k²). The order of the dimensions changes u, not the density; the order of the components
    changes nothing.

    Memory for the components is that of a chunk of rows, ``CHUNK`` numbers a buffer, however many rows there are.

    >>> mixture = MixtureRosenblatt(torch.zeros(3), mean=torch.eye(3), scale=torch.full((3,), 0.3))
    >>> u, logdet = mixture.forward(torch.tensor([[9.0, 0.0, -9.0]]))
    >>> mixture.inverse(u).round(decimals=4).tolist()
    [[9.0, 0.0, -9.0]]

    Args:
        logits: (..., k), of weights that each point has its own of.
        mean: (k, d), shared by all points.
        scale: (k,), standard deviations.
        outer: base distribution, "probit" or "logit".

    Raises:
        UsageError: what is no mixture, shapes that do not match.
    """

    def __init__(self, logits: Values, mean: Values, scale: Values, outer: str = "probit") -> None:
        self.outer = checked_outer(outer)
        self.log_weights, self.mean, self.scale = checked_mixture(logits, mean, scale)
        count = self.log_weights.shape[-1]
        if self.mean.ndim != 2 or self.mean.shape[0] != count or not self.mean.shape[1] or self.scale.shape != (count,):
            raise UsageError(
                f"with logits of {count} components, mean has shape {tuple(self.mean.shape)} and scale "
                f"{tuple(self.scale.shape)}; give ({count}, d) and ({count},)"
            )

    def forward(self, z: Values) -> Mapped:
        """u (..., d) and log|det du/dz| (...)."""
        z = self._point(z, "z")
        u, logdet = _in_chunks(self._mapped, z, self.log_weights)
        return Mapped(u, logdet)

    def log_prob(self, z: Values) -> Float[Tensor, "*rows"]:
        """log Σ_k π_k N(z; m_k, s_k² I), nats."""
        (found,) = _in_chunks(self._density, self._point(z, "z"), self.log_weights)
        return found

    def inverse(self, u: Values, tolerance: float | None = None) -> Float[Tensor, "*rows d"]:
        """z (..., d), every dimension to within ``tolerance`` in the normal base, or within rounding.

        Raises TenfoldError where that is not reached."""
        u = self._point(u, "u")
        if self.outer == "logit":
            u = from_logistic(u)
        limit = checked_tolerance(tolerance, u.dtype)
        (found,) = _in_chunks(lambda rows, logs: (self._inverted(rows, logs, limit),), u, self.log_weights)
        return found

    def _mapped(self, z: Tensor, log_weights: Tensor) -> tuple[Tensor, Tensor]:
        logs, made, logdet = log_weights, [], torch.zeros_like(z[..., 0])
        for i in range(z.shape[-1]):
            joint = logs + self._component(z[..., i], i)
            log_p = joint.logsumexp(-1)
            mapped = to_base(log_p, *log_tails(z[..., i], logs, self.mean[:, i], self.scale), self.outer)
            made.append(mapped.u)
            logdet = logdet + mapped.logdet
            logs = joint - log_p[..., None]
        return torch.stack(made, -1), logdet

    def _density(self, z: Tensor, log_weights: Tensor) -> tuple[Tensor]:
        logs = log_weights
        for i in range(z.shape[-1]):
            logs = logs + self._component(z[..., i], i)
        return (logs.logsumexp(-1),)

    def _inverted(self, u: Tensor, log_weights: Tensor, tolerance: float) -> Tensor:
        logs, made = log_weights, []
        mean, scale = self.mean.to(u), self.scale.to(u)
        for i in range(u.shape[-1]):
            z = invert(u[..., i], logs, mean[:, i].expand_as(logs), scale.expand_as(logs), tolerance)
            made.append(z)
            if i + 1 < u.shape[-1]:
                logs = (logs + self._component(z, i)).log_softmax(-1)
        return torch.stack(made, -1)

    def _component(self, z: Tensor, i: int) -> Tensor:
        """log N(z_i; m_ki, s_k²), (..., k), of z_i (...)."""
        t = (z[..., None] - self.mean[:, i]) / self.scale
        return log_pdf(t) - self.scale.log()

    def _point(self, z: Values, name: str) -> Tensor:
        point = floats(z, name).to(self.log_weights.device)
        if not point.ndim or point.shape[-1] != self.mean.shape[1]:
            raise UsageError(
                f"{name} has shape {tuple(point.shape)}; its last axis must hold the {self.mean.shape[1]} dimensions"
            )
        return point.to(torch.promote_types(point.dtype, self.log_weights.dtype))


def _in_chunks(
    work: Callable[[Tensor, Tensor], tuple[Tensor, ...]], points: Tensor, log_weights: Tensor
) -> tuple[Tensor, ...]:
    """``work`` on rows of points (..., d) and of log weights (..., k), broadcast to each other, some at a time; for the
    gradient each part is computed again."""
    dims, count = points.shape[-1], log_weights.shape[-1]
    try:
        leading = torch.broadcast_shapes(points.shape[:-1], log_weights.shape[:-1])
    except RuntimeError:
        raise UsageError(
            f"points of shape {tuple(points.shape)} do not broadcast with logits of shape {tuple(log_weights.shape)}"
        ) from None
    rows = points.expand(*leading, dims).reshape(-1, dims)
    logs = log_weights.to(points).expand(*leading, count).reshape(-1, count)
    parts = mapped_in_chunks(work, rows, logs, dims * count)
    return tuple(torch.cat(found).reshape((*leading, *found[0].shape[1:])) for found in zip(*parts, strict=True))


def mapped_in_chunks(work: Callable[[Tensor, Tensor], Made], rows: Tensor, logs: Tensor, numbers: int) -> list[Made]:
    """``work`` on as many rows at a time as their buffers of so many ``numbers`` each allow; for the gradient each part
    is computed again. Tensors without data are one part: nothing is kept of its buffers either."""
    size = max(1, (CHUNK if rows.device.type in ("cpu", "meta") else 64 * CHUNK) // numbers)
    if len(rows) <= size:
        return [work(rows, logs)]
    size = len(rows) if rows.is_meta else size
    pairs = zip(rows.split(size), logs.split(size), strict=True)
    return [checkpoint(work, row, log, use_reentrant=False, preserve_rng_state=False) for row, log in pairs]
