"""A masked language model trained by two connected processes; run as a script, because it forks.

``python -m tests.masked_lm.processes FOLDER TEXTS`` prints one JSON object: per way to be parallel, what each process
saw, and the losses.
"""

import json
import sys
from pathlib import Path
from typing import Any

from tenfold.api.catalogue import recipe
from tenfold.masked_lm.task import MaskedLMTask
from tenfold.runs.run_folder import RunFolder
from tenfold.settings.changes import change
from tenfold.training.loop import train
from tests.training.processes import facts, together


def trained(folder: Path, texts: str, parallel: str) -> dict[str, Any]:
    settings = {
        "model": {"width": 32, "layers": 2, "heads": 2, "intermediate": 64, "positions": 64, "tied": True},
        "data": {"source": "jsonl", "path": texts, "length": 32, "stride": 0},
        # Normalised row by row, so that the mean over processes is the mean over the batch.
        "objective": {"anneal_steps": 2, "cut_share": 0.2, "normaliser": "sequence"},
        "train": {"steps": 4, "batch_size": 8, "log_every": 1, "tracker": "none", "threads": 1, "parallel": parallel},
    }
    made = change(recipe("code-bytes"), settings)
    task, seen = MaskedLMTask(made), {}
    step = task.step

    def spying(modules: Any, batch: Any, draws: Any) -> Any:
        seen.update(facts(modules), indices=batch["index"].tolist())
        return step(modules, batch, draws)

    task.step = spying  # type: ignore[method-assign]
    done = train(task, made.train, RunFolder(folder / parallel), show=False)
    return {**seen, "validation": done.validation_loss}


def main(folder: Path, texts: str) -> None:
    worlds = {"single": 1, "ddp": 2, "fsdp": 2}
    reports = {
        parallel: together(world, lambda rank, parallel=parallel: trained(folder, texts, parallel))
        for parallel, world in worlds.items()
    }
    for parallel in worlds:
        lines = (folder / parallel / "metrics.jsonl").read_text().splitlines()
        records = [json.loads(line) for line in lines]
        reports[parallel].append({"losses": [r["loss"] for r in records if r["kind"] == "train"]})
    print(json.dumps(reports))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
