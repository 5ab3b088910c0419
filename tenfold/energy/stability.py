"""When a training of energies is lost: gradients that stay far above what they were."""

from typing import Any

import torch
from torch import Tensor

from tenfold.errors import TenfoldError

_WINDOW, _FACTOR, _PATIENCE, _FEWEST = 200, 100.0, 20, 50


class GradientWatch:
    """Ends a training whose gradient norm was above 100 times the running median for 20 steps in a row.

    The norms lie on their device; they are looked at every 20 steps, so that a GPU is not waited for in between."""

    def __init__(self) -> None:
        self.norms = torch.full((_WINDOW,), torch.nan)
        self.high, self.longest, self.steps = torch.zeros(()), torch.zeros(()), 0

    def __call__(self, norm: Tensor) -> None:
        """Note the norm of one update. Raises TenfoldError where the rule says so."""
        norm = norm.detach().float()
        if self.norms.device != norm.device:
            self.norms, self.high, self.longest = (t.to(norm.device) for t in (self.norms, self.high, self.longest))
        median = self.norms.nanmedian()
        above = (norm > _FACTOR * median) if self.steps >= _FEWEST else torch.zeros_like(norm, dtype=torch.bool)
        self.high = torch.where(above, self.high + 1, 0.0)
        self.longest = torch.maximum(self.longest, self.high)
        # A norm that is too high leaves the median alone: it is what the others are compared with.
        self.norms[self.steps % _WINDOW] = torch.where(above, median, norm)
        self.steps += 1
        if self.steps % _PATIENCE == 0 and float(self.longest) >= _PATIENCE:
            raise TenfoldError(
                f"training stopped at step {self.steps}: the gradient's norm was above {_FACTOR:g} times its running "
                f"median ({float(median):.3g}) for {_PATIENCE} steps; lower train.learning_rate or train.clip"
            )

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run goes on from."""
        return {"norms": self.norms, "high": self.high, "longest": self.longest, "steps": self.steps}

    def load_state_dict(self, state: Any) -> None:
        """Restore ``state_dict``."""
        self.norms, self.high, self.longest = (state[name] for name in ("norms", "high", "longest"))
        self.steps = int(state["steps"])
