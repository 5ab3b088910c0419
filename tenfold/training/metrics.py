"""Means of the metrics since the last record, kept on the device; and the tracker they go to."""

import importlib.util
import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from accelerate.utils import LoggerType
from torch import Tensor

from tenfold.errors import TenfoldError, UsageError
from tenfold.runs.run_folder import RunFolder
from tenfold.training.parallel import World


class Metrics:
    """Running sums on the device: adding costs no transfer, ``read`` costs one."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    def add(self, name: str, value: Tensor) -> None:
        """Count a scalar."""
        value = value.detach().float()
        self._sums[name] = self._sums[name] + value if name in self._sums else value
        self._counts[name] = self._counts.get(name, 0) + 1

    def read(self, world: World) -> dict[str, float]:
        """Means over steps, micro-batches and processes since the last read (collective); starts anew."""
        means = {name: total / count for name, (total, count) in self.state(world).items()}
        self._sums, self._counts = {}, {}
        return means

    def state(self, world: World) -> dict[str, tuple[float, int]]:
        """Of each metric since the last read, the mean over processes of its sum, and how many values that is of one
        process (collective): what a checkpoint keeps, so that the first record after a resume covers its window."""
        names = sorted(self._sums)
        if not names:
            return {}
        if world.size > 1 and len({tuple(other) for other in world.gather(names)}) > 1:
            raise TenfoldError(f"processes report different metrics; this one: {', '.join(names)}")
        sums = world.sum(torch.stack([self._sums[name] for name in names]).cpu().double()) / world.size
        return {name: (total, self._counts[name]) for name, total in zip(names, sums.tolist(), strict=True)}

    def load_state(self, state: Mapping[str, Sequence[float | int | None]], world: World) -> None:
        """Go on from what ``state`` gave."""
        # A sum that is no number is null in JSON.
        sums = {name: math.nan if total is None else total for name, (total, _) in state.items()}
        self._sums = {name: torch.tensor(total, device=world.device) for name, total in sums.items()}
        self._counts = {name: int(count or 0) for name, (_, count) in state.items()}


def check_tracker(kind: str) -> None:
    """Raise UsageError where a tracker's package is missing."""
    if kind not in ("none", "tensorboard") and importlib.util.find_spec(kind) is None:
        raise UsageError(f"train.tracker is {kind}, whose package is missing; run: pip install {kind}")


class Tracker:
    """Accelerate's tracker of a run; silent for "none". Main process only.

    "tensorboard" writes into the run folder; the others file the run under the project ``tenfold`` by the folder's
    name, where their own environment variables say (WANDB_MODE, MLFLOW_TRACKING_URI, ...), and go on with it where they
    can."""

    def __init__(self, run: RunFolder, world: World, kind: str, step: int) -> None:
        self._accelerator: Any = None
        if kind == "none":
            return
        self._accelerator = world.accelerator
        logging.getLogger("tensorboard").setLevel(logging.ERROR)
        world.accelerator.log_with = [LoggerType(kind)]
        world.accelerator.project_configuration.logging_dir = str(run.path)
        name = run.path.resolve().name
        options = {
            # Events after the step that a run resumes from belong to the future it lost.
            "tensorboard": {"purge_step": step + 1},
            "wandb": {"name": name, "id": name, "resume": "allow", "dir": str(run.path)},
            "mlflow": {"run_name": name},
            "trackio": {"name": name, "resume": "allow"},
        }
        # The name of a project, but for TensorBoard, where it is that of the folder of events.
        project = kind if kind == "tensorboard" else "tenfold"
        world.accelerator.init_trackers(project, init_kwargs={kind: options[kind]})

    def log(self, kind: str, record: dict[str, float], step: int) -> None:
        """Send one record as ``train/loss`` and so on."""
        if self._accelerator is not None:
            self._accelerator.log({f"{kind}/{name}": value for name, value in record.items()}, step=step)

    def close(self) -> None:
        """Flush; safe to call twice."""
        if self._accelerator is not None:
            for tracker in self._accelerator.trackers:
                tracker.finish()
            self._accelerator = None
