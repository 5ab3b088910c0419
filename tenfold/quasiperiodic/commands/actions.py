"""What the room's verbs share: actions by name, ``--json``, worked examples. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tenfold import shifts
from tenfold.errors import UsageError, suggest
from tenfold.quasiperiodic.worked import EXAMPLES
from tenfold.reports import console as show
from tenfold.settings.command import CommandParser
from tenfold.settings.values import read


def action_of(verb: str, argv: list[str], actions: Mapping[str, Any]) -> str | None:
    """The action that a line begins with; None where it begins with an option. Raises UsageError for another one."""
    action = argv[0] if argv and not argv[0].startswith("-") else None
    if action is not None and action not in actions:
        raise UsageError(f"there is no action {action!r} of 'tenfold {verb}'{suggest(action, actions)}")
    return action


DAYS = "most days that the work may take; what would take longer is refused"


def perform(actions: Mapping[str, Callable[[list[str]], int]], action: str, argv: list[str]) -> int:
    """Run an action, whose work may take as many days as its line says."""
    made = CommandParser("")
    made.add_option("--days", float, 1.0, DAYS)
    text = made.peek(argv)[1].get("days")
    with shifts.patience(1.0 if text is None else read(float, text, "--days", text=True)):
        return actions[action](argv)


def verb_parser(verb: str, usage: str, summary: str, lines: str, actions: Mapping[str, Any]) -> CommandParser:
    """The parser of a verb without its action."""
    made = CommandParser(verb, usage, summary, lines)
    help = f"{', '.join(actions)}; 'tenfold {verb} ACTION --help'"
    made.add_argument("action", metavar="ACTION", nargs="?", help=help)
    made.switch("--json", "print JSON")
    return made


def action_parser(verb: str, action: str, usage: str, summary: str, lines: str) -> CommandParser:
    """The parser of an action, with those of the verb's example ``lines`` that show it."""
    own = "".join(f"{line}\n" for line in lines.splitlines() if f"{verb} {action}" in line)
    made = CommandParser(f"{verb} {action}", usage, summary, own)
    made.add_option("--days", float, 1.0, DAYS)
    made.switch("--json", "print JSON")
    return made


def worked(verb: str) -> dict[str, str]:
    """The worked examples of a verb, with a line about each."""
    return {name: example.summary for name, example in EXAMPLES.items() if example.verb == verb}


def add_worked(made: CommandParser, verb: str, out: str) -> None:
    """The options of a worked example; ``out`` says what the folder is."""
    shown = "; ".join(f"{name}: {about}" for name, about in worked(verb).items())
    made.add_option("--example", str | None, None, f"a worked example with a report: {shown}")
    made.add_option("--out", str | None, None, out)
    made.switch("--quick", "small sizes of an example")


def run_worked(verb: str, given: Any, options: Callable[[], Mapping[str, Any]] = dict) -> int:
    """Run the worked example that a line names, with its own ``options``, and print what it measured."""
    name = given.example
    if name not in worked(verb):
        raise UsageError(f"there is no example {name!r}{suggest(name, worked(verb))}")
    if given.out is None:
        raise UsageError(f"an example writes a folder; name it, as in --example {name} --out runs/{name}")
    from tenfold.reports.worked import run_example

    found = options()
    with show.progress(f"example {name}") as progress:
        page, rows = run_example(EXAMPLES[name], name, given.out, given.quick, progress, found, "quasiperiodic")
    show.example(name, given.out, page, rows, given.json)
    return 0


def tell(given: Any, facts: Mapping[str, Any], *lines: Any) -> int:
    """Print what was found, as JSON or in lines of text and tables; the exit code."""
    if given.json:
        show.as_json(facts)
    else:
        for line in lines:
            print(line) if isinstance(line, str) else show.console().print(line)
    return 0


def refuse_with(parser: CommandParser, argv: list[str], option: str, others: tuple[str, ...]) -> None:
    """Refuse ``others`` beside an option that leaves them without a meaning."""
    said = parser.peek(argv, {"--json", "--allow-resonant", "--inexact", "--squared", "--exact", "--dual"})[1]
    idle = [name for name in others if name in said]
    if option.removeprefix("--") in said and idle:
        raise UsageError(f"{option} leaves --{idle[0].replace('_', '-')} without a meaning; leave one of them away")


def skew_shift(given: Any) -> shifts.SkewShift:
    """The skew shift in ``--skew`` dimensions, from ``--theta`` in all coordinates or in each."""
    if given.allow_resonant:
        raise UsageError("a skew shift is given with any frequency; leave --allow-resonant away")
    if not 1 <= given.skew <= 64:
        raise UsageError(f"--skew is {given.skew}; expected a dimension from 1 to 64")
    theta = given.theta if "," in given.theta else ",".join([given.theta] * given.skew)
    orbit = shifts.SkewShift(given.alpha, theta, given.bits)
    if orbit.dim != given.skew:
        raise UsageError(f"--skew {given.skew} needs {given.skew} numbers in --theta, not {orbit.dim}")
    return orbit
