"""``tenfold train``."""

import os
from typing import Any

import yaml

from tenfold import api, progress
from tenfold.api import catalogue
from tenfold.cli import options
from tenfold.errors import UsageError
from tenfold.reports import console as show
from tenfold.settings.changes import as_dict, rebuild
from tenfold.settings.command import CommandParser
from tenfold.settings.values import read

SUMMARY = (
    "Train a recipe (tenfold list names them) into a run folder, then measure it and write a report. Every "
    "setting of the recipe is an option, --train.steps say, and can stand in a YAML file; the command line "
    "wins."
)
EXAMPLES = """\
  tenfold train tarflow-digits --out runs/a
  tenfold train tarflow-digits --out runs/b --train.steps 100 --model.width 128 --config my.yaml
  tenfold train tarflow-digits --print-config > my.yaml
  tenfold train --resume runs/a --train.steps 5000
  tenfold train tarflow-imagenet64 --dry-run
"""
SWITCHES = {
    "--print-config": "print all settings as YAML, with the changes of this line, and stop",
    "--dry-run": "print parameters, memory and FLOPs per step (nothing is allocated) and stop",
    "--allow-inexact": "resume with another number of processes or threads; no longer bit-exact",
    "--skip-evaluation": "train only; 'tenfold evaluate' and 'tenfold report' do the rest later",
    "--json": "print JSON",
}


def run(argv: list[str]) -> int:
    """Train, resume, describe or print settings."""
    parser = _parser()
    named, told = parser.peek(argv, options.bare_settings())
    resumed = told.get("resume")
    earlier = None if resumed is None else api.open_run(resumed)
    name, recipe = _settings_so_far(parser, named, told) if earlier is None else (earlier.name, earlier.recipe)
    if recipe is not None:
        parser.add_settings(recipe)
    given = parser.parse_args(argv)
    if recipe is None:
        raise UsageError("name a recipe ('tenfold list' shows them), or --resume a run")
    if resumed is not None and given.recipe is not None:
        raise UsageError(f"give a recipe or --resume, not both ({given.recipe!r} and {resumed!r})")
    if resumed is None and given.allow_inexact:
        raise UsageError("--allow-inexact belongs to --resume")
    if resumed is not None and given.out is not None:
        raise UsageError("a resumed run stays in its folder; leave --out away")
    settings = rebuild(recipe, given.as_dict())
    if given.print_config:
        print(yaml.safe_dump(api.settings_of(name, settings), sort_keys=False), end="")
        return 0
    if given.dry_run:
        return _describe(name, settings, given.json)
    common: dict[str, Any] = {
        "evaluate": False if given.skip_evaluation else "later",
        "device": given.device,
        **as_dict(settings),
    }
    if earlier is not None:
        earlier.place(given.device)
        done = api.resume(earlier, allow_inexact=given.allow_inexact, **common)
    else:
        done = api.train(name, given.out, **common)
    return _finish(done, given.skip_evaluation, given.json)


def _settings_so_far(parser: CommandParser, named: list[str], told: dict[str, str]) -> tuple[str, Any]:
    """The recipe that the line is about, before its settings can be parsed; None when it names none."""
    name = named[0] if named else None
    if name is None and "config" in told:
        name = read(str | None, parser.settings_in(told["config"]).get("recipe"), "recipe")
    return ("", None) if name is None else (name, catalogue.recipe(name))


def _parser() -> CommandParser:
    parser = CommandParser("train", "RECIPE [--out DIR] [options]", SUMMARY, EXAMPLES)
    known = ", ".join(catalogue.recipes())
    recipe = parser.add_argument("recipe", nargs="?", help=f"{known}; 'tenfold train RECIPE --help' lists its settings")
    parser.offer(recipe, catalogue.recipes())
    parser.add_argument("--out", metavar="DIR", help="the run folder (default: runs/RECIPE-TIME)")
    parser.add_argument("--config", action="config", metavar="FILE", help="YAML file of settings")
    parser.add_argument("--resume", metavar="RUN", help="go on with the run in this folder")
    for option, text in SWITCHES.items():
        parser.switch(option, text)
    options.add_device(parser)
    return parser


def _describe(name: str, settings: Any, as_json: bool) -> int:
    facts = {"recipe": name, **api.describe(settings)}
    if as_json:
        show.as_json(facts)
    else:
        for key, value in facts.items():
            stage = value if isinstance(value, dict) else {key: value}
            if stage is value:
                print(f"{key}:")
            for name, amount in stage.items():
                print(f"{name.replace('_', ' '):<18} {show.quantity(name, amount)}")
    return 0


def _finish(done: api.Run, skip: bool, as_json: bool) -> int:
    if int(os.environ.get("RANK", "0")):
        return 0
    page = None
    if not skip and done.is_measured:
        page = done.folder.report
    elif not skip:
        with progress.shown("evaluating"):
            api.evaluate(done)
        with progress.shown("writing the report"):
            page = api.report(done)
    rows = done.measurements if not skip else []
    if as_json:
        result = {"run": str(done.path), "report": page and str(page), "metrics": show.rows_as_json(rows)}
        show.as_json(result)
        return 0
    if rows:
        show.measurements(str(done.path), rows, [done.name])
    print(f"run: {done.path}" + (f"\nreport: {page}" if page else ""))
    return 0
