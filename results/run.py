"""Redo everything under results/: ``python results/run.py [NAME ...]`` (all without names; hours).

A benchmark job runs ``python -m benchmarks.ROOM``, an example job a worked example; a training job trains a recipe
with several seeds into ``runs/results/`` and stores every measured value as mean and standard error over the seeds.
Interrupted trainings go on where they stopped, finished ones are not repeated: delete ``runs/results`` to start over.
"""

import json
import math
import platform
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RUNS = ROOT / "runs" / "results"
SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class Training:
    """A recipe, trained with ``SEEDS``; ``options`` are further options of ``tenfold train``, and ``seeded`` those
    that take the seed: one a stage, of a recipe of several."""

    recipe: str
    options: tuple[str, ...] = ()
    seeds: tuple[int, ...] = field(default=SEEDS)
    seeded: tuple[str, ...] = ("--train.seed",)

    @property
    def command(self) -> str:
        """The command that trains one seed, as the docs show it."""
        seed = [f"{option} SEED" for option in self.seeded] if len(self.seeds) > 1 else []
        return " ".join(["tenfold train", self.recipe, *self.options, *seed])

    def make(self, name: str) -> dict[str, Any]:
        """Train, measure, and average over the seeds."""
        evaluations, facts = [], {}
        for seed in self.seeds:
            folder = RUNS / f"{name}-{seed}"
            if not (folder / "evaluation.json").exists():
                tenfold(*self.arguments(folder, seed))
            evaluations.append(json.loads((folder / "evaluation.json").read_text())["metrics"])
            # A run of several stages has its provenance in the folders of the stages.
            found = [folder / "provenance.json", *sorted(folder.glob("*/provenance.json"))]
            facts = json.loads(next(file for file in found if file.exists()).read_text())
        kept = {key: facts[key] for key in ("versions", "threads", "processes", "device") if key in facts}
        return {"command": self.command, **kept, "metrics": averaged(evaluations)}

    def arguments(self, folder: Path, seed: int) -> list[str]:
        """The arguments of ``tenfold`` that train or resume one seed."""
        if (folder / "config.yaml").exists():
            return ["train", "--resume", str(folder)]
        chosen = [part for option in self.seeded for part in (option, str(seed))] if len(self.seeds) > 1 else []
        return ["train", self.recipe, "--out", str(folder), *self.options, *chosen]


@dataclass(frozen=True)
class Comparison:
    """Several trainings side by side in one table, each under a name of its own; ``metrics`` names the rows that are
    compared, and ``after`` a job whose runs the trainings start from.

    ``models`` tells which model's rows are a variant's own (without it those that begin with "starflow"), ``baselines``
    whose rows are taken over from the first variant. With ``differences``, every two variants are compared in the first
    of the metrics, and a note says whether their difference exceeds the noise between seeds. With ``compute``
    ("seconds" or "step"), a picture of the first seeds' validation loss in bits a ``unit`` goes into the docs.
    ``beside`` are runs of the job ``after``, by name, that stand in the table and in the picture too."""

    variants: Mapping[str, Training]
    metrics: tuple[str, ...]
    after: str = ""
    models: Mapping[str, str] = field(default_factory=dict)
    baselines: tuple[str, ...] = ()
    differences: bool = False
    compute: str = ""
    unit: str = "character"
    beside: Mapping[str, str] = field(default_factory=dict)

    def make(self, name: str) -> dict[str, Any]:
        """Train and average each variant."""
        if self.after:
            JOBS[self.after].make(self.after)
        rows, made = [], {}
        for variant, training in self.variants.items():
            made = training.make(f"{name}-{variant}")
            found = [row for row in made["metrics"] if row["name"] in self.metrics]
            model = self.models.get(variant)
            own = [row for row in found if (row["model"] == model if model else row["model"].startswith("starflow"))]
            if variant == next(iter(self.variants)):
                rows += [row for row in found if row["model"] in self.baselines]
            rows += [{**row, "model": variant} for row in own]
        for other, run in self.beside.items():
            evaluation = averaged([json.loads((RUNS / run / "evaluation.json").read_text())["metrics"]])
            recipe = json.loads((RUNS / run / "model" / "config.json").read_text())["name"]
            found = [row for row in evaluation if row["name"] in self.metrics and row["model"] == recipe]
            rows = [{**row, "model": other} for row in found] + rows
        if self.differences:
            rows += differences(
                [row for row in rows if row["name"] == self.metrics[0] and row["model"] in self.variants]
            )
        if self.compute:
            from tenfold.discrete_diffusion.pictures import loss_against_compute

            folders = {other: RUNS / run for other, run in self.beside.items()}
            folders |= {variant: RUNS / f"{name}-{variant}-0" for variant in self.variants}
            loss_against_compute(folders, ROOT / "docs" / "images" / f"{name}-compute.png", self.compute, self.unit)
        commands = [training.command for training in self.variants.values()]
        return {**made, "command": " and ".join(commands), "metrics": rows}


@dataclass(frozen=True)
class Benchmark:
    """A room whose benchmark writes its own records."""

    room: str
    options: tuple[str, ...] = ()

    def make(self, name: str) -> dict[str, Any]:
        """Run it and add the command to what it wrote."""
        file = RUNS / f"{name}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        line = [f"benchmarks.{self.room}", *self.options]
        subprocess.run([sys.executable, "-m", *line, "--json", str(file)], cwd=ROOT, check=True)
        return {**json.loads(file.read_text()), "command": " ".join(["python -m", *line])}


@dataclass(frozen=True)
class Example:
    """A worked example of ``tenfold VERB --example NAME``; its rows are kept, and a picture goes into the docs.

    ``after`` names the jobs whose runs the ``options`` speak of."""

    verb: str
    example: str
    picture: str = ""
    options: tuple[str, ...] = ()
    after: tuple[str, ...] = ()

    @property
    def command(self) -> str:
        """The command, as the docs show it."""
        return " ".join(
            ["tenfold", self.verb, "--example", self.example, *self.options, "--out", f"runs/{self.example}"]
        )

    def make(self, name: str) -> dict[str, Any]:
        """Run it, unless it was run before, and keep its measurements."""
        for other in self.after:
            JOBS[other].make(other)
        folder = RUNS / name
        if not (folder / "evaluation.json").exists():
            tenfold(self.verb, "--example", self.example, *self.options, "--out", str(folder))
        if self.picture:
            shutil.copy(folder / "figures" / self.picture, ROOT / "docs" / "images" / f"{name}.png")
        facts = json.loads((folder / "provenance.json").read_text())
        metrics = json.loads((folder / "evaluation.json").read_text())["metrics"]
        return {"command": self.command, "versions": facts["versions"], "metrics": metrics}


@dataclass(frozen=True)
class Analysis:
    """``tenfold analyse`` of a run that the job ``after`` trained: its rows are kept, with the function bodies or the
    samples that it shows, and pictures go into the docs."""

    run: str
    options: tuple[str, ...]
    pictures: tuple[str, ...] = ()
    after: str = ""

    @property
    def command(self) -> str:
        """The command, as the docs show it."""
        return shlex.join(["tenfold", "analyse", f"runs/results/{self.run}", *self.options])

    def make(self, name: str) -> dict[str, Any]:
        """Run it, unless it was run before, and keep its measurements."""
        if self.after:
            JOBS[self.after].make(self.after)
        folder = RUNS / name
        if not (folder / "evaluation.json").exists():
            tenfold("analyse", str(RUNS / self.run), *self.options, "--out", str(folder))
        for picture in self.pictures:
            shutil.copy(folder / "figures" / picture, ROOT / "docs" / "images" / f"{name}-{picture}")
        facts, rows, data = (
            json.loads((folder / f"{file}.json").read_text()) for file in ("provenance", "evaluation", "data")
        )
        found = {"command": self.command, "versions": facts["versions"], "metrics": rows["metrics"]}
        if "samples" in data:
            found["samples"] = ["\n".join([f"{label}:", *texts]) for label, texts in data["samples"].items()]
        return found | ({"bodies": data["bodies"]} if "bodies" in data else {})


# The reference's model and optimiser: 2-64-4-2, 454 steps of 128 at a constant rate of 1e-3.
_PROTOCOL = (
    *("--model.head_size", "64", "--model.dropout", "0", "--train.steps", "454", "--train.batch_size", "128"),
    *("--train.learning_rate", "1e-3", "--train.betas", "[0.9, 0.95]", "--train.ema", "0.99"),
    *("--train.final_fraction", "1"),
    *("--evaluation.baselines", "false"),
)

# The same six layers in three blocks: most of them in the deep one, or evenly.
_SPLIT = (
    *("--data.autoencoder", "runs/results/starflow-mnist-0/autoencoder"),
    *("--train.steps", "800", "--evaluation.draws", "4", "--evaluation.samples", "0", "--evaluation.images", "0"),
)

_BOTH = ("--autoregressive.train.seed", "--masked.train.seed")
_CODE = {
    "scratch": Training("code-bytes"),
    "left-to-right": Training("code-bytes-ar"),
    "annealed": Training("code-bytes-from-ar", seeded=_BOTH),
    "at-once": Training("code-bytes-from-ar-at-once", seeded=_BOTH),
}

# One network on the King James text, by every objective; the n-grams are measured once.
_KJV = {
    name: Training(f"kjv-{name}")
    for name in ["masked", "masked-score", "mdlm", "sedd", "uniform", "uniform-score", "udlm", "hollow", "plain", "ar"]
}

# Why plain transformers stall: short trainings, with and without what tells attention where to look.
_SHORT = (
    *("--train.steps", "600", "--train.validate_every", "0", "--evaluation.rows", "512", "--evaluation.holes", "0"),
    *("--evaluation.baselines", "false"),
)
_LEARNED = ("--model.positions", "learned")
_STALL = {
    "learned": ("kjv-plain", _LEARNED),
    "learned-little-noise": ("kjv-plain", (*_LEARNED, "--objective.latest", "0.15")),
    "learned-large": ("kjv-plain", (*_LEARNED, "--model.position_std", "0.16")),
    "rotary": ("kjv-plain", ()),
    "learned-mixing": ("kjv-plain", (*_LEARNED, "--model.local_mixing", "7")),
    "rotary-mixing": ("kjv-plain", ("--model.local_mixing", "7")),
    "learned-left-to-right": ("kjv-ar", (*_LEARNED, "--model.local_mixing", "0")),
}

# What the bound of log-ratios, or another divergence, does to the score form.
_CAPS = {
    "distribution": ("kjv-masked", ()),
    "generalised-kl-20": ("kjv-masked-score", ("--objective.cap", "20")),
    "generalised-kl-5": ("kjv-masked-score", ()),
    "generalised-kl-3": ("kjv-masked-score", ("--objective.cap", "3")),
    "logistic-20": ("kjv-masked-score", ("--objective.divergence", "logistic", "--objective.cap", "20")),
    "uniform-distribution": ("kjv-uniform", ()),
    "uniform-generalised-kl-20": ("kjv-uniform-score", ("--objective.cap", "20")),
    "uniform-generalised-kl-5": ("kjv-uniform-score", ()),
}

# Post-training of the masked letters, from the first seed's run.
_START = ("--objective.start", "runs/results/kjv-masked-0")
_TEACHER = ("--objective.teacher", "runs/results/kjv-ar-0")
_STEERED = {
    "reward": ("kjv-reward", ()),
    "reward-half-budget": ("kjv-reward", ("--objective.budget", "0.5")),
    "reward-weights": ("kjv-reward-weights", ()),
    "groups": ("kjv-groups", ()),
    "preference": ("kjv-preference", ()),
}
_RATIOS = {"bce": "kjv-ratio", "lsif": "kjv-ratio-lsif", "generalised-kl": "kjv-ratio-kl"}
_DISTILLED = {"suffixes": "kjv-distil", "first-order": "kjv-distil-first-order"}
_FEW = ("--data.rows", "200")
# Two teachers, the same student: the small one is trained first.
_TEACHERS = {
    "small-teacher": Training("kjv-ar-small", seeds=(0,)),
    "from-small": Training(
        "kjv-distil", ("--objective.teacher", "runs/results/kjv-teachers-small-teacher-0"), seeds=(0,)
    ),
    "from-normal": Training("kjv-distil", _TEACHER, seeds=(0,)),
}
_CHAINS = (1, 2, 4, 8, 16)

JOBS: dict[str, Training | Comparison | Benchmark | Example | Analysis] = {
    "tarflow-digits": Training("tarflow-digits"),
    "tarflow-digits-noise": Training("tarflow-digits-noise"),
    "tarflow-digits-long": Training("tarflow-digits-long"),
    "tarflow-digits-protocol": Training("tarflow-digits", _PROTOCOL),
    "starflow-mnist": Training("starflow-mnist", seeds=(0,)),
    "starflow-captions": Training("starflow-captions", seeds=(0,)),
    "starflow-split": Comparison(
        {
            "deep-shallow": Training("starflow-mnist-flow", _SPLIT),
            "even": Training("starflow-mnist-flow", (*_SPLIT, "--model.layers", "2,2,2")),
        },
        ("latent_nll", "sampling_seconds"),
        after="starflow-mnist",
    ),
    "code-bytes": Comparison(
        _CODE,
        ("bits_per_byte", "hole_accuracy"),
        models=dict(zip(_CODE, ("code-bytes", "autoregressive", "masked-lm", "masked-lm"), strict=True)),
        baselines=("unigram", "back-off"),
        differences=True,
    ),
    "code-bytes-flagship": Training("code-bytes-flagship", seeds=(0,)),
    "smollm2-code": Training("smollm2-code", seeds=(0,)),
    "smollm2-code-at-once": Training("smollm2-code", ("--objective.anneal_steps", "0"), seeds=(0,)),
    "smollm2-code-lora": Training("smollm2-code-lora", seeds=(0,)),
    "code-bytes-order": Analysis(
        "code-bytes-flagship-0",
        ("--holes", "400", "--autoregressive", "runs/results/code-bytes-flagship-0/autoregressive"),
        ("ar-ness.png", "orders.png", "first-pass.png"),
        after="code-bytes-flagship",
    ),
    "smollm2-infilling": Analysis(
        "smollm2-code-0",
        (
            *("--prompts", "2", "--prompt-tokens", "64", "--tokens", "32", "--temperatures", "0.2,1", "--maps", "2"),
            *("--holes", "40", "--window", "96", "--bodies", "16", "--body-tokens", "96"),
            *("--autoregressive", "smollm2"),
        ),
        after="smollm2-code",
    ),
    "kjv": Comparison(
        _KJV,
        ("bits_per_char", "bits_per_char_generalised_kl", "hole_accuracy"),
        models={name: f"kjv-{name}" for name in _KJV},
        baselines=("unigram", "bigram", "trigram", "back-off"),
        compute="seconds",
    ),
    "kjv-stall": Comparison(
        {name: Training(recipe, (*_SHORT, *options), seeds=(0,)) for name, (recipe, options) in _STALL.items()},
        ("bits_per_char",),
        models={name: recipe for name, (recipe, _) in _STALL.items()},
    ),
    "kjv-caps": Comparison(
        {name: Training(recipe, (*_SHORT, *options), seeds=(0,)) for name, (recipe, options) in _CAPS.items()},
        ("bits_per_char",),
        models={name: recipe for name, (recipe, _) in _CAPS.items()},
    ),
    "kjv-flagship": Training("kjv-flagship", seeds=(0,)),
    "kjv-steering": Comparison(
        {name: Training(recipe, (*_START, *options), seeds=(0,)) for name, (recipe, options) in _STEERED.items()},
        (
            *("mean_reward", "kl_from_reference", "bits_per_char", "distinct_trigrams", "sample_entropy"),
            *("preference_accuracy", "classifier_accuracy"),
        ),
        after="kjv",
        models={name: recipe for name, (recipe, _) in _STEERED.items()},
        baselines=("reference", "tilted reference", "new testament", "old testament", "trigrams"),
    ),
    "kjv-ratios": Comparison(
        {name: Training(recipe, _START, seeds=(0,)) for name, recipe in _RATIOS.items()},
        tuple(name for n in _CHAINS for name in (f"bits_per_char_{n}_steps", f"gain_{n}_steps")),
        after="kjv",
        models={name: f"{recipe}, 16 candidates" for name, recipe in _RATIOS.items()},
        baselines=("reference",),
    ),
    "kjv-distilled": Comparison(
        {name: Training(recipe, _TEACHER, seeds=(0,)) for name, recipe in _DISTILLED.items()},
        ("bits_per_char", "hole_accuracy"),
        after="kjv",
        models=dict(_DISTILLED),
        compute="step",
        beside={"data-alone": "kjv-masked-0"},
    ),
    "kjv-few-rows": Comparison(
        {
            "data-alone": Training("kjv-masked", _FEW, seeds=(0,)),
            "suffixes": Training("kjv-distil", (*_FEW, *_TEACHER, "--objective.sites", "4"), seeds=(0,)),
            "samples": Training("kjv-distil-few", _TEACHER, seeds=(0,)),
        },
        ("bits_per_char", "hole_accuracy"),
        after="kjv",
        models={"data-alone": "kjv-masked", "suffixes": "kjv-distil", "samples": "kjv-distil-few"},
        compute="step",
    ),
    "kjv-teachers": Comparison(
        _TEACHERS,
        ("bits_per_char", "hole_accuracy", "parameters"),
        after="kjv",
        models={name: training.recipe for name, training in _TEACHERS.items()},
    ),
    "smollm2-distilled": Comparison(
        {
            "distilled": Training("smollm2-distil", seeds=(0,)),
            "data-alone": Training("smollm2-distil-none", seeds=(0,)),
        },
        ("bits_per_token", "bits_per_char"),
        models={"distilled": "smollm2-distil", "data-alone": "smollm2-distil-none"},
        baselines=("unigram", "teacher"),
        compute="step",
        unit="token",
    ),
    "kjv-samples": Analysis(
        "kjv-flagship-0",
        (
            *("--judge", "runs/results/kjv-ar-0", "--kinds", "[ancestral, confidence, first_hitting, remask]"),
            *("--steps", "[2, 4, 8, 16, 32, 64]"),
        ),
        ("perplexity.png", "entropy.png"),
        after="kjv-flagship",
    ),
    "example-tcsm-worlds": Example("analyse", "tcsm-worlds", "mean-reward.png"),
    "benchmark-discrete-diffusion": Benchmark("discrete_diffusion"),
    # These need the runs of code-bytes-flagship and smollm2-code.
    "benchmark-masked-lm": Benchmark(
        "masked_lm", ("--adapted", "none", "--figure", "docs/images/masked-lm-quality.png")
    ),
    "benchmark-masked-lm-batch": Benchmark("masked_lm", ("--only", "batch8", "--threads", "2")),
    "benchmark-masked-lm-exact": Benchmark("masked_lm", ("--only", "exact")),
    "benchmark-masked-lm-loading": Benchmark("masked_lm_loading"),
    "benchmark-flows": Benchmark("flows"),
    "example-slabs": Example("discrepancy", "slabs"),
    "example-bad-set": Example("discrepancy", "bad-set"),
    "example-samplers": Example(
        "discrepancy",
        "samplers",
        options=(
            "--runs",
            *(f"runs/results/{name}-0" for name in ("tarflow-digits", "code-bytes-scratch", "kjv-masked", "kjv-udlm")),
        ),
        after=("tarflow-digits", "code-bytes", "kjv"),
    ),
    "benchmark-quasiperiodic": Benchmark("quasiperiodic"),
    "quasiperiodic-expected": Example("dynamics", "expected"),
    "quasiperiodic-scale": Example("dynamics", "scale", "scale.png"),
    "quasiperiodic-transition": Example("dynamics", "aubry-andre", "transition.png"),
    "quasiperiodic-log-power": Example("dynamics", "log-power", "log-power.png"),
}


def differences(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every two rows subtracted, with the standard error of the difference and what it says.

    >>> two = [{"name": "a", "model": m, "value": v, "standard_error": 0.1} for m, v in (("x", 2.0), ("y", 1.0))]
    >>> [(row["model"], row["value"], row["note"]) for row in differences(two)]
    [('x − y', 1.0, 'more than twice the standard error')]
    """
    result = []
    for one, other in combinations(rows, 2):
        difference = one["value"] - other["value"]
        error = math.hypot(one["standard_error"], other["standard_error"])
        clear = abs(difference) > 2 * error
        note = "more than twice the standard error" if clear else "within the noise between seeds"
        names = {"name": f"difference_{one['name']}", "model": f"{one['model']} − {other['model']}", "note": note}
        result.append({**one, **names, "value": difference, "standard_error": error})
    return result


def tenfold(*arguments: str) -> None:
    """Run the command; its failure ends everything."""
    subprocess.run([sys.executable, "-m", "tenfold.cli.main", *arguments], cwd=ROOT, check=True)


def averaged(evaluations: Iterable[list[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Rows of several seeds as one row each: the mean, and the standard error between the seeds.

    >>> averaged([[{"name": "a", "value": 1.0}], [{"name": "a", "value": 3.0}]])
    [{'name': 'a', 'value': 2.0, 'standard_error': 1.0, 'seeds': 2}]
    """
    rows: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for evaluation in evaluations:
        seen: Counter[tuple[Any, ...]] = Counter()  # rows that differ in their note only are told apart by order
        for row in evaluation:
            key = tuple(row.get(k) for k in ("name", "model", "split", "unit"))
            rows.setdefault((*key, seen[key]), []).append(row)
            seen[key] += 1
    result = []
    for alike in rows.values():
        values = [row["value"] for row in alike]
        merged = {**alike[0], "value": fmean(values)}
        if len(values) > 1:
            merged["standard_error"] = stdev(values) / math.sqrt(len(values))
        notes = dict.fromkeys(row["note"] for row in alike if row.get("note"))
        if notes:
            merged["note"] = " / ".join(notes)
        result.append({**merged, "seeds": len(values)})
    return result


def main(names: list[str]) -> int:
    """Do the named jobs, or all."""
    unknown = [name for name in names if name not in JOBS]
    if unknown:
        print(f"there is no result {unknown[0]!r}; choose from {', '.join(JOBS)}", file=sys.stderr)
        return 2
    for name in names or JOBS:
        print(f"results/{name}.json", file=sys.stderr)
        content = {
            "machine": {"system": platform.system(), "machine": platform.machine()},
            **JOBS[name].make(name),
        }
        (ROOT / "results" / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
