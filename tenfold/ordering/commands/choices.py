"""``tenfold score-choices``: anybody's multiple-choice items under any model of texts, by every rule at once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tenfold.errors import UsageError
from tenfold.files import check_writable
from tenfold.ordering.options import BACKWARD, FORWARD, ChoiceScoring, ChoiceVerb
from tenfold.reports import console as show
from tenfold.runs.readers import open_reader
from tenfold.settings.command import CommandParser

if TYPE_CHECKING:
    from tenfold.ordering.choices.measuring import ChoiceResults
    from tenfold.ordering.choices.reranking import Reranked

SUMMARY = (
    "Score multiple-choice items under a model of texts by every rule at once: accuracy with its 95 % interval, "
    "calibration, entropy over the options, and which rules differ beyond noise. ITEMS is JSONL of question, choices "
    "(texts) and answer (index); samples that lm-evaluation-harness logs; OpenAI-evals samples; a BIG-bench task.json; "
    "or such a file in an archive, ARCHIVE:MEMBER. The model is a run, a model folder, smollm2, or a hub id."
)
EXAMPLES = """\
  tenfold score-choices items.jsonl --model smollm2
  tenfold score-choices items.jsonl --model runs/kjv-r2l --out runs/choices
  tenfold score-choices evals-3.0.1.post1-py3-none-any.whl:logiqa/logiqa.jsonl --model smollm2 --num 300 --json
  tenfold score-choices items.jsonl --model smollm2 --fit 0.5
"""


def run_score_choices(argv: list[str]) -> int:
    """Read a line, score, print."""
    parser = CommandParser("score-choices", "ITEMS --model MODEL [options]", SUMMARY, EXAMPLES)
    parser.add_argument("items", metavar="ITEMS", help="file of items")
    parser.add_option("--model", str | None, None, "run, model folder, smollm2, or hub id")
    parser.add_option("--out", str | None, None, "a new folder for a report, its numbers, and a log of every option")
    parser.add_option("--device", str, "auto", "auto (the accelerator, or else the CPU), cpu, cuda, cuda:1 or mps")
    parser.add_option("--dtype", str, "auto", "of the weights: auto, float32, bfloat16, float16 or float64")
    parser.switch("--json", "print JSON")
    parser.add_options(ChoiceVerb)
    parser.add_options(ChoiceScoring)
    given = parser.parse_args(argv)
    if given.model is None:
        raise UsageError("--model is missing; name a run, a model folder, smollm2, or a hub id")
    options = ChoiceVerb(**given.options(ChoiceVerb))
    scoring = ChoiceScoring(**given.options(ChoiceScoring))
    if options.fit and not (set(scoring.rules) & set(FORWARD) and set(scoring.rules) & set(BACKWARD)):
        raise UsageError("--fit weighs both directions; ask for a forward rule and for a paradigm in --rules")
    if given.out is not None:
        check_writable(given.out, "report", folder=True)

    from tenfold.ordering.choices.items import read_items, some_items
    from tenfold.ordering.choices.measuring import measure_choices
    from tenfold.ordering.choices.report import report_choices
    from tenfold.ordering.choices.reranking import rerank
    from tenfold.ordering.choices.scoring import score_choices

    with show.busy("score choices"):
        items = some_items(read_items(given.items), options.num)
        model = open_reader(given.model, options.order, given.device, given.dtype)
        scores = score_choices(model, items, scoring)
        results = measure_choices(scores, seed=options.seed, resamples=options.resamples)
        mixed = None
        if options.fit:
            mixed = rerank(scores, share=options.fit, seed=options.seed, resamples=options.resamples)
        page: Path | None = None
        if given.out is not None:
            facts = {"items": given.items, "model": given.model}
            page = report_choices(scores, results, given.out, facts, mixed)
    if given.json:
        where = {} if page is None else {"report": str(page)}
        fitted = {} if mixed is None else {"reranked": mixed.to_dict()}
        show.as_json({**results.to_dict(), **fitted, "scoring": vars(scoring), **where})
        return 0
    print_choices(results)
    if mixed is not None:
        print_reranked(mixed)
    if page is not None:
        print(f"report: {page}")
    return 0


def print_choices(results: ChoiceResults) -> None:
    """The rules in a table, and below it those that differ beyond noise."""
    from rich.table import Table

    title = f"{results.model} ({results.order}): {results.items} items, guessing {100 * results.chance:.1f} %"
    table = Table(title=title, title_justify="left")
    for name in ("rule", "score", "accuracy", "95 % interval", "ECE", "Brier", "entropy, nats"):
        table.add_column(name, justify="left" if name in ("rule", "score") else "right")
    for found in results.rules:
        low, high = 100 * found.accuracy.low, 100 * found.accuracy.high
        table.add_row(
            found.rule, found.normaliser, f"{100 * found.accuracy.value:.1f} %", f"{low:.1f} to {high:.1f}",
            f"{found.calibration.error:.3f}", f"{found.brier.value:.3f}", f"{found.entropy:.3f}",
        )  # fmt: skip
    show.console().print(table)
    for group in dict.fromkeys(name for found in results.rules for name in found.groups):
        told = ", ".join(f"{found.rule} {100 * found.groups[group].value:.1f} %" for found in results.rules)
        print(f"{group or 'no group'}: {told}")
    beyond = {pair: found for pair, found in results.differences.items() if found.beyond_noise}
    if len(results.rules) > 1 and not beyond:
        print("no two rules differ beyond noise")
    for (one, two), difference in beyond.items():
        better, worse, sign = (one, two, 1) if difference.value > 0 else (two, one, -1)
        low, high = sorted((100 * sign * difference.low, 100 * sign * difference.high))
        print(f"{better} is above {worse} by {100 * abs(difference.value):.1f} points ({low:.1f} to {high:.1f})")


def print_reranked(found: Reranked) -> None:
    """The weights, and what they are worth on items that no fit saw."""
    w, tested = found.weights, found.tested
    print(
        f"re-ranked: {1 - w.backward:g} log p(a | q) / N^{w.answer_power:g} + {w.backward:g} log p(q | a) / "
        f"M^{w.question_power:g} + {w.prior:g} log p(a), fitted on {found.fitted_items} items "
        f"({100 * found.fitted.value:.1f} % there)"
    )
    print(
        f"re-ranked, on the other {found.tested_items}: {100 * tested.value:.1f} % ({100 * tested.low:.1f} to "
        f"{100 * tested.high:.1f})"
    )
    for name, difference in found.differences.items():
        if difference.beyond_noise:
            low, high = 100 * difference.low, 100 * difference.high
            print(f"re-ranked less {name}: {100 * difference.value:+.1f} points ({low:+.1f} to {high:+.1f})")
