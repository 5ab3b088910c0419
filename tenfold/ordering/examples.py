"""A real model on real questions: SmolLM2-135M on LogiQA and on sets of BIG-bench, under every rule at once."""

from collections.abc import Callable
from pathlib import Path

from tenfold.ordering.choices.sets import SETS, place_of
from tenfold.ordering.choices.study import study_sets
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
    return study_sets(open_reader(model), places, QUICK_ITEMS if quick else ITEMS, figures, progress)
