"""``tenfold sample``."""

from dataclasses import fields
from typing import get_type_hints

from docstring_parser import parse as parse_docstring

from tenfold import api, progress
from tenfold.cli import show
from tenfold.cli.parser import CommandParser, positionals, wants_help
from tenfold.errors import UsageError
from tenfold.recipes import SYSTEMS

SUMMARY = "Draw samples from a run, a model folder or a hub id: a picture, the numbers, and how they were made."
EXAMPLES = """\
  tenfold sample runs/a --num 64 --out samples
  tenfold sample runs/a --num 64 --class 3 --guidance 1.5 --denoise --json
"""
# Options whose field cannot, or should not, have the option's name.
OPTION_OF = {"classes": "class"}


def run(argv: list[str]) -> int:
    """Write samples into a folder."""
    drawing = [name for name, system in SYSTEMS.items() if system.sampling]
    named = positionals(argv, {"--json", "--help", *(o for name in drawing for o in bare_options(name))})
    if not named and not wants_help(argv):
        raise UsageError("name a run, a model folder or a hub id to sample from, as in 'tenfold sample runs/a'")
    systems = [api.system_of(named[0])] if named else drawing
    parser = CommandParser("sample", "RUN [--num N] [--out DIR] [options]", SUMMARY, EXAMPLES)
    parser.add_argument("source", metavar="RUN", help="run folder, model folder or hub id")
    parser.add_argument("--out", metavar="DIR", help="where the files go (default: samples/ of the run)")
    parser.switch("--json", "print JSON")
    for system in systems:
        add_options(parser, system)
    given = parser.parse_args(argv)
    changes = {f.name: given[_dest(f.name)] for f in fields(api.part(systems[0], "sampling"))}
    with progress.shown("sampling"):
        written = api.sample(given.source, given.out, **changes)
    if given.json:
        show.as_json({"files": [str(path) for path in written]})
    else:
        print("\n".join(str(path) for path in written))
    return 0


def add_options(parser: CommandParser, system: str) -> None:
    """The sampling options of a system, with its docstring as help; names already there are left alone."""
    options = api.part(system, "sampling")
    hints = get_type_hints(options)
    helps = {p.arg_name: p.description for p in parse_docstring(options.__doc__ or "").params}
    for f in fields(options):
        option = _option(f.name)
        if option not in parser._option_string_actions:
            parser.add_option(option, hints[f.name], f.default, help=helps.get(f.name))


def bare_options(system: str) -> list[str]:
    """The sampling options of a system that may stand without a value."""
    options = api.part(system, "sampling")
    return [_option(name) for name, hint in get_type_hints(options).items() if hint is bool]


def _option(field: str) -> str:
    return f"--{OPTION_OF.get(field, field.replace('_', '-'))}"


def _dest(field: str) -> str:
    return OPTION_OF.get(field, field)
