"""A model tuned by rewards in two connected processes; run as a script, because it forks.

``python -m tests.masked_lm.grpo_processes FOLDER START`` prints one JSON object: per way to be parallel, the losses.
"""

import json
import sys
from pathlib import Path
from typing import Any

from tenfold.api.catalogue import recipe
from tenfold.masked_lm import CoupledGrpoTask
from tenfold.runs.run_folder import RunFolder
from tenfold.settings.changes import change
from tenfold.training.loop import train
from tests.training.processes import facts, together

MODEL = {"width": 32, "layers": 2, "heads": 2, "intermediate": 64, "positions": 64}


def odd(texts: Any, problems: Any) -> list[float]:
    """A reward that a random model meets now and then."""
    return [sum(len(text) % k == 0 for k in (2, 3, 5)) + len(text.encode()) / 64 for text in texts]


def trained(folder: Path, start: str, parallel: str) -> dict[str, Any]:
    """Three rounds. Tokens are revealed by the reverse process: ranks of an untrained model are within rounding."""
    settings = {
        "model": MODEL,
        "objective": {"start": start, "group": 4, "steps": 3, "beta": 0.1, "sync": 2, "alg": "origin"},
        "train": {"steps": 3, "batch_size": 4, "log_every": 1, "tracker": "none", "threads": 1,
                  "parallel": parallel, "checkpoint_every": 1, "validate_every": 0, "warmup_steps": 0},
    }  # fmt: skip
    made = change(recipe("grpo-brackets").stage("tuned", ""), settings)
    task, seen = CoupledGrpoTask(made), {}  # type: ignore[arg-type]
    vars(task)["reward"] = odd
    step = task.step

    def spying(modules: Any, batch: Any, draws: Any) -> Any:
        seen.update(facts(modules), indices=batch["index"].tolist())
        return step(modules, batch, draws)

    task.step = spying  # type: ignore[method-assign]
    train(task, made.train, RunFolder(folder / parallel), show=False)
    return seen


def main(folder: Path, start: str) -> None:
    """All ways to be parallel."""
    reports: dict[str, Any] = {}
    for parallel, world in {"single": 1, "ddp": 2}.items():
        found = together(world, lambda rank, parallel=parallel: trained(folder, start, parallel))
        lines = (folder / parallel / "metrics.jsonl").read_text().splitlines()
        losses = [json.loads(line)["loss"] for line in lines if json.loads(line)["kind"] == "train"]
        reports[parallel] = {"losses": losses, "ranks": found}
    print(json.dumps(reports))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
