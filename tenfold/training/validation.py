"""The mean over the whole validation split, sample by sample, whatever the number of processes."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from tenfold import progress
from tenfold.errors import TenfoldError
from tenfold.training.config import TrainingConfig
from tenfold.training.parallel import World, reshard
from tenfold.training.streams import Draws, key_of
from tenfold.training.task import LOSS, MapSource, Metric, Task


@torch.no_grad()
def validate(
    task: Task,
    modules: Mapping[str, nn.Module],
    source: MapSource,
    config: TrainingConfig,
    world: World,
    stopped: Callable[[], bool],
) -> dict[str, float] | None:
    """Means over the split of what ``task.validate`` gives per sample, or what ``task.metric.whole`` makes of all of
    it; None when ``stopped()`` midway.

    Draws are keyed by the sample and not by the training step, so that two validations differ by the weights
    alone. Sums are in float64, and a sample that only pads the last batch counts for nothing.
    """
    total = len(source)
    if total == 0:
        raise TenfoldError("the validation data is empty")
    draws = Draws(key_of(config.seed, "validation"), 0)
    rows = config.batch_size // world.size // config.accumulate
    metric: Metric = getattr(task, "metric", LOSS)
    sums: dict[str, Tensor] = {}
    everything: dict[str, list[Tensor]] = {}
    order: list[np.ndarray] = []
    for module in modules.values():
        module.eval()
    try:
        for records in progress.track(_batches(source, rows * world.size), "validation", "batches"):
            if world.maximum(int(stopped())):
                return None
            # The same number of rows in every process: FSDP2 gathers weights in all of them at once.
            here = -(-len(records) // world.size)
            position = world.rank + world.size * np.arange(here, dtype=np.int64)
            index = records[np.where(position < len(records), position, 0)]
            counts = torch.from_numpy(position < len(records)).to(world.device)
            batch = {**source.batch(index), "index": torch.from_numpy(index)}
            with world.accelerator.autocast():
                on_device = {name: t.to(world.device) for name, t in batch.items()}
                values = task.validate(modules, on_device, draws)
            if metric.whole is None and metric.name not in values:
                raise TenfoldError(f"validate() gave {sorted(values)}, expected {metric.name!r} among them")
            order.append(records)
            for name, value in values.items():
                if metric.whole is not None:
                    everything.setdefault(name, []).append(world.interleaved(value.detach().cpu())[: len(records)])
                    continue
                if value.shape != (here,):
                    raise TenfoldError(
                        f"validate() gave {name!r} of shape {tuple(value.shape)}, "
                        f"expected one value per sample ({here},)"
                    )
                kept = torch.where(counts, value.double(), 0.0).sum()
                sums[name] = sums[name] + kept if name in sums else kept
    finally:
        for module in modules.values():
            reshard(module)
            module.train()
    if metric.whole is not None:
        back = torch.from_numpy(np.argsort(np.concatenate(order)))
        found = metric.whole({name: torch.cat(parts)[back] for name, parts in everything.items()})
        if metric.name not in found:
            raise TenfoldError(f"the task's metric gave {sorted(found)}, expected {metric.name!r} among them")
        return found
    means = world.sum(torch.stack([sums[name] for name in sorted(sums)]).cpu()) / total
    return dict(zip(sorted(sums), means.tolist(), strict=True))


def _batches(source: MapSource, size: int) -> list[np.ndarray]:
    """All records in order, at most ``size`` at once; records of several groups group by group."""
    groups = np.asarray(getattr(source, "groups", np.zeros(len(source), dtype=np.int64)))
    members = [np.flatnonzero(groups == group) for group in np.unique(groups)]
    return [rows[start : start + size] for rows in members for start in range(0, len(rows), size)]
