"""The numbers of a chain: float64, from a generator or by the sample."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tenfold.discrete.masking import categorical
from tenfold.training.streams import Draws


class Random:
    """float64 U[0, 1) numbers of a generator, on any device."""

    def __init__(self, seed: int | torch.Generator) -> None:
        self.generator = seed if isinstance(seed, torch.Generator) else torch.Generator().manual_seed(seed)

    def __call__(self, *shape: int, device: torch.device) -> Tensor:
        """Fresh numbers."""
        home = self.generator.device
        return torch.rand(*shape, dtype=torch.float64, generator=self.generator, device=home).to(device)

    def tokens(self, weights: Float[Tensor, "*b k"]) -> Int[Tensor, "*b"]:
        """Draws in proportion to the weights."""
        return categorical(weights, self(*weights.shape[:-1], device=weights.device))


class KeyedRandom(Random):
    """The same by the sample: row b of the k-th request depends on what keys ``draws``, on index[b] and on k alone,
    not on the other rows. For chains whose every request is of all rows ("ancestral" and the others on a grid)."""

    def __init__(self, draws: Draws, index: Int[Tensor, " b"]) -> None:
        self.draws, self.index, self.requests = draws, index, 0

    def __call__(self, *shape: int, device: torch.device) -> Tensor:
        """Fresh numbers."""
        assert shape[0] == len(self.index)
        self.requests += 1
        return self.draws.uniform(f"chain-{self.requests}", self.index, shape[1:], torch.float64).to(device)
