"""What the training loop needs from a system: a protocol that systems satisfy without importing it."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from tenfold.training.streams import Draws

Batch = Mapping[str, Tensor]


@dataclass
class Update:
    """One optimiser update asked for by a system: a scalar ``loss`` and metrics (detached scalars).

    ``optimizer`` names the entry of ``Task.optimizers`` that is stepped with the gradient of ``loss``;
    ``check`` holds named scalars or tensors (one a block, say) that the NaN guard looks into to name the
    culprit when the loss is not finite.
    """

    optimizer: str
    loss: Tensor
    metrics: dict[str, Tensor] = field(default_factory=dict)
    check: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Metric:
    """What chooses the checkpoint: the entry ``name`` of a validation, the least or the largest.

    An entry is the mean of what ``Task.validate`` gives per sample. Where it is not one (mean average precision),
    ``whole`` makes the entries from the values of all samples, (n, ...) on the CPU in the order of the data.
    """

    name: str = "loss"
    larger_is_better: bool = False
    whole: Callable[[dict[str, Tensor]], dict[str, float]] | None = None

    def better(self, value: float, best: float | None) -> bool:
        """Whether a value is finite and beats the best one so far."""
        if not math.isfinite(value):
            return False
        return best is None or (value > best if self.larger_is_better else value < best)


LOSS = Metric()


@runtime_checkable
class MapSource(Protocol):
    """Random-access data: any batch can be read at any time, so resuming is exact."""

    fingerprint: str

    def __len__(self) -> int: ...

    def batch(self, indices: np.ndarray) -> dict[str, Tensor]:
        """The records ``indices`` (n,) int64, stacked along the first axis, on the CPU."""


@runtime_checkable
class GroupedSource(MapSource, Protocol):
    """Random-access data of several shapes: every batch, in training and validation, is of one group.

    ``groups`` (N,) int64 is each record's group."""

    groups: np.ndarray


@runtime_checkable
class StreamSource(Protocol):
    """Sequential data in ``lanes`` independent lanes; global sample i comes from lane i mod lanes.

    A lane never ends (it starts over), so that sample i is the same record for every world size.
    ``block`` records of a lane are shuffled together, with a seed.
    """

    fingerprint: str
    lanes: int
    block: int

    def read(self, lane: int, start: int) -> Iterator[Any]:
        """Undecoded records of a lane from position ``start`` on, for ever."""

    def collate(self, records: list[Any]) -> dict[str, Tensor]:
        """Decode and stack records."""


@runtime_checkable
class Task(Protocol):
    """A system as the loop sees it. The loop owns clock, precision, parallelism, checkpoints, progress.

    A task may have a ``metric: Metric``, which says what chooses the checkpoint; without one it is ``LOSS``."""

    def modules(self) -> dict[str, nn.Module]:
        """Trainable modules by name. ``shard_units`` of a module lists what FSDP2 wraps one by one."""

    def optimizers(self, modules: Mapping[str, nn.Module]) -> dict[str, Optimizer]:
        """Optimisers by name, over the parameters of the (already parallel) ``modules``."""

    def train_source(self) -> MapSource | StreamSource | None:
        """Training data; None for systems that learn from a target instead of data."""

    def validation_source(self) -> MapSource | None:
        """Held-out data on which the best checkpoint is chosen; None keeps the last checkpoint."""

    def step(self, modules: Mapping[str, nn.Module], batch: Batch, draws: Draws) -> Iterator[Update]:
        """Yield one Update per optimiser update, in order; after each yield the loop has run the backward
        pass and, once all micro-batches have yielded, stepped the optimiser. Calls ``modules[name](...)``:
        the wrapped module's forward is the training computation. ``batch["index"]`` (B,) int64 is the
        global sample index that keys every per-sample draw.

        The loop zeroes all gradients before each update and steps the named optimiser alone. Where several
        processes train: run a module whose gradient an update does not need under ``torch.no_grad()`` (DDP
        waits for the gradients of every forward that recorded them), and take losses as means over the
        samples of the batch (gradients are averaged over micro-batches and processes). What is a mean over
        a number that differs between micro-batches divides by the mean of those (``Counting``)."""

    def validate(self, modules: Mapping[str, nn.Module], batch: Batch, draws: Draws) -> dict[str, Tensor]:
        """Per-sample values (B,), or (B, ...) where ``metric.whole`` reads them; ``metric`` says which of them selects
        the checkpoint."""

    def export(self, folder: Path) -> None:
        """Write a model folder from the task's own (unwrapped) modules, which hold the chosen weights."""

    def state_dict(self) -> dict[str, Any]:
        """State besides weights and optimisers (replay buffers): tensors and JSON values."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore ``state_dict``."""


@runtime_checkable
class Counting(Protocol):
    """A task whose losses are means over numbers that depend on the batch, of masks or real tokens say. So that they
    are means over the whole batch, however it is split over rounds and processes, the loop tells ``step`` the mean of
    each number over all micro-batches as ``batch["mean_" + name]`` wherever there are several (``mean_count``)."""

    def counts(self, batch: Batch, draws: Draws) -> dict[str, Tensor]:
        """The numbers of a micro-batch by name, scalars: from its draws, without a network."""


@runtime_checkable
class Rounds(Protocol):
    """A task whose step is a round: draws from its own network first, of completions that are rewarded say, and then
    updates on them. Its ``state_dict`` holds a round that is under way, and ``step`` yields the updates that are left
    of it, so that a stop is heeded between two draws and two updates, and resuming goes on there.

    While ``prepare`` and ``validate`` run, the modules of ``Task.modules`` hold the weights in every process, under
    FSDP2 too, where they otherwise give them up."""

    def prepare(self, batch: Batch, draws: Draws) -> None:
        """Draw for a micro-batch, unless that is done. Called for each before ``counts`` and ``step``, without
        gradients."""


@runtime_checkable
class Watching(Protocol):
    """A task that looks at the gradients of its updates, and may end a training that is lost."""

    def watch_gradient(self, norm: Tensor) -> None:
        """Told the norm of every update's gradient, before it is clipped. Raises TenfoldError to end the training."""


def mean_count(batch: Batch, name: str, own: Tensor) -> Tensor:
    """What a sum over a micro-batch is divided by: the mean of the ``Counting`` number over all micro-batches, or its
    ``own`` where it is the only one; at least 1."""
    return batch.get(f"mean_{name}", own).clamp(min=1)


def device_of(module: nn.Module) -> torch.device:
    """Where a module's first parameter lives."""
    return next(module.parameters()).device
