"""The random numbers of a run, keyed by (seed, purpose, step, population, particle): nothing depends on how many
populations there are, or on how particles are chunked."""

import torch
from jaxtyping import Float
from torch import Tensor

from tenfold.training.streams import Draws


class Numbers:
    """Of m populations, of which the first has the number ``first``, with n particles each."""

    def __init__(self, seed: int, m: int, n: int, device: torch.device, dtype: torch.dtype, first: int = 0) -> None:
        self.seed, self.dtype = seed, dtype
        self.populations = torch.arange(first, first + m, device=device)
        self.particles = ((self.populations << 32)[:, None] + torch.arange(n, device=device)).flatten()

    def normal(
        self, purpose: str, step: int, shape: tuple[int, ...], n: int | None = None
    ) -> Float[Tensor, "n *shape"]:
        """Standard normal numbers of all particles, or of the first n of each population."""
        index = self.particles if n is None else self.particles.view(len(self.populations), -1)[:, :n].flatten()
        return Draws(self.seed, step).normal(purpose, index, shape, self.dtype)

    def uniform(self, purpose: str, step: int, n: int | None = None) -> Float[Tensor, " n"]:
        """U[0, 1) of all particles, or of the first n of each population, float64."""
        index = self.particles if n is None else self.particles.view(len(self.populations), -1)[:, :n].flatten()
        return Draws(self.seed, step).uniform(purpose, index, (), torch.float64)

    def signs(self, purpose: str, step: int, shape: tuple[int, ...]) -> Float[Tensor, "n *shape"]:
        """Independent signs ±1 of all particles."""
        numbers = Draws(self.seed, step).uniform(purpose, self.particles, shape)
        return torch.where(numbers < 0.5, -1.0, 1.0).to(self.dtype)

    def shared(self, purpose: str, step: int, count: int) -> Float[Tensor, "m count"]:
        """U[0, 1) numbers of each population, float64."""
        return Draws(self.seed, step).uniform(purpose, self.populations, (count,), torch.float64)
