"""What the scores of items say about a model: accuracy with its interval, calibration, entropies, and which rules
differ beyond noise."""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tenfold.figures import bars, lines, matrix
from tenfold.ordering.choices import comparison, rules
from tenfold.ordering.choices.comparison import Difference, MeanInterval, Reliability
from tenfold.ordering.choices.scoring import ChoiceScores
from tenfold.runs.measurement import Measurement
from tenfold.settings.arguments import read_arguments

NORMALISERS = {
    "sum": "log p(a | q)",
    "character": "log p(a | q) / characters",
    "byte": "log p(a | q) / UTF-8 bytes",
    "token": "log p(a | q) / tokens",
    "stop": "log p(a, stop | q)",
    "pmi": "log p(a | q) - log p(a)",
    "paradigm-1": "log p(q | a) / M + log p(a)",
    "paradigm-2": "log p(q | a) + log p(a)",
    "paradigm-3": "log p(q | a)",
}


class RuleResult(NamedTuple):
    """One rule over all items.

    ``entropy`` is of softmax over the options, the mean in nats; ``calibration`` and ``brier`` are of the same
    probabilities; ``groups`` is the accuracy of each group of items, where there are several."""

    rule: str
    normaliser: str
    accuracy: MeanInterval
    brier: MeanInterval
    entropy: float
    calibration: Reliability
    groups: Mapping[str, MeanInterval]


class ChoiceResults(NamedTuple):
    """All rules, every two of them compared on the same items, and the accuracy of guessing."""

    model: str
    order: str
    items: int
    chance: float
    rules: Sequence[RuleResult]
    differences: Mapping[tuple[str, str], Difference]

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "model": self.model,
            "order": self.order,
            "items": self.items,
            "chance": self.chance,
            "rules": [_as_dict(result) for result in self.rules],
            "differences": [
                {"first": one, "second": two, **found._asdict(), "beyond_noise": found.beyond_noise}
                for (one, two), found in self.differences.items()
            ],
        }

    def measurements(self) -> list[Measurement]:
        """Rows of ``evaluation.json``; the standard error is over items."""
        rows = []
        for found in self.rules:
            note = f"{found.normaliser}; 95 % interval {found.accuracy.low:.4f} to {found.accuracy.high:.4f}"
            value = found.accuracy.value
            error = float(np.sqrt(value * (1 - value) / self.items))
            rows += [
                Measurement("accuracy", value, "", "", found.rule, error, note=note),
                Measurement("calibration_error", found.calibration.error, "", "", found.rule, note="ECE, 10 bins"),
                Measurement("brier", found.brier.value, "", "", found.rule),
                Measurement("option_entropy", found.entropy, "nats", "", found.rule),
            ]
        return [*rows, Measurement("accuracy", self.chance, "", "", "guessing", note="1 / options, the mean")]


def _as_dict(found: RuleResult) -> dict[str, Any]:
    kept = {
        "rule": found.rule,
        "normaliser": found.normaliser,
        "accuracy": found.accuracy._asdict(),
        "brier": found.brier._asdict(),
        "option_entropy": found.entropy,
        "calibration_error": found.calibration.error,
        "reliability": {name: values.tolist() for name, values in found.calibration._asdict().items()},
    }
    groups = {name: interval._asdict() for name, interval in found.groups.items()}
    return {**kept, "groups": groups} if groups else kept


@read_arguments
def measure_choices(scores: ChoiceScores, *, seed: int = 0, resamples: int = 1000) -> ChoiceResults:
    """Accuracy with bootstrap intervals over items, calibration and entropies of every rule, and every two compared.

    Raises UsageError for fewer than 100 resamples."""
    tables, answers = scores.by_rule(), scores.answers
    right = {name: rules.correct(table, answers) for name, table in tables.items()}
    names = np.array([item.group for item in scores.items])
    groups = [str(name) for name in dict.fromkeys(names.tolist())]
    found = []
    for name, table in tables.items():
        p = rules.probabilities(table)
        hits = right[name].astype(np.float64)
        found.append(
            RuleResult(
                name,
                NORMALISERS[name],
                comparison.bootstrap(hits, seed=seed, resamples=resamples),
                comparison.bootstrap(comparison.brier(p, answers), seed=seed, resamples=resamples),
                float(rules.option_entropy(table).mean()),
                comparison.reliability(p, answers),
                {g: comparison.bootstrap(hits[names == g], seed=seed, resamples=resamples) for g in groups}
                if len(groups) > 1
                else {},
            )
        )
    pairs = {
        (one, two): comparison.compare(right[one], right[two], seed=seed, resamples=resamples)
        for one, two in itertools.combinations(tables, 2)
    }
    chance = float(np.mean([1 / len(item.choices) for item in scores.items]))
    return ChoiceResults(scores.model, scores.order, len(scores.items), chance, found, pairs)


def draw_choices(results: ChoiceResults, folder: Path) -> dict[str, str]:
    """Accuracies, reliability, and differences as PNG files in a folder; their captions by name."""
    names = [found.rule for found in results.rules]
    values = [found.accuracy.value for found in results.rules]
    errors = [(found.accuracy.high - found.accuracy.low) / 2 for found in results.rules]
    bars([*names, "guessing"], [*values, results.chance], folder / "accuracy.png", "accuracy", [*errors, np.nan], names)
    curves = {}
    for found in results.rules:
        filled = found.calibration.counts > 0
        curves[found.rule] = (found.calibration.confidence[filled], found.calibration.accuracy[filled])
    lines(
        {**curves, "calibrated": ([0.0, 1.0], [0.0, 1.0])}, folder / "reliability.png",
        "probability of the option that is picked", "share that is right", dashed=("calibrated",),
    )  # fmt: skip
    captions = {
        "accuracy.png": f"Accuracy over {results.items} items by rule; whiskers: half of the 95 % interval over items.",
        "reliability.png": "Reliability: softmax over the options against how often the pick is right, in ten bins.",
    }
    if len(names) > 1:
        table = np.full((len(names), len(names)), np.nan)
        for (one, two), difference in results.differences.items():
            if difference.beyond_noise:
                table[names.index(one), names.index(two)] = difference.value
        if np.isfinite(table).any():
            places = ", ".join(f"{i} {name}" for i, name in enumerate(names))
            matrix(table, folder / "differences.png", "second rule", "first rule", "accuracy of first less second")
            captions["differences.png"] = (
                f"Differences of accuracy whose 95 % interval leaves out 0 (others white); rules by number: {places}."
            )
    return captions
