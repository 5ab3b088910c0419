"""Pairwise laws of binary sites: spins and bits, with all flips at the cost of one sum over neighbours."""

from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tenfold.discrete_samplers.targets.couplings import (
    Couplings,
    colouring,
    lattice_bonds,
    lattice_edges,
    matrix_edges,
)
from tenfold.discrete_samplers.targets.protocol import of_flips, reads_tokens
from tenfold.errors import UsageError
from tenfold.nn.border import Values, floats
from tenfold.settings.arguments import read_arguments


@reads_tokens
class PairwiseBinary(nn.Module):
    """log ρ = constant + Σ_i a_i v_i + Σ_{edges} w_ij v_i v_j, of values v that the tokens 0 and 1 stand for: (0, 1),
    or as spins (−1, 1).

    Args:
        low: what token 0 stands for, 0 or −1; token 1 stands for 1.
        linear: (d,) a.
        couplings: w.
        constant: added to log ρ.
    """

    linear: Tensor
    states = 2

    def __init__(self, low: int, linear: Values, couplings: Couplings, constant: float = 0.0) -> None:
        super().__init__()
        if low not in (0, -1):
            raise UsageError(f"low is {low}; token 0 stands for 0 (bits) or −1 (spins)")
        linear = floats(linear, "linear").to(couplings.weights.dtype)
        if linear.shape != (couplings.sites,):
            raise UsageError(f"linear has shape {tuple(linear.shape)}; give one number for each of {couplings.sites}")
        self.low, self.sites, self.constant, self.couplings = low, couplings.sites, constant, couplings
        self.register_buffer("linear", linear)

    @cached_property
    def colours(self) -> list[Tensor]:
        """Sites that do not interact among themselves."""
        return [c.to(self.linear.device) for c in colouring(self.sites, self.couplings.edges.cpu())]

    def values(self, x: Int[Tensor, "b d"]) -> Float[Tensor, "b d"]:
        """What the tokens stand for."""
        return self._values(x)

    def _values(self, x: Int[Tensor, "b d"]) -> Float[Tensor, "b d"]:
        return x.to(self.linear.dtype) * (1 - self.low) + self.low

    def log_prob(self, x: Int[Tensor, "b d"]) -> Float[Tensor, " b"]:
        """log ρ(x), from ½ v·(W v) + a·v."""
        v = self._values(x)
        return (v * (self.linear + 0.5 * self.couplings.neighbour_sums(v))).sum(1) + self.constant

    def local_field(self, x: Int[Tensor, "b d"]) -> Float[Tensor, "b d"]:
        """f_i = a_i + Σ_j w_ij v_j: log ρ holds v_i f_i, and f_i does not depend on x_i."""
        return self._field(x)

    def flip_log_ratio(self, x: Int[Tensor, "b d"]) -> Float[Tensor, "b d"]:
        """Of every site, log ρ(x with the other token) − log ρ(x) = (v' − v) f."""
        return self._flips(x)

    def neighbour_log_ratio(self, x: Int[Tensor, "b d"]) -> Float[Tensor, "b d 2"]:
        """As the protocol says."""
        return of_flips(self._flips(x), x)

    def site_log_ratio(self, x: Int[Tensor, "b d"], chosen: Int[Tensor, " m"]) -> Float[Tensor, "b m 2"]:
        """At some sites alone."""
        here = x[:, chosen]
        return of_flips((1 - 2 * here) * self._odds(x, chosen), here)

    def site_odds(self, x: Int[Tensor, "b d"], chosen: Int[Tensor, " m"]) -> Float[Tensor, "b m"]:
        """log ρ with token 1 less that with token 0 at some sites, (v' − v) f."""
        return self._odds(x, chosen)

    def _field(self, x: Int[Tensor, "b d"]) -> Float[Tensor, "b d"]:
        return self.linear + self.couplings.neighbour_sums(self._values(x))

    def _flips(self, x: Int[Tensor, "b d"]) -> Float[Tensor, "b d"]:
        return (1 - self.low) * (1 - 2 * x) * self._field(x)

    def _odds(self, x: Int[Tensor, "b d"], chosen: Int[Tensor, " m"]) -> Float[Tensor, "b m"]:
        field = self.linear[chosen] + self.couplings.sums_at(self._values(x), chosen)
        return field if self.low == 0 else 2 * field


class Ising(PairwiseBinary):
    """The periodic lattice, ρ(s) = exp(β Σ_{bonds} s s' + h Σ s), of spins s = 2 token − 1, with 2·height·width bonds
    (two between neighbours where a side is 2, none where it is 1 but a constant).

    >>> Ising(3, 3, beta=0.5).log_prob(torch.ones(1, 9, dtype=torch.int64))
    tensor([9.])

    Args:
        height, width: of the lattice; site i·width + j is in row i, column j.
        beta: coupling of a bond; a published σ of J = σ · adjacency in s'Js is β/2.
        field: h.
        dtype: of log ρ.
    """

    @read_arguments
    def __init__(
        self, height: int, width: int, beta: float, field: float = 0.0, dtype: torch.dtype = torch.float32
    ) -> None:
        if min(height, width) < 1:
            raise UsageError(f"the lattice is {height} x {width}; give sides of at least 1")
        self_bonds = (height * width if height == 1 else 0) + (height * width if width == 1 else 0)
        weights = beta * lattice_bonds(height, width).to(dtype)
        couplings = Couplings(height * width, lattice_edges(height, width), weights)
        linear = torch.full((height * width,), field, dtype=dtype)
        super().__init__(-1, linear, couplings, beta * self_bonds)
        self.height, self.width, self.beta, self.field = height, width, beta, field

    @cached_property
    def colours(self) -> list[Tensor]:
        """The two colours of the checkerboard where both sides are even."""
        if self.height % 2 or self.width % 2:
            return [c.to(self.linear.device) for c in colouring(self.sites, self.couplings.edges.cpu())]
        site = torch.arange(self.sites, device=self.linear.device)
        parity = (site // self.width + site % self.width) % 2
        return [(parity == 0).nonzero()[:, 0], (parity == 1).nonzero()[:, 0]]


def spin_glass(couplings: Values, field: Values) -> PairwiseBinary:
    """ρ(s) = exp(s'Js + b's) of spins, J (d, d) symmetric.

    The diagonal is constant for spins and refused, so that nobody expects anything of it.

    Raises UsageError for J that is not square, symmetric and finite, or has a diagonal."""
    edges, weights = matrix_edges(couplings, "J")
    if bool((torch.as_tensor(couplings).diagonal() != 0).any()):
        raise UsageError("J has a diagonal; s_i² is 1, so that it changes nothing: set it to 0")
    return PairwiseBinary(-1, field, Couplings(len(couplings), edges, weights))


def qubo(weights: Values, linear: Values) -> PairwiseBinary:
    """ρ(x) = exp(x'Wx + h'x) of bits, W (d, d) symmetric; its diagonal is linear, as x² is x.

    Raises UsageError for W that is not square, symmetric and finite."""
    edges, pairs = matrix_edges(weights, "W")
    h = floats(linear, "h")
    if h.shape != (len(weights),):
        raise UsageError(f"h has shape {tuple(h.shape)} for W of {len(weights)} rows; give one number a row")
    whole_linear = h + torch.as_tensor(weights).diagonal()
    return PairwiseBinary(0, whole_linear, Couplings(len(weights), edges, pairs))
