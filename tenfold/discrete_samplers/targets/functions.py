"""Any function of tokens as a law, and neural energies: ratios by asking for all neighbours, a chunk at a time."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tenfold.discrete_samplers.targets.protocol import (
    check_log_prob,
    log_difference,
    neighbours,
    reads_tokens,
)
from tenfold.errors import UsageError
from tenfold.settings.arguments import read_arguments


@reads_tokens
class CallableTarget:
    """ρ given by a function of int64 tokens (b, d) that returns log ρ (b,); −∞ forbids.

    Args:
        function: asked without gradients.
        sites, states: d, and S of at least 2.
        chunk: how many states the function is asked for at once.

    Raises:
        UsageError: the function gives NaN, +∞, another shape, or what wants gradients outside ``torch.no_grad``.
    """

    @read_arguments
    def __init__(self, function: Callable[[Tensor], Tensor], sites: int, states: int = 2, chunk: int = 65536) -> None:
        if sites < 1 or states < 2 or chunk < 1:
            raise UsageError(
                f"sites, states and chunk are {sites}, {states}, {chunk}; give at least 1, 2 and 1 of them"
            )
        self.function, self.sites, self.states, self.chunk = function, sites, states, chunk

    @torch.no_grad()
    def log_prob(self, x: Int[Tensor, "b d"]) -> Float[Tensor, " b"]:
        """log ρ(x), in chunks."""
        return self._asked(x)

    def _asked(self, x: Int[Tensor, "b d"]) -> Float[Tensor, " b"]:
        found = [check_log_prob(self.function(part), len(part)) for part in x.split(self.chunk)]
        values = torch.cat(found) if found else torch.zeros(0)
        if values.requires_grad:
            raise UsageError("log_prob gave values that want gradients; detach them")
        return values

    @torch.no_grad()
    def neighbour_log_ratio(self, x: Int[Tensor, "b d"]) -> Float[Tensor, "b d s"]:
        """All d (S − 1) neighbours, in chunks."""
        here = self._asked(x)
        rows = max(1, self.chunk // (self.sites * (self.states - 1)))
        there = [self._asked(neighbours(part, self.states).flatten(0, 1)) for part in x.split(rows)]
        ratios = log_difference(torch.cat(there).view(len(x), self.sites, self.states - 1), here[:, None, None])
        tokens = (x[..., None] + torch.arange(1, self.states, device=x.device)) % self.states
        return torch.zeros(*x.shape, self.states, dtype=here.dtype, device=x.device).scatter_(-1, tokens, ratios)

    @torch.no_grad()
    def site_log_ratio(self, x: Int[Tensor, "b d"], chosen: Int[Tensor, " m"]) -> Float[Tensor, "b m s"]:
        """The neighbours at some sites alone, in chunks."""
        here, sites = self._asked(x), chosen.tolist()
        found = x.new_zeros(len(x), len(sites), self.states).to(here.dtype)
        for place, site in enumerate(sites):
            for shift in range(1, self.states):
                token = (x[:, site] + shift) % self.states
                there = self._asked(x.index_copy(1, chosen[place : place + 1], token[:, None]))
                found[:, place].scatter_(1, token[:, None], log_difference(there, here)[:, None])
        return found


@reads_tokens
class NeuralEnergy(CallableTarget):
    """ρ = exp(−E(x)/T) of a network E that maps one-hot tokens (b, d, S), float32, to energies (b,) or (b, 1)."""

    @read_arguments
    def __init__(
        self, network: nn.Module, sites: int, states: int = 2, temperature: float = 1.0, chunk: int = 65536
    ) -> None:
        if not temperature > 0:
            raise UsageError(f"temperature is {temperature}; give one above 0")
        self.network, self.temperature = network, temperature
        super().__init__(self._log_prob, sites, states, chunk)

    def _log_prob(self, x: Int[Tensor, "b d"]) -> Tensor:
        return -self.energy(nn.functional.one_hot(x, self.states).float()) / self.temperature

    def energy(self, one_hot: Float[Tensor, "b d s"]) -> Float[Tensor, " b"]:
        """E, with gradients."""
        return self.network(one_hot).reshape(len(one_hot))

    def approximate_log_ratio(self, x: Int[Tensor, "b d"]) -> Float[Tensor, "b d s"]:
        """The ratios to first order, from one gradient (Grathwohl et al. 2021, eq. 3): **biased**, the samples are too
        smooth where E is curved; of use as a proposal that an exact acceptance corrects."""
        with torch.enable_grad():
            one_hot = nn.functional.one_hot(x, self.states).float().requires_grad_(True)
            (slope,) = torch.autograd.grad(-self.energy(one_hot).sum() / self.temperature, one_hot)
        return slope - slope.gather(-1, x[..., None])
