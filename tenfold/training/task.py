"""What the training loop needs from a system: a protocol that systems satisfy without importing it."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from tenfold.runs.measurement import Measurement
from tenfold.training.streams import Draws
from tenfold.update import Update

__all__ = ["Batch", "GroupedSource", "MapSource", "StreamSource", "Task", "Update", "device_of"]

Batch = Mapping[str, Tensor]


class MapSource(Protocol):
    """Random-access data: any batch can be read at any time, so resuming is exact."""

    fingerprint: str

    def __len__(self) -> int: ...

    def batch(self, indices: np.ndarray) -> dict[str, Tensor]:
        """The records ``indices`` (n,) int64, stacked along the first axis, on the CPU."""


class GroupedSource(MapSource, Protocol):
    """Random-access data of several shapes: every batch, in training and validation, is of one group.

    ``groups`` (N,) int64 is each record's group."""

    groups: np.ndarray


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


class Task(Protocol):
    """A system as the loop sees it. The loop owns clock, precision, parallelism, checkpoints, progress."""

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
        samples of the batch (gradients are averaged over micro-batches and processes)."""

    def validate(self, modules: Mapping[str, nn.Module], batch: Batch, draws: Draws) -> dict[str, Tensor]:
        """Per-sample values (B,); the mean of "loss" over the validation split selects the checkpoint."""

    def export(self, folder: Path) -> None:
        """Write a model folder from the task's own (unwrapped) modules, which hold the chosen weights."""

    def evaluate(self) -> list[Measurement]:
        """The field's metrics of the task's own modules, baselines included as rows."""

    def figures(self, directory: Path) -> list[Path]:
        """PNG pictures of the task's own modules' behaviour."""

    def state_dict(self) -> dict[str, Any]:
        """State besides weights and optimisers (replay buffers): tensors and JSON values."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore ``state_dict``."""


def device_of(module: nn.Module) -> torch.device:
    """Where a module's first parameter lives."""
    return next(module.parameters()).device
