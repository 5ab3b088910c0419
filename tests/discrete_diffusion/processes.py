"""A model of discrete diffusion trained by two connected processes; run as a script, because it forks.

``python -m tests.discrete_diffusion.processes FOLDER TEXT`` prints one JSON object: per way to be parallel, what each
process saw, and the losses.
"""

import json
import sys
from pathlib import Path
from typing import Any

from tenfold.api.catalogue import recipe
from tenfold.discrete_diffusion import DiffusionTask
from tenfold.runs.run_folder import RunFolder
from tenfold.settings.changes import change
from tenfold.training.loop import train
from tests.training.processes import facts, together


def trained(folder: Path, text: str, name: str, parallel: str) -> dict[str, Any]:
    settings = {
        "model": {"width": 32, "layers": 2, "heads": 2, "length": 16, "local_mixing": 3},
        "data": {"source": "file", "path": text, "length": 16, "block": 256, "validation_rows": 64},
        "train": {"steps": 4, "batch_size": 8, "log_every": 1, "tracker": "none", "threads": 1, "parallel": parallel},
    }
    made = change(recipe(name), settings)
    task, seen = DiffusionTask(made), {}
    step = task.step

    def spying(modules: Any, batch: Any, draws: Any) -> Any:
        seen.update(facts(modules), indices=batch["index"].tolist())
        return step(modules, batch, draws)

    task.step = spying  # type: ignore[method-assign]
    done = train(task, made.train, RunFolder(folder / f"{name}-{parallel}"), show=False)
    return {**seen, "validation": done.validation_loss}


def main(folder: Path, text: str) -> None:
    worlds = {"single": 1, "ddp": 2, "fsdp": 2}
    reports = {
        f"{name}-{parallel}": together(world, lambda rank, n=name, p=parallel: trained(folder, text, n, p))
        for name, ways in (("kjv-mdlm", worlds), ("kjv-sedd", ("single", "fsdp")))
        for parallel, world in worlds.items()
        if parallel in ways
    }
    for run, ranks in reports.items():
        lines = (folder / run / "metrics.jsonl").read_text().splitlines()
        records = [json.loads(line) for line in lines]
        ranks.append({"losses": [r["loss"] for r in records if r["kind"] == "train"]})
    print(json.dumps(reports))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
