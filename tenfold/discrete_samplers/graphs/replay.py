"""Trajectories of many graphs to learn from; each keeps the number of its graph, and c_t of it."""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tenfold.discrete_samplers.flow.simulation import Trajectories


class GraphReplay:
    """A ring of trajectories. All of its state is tensors, for checkpoints.

    Args:
        capacity: trajectories.
        times: of the grid.
        nodes: of every (padded) graph.
    """

    def __init__(self, capacity: int, times: Float[Tensor, " k"], nodes: int) -> None:
        self.states = torch.zeros(len(times), capacity, nodes, dtype=torch.int64)
        self.rates = torch.zeros(len(times), capacity)
        self.graphs = torch.zeros(capacity, dtype=torch.int64)
        self.filled = self.written = 0

    def stale(self, step: int, every: int) -> bool:
        """Whether trajectories are simulated before a step: every so often, and where there are none yet."""
        return step % every == 0 or not self.filled

    def add(self, made: Trajectories, graphs: Int[Tensor, " n"], copies: int) -> None:
        """Put trajectories in, ``copies`` of a graph one after another, whose mean ξ is c_t of the graph."""
        self.to(made.states.device)
        capacity, count = self.states.shape[1], len(graphs)
        places = (self.written + torch.arange(count, device=graphs.device)) % capacity
        means = made.xi.unflatten(1, (-1, copies)).mean(2).repeat_interleave(copies, 1)
        self.states[:, places], self.rates[:, places], self.graphs[places] = made.states, means.to(self.rates), graphs
        self.written, self.filled = (self.written + count) % capacity, min(capacity, self.filled + count)

    def draw(
        self, uniforms: Float[Tensor, "b 2"]
    ) -> tuple[Int[Tensor, "b d"], Int[Tensor, " b"], Int[Tensor, " b"], Float[Tensor, " b"]]:
        """States, the numbers of their times and of their graphs, and c_t, uniformly."""
        time = (uniforms[:, 0] * len(self.states)).long().clamp(max=len(self.states) - 1)
        row = (uniforms[:, 1] * self.filled).long().clamp(max=self.filled - 1)
        return self.states[time, row], time, self.graphs[row], self.rates[time, row]

    def to(self, device: torch.device) -> None:
        """Move."""
        self.states, self.rates, self.graphs = (v.to(device) for v in (self.states, self.rates, self.graphs))

    def state_dict(self) -> dict[str, Any]:
        """All of it."""
        counts = torch.tensor([self.filled, self.written])
        return {"states": self.states.to(torch.uint8), "rates": self.rates, "graphs": self.graphs, "counts": counts}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore it."""
        self.states, self.rates = state["states"].to(torch.int64), state["rates"].clone()
        self.graphs = state["graphs"].clone()
        self.filled, self.written = (int(n) for n in state["counts"])
