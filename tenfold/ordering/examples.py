"""A real model on real questions: SmolLM2-135M on LogiQA and on sets of BIG-bench, under every rule at once."""

from collections.abc import Callable
from pathlib import Path

from tenfold import progress as progresses
from tenfold.figures import bars
from tenfold.ordering.choices.items import read_items, some_items
from tenfold.ordering.choices.measuring import draw_choices, measure_choices
from tenfold.ordering.choices.scoring import score_choices
from tenfold.ordering.choices.sets import SETS, place_of
from tenfold.runs.measurement import Measurement
from tenfold.runs.outcome import Outcome
from tenfold.runs.readers import open_reader

ITEMS, QUICK_ITEMS = 300, 4


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
