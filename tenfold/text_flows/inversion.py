"""From noise to latents: the inverse of every coupling, in its own reading order, block by block of its positions.

Inside a block all positions are solved at once, and again with the features of what was found, until the block's own
map of it gives the noise back (Jacobi; position t is right after t + 1 sweeps, so that a block of m takes at most m).
Blocks follow each other behind key-value caches (Gauss-Seidel-Jacobi, arXiv:2505.12849). Blocks of one position are the
sequential inverse; one block of all is the Jacobi inverse.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from tenfold import progress
from tenfold.errors import TenfoldError, UsageError
from tenfold.nn.border import Values
from tenfold.settings.arguments import read_arguments
from tenfold.text_flows.networks.couplings import Coupling
from tenfold.text_flows.networks.model import TextFlow


@dataclass(frozen=True)
class Inverted:
    """The states h^L = u, …, h^0 = z (b, n, d), the network's calls, and the certificate max |f(h) − u| of all
    couplings, each mapped anew in one pass over the whole text."""

    states: list[Float[Tensor, "b n d"]]
    calls: int
    residual: float

    @property
    def latents(self) -> Float[Tensor, "b n d"]:
        """z."""
        return self.states[-1]


@read_arguments
@torch.no_grad()
def invert_flow(model: TextFlow, u: Values, block: int = 1, tolerance: float = 1e-4, root: float = 1e-6) -> Inverted:
    """The latents whose noise is u (b, n, d).

    Args:
        block: positions that are solved together; 1 for the sequential inverse, 0 for all.
        tolerance: of |f(h) − u| inside a block of several positions.
        root: of each one-dimensional inverse (at least what the dtype can hold).

    Raises:
        UsageError: another shape, NaN, and numbers out of range.
        TenfoldError: a result that misses the tolerance by more than tenfold, with the residual: caches and single
            passes round differently, and a flow may magnify that.
    """
    config = model.config
    u = model.points(u, "the noise")
    if block < 0 or not 0 < tolerance < 1 or not 0 < root < 1:
        raise UsageError(
            f"block is {block}, tolerance {tolerance} and root {root}; give 0 or more, and numbers between 0 and 1"
        )
    if not len(u):
        return Inverted([u] * (len(model.couplings) + 1), 0, 0.0)
    root = max(root, 1e-5 if u.dtype == torch.float32 else 1e-12)
    states, calls, worst = [u], 0, 0.0
    places = range(len(model.couplings) - 1, -1, -1)
    positions = u.shape[1] // config.patch
    with progress.task("inverting", len(places) * positions, "positions") as step:
        for place in places:
            coupling, target = model.chain[place], model.ordered(model.positions(states[-1]), place)
            h, used = _inverse(model, coupling, target, block or positions, tolerance, root, step)
            residual = coupling.passed(h, coupling.body(h), model.tokens).u - target
            calls, worst = calls + used, max(worst, float(residual.abs().max()))
            states.append(model.latents(model.reordered(h, place)))
    if not worst <= 10 * tolerance:
        raise TenfoldError(
            f"the inverse leaves a residual of {worst:.2g}, beyond the tolerance of {tolerance:.2g}; invert in float64 "
            "(model.double()), or give a larger tolerance"
        )
    return Inverted(states, calls, worst)


def _inverse(
    model: TextFlow, coupling: Coupling, u: Tensor, block: int, tolerance: float, root: float, step: progress.Meter
) -> tuple[Tensor, int]:
    """h of u (b, m, c) in the coupling's own order, and the calls of the network."""
    rows, count, _ = u.shape
    states = coupling.body.begin(rows, count)
    h, calls = torch.zeros_like(u), 0
    for first in range(0, count, block):
        last = min(first + block, count)
        own = u[:, first:last]
        for sweep in range(last - first):
            before = h[:, max(first - 1, 0) : last - 1]
            features = coupling.body.window(before, first == 0, states)
            calls += 1
            # What is found may be right already: then its own map, with its own features, gives the noise.
            if (
                sweep
                and float((coupling.passed(h[:, first:last], features, model.tokens).u - own).abs().max()) <= tolerance
            ):
                break
            found = coupling.inverse(own, features, model.tokens, root)
            h = torch.cat([h[:, :first], found, h[:, last:]], 1)
        for state in states:
            state.advance(last - first)
        step(last - first)
    return h, calls
