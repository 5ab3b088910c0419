"""Which solver samples a block, and how it stops."""

from dataclasses import dataclass, fields
from typing import get_type_hints

import torch
from jaxtyping import Float
from torch import Tensor

from tenfold.errors import UsageError, suggest
from tenfold.settings.checks import at_least
from tenfold.settings.values import read

RULES = ("selective", "auto")
"""Solvers that choose a plan for each block (see ``tenfold.flows.solvers.choice``)."""
SOLVERS = ("sequential", "jacobi", "gs", "frontier", *RULES)
INITS = ("v", "zeros", "first", "noise")
STOPS = ("change", "frobenius")


ONLY = {
    "max_sweeps": ("jacobi", "gs"),
    "stop": ("jacobi", "gs"),
    "segments": ("gs",),
    "window": ("frontier",),
}
"""Which parallel solvers have an option that not all have; the sequential one needs none of them, and is exact."""


@dataclass(frozen=True)
class Plan:
    """The solver of one block.

    Attributes:
        solver: "sequential", "jacobi" (all tokens at once), "gs" (``segments`` one after the other, Jacobi
            inside), or "frontier" (a window that moves with the first unfinished token).
        tol: largest change of a token at which it counts as solved, in the units of the tokens; None for
            ``default_tol``.
        max_sweeps: cap on the sweeps (of each segment); reaching it makes the result approximate.
        init: first iterate: "v" the noise, "zeros", "first" (the first token everywhere) or "noise" (fresh
            N(0, 1)). The first token itself is always known.
        segments: number of Gauss-Seidel segments.
        window: first width of the frontier's window, in tokens.
        stop: "change": max |Δu| < tol for each sample; "frobenius": ‖Δu‖_F / (batch · dims) < tol over the
            batch, the published rule of GS-Jacobi (arXiv 2505.12849), which depends on the batch.
        approximate: accept a result that is only within ``tol``: no sequential repair.
    """

    solver: str = "sequential"
    tol: float | None = None
    max_sweeps: int | None = None
    init: str = "v"
    segments: int = 8
    window: int = 32
    stop: str = "change"
    approximate: bool = False

    def __post_init__(self) -> None:
        for name, hint in get_type_hints(Plan).items():
            object.__setattr__(self, name, read(hint, getattr(self, name), name))
        for name, known in (("solver", SOLVERS), ("init", INITS), ("stop", STOPS)):
            if (value := getattr(self, name)) not in known:
                raise UsageError(f"{name} is {value!r}, which is unknown{suggest(str(value), known)}")
        if self.solver in RULES:
            raise UsageError(
                f"solver is {self.solver!r}, which is no block's; give {self.solver.title()}() for all blocks"
            )
        if self.tol is not None and not self.tol > 0:
            raise UsageError(f"tol is {self.tol}; give a tolerance above 0")
        at_least(self, "", segments=1, window=1)
        if self.max_sweeps is not None:
            at_least(self, "", max_sweeps=1)
        for f in fields(Plan):
            only, value = ONLY.get(f.name, SOLVERS), getattr(self, f.name)
            none = (f.default, 1) if f.name == "segments" else (f.default,)  # one segment is no segmentation
            if self.solver not in ("sequential", *only) and value not in none:
                raise UsageError(f"{f.name} is {value}, which is an option of {', '.join(only)}, not of {self.solver}")

    @property
    def exact(self) -> bool:
        """Whether the result is to agree with the sequential solver's: to its tolerance, which is checked."""
        return not self.approximate and self.max_sweeps is None


SEQUENTIAL = Plan()


def default_tol(dtype: torch.dtype) -> float:
    """1e-5 in single, 1e-12 in double, 1e-2 in half precision."""
    return {torch.float64: 1e-12, torch.float32: 1e-5}.get(dtype, 1e-2)


def first_iterate(
    noise: Float[Tensor, "b n1 d"], init: str, generator: torch.Generator | None = None
) -> Float[Tensor, "b n1 d"]:
    """The chain that a solver starts from; slot 0 is the known one, noise[:, 0]."""
    chain = noise.clone()
    if init == "zeros":
        chain[:, 1:] = 0.0
    elif init == "first":
        chain[:, 1:] = noise[:, :1]
    elif init == "noise":
        chain[:, 1:] = torch.randn(chain[:, 1:].shape, dtype=chain.dtype, device=chain.device, generator=generator)
    return chain
