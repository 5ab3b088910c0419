"""What training learns from: simulated trajectories, the oldest of which go, and c_t on the grid."""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tenfold.discrete_samplers.flow.residual import mean_rate
from tenfold.discrete_samplers.flow.simulation import Trajectories


class Replay:
    """A ring of trajectories. All of its state is tensors, for checkpoints.

    Args:
        capacity: trajectories.
        times: of the grid.
        sites: of the target.
    """

    def __init__(self, capacity: int, times: Float[Tensor, " k"], sites: int) -> None:
        self.states = torch.zeros(len(times), capacity, sites, dtype=torch.int64)
        self.rates = torch.zeros(len(times))
        self.filled = self.written = 0

    def stale(self, step: int, every: int) -> bool:
        """Whether trajectories are simulated before a step: every so often, and where there are none yet."""
        return step % every == 0 or not self.filled

    def add(self, made: Trajectories, rate: str, decay: float) -> None:
        """Put trajectories in, and estimate c_t from them."""
        self.to(made.states.device)
        capacity, count = self.states.shape[1], made.states.shape[1]
        places = (self.written + torch.arange(count, device=self.states.device)) % capacity
        self.states[:, places] = made.states
        new = mean_rate(made.xi, made.log_weights.to(made.xi.dtype) if rate == "weighted" else None)
        if rate == "ema" and self.written:
            new = decay * self.rates + (1 - decay) * new
        self.rates, self.written = new.to(self.rates), (self.written + count) % capacity
        self.filled = min(capacity, self.filled + count)

    def draw(self, uniforms: Float[Tensor, "b 2"]) -> tuple[Int[Tensor, "b d"], Int[Tensor, " b"]]:
        """States and the numbers of their times, uniformly."""
        time = (uniforms[:, 0] * len(self.states)).long().clamp(max=len(self.states) - 1)
        row = (uniforms[:, 1] * self.filled).long().clamp(max=self.filled - 1)
        return self.states[time, row], time

    def to(self, device: torch.device) -> None:
        """Move."""
        self.states, self.rates = self.states.to(device), self.rates.to(device)

    def state_dict(self) -> dict[str, Any]:
        """All of it."""
        counts = torch.tensor([self.filled, self.written])
        return {"states": self.states.to(torch.uint8), "rates": self.rates, "counts": counts}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore it."""
        self.states, self.rates = state["states"].to(torch.int64), state["rates"].clone()
        self.filled, self.written = (int(n) for n in state["counts"])
