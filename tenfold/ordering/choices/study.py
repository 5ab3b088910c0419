"""One model on several sets of items: every rule on each, and the rules' means over the sets."""

from collections.abc import Callable, Mapping
from pathlib import Path

from tenfold import progress as progresses
from tenfold.errors import UsageError
from tenfold.figures import bars
from tenfold.ordering.choices.items import read_items, some_items
from tenfold.ordering.choices.measuring import draw_choices, measure_choices
from tenfold.ordering.choices.scoring import score_choices
from tenfold.runs.measurement import Measurement
from tenfold.runs.outcome import Outcome
from tenfold.text.language_model import LanguageModel


def study_sets(
    reader: LanguageModel,
    places: Mapping[str, str],
    num: int,
    figures: Path,
    progress: Callable[[float], None] = lambda done: None,
) -> Outcome:
    """``num`` items of each set, evenly spread (0 for all): accuracies with intervals, calibration, entropies.

    Args:
        reader: what reads.
        places: files of items, by the name of the set.
        num: items.
        figures: folder of the pictures.
        progress: called with the fraction done.

    Raises UsageError for no sets, and files that hold no items."""
    if not places:
        raise UsageError("no set of items is named; give at least one")
    read = {name: some_items(read_items(place), num) for name, place in places.items()}
    rows: list[Measurement] = []
    data, captions = {}, {}
    for number, (name, items) in enumerate(read.items()):
        results = measure_choices(score_choices(reader, items))
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
    return Outcome(rows, captions, {"model": reader.name, "sets": list(places)}, data)


def replaced(row: Measurement, split: str) -> Measurement:
    """The row of a set."""
    return Measurement(**{**vars(row), "split": split})
