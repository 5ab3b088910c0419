"""Densities that can be evaluated, up to their normaliser: by all edits, or by one gradient."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from tenfold.discrete_diffusion.targets.protocol import edited
from tenfold.errors import UsageError

LogDensity = Callable[[Tensor], Tensor]
"""Clean sequences (b, n) ↦ log p + constant, (b,)."""


class Energy:
    """Exact ratios: every edit is evaluated, equal sequences once.

    ``calls`` counts the sequences evaluated."""

    def __init__(self, log_density: LogDensity, batch: int = 4096) -> None:
        self.log_density, self.batch, self.calls = log_density, batch, 0

    @torch.no_grad()
    def site_log_ratio(self, clean: Tensor, noisy: Tensor, sites: Tensor, candidates: Tensor) -> Tensor:
        """See ``Target``."""
        values = self.values(torch.cat([clean, edited(clean, sites, candidates).flatten(0, 2)]))
        return values[len(clean) :].view(candidates.shape) - values[: len(clean), None, None]

    def values(self, sequences: Int[Tensor, "r n"]) -> Float[Tensor, " r"]:
        """Log-densities of sequences.

        Raises UsageError where one is NaN or +∞."""
        distinct, place = sequences.unique(dim=0, return_inverse=True)
        self.calls += len(distinct)
        found = torch.cat([self.log_density(part) for part in distinct.split(self.batch)])
        if bool((found.isnan() | (found == torch.inf)).any()):
            wrong = distinct[(found.isnan() | (found == torch.inf)).nonzero()[0, 0]]
            raise UsageError(f"the density, or the reward, of {wrong.tolist()} is NaN or infinite; it must be finite")
        return found[place]


class FirstOrder:
    """One forward and one backward pass: the log-ratio as the difference of gradients with respect to the one-hot
    tokens, G[i, y] − G[i, x^i]. Exact for log-densities that are linear in each token.

    ``soft`` takes one-hot rows (b, n, V) to log p (b,), differentiable; ``calls`` counts sequences."""

    def __init__(self, soft: Callable[[Tensor], Tensor], vocabulary: int, dtype: torch.dtype = torch.float32) -> None:
        self.soft, self.vocabulary, self.dtype, self.calls = soft, vocabulary, dtype, 0

    def site_log_ratio(self, clean: Tensor, noisy: Tensor, sites: Tensor, candidates: Tensor) -> Tensor:
        """See ``Target``."""
        self.calls += len(clean)
        with torch.enable_grad():
            tokens = F.one_hot(clean, self.vocabulary).to(self.dtype).requires_grad_()
            (slope,) = torch.autograd.grad(self.soft(tokens).sum(), tokens)
        rows = torch.arange(len(clean), device=clean.device)[:, None]
        at_sites = slope[rows, sites]
        here = at_sites.gather(-1, clean.gather(1, sites)[..., None])
        return at_sites.gather(-1, candidates) - here
