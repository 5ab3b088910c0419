"""Runs of several connected processes; run as a script, because it forks before any thread exists.

``python -m tests.training.processes FOLDER`` plays every scenario and prints one JSON object: per scenario,
what each process reported. Started by torchrun, it is one process of one run.
"""

import json
import os
import shutil
import socket
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import accelerate  # noqa: F401  what every process needs is imported once, before they fork
import numpy as np
import torch
import torch._dynamo
import torch.distributed as dist
import torch.distributed.fsdp
from torch.distributed.tensor import DTensor

from tenfold.errors import TenfoldError
from tenfold.training import parallel
from tenfold.training.checkpoints import checkpoint
from tests.training.toys import Adversarial, Regression, Replay, Table, Tape, configuration, run

CONFIG = configuration(steps=10, batch_size=8, checkpoint_every=4, validate_every=5)
Report = dict[str, Any]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def together(world: int, work: Callable[[int], Report]) -> list[Report]:
    """Fork ``world`` processes with torchrun's environment; the report of each by rank."""
    port = free_port()
    pipes, children = [], []
    for rank in range(world):
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            connected = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "RANK": rank, "LOCAL_RANK": rank}
            if world > 1:
                several = {**connected, "WORLD_SIZE": world, "LOCAL_WORLD_SIZE": world}
                os.environ.update({key: str(value) for key, value in several.items()})
            try:
                report = work(rank)
            except TenfoldError as error:
                report = {"error": str(error), "exit_code": error.exit_code}
            except BaseException:
                report = {"crash": traceback.format_exc()}
            with os.fdopen(writing, "w") as pipe:
                json.dump(report, pipe)
            parallel.shut_down()
            os._exit(0)
        os.close(writing)
        pipes.append(reading)
        children.append(child)
    reports = []
    for reading, child in zip(pipes, children, strict=True):
        with os.fdopen(reading) as pipe:
            reports.append(json.loads(pipe.read()))
        os.waitpid(child, 0)
    return reports


def trained(folder: Path, task: Any, **options: Any) -> Report:
    """Train and tell what the process saw of its world while it did."""
    seen: Report = {"indices": task.indices}
    step = task.step

    def spying(modules: Any, batch: Any, draws: Any) -> Any:
        if "kinds" not in seen:
            seen.update(facts(modules))
        return step(modules, batch, draws)

    task.step = spying
    result = run(folder, task, **options)
    return {
        **seen,
        "world": dist.get_world_size() if dist.is_initialized() else 1,
        "loss": result.validation_loss,
        "main": result.main,
        "own": sum(p.numel() for p in task.net.parameters()),
    }


def facts(modules: Any) -> Report:
    parameters = [p for module in modules.values() for p in module.parameters()]
    local = [p.to_local() if isinstance(p, DTensor) else p for p in parameters]
    return {
        "kinds": sorted({type(module).__name__ for module in modules.values()}),
        "dtensors": [isinstance(p, DTensor) for p in parameters],
        "numel": sum(p.numel() for p in parameters),
        "local": sum(p.numel() for p in local),
        "fsdp_units": sum(isinstance(c, parallel.FSDPModule) for m in modules.values() for c in m.modules()),
    }


def regression(mode: str, accumulate: int = 1, **changes: Any) -> Regression:
    config = {**CONFIG.__dict__, "parallel": mode, "accumulate": accumulate, **changes}
    return Regression(type(CONFIG)(**config), validation=Table(13, "v"))


class Broken(Table):
    """Unreadable in one process."""

    def __init__(self, broken: bool) -> None:
        super().__init__(50)
        self.broken = broken

    def batch(self, indices: np.ndarray) -> dict[str, torch.Tensor]:
        if self.broken:
            raise TenfoldError("the shard of this process is unreadable")
        return super().batch(indices)


def disk_full_in(rank: int, failing: int) -> None:
    """Make the tensors of the second save impossible to write in one process."""
    real, calls = checkpoint.HuggingFaceStorageWriter.write_data, [0]

    def write_data(self: Any, *args: Any) -> Any:
        calls[0] += 1
        if rank == failing and calls[0] == 2:
            raise OSError(28, "No space left on device")
        return real(self, *args)

    checkpoint.HuggingFaceStorageWriter.write_data = write_data  # type: ignore[method-assign]


def unequal(rank: int) -> Report:
    """A stop requested in one process alone, at step 3."""
    task = regression("auto")
    if rank == 1:
        import signal

        task.at = {3: lambda: os.kill(os.getpid(), signal.SIGTERM)}
    return trained(FOLDER / "stopped", task)


FOLDER = Path()


def scenarios() -> dict[str, Callable[[], list[Report]]]:
    def simple(name: str, world: int, make: Callable[[], Any], **options: Any) -> Callable[[], list[Report]]:
        return lambda: together(world, lambda rank: trained(FOLDER / name, make(), **options))

    def extended(name: str, world: int, make: Callable[[], Any], **options: Any) -> Callable[[], list[Report]]:
        def play() -> list[Report]:
            copy = FOLDER / f"{name}-on-{world}{'' if options else '-exactly'}"
            shutil.copytree(FOLDER / name, copy)
            return together(world, lambda rank: trained(copy, make(), resume=True, **options))

        return play

    def replay() -> Any:
        config = {**CONFIG.__dict__, "steps": 10}
        return Replay(type(CONFIG)(**config))

    def data_failure(rank: int) -> Report:
        task = regression("auto")
        task.train = Broken(rank == 1)
        return trained(FOLDER / "unreadable", task)

    def disk_failure(rank: int) -> Report:
        disk_full_in(rank, failing=1)
        return trained(FOLDER / "full", regression("fsdp"))

    def nan_in_one(rank: int) -> Report:
        task = regression("auto")
        task.poison = 5 if rank == 1 else -2
        return trained(FOLDER / "nan", task)

    def crash(rank: int) -> Report:
        task = regression("fsdp")
        task.train = Planned(6 * 8)
        return trained(FOLDER / "fsdp2-crashed", task)

    def adversarial(mode: str) -> Any:
        return Adversarial(type(CONFIG)(**{**CONFIG.__dict__, "parallel": mode}))

    def stream(mode: str) -> Any:
        return Regression(type(CONFIG)(**{**CONFIG.__dict__, "parallel": mode}), train=Tape(4, 6))

    return {
        "single": simple("single", 1, lambda: regression("auto")),
        "ddp2": simple("ddp2", 2, lambda: regression("auto")),
        "ddp2-accumulated": simple("ddp2-accumulated", 2, lambda: regression("ddp", 2)),
        "ddp4": simple("ddp4", 4, lambda: regression("ddp")),
        "fsdp2": simple("fsdp2", 2, lambda: regression("fsdp")),
        "fsdp2-accumulated": simple("fsdp2-accumulated", 2, lambda: regression("fsdp", 2)),
        "fsdp2-recomputed": simple("fsdp2-recomputed", 2, lambda: regression("fsdp", activation_checkpointing=True)),
        "fsdp4": simple("fsdp4", 4, lambda: regression("fsdp")),
        "pair": simple("pair", 1, lambda: adversarial("auto")),
        "pair-ddp2": simple("pair-ddp2", 2, lambda: adversarial("ddp")),
        "pair-fsdp2": simple("pair-fsdp2", 2, lambda: adversarial("fsdp")),
        "stream": simple("stream", 1, lambda: stream("auto")),
        "stream-fsdp2": simple("stream-fsdp2", 2, lambda: stream("fsdp")),
        "replay-ddp2": simple("replay-ddp2", 2, replay),
        "fsdp2-crashed": lambda: together(2, crash),
        "fsdp2-resumed": simple("fsdp2-crashed", 2, lambda: regression("fsdp"), resume=True),
        "fsdp2-on-4-refused": extended("fsdp2", 4, lambda: regression("fsdp", steps=14)),
        "fsdp2-on-4": extended("fsdp2", 4, lambda: regression("fsdp", steps=14), allow_inexact=True),
        "fsdp2-on-1": extended("fsdp2", 1, lambda: regression("auto", steps=14), allow_inexact=True),
        "single-extended": extended("single", 1, lambda: regression("auto", steps=14)),
        "unreadable": lambda: together(2, data_failure),
        "full": lambda: together(2, disk_failure),
        "nan": lambda: together(2, nan_in_one),
        "stopped": lambda: together(2, unequal),
        "bad-mode": simple("bad-mode", 2, lambda: regression("single")),
        "bad-batch": simple("bad-batch", 2, lambda: regression("auto", batch_size=7)),
        "existing": simple("ddp2", 2, lambda: regression("auto")),
    }


class Planned(Table):
    """Readable up to a sample: the run crashes there in every process."""

    def __init__(self, until: int) -> None:
        super().__init__(50)
        self.left = until // 2

    def batch(self, indices: np.ndarray) -> dict[str, torch.Tensor]:
        self.left -= len(indices)
        if self.left < 0:
            raise TenfoldError("planned")
        return super().batch(indices)


def main(folder: Path) -> None:
    global FOLDER
    FOLDER = folder
    if "WORLD_SIZE" in os.environ:  # started by torchrun
        # A file each: what two processes print to one pipe may interleave.
        report = trained(folder, regression("fsdp"))
        folder.with_name(f"rank-{os.environ['RANK']}.json").write_text(json.dumps(report))
    else:
        print(json.dumps({name: play() for name, play in scenarios().items()}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
