"""``tenfold dynamics``. What works is imported on use."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import ExitStack
from pathlib import Path

from tenfold.errors import UsageError, suggest
from tenfold.quasiperiodic.commands.actions import DAYS, add_worked, run_worked, worked
from tenfold.quasiperiodic.commands.config import ACTIONS, MODEL_USED, MODELS, USED, ModelOptions, WorkOptions
from tenfold.reports import console as show
from tenfold.runs.run_folder import RunFolder
from tenfold.settings.command import CommandParser
from tenfold.shifts import patience

EXAMPLES = worked("dynamics")
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
    summary = SUMMARY + "; ".join(f"{name}: {what}" for name, what in ACTIONS.items()) + "."
    parser = CommandParser("dynamics", "ACTION [options] | --example NAME --out DIR", summary, USAGE_EXAMPLES)
    parser.add_argument("action", metavar="ACTION", nargs="?", help=", ".join(ACTIONS))
    parser.switch("--json", "print JSON")
    add_worked(parser, "dynamics", "folder for results.json, arrays.npz, figures and report.html")
    parser.add_option("--days", float, 1.0, DAYS)
    parser.add_options(ModelOptions)
    parser.add_options(WorkOptions)
    given = parser.parse_args(argv)
    said = set(parser.peek(argv, bare=["--json", "--quick", "--fit", "--allow-resonant"])[1])
    if given.example is not None:
        if given.action is not None:
            raise UsageError(f"give an action or --example, not both ({given.action!r} and {given.example!r})")
        _refuse(said, {"example", "out", "quick", "json"}, f"--example {given.example}")
        return run_worked("dynamics", given)
    if given.action is None:
        raise UsageError(f"name an action ({', '.join(ACTIONS)}) or --example ({', '.join(EXAMPLES)})")
    if given.quick:
        raise UsageError("--quick belongs to --example")
    action, out = given.action, given.out
    if action not in ACTIONS:
        raise UsageError(f"there is no action {action!r}{suggest(action, ACTIONS)}")
    if given.model not in MODELS:
        raise UsageError(f"there is no model {given.model!r}{suggest(given.model, MODELS)}")
    of_model = set() if action == "bound" else {"model", *MODEL_USED[given.model].split()}
    _refuse(said, {"json", "out", "days", *USED[action].split(), *of_model}, f"{action} of the model {given.model!r}")
    model, work = ModelOptions(**given.options(ModelOptions)), WorkOptions(**given.options(WorkOptions))
    folder = None if out is None else RunFolder(out)
    if folder is not None:
        folder.refuse_existing_run()

    from tenfold.quasiperiodic.commands.arrays import Spool
    from tenfold.quasiperiodic.commands.computed import perform

    with ExitStack() as opened:
        opened.enter_context(patience(given.days))
        spool = None if out is None else opened.enter_context(Spool(Path(out)))
        with show.progress(action) as done:
            found = perform(action, model, work, done, spool)
        if folder is not None:
            found.write(folder, f"{action}-{model.model}", {"action": action, **vars(model), **vars(work)})
    if given.json:
        where = {} if out is None else {"folder": out}
        show.as_json({**where, "results": found.facts, "metrics": show.rows_as_json(found.rows)})
        return 0
    show.measurements(f"{action} {model.model}", found.rows)
    if out is not None:
        print(Path(out) / "report.html")
    return 0


def _refuse(said: Collection[str], used: Collection[str], what: str) -> None:
    unused = sorted(name for name in said if name not in used)
    if unused:
        option = f"--{unused[0].replace('_', '-')}"
        raise UsageError(f"{what} does not use {option}; leave it away")
