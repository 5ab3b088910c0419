"""Targets evaluated a chunk of particles at a time, with their network evaluations counted."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tenfold.energy.composition.algebra import Composition
from tenfold.energy.composition.terms import Evaluated, Wanted
from tenfold.errors import UsageError

_CHANGES_WITH_THE_BATCH = (nn.Dropout, nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)


class Asker:
    """``ask(x, sigma)`` of a target and of who proposes for it.

    Args:
        target: what is weighed; asked for energies alone where somebody else proposes.
        proposer: whose score moves particles; the target's own by default.
        chunk: most particles in one call; None for all.

    Attributes:
        units: network evaluations so far, in forward passes of one particle (an energy with its gradient counts 3).
    """

    def __init__(self, target: Composition, proposer: Composition | None = None, chunk: int | None = None) -> None:
        if chunk is not None and chunk < 1:
            raise UsageError(f"chunk is {chunk}; at least one particle is evaluated at a time")
        self.target, self.proposer, self.chunk, self.units = target, proposer, chunk, 0

    def __call__(
        self, x: Tensor, sigma: Tensor, last: bool = False, wanted: Wanted = "both", parts: bool = False
    ) -> Evaluated:
        """The target at x (n, ...), scores by the proposer."""
        pieces = x.split(self.chunk) if self.chunk else (x,)
        with torch.no_grad():
            return _joined([self._piece(piece, sigma, last, wanted, parts) for piece in pieces])

    def _piece(self, x: Tensor, sigma: Tensor, last: bool, wanted: Wanted, parts: bool) -> Evaluated:
        if self.proposer is None or wanted == "density":
            self.units += len(x) * self.target.units(wanted)
            return self.target.evaluate(x, sigma, wanted, parts, last)
        moved = self.proposer.evaluate(x, sigma, "score")
        assert moved.score is not None
        denoised = x + (sigma.square() / self.proposer.order(sigma)).to(x.dtype) * moved.score
        found = self.target.evaluate(x, sigma, "density", parts, last, denoised)
        self.units += len(x) * (self.target.units("density") + self.proposer.units("score"))
        return Evaluated(**{**vars(found), "score": moved.score})


def _joined(pieces: Sequence[Evaluated]) -> Evaluated:
    if len(pieces) == 1:
        return pieces[0]
    names = [name for name, value in vars(pieces[0]).items() if value is not None]
    return Evaluated(**{name: torch.cat([getattr(piece, name) for piece in pieces]) for name in names})


def check_models(target: Composition, grid: Tensor, strict: bool) -> list[str]:
    """What is to be said about the models of a target on a grid.

    Raises:
        UsageError: powers whose sum is not positive at the first level; networks in training mode that draw, or depend
            on the batch; a grid beyond what a model was trained on, if ``strict``.
    """
    order = float(target.order(grid[0]))
    if not order > 0:
        raise UsageError(
            f"the powers of the target sum to {order:g}; at high noise it can be normalised only if that is above 0"
        )
    said = []
    for term in target.terms:
        name = type(term.model).__name__
        parts = list(term.model.modules()) if isinstance(term.model, nn.Module) else []
        if any(isinstance(part, _CHANGES_WITH_THE_BATCH) and part.training for part in parts):
            raise UsageError(f"{name} is in training mode with dropout or batch normalisation; call its eval() first")
        low, high = getattr(term.model, "sigma_range", None) or (0.0, torch.inf)
        if float(grid[-1]) < low or float(grid[0]) > high:
            sentence = (
                f"{name} was trained for sigma from {low:g} to {high:g}, the grid goes from {float(grid[0]):g} to "
                f"{float(grid[-1]):g}; choose sigma_max and sigma_min within"
            )
            if strict:
                raise UsageError(sentence)
            said.append(sentence)
    return said
