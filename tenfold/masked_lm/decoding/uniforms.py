"""Random numbers of a generation: of a generator, or given ones."""

from collections.abc import Sequence

import torch
from torch import Tensor

from tenfold.errors import UsageError


class Uniforms:
    """U[0, 1) numbers for every step, as one flat vector over the masked positions in row-major order.

    ``reveals`` are given numbers of the choice of positions (alg "origin"), ``tokens`` those of the proposals; without
    them a generator draws float64 numbers."""

    def __init__(
        self,
        generator: torch.Generator | None = None,
        reveals: Sequence[Tensor] | None = None,
        tokens: Sequence[Tensor] | None = None,
    ) -> None:
        self.generator, self._given = generator, {"reveals": reveals, "tokens": tokens}

    def reveals(self, step: int, count: int, device: torch.device) -> Tensor:
        """Numbers that choose positions."""
        return self._numbers("reveals", step, count, device)

    def tokens(self, step: int, count: int, device: torch.device) -> Tensor:
        """Numbers that choose tokens."""
        return self._numbers("tokens", step, count, device)

    def uniform(self, shape: Sequence[int], device: torch.device) -> Tensor:
        """Fresh float64 numbers."""
        source = self.generator.device if self.generator is not None else device
        return torch.rand(*shape, dtype=torch.float64, generator=self.generator, device=source).to(device)

    def _numbers(self, kind: str, step: int, count: int, device: torch.device) -> Tensor:
        given = self._given[kind]
        if given is None:
            return self.uniform((count,), device)
        if step >= len(given) or given[step].shape != (count,):
            have = "none" if step >= len(given) else f"shape {tuple(given[step].shape)}"
            raise UsageError(f"step {step} needs {count} given {kind} numbers, one a masked position; there are {have}")
        return given[step].to(device)
