"""The Ising model on a periodic lattice without a field, in closed form (Kaufman 1949, Phys. Rev. 76, 1232).

    Z = ½ (2 sinh 2β)^{mn/2} (Π 2cosh(m γ_{2r+1}/2) + Π 2sinh(m γ_{2r+1}/2)
                              + Π 2cosh(m γ_{2r}/2) + Π 2sinh(m γ_{2r}/2)),

r = 0 ... n−1, cosh γ_l = cosh 2β coth 2β − cos(π l/n), and γ_0 negative above the critical temperature. In half
angles, sinh²(γ_l/2) = (s−1)²/(2s) + sin²(π l/2n) with s = sinh 2β, which loses no digits. All of it is in logs: nothing
overflows.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tenfold.errors import UsageError
from tenfold.settings.arguments import read_arguments

CRITICAL_BETA = 0.5 * math.log1p(math.sqrt(2))
"""0.4407: where the infinite lattice orders."""


class LatticeValues(NamedTuple):
    """Of exp(β Σ_{bonds} s s'): log Z; U = ⟨E⟩ of E = −Σ_{bonds} s s', which is −d log Z/dβ; Var E, the second
    derivative, from which the heat capacity is β² Var E. All for the whole lattice."""

    log_z: float
    energy: float
    energy_variance: float

    def free_energy(self, beta: float) -> float:
        """F = −log Z/β."""
        return -self.log_z / beta

    def entropy(self, beta: float) -> float:
        """S = log Z + β U, nats."""
        return self.log_z + beta * self.energy


@read_arguments
@torch.enable_grad()
def ising_lattice(height: int, width: int, beta: float) -> LatticeValues:
    """The closed form, and its derivatives to β; 2·height·width bonds, doubled where a side is 2, and loops where it
    is 1, as ``targets.binary.Ising`` has them.

    Raises UsageError for sides below 1, and for β outside [0, 100]; where both sides are even, −β has the values of β
    with U of the other sign.

    >>> round(ising_lattice(4, 4, 0.2).log_z, 4)
    11.7715
    """
    if min(height, width) < 1:
        raise UsageError(f"the lattice is {height} x {width}; give sides of at least 1")
    if not 0 <= beta <= 100:
        raise UsageError(f"beta is {beta}; the closed form takes 0 to 100")
    sites = height * width
    if beta == 0:
        # Bonds are independent fair signs but for the doubled ones, which are counted in the second derivative.
        double = sites * (4 if height == 2 else 2 if height > 2 else 0) // 2
        double += sites * (4 if width == 2 else 2 if width > 2 else 0) // 2
        loops = sites * ((height == 1) + (width == 1))
        return LatticeValues(sites * math.log(2), float(-loops), float(double))
    b = torch.tensor(beta, dtype=torch.float64, requires_grad=True)
    log_z = _log_z(height, width, b)
    (first,) = torch.autograd.grad(log_z, b, create_graph=True)
    (second,) = torch.autograd.grad(first, b)
    return LatticeValues(log_z.item(), -first.item(), second.item())


def _log_z(m: int, n: int, beta: Float[Tensor, ""]) -> Float[Tensor, ""]:
    log_sinh = 2 * beta + torch.log1p(-torch.exp(-4 * beta)) - math.log(2)  # log s without overflow
    # (s − 1)/√(2s) = √2 sinh(½ log s)
    gap = math.sqrt(2) * torch.sinh(log_sinh / 2)
    angle = torch.arange(1, 2 * n, dtype=torch.float64) * (math.pi / (2 * n))
    first = 2 * torch.asinh(gap)
    rest = 2 * torch.asinh((gap**2 + torch.sin(angle) ** 2).sqrt())
    half = m / 2 * torch.cat([first[None], rest])
    odd, even = half[1::2], half[0::2]
    logs = [(part - nn.functional.logsigmoid(2 * part)).sum() for part in (odd, even)]  # log 2cosh
    # γ_0 may be 0, where the derivative of a product that holds it is delicate: it is a factor by itself.
    signed = [1 + torch.tanh(odd).prod(), 1 + torch.tanh(even[0]) * torch.tanh(even[1:]).prod()]
    top = torch.maximum(logs[0], logs[1]).detach()
    total = sum(((log - top).exp() * ratio for log, ratio in zip(logs, signed, strict=True)), torch.zeros(()))
    return m * n / 2 * (math.log(2) + log_sinh) - math.log(2) + top + total.log()
