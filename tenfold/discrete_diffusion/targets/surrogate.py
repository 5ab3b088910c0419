"""A bidirectional model as the density: all site conditionals of a clean sequence in one pass, or one mask a pass."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tenfold.discrete.paths import MaskSource
from tenfold.errors import UsageError


class Surrogate:
    """``conditionals`` takes clean sequences (b, n) and sites (b, m) to log p(x^i = y | all other tokens),
    (b, m, V)."""

    def __init__(self, conditionals: Callable[[Tensor, Tensor], Tensor]) -> None:
        self.conditionals = conditionals

    @torch.no_grad()
    def site_log_ratio(self, clean: Tensor, noisy: Tensor, sites: Tensor, candidates: Tensor) -> Tensor:
        """See ``Target``."""
        log_p = self.conditionals(clean, sites)
        return log_p.gather(-1, candidates) - log_p.gather(-1, clean.gather(1, sites)[..., None])


def leave_one_out(network: nn.Module) -> Callable[[Tensor, Tensor], Tensor]:
    """Site conditionals of a network that never lets a site see itself (a hollow transformer): one pass."""
    if network.view != "leave_one_out" or network.time_conditioned:
        raise UsageError(
            "a surrogate in one pass needs a network of view 'leave_one_out' that is not told the time; mask the sites "
            "one by one instead (one_mask_each)"
        )

    def conditionals(clean: Int[Tensor, "b n"], sites: Int[Tensor, "b m"]) -> Float[Tensor, "b m v"]:
        found: Tensor = network(clean, None, None)
        return found[torch.arange(len(clean), device=clean.device)[:, None], sites]

    return conditionals


def one_mask_each(network: nn.Module) -> Callable[[Tensor, Tensor], Tensor]:
    """Site conditionals of a masked model: m rows a sequence, one mask in each."""
    source = network.source
    if not isinstance(source, MaskSource):
        raise UsageError("masks are put one by one into a model with a mask source; this one has a uniform source")

    def conditionals(clean: Int[Tensor, "b n"], sites: Int[Tensor, "b m"]) -> Float[Tensor, "b m v"]:
        b, m = sites.shape
        rows = clean[:, None].expand(b, m, -1).scatter(-1, sites[..., None], source.mask).flatten(0, 1)
        time = (
            rows.new_full((len(rows),), 1 / clean.shape[1], dtype=torch.float32) if network.time_conditioned else None
        )
        found: Tensor = network(rows, time, rows == source.mask)
        return found.view(b, m, -1)

    return conditionals
