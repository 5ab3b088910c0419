"""``tenfold dynamics``."""

import io
from pathlib import Path
from typing import Any

from tenfold.api.examples import EXAMPLES as WORKED
from tenfold.api.examples import run_example
from tenfold.errors import UsageError, suggest
from tenfold.quasiperiodic.commands.config import ACTIONS, MODELS, ModelOptions, WorkOptions
from tenfold.reports import console as show
from tenfold.settings.command import CommandParser

EXAMPLES = {name: about for name, (verb, _, about) in WORKED.items() if verb == "dynamics"}
SUMMARY = (
    "Quantum dynamics of long-range quasi-periodic operators: wave packets with certified error, time averages, "
    "Lyapunov exponents, Green's functions, transport bounds. Actions: "
)
USAGE_EXAMPLES = """\
  tenfold dynamics evolve --model aubry-andre --coupling 0.5 --theta 0.2 --times 10:100:21 --p 2,4
  tenfold dynamics evolve --model aubry-andre --coupling 2 --times 1:1e5:31 --box adaptive --out runs/localised
  tenfold dynamics average --model sturmian --coupling 8 --scales 10:1e3:9 --box 300
  tenfold dynamics lyapunov --model maryland --coupling 1.7 --energies -4:4:9 --json
  tenfold dynamics green --model aubry-andre --coupling 3 --energies 0.1+0.001j
  tenfold dynamics boxes --model aubry-andre --coupling 3 --energies 0.2 --points 200
  tenfold dynamics front --model exponential --times 50
  tenfold dynamics bound --torus 2 --degree 1.5 --smallness 0.5
  tenfold dynamics --example aubry-andre --out runs/aubry-andre
"""


def run(argv: list[str]) -> int:
    """Perform an action, or a worked example."""
    parser = CommandParser(
        "dynamics",
        "ACTION [options] | --example NAME --out DIR",
        SUMMARY + "; ".join(f"{name}: {what}" for name, what in ACTIONS.items()) + ".",
        USAGE_EXAMPLES,
    )
    parser.add_argument("action", metavar="ACTION", nargs="?", help=", ".join(ACTIONS))
    parser.add_option("--example", str | None, None, "; ".join(f"{n}: {what}" for n, what in EXAMPLES.items()))
    parser.add_option("--out", str | None, None, "folder for results.json, arrays.npz, figures and report.html")
    parser.switch("--json", "print JSON")
    parser.switch("--quick", "smaller sizes of an example")
    parser.add_options(ModelOptions)
    parser.add_options(WorkOptions)
    given = parser.parse_args(argv)
    if given.example is not None:
        return _example(given)
    if given.action is None:
        raise UsageError(f"name an action ({', '.join(ACTIONS)}) or --example ({', '.join(EXAMPLES)})")
    if given.action not in ACTIONS:
        raise UsageError(f"there is no action {given.action!r}{suggest(given.action, ACTIONS)}")
    if given.quick:
        raise UsageError("--quick belongs to --example")
    model, work = ModelOptions(**given.options(ModelOptions)), WorkOptions(**given.options(WorkOptions))
    if model.model not in MODELS:
        raise UsageError(f"there is no model {model.model!r}{suggest(model.model, MODELS)}")
    folder = _folder(given.out)

    from tenfold.quasiperiodic.commands.actions import perform

    with show.progress(given.action) as done:
        outcome = perform(given.action, model, work, done)
    if folder is not None:
        from tenfold.figures.panels import draw

        if outcome.panels:
            draw(outcome.panels, folder.figures / "result.png")
        captions = {"result.png": outcome.caption} if outcome.panels else {}
        settings = {"action": given.action, **vars(model), **vars(work)}
        _write(folder, settings, outcome.facts, outcome.rows, outcome.arrays, captions)
    _tell(given, f"{given.action} {model.model}", outcome.facts, outcome.rows)
    return 0


def _example(given: Any) -> int:
    if given.action is not None:
        raise UsageError(f"give an action or --example, not both ({given.action!r} and {given.example!r})")
    if given.example not in EXAMPLES:
        raise UsageError(f"there is no example {given.example!r}{suggest(given.example, EXAMPLES)}")
    if given.out is None:
        raise UsageError(f"an example writes a report: add --out DIR, --out runs/{given.example} say")
    with show.progress(f"example {given.example}") as done:
        page, rows = run_example(given.example, given.out, given.quick, done)
    show.example(given.example, given.out, page, rows, given.json)
    return 0


def _folder(out: str | None) -> Any:
    from tenfold.runs.run_folder import RunFolder

    if out is None:
        return None
    folder = RunFolder(out)
    folder.refuse_existing_run()
    return folder


def _write(folder: Any, settings: dict[str, Any], facts: dict, rows: list, arrays: dict, captions: dict) -> None:
    import numpy as np

    from tenfold.figures import write_captions
    from tenfold.files import disk_errors, write_atomic, write_json
    from tenfold.reports import write_report
    from tenfold.runs.run_folder import provenance

    folder.start({"name": f"{settings['action']}-{settings['model']}", "system": "quasiperiodic", **settings})
    with disk_errors(str(folder.path)):
        write_json(folder.path / "results.json", facts)
        if arrays:
            buffer = io.BytesIO()
            np.savez_compressed(buffer, **arrays)
            write_atomic(folder.path / "arrays.npz", buffer.getvalue())
        if captions:
            write_captions(folder.figures, captions)
        folder.write_evaluation(rows)
        folder.write_provenance(**provenance())
        write_report(folder.path)


def _tell(given: Any, title: str, facts: dict[str, Any], rows: list) -> None:
    out = {"folder": given.out} if given.out else {}
    if given.json:
        show.as_json({**out, "results": facts, "metrics": show.rows_as_json(rows)})
        return
    show.measurements(title, rows)
    if given.out:
        print(Path(given.out) / "report.html")
