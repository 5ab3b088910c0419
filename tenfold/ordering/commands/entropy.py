"""``tenfold entropy``: calibration, computability and conditional entropy of items under a causal model, both ways."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tenfold.errors import UsageError
from tenfold.ordering.options import ChoiceScoring, EntropyVerb
from tenfold.reports import console as show
from tenfold.runs.readers import open_reader
from tenfold.settings.command import CommandParser

if TYPE_CHECKING:
    from tenfold.ordering.choices.directions import DirectionEntropy
    from tenfold.ordering.choices.measuring import ChoiceResults

SUMMARY = (
    "What a causal model finds hard about multiple-choice items in each direction: its entropy of an answer given the "
    "question and of a question given the answer (roll-outs of some tokens, with standard errors), how far its "
    "surprise at the real tokens exceeds its own entropy, token by token, and how well its probabilities are "
    "calibrated. ITEMS are read as by score-choices."
)
EXAMPLES = """\
  tenfold entropy items.jsonl --model smollm2 --num 100
  tenfold entropy items.jsonl --model runs/kjv-r2l --rollouts 4 --json
"""
_RULES = ("sum", "token", "paradigm-3")


def run_entropy(argv: list[str]) -> int:
    """Read a line, draw, print."""
    parser = CommandParser("entropy", "ITEMS --model MODEL [options]", SUMMARY, EXAMPLES)
    parser.add_argument("items", metavar="ITEMS", help="file of items")
    parser.add_option("--model", str | None, None, "run, model folder, smollm2, or hub id")
    parser.add_option("--device", str, "auto", "auto (the accelerator, or else the CPU), cpu, cuda, cuda:1 or mps")
    parser.add_option("--dtype", str, "auto", "of the weights: auto, float32, bfloat16, float16 or float64")
    parser.switch("--json", "print JSON")
    parser.add_options(EntropyVerb)
    given = parser.parse_args(argv)
    if given.model is None:
        raise UsageError("--model is missing; name a run, a model folder, smollm2, or a hub id")
    options = EntropyVerb(**given.options(EntropyVerb))

    from tenfold.ordering.choices.directions import direction_entropies
    from tenfold.ordering.choices.items import read_items, some_items
    from tenfold.ordering.choices.measuring import measure_choices
    from tenfold.ordering.choices.scoring import score_choices
    from tenfold.text.causal import CausalReader

    with show.busy("entropy"):
        items = some_items(read_items(given.items), options.num)
        model = open_reader(given.model, options.order, given.device, given.dtype)
        if not isinstance(model, CausalReader):
            raise UsageError(f"{given.model} is no causal model of one order, so it draws no continuation; give one")
        found = direction_entropies(model, items, rollouts=options.rollouts, length=options.length, seed=options.seed)
        results = measure_choices(score_choices(model, items, ChoiceScoring(rules=_RULES)), seed=options.seed)
    if given.json:
        show.as_json({**results.to_dict(), "options": vars(options), "directions": [one.to_dict() for one in found]})
        return 0
    print_entropies(found, results, options)
    return 0


def print_entropies(found: list[DirectionEntropy], results: ChoiceResults, options: EntropyVerb) -> None:
    """The three Cs."""
    from tenfold.ordering.entropies import Rollouts

    draws = f"{options.rollouts} roll-out{'s' if options.rollouts > 1 else ''} of {options.length} tokens an item"
    print(f"{results.model} ({results.order}): {results.items} items, {draws}, all in nats")
    for one in found:
        (value, error), (path, path_error) = map(Rollouts.mean, one.rollouts)
        print(
            f"entropy of {one.what}: {value:.2f} ± {error:.2f}; by the steps' entropies {path:.2f} ± {path_error:.2f}"
        )
    for one in found:
        told = " ".join(f"{value:+.2f}" for value in one.excess.excess if value == value)
        print(f"surprise beyond the model's entropy, {one.what}, token by token: {told}")
    for rule in results.rules:
        print(
            f"calibration of {rule.rule}: ECE {rule.calibration.error:.3f}, Brier {rule.brier.value:.3f}, entropy "
            f"over the options {rule.entropy:.3f}"
        )
