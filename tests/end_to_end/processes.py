"""Trainings of every kind by two connected processes, beside one; run as a script, because it forks.

``python -m tests.end_to_end.processes FOLDER`` prints one JSON object: by case and way to be parallel, what processes
saw, and the losses.
"""

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from tenfold import api, hub
from tenfold.api.catalogue import recipe
from tenfold.masked_lm import MaskedLM, MaskedLMConfig
from tenfold.nn.autoencoder import Autoencoder
from tenfold.nn.autoencoder_config import AutoencoderConfig
from tenfold.runs.run_folder import RunFolder
from tenfold.settings.changes import change
from tenfold.training.loop import train
from tests.training.processes import facts, together

WORLDS = {"single": 1, "ddp": 2, "fsdp": 2}
TRAIN = {"steps": 4, "log_every": 1, "tracker": "none", "threads": 1}
DIGITS = {"source": "digits", "levels": 17, "validation": 16, "test": 16, "height": 0, "width": 0}
SEQUENCE = {"width": 32, "layers": 2, "heads": 2}
BYTES = {**SEQUENCE, "intermediate": 64, "positions": 64}


@dataclass(frozen=True)
class Case:
    """A recipe, or one ``stage`` of it, with changed settings, a function of the folder with the sources, and how many
    units FSDP makes of its first module. What is in ``replaced`` takes the place of the task's own."""

    recipe: str
    settings: Callable[[Path], Mapping[str, Any]]
    rows: int = 8
    units: int = 3  # two layers and the rest
    ways: tuple[str, ...] = tuple(WORLDS)
    stage: str = ""
    replaced: Mapping[str, Any] = field(default_factory=dict)

    def made(self, sources: Path, parallel: str) -> Any:
        """The recipe."""
        made, settings = recipe(self.recipe), self.settings(sources)
        made = made.stage(self.stage, "") if self.stage else made
        own = {**TRAIN, "batch_size": self.rows, "parallel": parallel, **settings.get("train", {})}
        return change(made, {**settings, "train": own})


def pixels(folder: Path) -> dict[str, Any]:
    """No dropout: each process draws masks for its own rows."""
    return {"data": DIGITS, "model": {"dropout": 0.0, "blocks": 2, "layers": 1}}


def scenes(folder: Path) -> dict[str, Any]:
    """A detector of rendered pictures."""
    rendered = {"size": 64, "pictures": 16, "objects": 300}
    return {
        "data": {"aerotiny": rendered, "cache": "", "validation": 4, "test": 1},
        "model": {"width": 8, "channels": 8},
    }


def latents(folder: Path) -> dict[str, Any]:
    """A flow on the latents of digits, which computes its layers twice."""
    layer = {"dropout": 0.0}
    return {
        "data": {"images": DIGITS, "autoencoder": str(folder / "autoencoder"), "cache": str(folder / "latents")},
        "model": {"shape": [4, 4, 4], "layers": [1, 2], "shallow": layer, "deep": layer},
        "train": {"activation_checkpointing": True},
        "evaluation": {"calibrate": 0},
    }


def code(folder: Path) -> dict[str, Any]:
    """Normalised row by row, so that the mean over processes is the mean over the batch."""
    return {
        "model": {**BYTES, "tied": True},
        "data": {"source": "jsonl", "path": str(folder / "texts.jsonl"), "length": 32, "stride": 0},
        "objective": {"anneal_steps": 2, "cut_share": 0.2, "normaliser": "sequence"},
    }


def text(folder: Path) -> dict[str, Any]:
    """A model of characters."""
    data = {"source": "file", "path": str(folder / "text.txt"), "length": 16, "block": 256, "validation_rows": 64}
    return {"model": {**SEQUENCE, "length": 16, "local_mixing": 3}, "data": data}


def flow_of_text(folder: Path) -> dict[str, Any]:
    """A flow of characters of one coupling of two layers."""
    made = text(folder)
    sizes = {
        name: value for name, value in made["model"].items() if name in ("width", "heads", "length", "local_mixing")
    }
    return {**made, "model": {**sizes, "dim": 4}}


def tuned(folder: Path) -> dict[str, Any]:
    """Rounds of coupled-GRPO. Tokens are revealed at random: ranks of an untrained model are within rounding."""
    objective = {"start": str(folder / "masked"), "group": 4, "steps": 3, "beta": 0.1, "sync": 2, "alg": "origin"}
    return {"model": BYTES, "objective": objective, "train": {"validate_every": 2, "warmup_steps": 0}}


def odd(texts: Any, problems: Any) -> list[float]:
    """A reward that a random model meets now and then."""
    return [sum(len(text) % k == 0 for k in (2, 3, 5)) + len(text.encode()) / 64 for text in texts]


CASES = {
    "flow": Case("tarflow-digits-noise", pixels, rows=16, units=3),
    "latent flow": Case("starflow-mnist-flow", latents, rows=16, units=4),
    "masked language model": Case("code-bytes", code),
    "coupled-GRPO": Case("grpo-brackets", tuned, rows=4, stage="tuned", replaced={"reward": odd}),
    "discrete diffusion": Case("kjv-mdlm", text),
    "flow of text": Case("kjv-flow", flow_of_text, ways=("single", "fsdp")),
    "right to left": Case(
        "arithmetic-2",
        lambda _: {
            "model": {"order": "r2l_document", "width": 16, "layers": 1, "heads": 2, "intermediate": 24},
            "data": {"digits": 1, "test": 8, "validation": 16},
        },
        units=2,
        ways=("single", "fsdp"),
    ),
    "discrete diffusion by scores": Case("kjv-sedd", text, ways=("single", "fsdp")),
    "denoiser": Case("energy-digits-teacher", lambda _: {}, rows=16, ways=("single", "ddp")),
    "lattice flow": Case(
        "ising-4x4",
        lambda _: {"objective": {"trajectories": 8, "buffer": 16}},
        rows=16,
        ways=("single", "ddp"),
    ),
    "flow on graphs": Case(
        "graphs-mis",
        lambda _: {
            "model": {"nodes": 8, "hidden": 16, "head": 8, "blocks": 1},
            "data": {"least": 6, "most": 8, "train": 8},
            "objective": {"graphs": 2, "copies": 4, "steps": 4, "buffer": 16},
        },
        rows=16,
        ways=("single", "ddp"),
    ),
    "detector": Case("aerotiny", scenes, ways=("single", "ddp")),
}


def write_sources(folder: Path) -> None:
    """What the trainings read."""
    folder.mkdir()
    (folder / "text.txt").write_text(" ".join("cat dog mat log sat"[4 * (i * i % 5) :][:3] for i in range(6000)))
    lines = [{"text": f"def f{i}(x):\n    return x + {i * i % 97}\n"} for i in range(150)]
    (folder / "texts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    autoencoder = Autoencoder(AutoencoderConfig(latent_channels=4, widths=(8, 8), norm_groups=4))
    hub.save_pretrained(autoencoder, folder / "autoencoder")
    MaskedLM.from_config(MaskedLMConfig(**BYTES)).save_pretrained(folder / "masked")


def trained(case: Case, sources: Path, folder: Path, parallel: str) -> dict[str, Any]:
    """Train, and tell what this process saw."""
    made = case.made(sources, parallel)
    task, seen = api.make_task(made.system, made), {}
    vars(task).update(case.replaced)
    step = task.step

    def spying(modules: Any, batch: Any, draws: Any) -> Any:
        seen.update(facts(modules), indices=batch["index"].tolist())
        return step(modules, batch, draws)

    task.step = spying  # type: ignore[method-assign]
    done = train(task, made.train, RunFolder(folder), show=False)
    return {**seen, "validation": done.validation_loss}


def main(folder: Path) -> None:
    """Every case, each way."""
    write_sources(folder / "sources")
    for case in CASES.values():  # what they import is imported once, before the processes fork
        made = case.made(folder / "sources", "auto")
        parameters = [p for module in api.make_task(made.system, made).modules().values() for p in module.parameters()]
        torch.optim.AdamW(parameters)
    reports: dict[str, dict[str, Any]] = {}
    for name, case in CASES.items():
        reports[name] = {}
        for way in case.ways:
            run = folder / name.replace(" ", "-") / way
            ranks = together(WORLDS[way], lambda rank, c=case, r=run, w=way: trained(c, folder / "sources", r, w))
            if any("crash" in rank or "error" in rank for rank in ranks):
                reports[name][way] = {"ranks": ranks}
                continue
            records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
            losses = [record["loss"] for record in records if record["kind"] == "train"]
            reports[name][way] = {"ranks": ranks, "losses": losses}
    print(json.dumps(reports))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
