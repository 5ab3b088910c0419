"""Potts models: sites of q colours that gain where neighbours agree."""

from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tenfold.discrete_samplers.targets.couplings import Couplings, colouring, lattice_bonds, lattice_edges
from tenfold.discrete_samplers.targets.protocol import reads_tokens
from tenfold.errors import UsageError
from tenfold.nn.border import floats
from tenfold.settings.arguments import read_arguments


@reads_tokens
class Potts(nn.Module):
    """ρ(x) = exp(Σ_{edges} w_ij [x_i = x_j] + Σ_i h_i(x_i) + constant).

    Args:
        couplings: w; β on every edge of a lattice (``potts_lattice``).
        states: q of at least 2.
        field: (d, q) h; 0 by default.
        constant: added to log ρ.
    """

    field: Tensor

    @read_arguments
    def __init__(self, couplings: Couplings, states: int, field: Tensor | None = None, constant: float = 0.0) -> None:
        super().__init__()
        if states < 2:
            raise UsageError(f"states is {states}; give at least 2 colours")
        if field is None:
            field = couplings.weights.new_zeros(couplings.sites, states)
        field = floats(field, "field")
        if field.shape != (couplings.sites, states):
            raise UsageError(f"field has shape {tuple(field.shape)}; give ({couplings.sites}, {states}) numbers")
        self.sites, self.states, self.couplings, self.constant = couplings.sites, states, couplings, constant
        self.register_buffer("field", field.to(couplings.weights.dtype))

    @cached_property
    def colours(self) -> list[Tensor]:
        """Sites that do not interact among themselves."""
        return [c.to(self.field.device) for c in colouring(self.sites, self.couplings.edges.cpu())]

    def _one_hot(self, x: Int[Tensor, "b d"]) -> Float[Tensor, "b d q"]:
        return nn.functional.one_hot(x, self.states).to(self.field.dtype)

    def log_prob(self, x: Int[Tensor, "b d"]) -> Float[Tensor, " b"]:
        """log ρ(x)."""
        one, other = self.couplings.between(x)
        pairs = ((one == other) * self.couplings.weights).sum(1)
        return pairs + (self._one_hot(x) * self.field).sum((1, 2)) + self.constant

    def local_field(self, x: Int[Tensor, "b d"]) -> Float[Tensor, "b d q"]:
        """log p(x_i = τ | all others) up to a constant: Σ_j w_ij [x_j = τ] + h_i(τ), which x_i does not enter."""
        return self._field(x)

    def _field(self, x: Int[Tensor, "b d"]) -> Float[Tensor, "b d q"]:
        return self.couplings.neighbour_sums(self._one_hot(x)) + self.field

    def neighbour_log_ratio(self, x: Int[Tensor, "b d"]) -> Float[Tensor, "b d q"]:
        """As the protocol says."""
        local = self._field(x)
        return local - local.gather(-1, x[..., None])

    def site_log_ratio(self, x: Int[Tensor, "b d"], chosen: Int[Tensor, " m"]) -> Float[Tensor, "b m q"]:
        """At some sites alone."""
        local = self.couplings.sums_at(self._one_hot(x), chosen) + self.field[chosen]
        return local - local.gather(-1, x[:, chosen, None])


@read_arguments
def potts_lattice(height: int, width: int, states: int, beta: float, dtype: torch.dtype = torch.float32) -> Potts:
    """The periodic lattice, ρ = exp(β · number of the 2·height·width bonds whose ends agree)."""
    if min(height, width) < 1:
        raise UsageError(f"the lattice is {height} x {width}; give sides of at least 1")
    loops = (height * width if height == 1 else 0) + (height * width if width == 1 else 0)
    weights = beta * lattice_bonds(height, width).to(dtype)
    return Potts(Couplings(height * width, lattice_edges(height, width), weights), states, constant=beta * loops)
