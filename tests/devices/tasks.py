"""A small task of every kind, and all that is done with one."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import tenfold
from tenfold import api
from tenfold.api import catalogue
from tenfold.settings.changes import change
from tenfold.training.streams import Draws

LETTERS = " abcdehnotu"
TRAIN = {"batch_size": 8, "learning_rate": 1e-2, "tracker": "none", "threads": 1}
DIGITS = {"source": "digits", "levels": 17, "validation": 16, "test": 40, "height": 0, "width": 0}
LAYER = {"width": 32, "head_size": 32, "dropout": 0.0}
NETWORK = {"width": 16, "layers": 1, "heads": 2, "length": 12, "vocabulary": len(LETTERS), "alphabet": LETTERS}
MASKED = {"width": 32, "layers": 1, "heads": 2, "intermediate": 64, "positions": 64}
CANVAS = {"samples": 24, "validation": 8, "test": 8, "ratios": "1:1", "most_digits": 1, "multiple": 8}
CAPTIONS = {"data": {"kind": "captioned", "captioned": CANVAS, "text": {"source": "minilm", "tokens": 24}}}


def flow(path: Path) -> dict[str, Any]:
    """TarFlow on digits."""
    model = {"width": 32, "blocks": 2, "layers": 1, "head_size": 16, "dropout": 0.0}
    evaluation = {"draws": 2, "importance": 2, "samples": 0, "baselines": False, "calibrate": 0}
    return {"model": model, "data": {"validation": 16, "test": 40}, "evaluation": evaluation, "train": TRAIN}


def pipeline(path: Path) -> dict[str, Any]:
    """The three parts of STARFlow on digits."""
    shape = {"shape": [4, 4, 4], "layers": [1, 1], "shallow": LAYER, "deep": LAYER}
    measured = {"samples": 40, "guidance": [0.0, 2.0], "images": 40, "timing": 0, "draws": 2, "calibrate": 0}
    images = {"data": DIGITS, "train": TRAIN}
    return {
        "autoencoder": {"model": {"widths": [8, 8], "norm_groups": 4}, "evaluation": {"fid": False}, **images},
        "flow": {"model": shape, "data": {"images": DIGITS}, "evaluation": measured, "train": TRAIN},
        "decoder": {"reconstruction": {"perceptual": ""}, "evaluation": {"fid": False}, **images},
    }


def code(path: Path) -> dict[str, Any]:
    """A masked language model of bytes."""
    data = {"source": "jsonl", "path": str(path / "texts.jsonl"), "length": 32, "stride": 0}
    evaluation = {"draws": 2, "rows": 8, "holes": 4}
    return {"model": MASKED, "data": data, "train": TRAIN, "evaluation": evaluation}


def low_rank(path: Path) -> dict[str, Any]:
    """Low-rank updates of one."""
    return {**code(path), "objective": {"start": str(path / "code")}}


def brackets(path: Path) -> dict[str, Any]:
    """A masked language model of brackets, and its tuning by rewards."""
    first = {"model": MASKED, "train": TRAIN, "evaluation": {"draws": 1, "rows": 8}}
    objective = {"group": 2, "steps": 2, "sync": 1, "beta": 0.1}
    rest = {"model": MASKED, "data": {"tokens": 4}, "objective": objective, "train": TRAIN}
    return {"start": first, "tuned": {**rest, "evaluation": {"prompts": 4, "samples": 2}}}


def text(path: Path, **network: Any) -> dict[str, Any]:
    """A model of characters."""
    data = {"source": "file", "path": str(path / "text.txt"), "alphabet": LETTERS, "length": 12, "block": 96}
    places = {"every": 4, "validation_place": 1, "test_place": 2, "validation_rows": 16}
    return {"model": {**NETWORK, **network}, "data": {**data, **places}, "train": TRAIN}


def diffusion(path: Path) -> dict[str, Any]:
    """Discrete diffusion of characters, measured."""
    return {**text(path, local_mixing=3), "evaluation": {"draws": 2, "rows": 8, "holes": 4}}


def diffusion_ar(path: Path) -> dict[str, Any]:
    """The model from left to right beside it."""
    return {**text(path), "evaluation": {"draws": 2, "rows": 8, "holes": 4}}


def steered(path: Path) -> dict[str, Any]:
    """The same, tuned further by samples and their rewards."""
    objective = {"start": str(path / "masked"), "reward": "word_length"}
    evaluation = {"samples": 8, "steps": 4, "draws": 2, "rows": 8}
    return {**text(path, local_mixing=3), "objective": objective, "evaluation": evaluation}


def pooled(path: Path) -> dict[str, Any]:
    """The same, from a pool of samples."""
    made = steered(path)
    return {**made, "objective": {**made["objective"], "pool": 64, "pool_steps": 4}}


def grouped(path: Path) -> dict[str, Any]:
    """The same, in groups."""
    made = steered(path)
    return {**made, "objective": {**made["objective"], "prompt": 4, "group": 2, "chain_steps": 4}}


def ratio(path: Path) -> dict[str, Any]:
    """A density ratio."""
    evaluation = {"chain": [2], "candidates": [2], "rows": 8, "batch": 8}
    return {**text(path, local_mixing=3), "objective": {"start": str(path / "masked")}, "evaluation": evaluation}


def flow_of_text(path: Path) -> dict[str, Any]:
    """A flow of characters in continuous space."""
    given = diffusion_ar(path)
    flow = {"dim": 2, "layers": [1], "components": [given["model"]["vocabulary"]], "hidden": 8}
    return {**given, "model": {**given["model"], **flow}, "evaluation": {"draws": 2, "rows": 4}}


def equations(path: Path) -> dict[str, Any]:
    """A model of products of one digit."""
    sizes = {"width": 16, "layers": 1, "heads": 2, "intermediate": 24}
    data = {"digits": 1, "test": 8, "validation": 8}
    return {"model": sizes, "data": data, "train": TRAIN, "evaluation": {"items": 2}}


def taught(path: Path) -> dict[str, Any]:
    """A model that an autoregressive one teaches."""
    objective = {"teacher": str(path / "ar"), "candidates": 2, "sites": 4, "samples": 8}
    return {**diffusion(path), "objective": objective}


def energies(path: Path) -> dict[str, Any]:
    """A denoiser of the digits, and its energy."""
    model = {"network": {"width": 16, "layers": 1}}
    few = {"levels": [0.5], "rows": 16, "draws": 1, "probes": 2, "samples": 0, "steps": 2, "compositions": False}
    shared = {"model": model, "train": TRAIN, "evaluation": {**few, "calibrate": 0}}
    return {"teacher": shared, "energy": shared}


def on_graphs(path: Path) -> dict[str, Any]:
    """Independent sets."""
    model = {"nodes": 8, "hidden": 16, "head": 8, "blocks": 1}
    objective = {"graphs": 2, "copies": 2, "steps": 3, "buffer": 8}
    evaluation = {"copies": 2, "steps": 3, "moves": [1]}
    data = {"least": 6, "most": 8, "train": 3, "test": 2}
    return {"model": model, "data": data, "objective": objective, "evaluation": evaluation, "train": TRAIN}


def on_a_lattice(path: Path) -> dict[str, Any]:
    """Spins."""
    model = {"height": 3, "width": 3, "channels": 3, "hidden": 16}
    objective = {"trajectories": 4, "steps": 3, "buffer": 8}
    return {"model": model, "objective": objective, "evaluation": {"samples": 16, "steps": 3}, "train": TRAIN}


def in_order(path: Path) -> dict[str, Any]:
    """Spins, one after another."""
    model = {"height": 3, "width": 3, "hidden": 16, "layers": 1}
    evaluation = {"samples": 16, "steps": 3}
    return {"model": model, "objective": {"samples": 8}, "evaluation": evaluation, "train": TRAIN}


def of_bits(path: Path) -> dict[str, Any]:
    """An energy of the digits."""
    return {
        "model": {"hidden": 4},
        "objective": {"particles": 8},
        "evaluation": {"samples": 8, "steps": 3},
        "train": TRAIN,
    }


def scenes(path: Path) -> dict[str, Any]:
    """A detector of rendered pictures, which finds something by chance."""
    rendered = {"size": 64, "pictures": 8, "objects": 300}
    data = {"aerotiny": rendered, "cache": str(path / "aerotiny"), "validation": 4, "test": 4}
    return {"data": data, "model": {"width": 8, "channels": 8}, "train": TRAIN, "evaluation": {"score": 0.01}}


@dataclass(frozen=True)
class Case:
    """A recipe, made small by ``settings``; ``stage`` of it, with further ``changes``; what is done with it besides
    training: the options of ``sample``, what is scored, if anything, and other ``verbs``."""

    recipe: str
    settings: Callable[[Path], dict[str, Any]]
    stage: str = ""
    changes: Mapping[str, Any] = field(default_factory=dict)
    sample: Mapping[str, Any] | None = None
    score: Any = None
    scoring: Mapping[str, Any] = field(default_factory=dict)
    verbs: tuple[str, ...] = ("evaluate",)

    @property
    def uses(self) -> list[str]:
        """The verbs."""
        given = {"sample": self.sample, "score": self.score}
        return ["train", *self.verbs, *(verb for verb, options in given.items() if options is not None)]

    def task(self, path: Path) -> Any:
        """The task; what it starts from lies in ``path``."""
        recipe = change(tenfold.recipe(self.recipe), self.settings(path))
        if self.stage:
            recipe = recipe.stage(self.stage, str(path))
        if "data" in self.changes:
            recipe = change(recipe, {"data": {"cache": str(path / "captions")}})
        return api.make_task(recipe.system, change(recipe, dict(self.changes)))


IMAGES = np.arange(128, dtype=np.int64).reshape(2, 1, 8, 8) % 17
PROGRAMS = ["def f(x):\n    return x\n"]
TEXTS = ["the cat and the hound", "bed and bath"]
WRITE = {"num": 4, "steps": 6, "batch": 2}
CODE = {"prompt": "def f", "tokens": 8, "num": 2, "temperature": 0.5}

ALL = ("evaluate", "figures")
CASES: dict[str, Case] = {
    "tarflow": Case("tarflow-digits", flow, sample={"num": 4}, score=IMAGES, scoring={"draws": 2}, verbs=ALL),
    "tarflow-noise": Case(
        "tarflow-digits-noise", flow, sample={"num": 4, "classes": 3, "guidance": 1.0, "denoise": True}, score=IMAGES
    ),
    "autoencoder": Case("starflow-mnist", pipeline, "autoencoder"),
    "decoder": Case("starflow-mnist", pipeline, "decoder"),
    "starflow": Case(
        "starflow-mnist", pipeline, "flow",
        sample={"num": 4, "classes": 3, "guidance": 2.0}, score=IMAGES, scoring={"draws": 2}, verbs=ALL,
    ),
    "starflow-captions": Case(
        "starflow-mnist", pipeline, "flow",
        {"model": {"classes": 0, "text_tokens": 24, "text_dim": 384, "shape": [4, 16, 16], "patch": 4}, **CAPTIONS},
        sample={"num": 2, "text": "one seven", "guidance": 1.0}, verbs=(),
    ),
    "masked-lm": Case("code-bytes", code, sample=CODE, score=PROGRAMS, scoring={"draws": 2}, verbs=ALL),
    "masked-lm-lora": Case(
        "code-bytes", low_rank, changes={"objective": {"lora_rank": 2, "anneal_steps": 4}},
        sample={**CODE, "suffix": "\n"}, verbs=(),
    ),
    "masked-lm-autoregressive": Case("code-bytes-ar", code, score=PROGRAMS),
    "masked-brackets": Case("grpo-brackets", brackets, "start", verbs=()),
    "coupled-grpo": Case("grpo-brackets", brackets, "tuned", verbs=("figures",)),
    "discrete-diffusion": Case("kjv-masked", diffusion, sample=WRITE, score=TEXTS, scoring={"draws": 2}, verbs=ALL),
    "discrete-uniform": Case("kjv-udlm", diffusion, sample=WRITE, score=TEXTS, scoring={"draws": 2}),
    "discrete-scores": Case("kjv-sedd", diffusion, sample=WRITE),
    "text-flow": Case(
        "kjv-flow", flow_of_text, sample={"num": 2, "batch": 2}, score=TEXTS, scoring={"draws": 2},
        verbs=("evaluate",),
    ),
    "autoregressive": Case("kjv-ar", diffusion_ar, score=TEXTS),
    "right-to-left": Case("arithmetic-2", equations, changes={"model": {"order": "r2l_document"}}, verbs=ALL),
    "any-order": Case("arithmetic-2", equations, changes={"model": {"order": "permuted"}}, verbs=("evaluate",)),
    "uniform-mask": Case("arithmetic-2", equations, changes={"model": {"order": "masked"}}, verbs=("evaluate",)),
    "distil": Case("kjv-distil", taught, sample=WRITE),
    "distil-first-order": Case(
        "kjv-distil", taught, changes={"objective": {"method": "first_order", "candidates": 0, "samples": 0}}, verbs=()
    ),
    "reward": Case("kjv-reward", pooled, sample={**WRITE, "reward": "word_length", "kind": "first_hitting"}),
    "reward-weights": Case("kjv-reward-weights", pooled, verbs=()),
    "groups": Case("kjv-groups", grouped),
    "preference": Case("kjv-preference", pooled),
    "energy-denoiser": Case(
        "energy-digits", energies, "teacher", sample={"method": "plain", "particles": 4, "steps": 2}
    ),
    "energy": Case(
        "energy-digits", energies, "energy", sample={"target": "eights & threes", "particles": 4, "steps": 2},
        score=IMAGES, scoring={"classes": 3, "against": 8},
    ),
    "ratio": Case("kjv-ratio", ratio, sample={**WRITE, "candidates": 2}),
    "lattice-flow": Case("ising-4x4", on_a_lattice, sample={"num": 4, "steps": 2}, verbs=ALL),
    "graph-flow": Case("graphs-mis", on_graphs, verbs=ALL),
    "ordered-sampler": Case("ising-4x4-masked", in_order, sample={"num": 4}),
    "discrete-energy": Case("digits-machine", of_bits, sample={"num": 4, "steps": 2}),
    "detector": Case("aerotiny", scenes, verbs=ALL),
}  # fmt: skip


def write_sources(path: Path) -> None:
    """What the tasks read: texts, and the models that they start from."""
    torch.manual_seed(0)
    words = ["the", "cat", "and", "hound", "bed", "bath", "at", "a", "noon"]
    chosen = torch.randint(len(words), (3000,)).tolist()
    (path / "text.txt").write_text(" ".join(words[i] for i in chosen))
    lines = [{"text": f"def f{i}(x):\n    return x + {i * i % 97}\n"} for i in range(120)]
    (path / "texts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    for case, folder in (
        ("discrete-diffusion", "masked"),
        ("autoregressive", "ar"),
        ("masked-lm", "code"),
        ("masked-brackets", "start"),
        ("autoencoder", "autoencoder/model"),
        ("decoder", "decoder/model"),
        ("energy-denoiser", "teacher/model"),
    ):
        (path / folder).mkdir(parents=True)
        CASES[case].task(path).export(path / folder)


def options_of(task: Any, verb: str, given: Mapping[str, Any]) -> Any:
    """The options of a verb."""
    return change(catalogue.options_of(task.recipe.system, verb)(), dict(given))


def moved(case: Case, path: Path, device: torch.device) -> Any:
    """A task on a device, its weights not those of the beginning, where many are zero."""
    task = case.task(path)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for module in task.modules().values():
            for parameter in module.parameters():
                parameter += 0.02 * torch.randn(parameter.shape, generator=generator)
    task.to(device)
    assert_on(device, task.modules())
    return task


def train(case: Case, path: Path, folder: Path, device: torch.device) -> dict[str, Any]:
    """An update, a validation, and the model folder."""
    task = case.task(path)
    task.to(device)  # before there are modules
    modules = task.modules()
    assert_on(device, modules)
    source, optimizers = task.train_source(), task.optimizers(modules)
    found: dict[str, Any] = {}
    for k, update in enumerate(task.step(modules, _batch(source, device), Draws(0, 0))):
        optimizers[update.optimizer].zero_grad()
        update.loss.backward()
        optimizers[update.optimizer].step()
        found[f"loss {k}"] = _back(update.loss)
        found |= {f"metric {name}": _back(value) for name, value in update.metrics.items()}
    found |= {f"weight {n}": _back(p) for module in modules.values() for n, p in module.named_parameters()}
    for module in modules.values():
        module.eval()
    validation = task.validation_source()
    if validation is not None:
        with torch.no_grad():
            values = task.validate(modules, _batch(validation, device), Draws(0, 0))
        found |= {f"validation {name}": _back(value) for name, value in values.items()}
    task.export(folder)
    assert_on(device, task.modules())
    again = case.task(path)
    again.to(device)
    again.load(folder)
    assert_on(device, again.modules())
    return found


def evaluate(case: Case, path: Path, folder: Path, device: torch.device) -> dict[str, Any]:
    """Measurements, but for times."""
    rows = [row for row in moved(case, path, device).evaluate() if "second" not in row.name + row.unit]
    return {f"{row.name}, {row.model}, {row.split}, {row.note}": row.value for row in rows}


def figures(case: Case, path: Path, folder: Path, device: torch.device) -> dict[str, Any]:
    """Pictures."""
    return {picture.name: picture.is_file() for picture in moved(case, path, device).figures(folder)}


def sample(case: Case, path: Path, folder: Path, device: torch.device) -> dict[str, Any]:
    """What samples are made of."""
    task = moved(case, path, device)
    found: dict[str, Any] = {}
    for file in task.sample(options_of(task, "sample", case.sample or {}), folder):
        if file.suffix == ".npz":
            with np.load(file) as arrays:
                found |= {name: torch.from_numpy(arrays[name]) for name in arrays.files}
        elif file.suffix == ".txt":
            found[file.name] = file.read_text()
    return found


def score(case: Case, path: Path, folder: Path, device: torch.device) -> dict[str, Any]:
    """Likelihoods by name."""
    task = moved(case, path, device)
    found = task.score(options_of(task, "score", case.scoring), case.score)
    return {name: torch.tensor(values) for name, values in zip(found.names, found.values, strict=True)}


VERBS = {"train": train, "evaluate": evaluate, "figures": figures, "sample": sample, "score": score}
USES = [(name, verb) for name, case in CASES.items() for verb in case.uses]


def assert_on(device: torch.device, modules: Mapping[str, torch.nn.Module]) -> None:
    """All weights and buffers are on the device."""
    for name, module in modules.items():
        behind = [key for key, tensor in [*module.named_parameters(), *module.named_buffers()]
                  if tensor.device.type != device.type]  # fmt: skip
        assert not behind, f"{len(behind)} tensors of {name} were left on another device: {', '.join(behind[:3])}"


def _batch(source: Any, device: torch.device) -> dict[str, Tensor]:
    """The first eight records, as the loop moves them; where there are no data, their numbers."""
    if source is None:
        return {"index": torch.arange(8, device=device)}
    number = min(8, len(source))
    groups = getattr(source, "groups", None)
    rows = np.arange(number) if groups is None else np.flatnonzero(groups == groups[0])[:number]
    made = {**source.batch(rows), "index": torch.arange(len(rows))}
    return {name: tensor.to(device) for name, tensor in made.items()}


def _back(value: Any) -> Tensor:
    tensor: Tensor = torch.as_tensor(value).detach().cpu()
    return tensor
