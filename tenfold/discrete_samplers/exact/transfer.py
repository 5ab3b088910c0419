"""Lattices with a field, and Potts models, by the transfer matrix of a row: Z = Tr T^height, in float64 logs."""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tenfold.errors import UsageError
from tenfold.settings.arguments import read_arguments

_MOST_STATES = 4096


@dataclass(frozen=True)
class TransferMatrix:
    """ρ(x) = exp(β Σ_{bonds} f(x_i)·f(x_j) + Σ_i h(x_i)) on a periodic height x width lattice.

    Attributes:
        height, width: S^width is at most 4096.
        beta: coupling.
        features: (S, c) f, so that a bond gains β f·f.
        field: (S,) h.

    Raises:
        UsageError: a row with more states than that, or sides below 1.
    """

    height: int
    width: int
    beta: float
    features: Float[Tensor, "s c"]
    field: Float[Tensor, " s"]

    def __post_init__(self) -> None:
        if min(self.height, self.width) < 1:
            raise UsageError(f"the lattice is {self.height} x {self.width}; give sides of at least 1")
        count = len(self.features) ** self.width
        if count > _MOST_STATES:
            raise UsageError(
                f"a row of {self.width} sites has {count} states; the transfer matrix takes up to {_MOST_STATES}: turn "
                "the lattice, or use a closed form or a sampler"
            )

    @cached_property
    def rows(self) -> Int[Tensor, "n w"]:
        """All states of a row."""
        s = len(self.features)
        number = torch.arange(s**self.width)
        return torch.stack([number // s**k % s for k in range(self.width)], 1)

    @cached_property
    def _spectrum(self) -> tuple[Tensor, Tensor, float]:
        """Eigenvalues over the largest in size, eigenvectors, and the log of that largest one."""
        f = self.features.double()[self.rows]
        inside = self.beta * (f * f.roll(-1, 1)).sum((1, 2)) + self.field.double()[self.rows].sum(1)
        across = self.beta * torch.einsum("aic,bic->ab", f, f)
        logs = 0.5 * (inside[:, None] + inside[None]) + across
        top = logs.max()
        values, vectors = torch.linalg.eigh((logs - top).exp())
        largest = values.abs().max()
        return values / largest, vectors, float(top + largest.log())

    @cached_property
    def log_z(self) -> float:
        """log Tr T^height."""
        values, _, scale = self._spectrum
        return self.height * scale + float((values**self.height).sum().log())

    def mean(self, of: Float[Tensor, " s"]) -> float:
        """⟨g(x_i)⟩, the same at every site."""
        return self._correlation(of.double()[:, None], torch.ones(len(of), 1, dtype=torch.float64), 0, 0)

    def correlation(self, down: int, right: int) -> float:
        """⟨f(x_00)·f(x_{down, right})⟩: of spins ⟨s s'⟩, of Potts models the probability of agreement."""
        f = self.features.double()
        return self._correlation(f, f, down % self.height, right % self.width)

    def _correlation(self, f: Tensor, g: Tensor, down: int, right: int) -> float:
        values, vectors, _ = self._spectrum
        total = torch.zeros((), dtype=torch.float64)
        for c in range(f.shape[1]):
            one = vectors.T @ (f[self.rows[:, 0], c, None] * vectors)
            other = vectors.T @ (g[self.rows[:, right], c, None] * vectors)
            total += (one * other.T * values[None] ** down * values[:, None] ** (self.height - down)).sum()
        return float(total / (values**self.height).sum())

    @cached_property
    def energy(self) -> float:
        """U = −⟨Σ_{bonds} f·f⟩ of the 2·height·width bonds, without the field."""
        return -self.height * self.width * (self.correlation(0, 1) + self.correlation(1, 0))


@read_arguments
def ising_strip(height: int, width: int, beta: float, field: float = 0.0) -> TransferMatrix:
    """Spins −1, +1 in a field: exp(β Σ s s' + h Σ s); width up to 12."""
    spins = torch.tensor([-1.0, 1.0], dtype=torch.float64)
    return TransferMatrix(height, width, beta, spins[:, None], field * spins)


@read_arguments
def potts_strip(height: int, width: int, states: int, beta: float) -> TransferMatrix:
    """exp(β · number of bonds whose ends agree)."""
    if states < 2:
        raise UsageError(f"states is {states}; give at least 2 colours")
    return TransferMatrix(height, width, beta, torch.eye(states, dtype=torch.float64), torch.zeros(states))
