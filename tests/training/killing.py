"""Kills a training process again and again; run as a script, because it forks before any thread exists.

``python -m tests.training.killing FOLDER`` trains a reference in FOLDER/through, and in FOLDER/killed the
same run under SIGKILLs: at random moments, and at chosen points inside a save. It prints one JSON object.
"""

import json
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import accelerate  # noqa: F401  what every process needs is imported once, before they fork
import numpy as np
import torch._dynamo  # noqa: F401

from tenfold.training.checkpoints import checkpoint
from tenfold.training.config import TrainingConfig
from tests.training.toys import Replay, Table, configuration, digest, run

CONFIG = configuration(steps=120, checkpoint_every=4, validate_every=10, log_every=10)
POINTS = ("tensors half written", "before the manifest", "before the rename", "after the rename", "pruning")


class Reporting(Replay):
    """Tells its parent about each step through a pipe."""

    def __init__(self, config: TrainingConfig, pipe: int) -> None:
        super().__init__(config, validation=Table(9, "v"))
        self.pipe = pipe

    def step(self, modules: Any, batch: Any, draws: Any) -> Any:
        os.write(self.pipe, b".")
        return super().step(modules, batch, draws)


def stop_inside_a_save(point: str, pipe: int) -> None:
    """Make the second save of this process wait at ``point`` for its death."""
    saves = [0]

    def wait() -> None:
        os.write(pipe, b"S")
        time.sleep(60)

    def patched(name: str, owner: Any, before: Callable[..., None]) -> None:
        real = getattr(owner, name)

        def call(*args: Any, **options: Any) -> Any:
            before(*args)
            return real(*args, **options)

        setattr(owner, name, call)

    def count(self: Any, step: int, *_: Any) -> None:
        saves[0] += 1

    def half_written(self: Any, folder: Path, tensors: Any) -> None:
        if saves[0] == 2:
            (folder / "shard-00001-model-00001-of-00001.safetensors").write_bytes(b"\x00" * 100)
            wait()

    def at_rename(source: Path, target: Path) -> None:
        pruning = target.name.startswith(".removing")
        if (point == "before the rename" and saves[0] == 2 and not pruning) or (point == "pruning" and pruning):
            wait()

    def on_second(*_: Any) -> None:
        if saves[0] == 2:
            wait()

    patched("save", checkpoint.Checkpoints, count)
    if point == "tensors half written":
        patched("_write_tensors", checkpoint.Checkpoints, half_written)
    elif point == "before the manifest":
        patched("_write_manifest", checkpoint.Checkpoints, on_second)
    elif point == "after the rename":
        patched("prune", checkpoint.Checkpoints, on_second)
    else:
        patched("rename", checkpoint, at_rename)


def attempt(folder: Path, point: str | None, steps: int, delay: float, resume: bool) -> tuple[str, int]:
    """Run until killed (after ``steps`` steps and ``delay`` seconds, or at ``point``) or finished.

    Returns what happened and how many steps were seen.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if point is not None:
                stop_inside_a_save(point, writing)
            run(folder, Reporting(CONFIG, writing), resume=resume)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(3)
    os.close(writing)
    seen = b""
    limit = time.monotonic() + 60
    while seen.count(b".") < steps or point is not None:
        if not select.select([reading], [], [], max(0.0, limit - time.monotonic()))[0]:
            raise TimeoutError(f"the child said nothing after {seen!r}")
        data = os.read(reading, 1 if point is None else 1000)
        seen += data
        if not data or data.endswith(b"S"):
            break
    stopped = seen.endswith(b"S")
    time.sleep(delay)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    os.close(reading)
    if os.WIFEXITED(status):
        if os.WEXITSTATUS(status):
            raise RuntimeError("the child failed")
        return "finished", seen.count(b".")
    return ("killed in a save" if stopped else "killed"), seen.count(b".")


def main(folder: Path) -> None:
    reference = attempt(folder / "through", None, 10**9, 0.0, resume=False)
    assert reference == ("finished", CONFIG.steps), reference
    generator = np.random.default_rng(20)
    points = [POINTS[i // 3 % len(POINTS)] if i % 3 == 1 else None for i in range(200)]
    outcomes = []
    leftovers = 0
    path = folder / "killed"
    total = 0
    for point in points:
        resume = (path / "config.yaml").exists()
        leftovers += len(list(path.glob("checkpoints/.writing-*"))) + len(list(path.glob("checkpoints/.removing-*")))
        random_steps, random_delay = int(generator.integers(0, 9)), float(generator.uniform(0, 0.03))
        outcome, steps = attempt(path, point, random_steps, random_delay, resume)
        outcomes.append((outcome, point if outcome == "killed in a save" else None))
        total += steps
        if outcome == "finished":
            break
    print(
        json.dumps(
            {
                "outcomes": outcomes,
                "leftovers": leftovers,
                "steps": total,
                "equal": digest(path) == digest(folder / "through"),
                "remaining": sorted(p.name for p in (path / "checkpoints").iterdir()),
            }
        )
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
