"""``tenfold sandbox``: what isolates programs on this machine, and verdicts of a file of programs."""

from collections import Counter
from pathlib import Path
from typing import Any

from tenfold.data.text.reading import json_objects
from tenfold.errors import UsageError
from tenfold.reports import console as show
from tenfold.sandbox.capabilities import layers
from tenfold.sandbox.judging import Submission
from tenfold.sandbox.limits import Limits
from tenfold.sandbox.pool import Sandbox
from tenfold.settings.command import CommandParser

SUMMARY = (
    "Run programs that nobody trusts, and say whether they pass their tests. FILE holds JSON lines, each with "
    '"program" and "tests", and perhaps "functions" (names that the tests call) and "context" (trusted source that '
    "runs with the tests). With --check: say which layers of the isolation hold on this machine."
)
EXAMPLES = """\
  tenfold sandbox --check
  tenfold sandbox submissions.jsonl --seconds 3 --workers 4 --json
"""
_FIELDS = ("program", "tests", "functions", "context")


def run(argv: list[str]) -> int:
    """Read a line, look or judge, print. The exit code is 1 where a layer is missing."""
    parser = CommandParser("sandbox", "--check | FILE [options]", SUMMARY, EXAMPLES)
    parser.add_argument("file", metavar="FILE", nargs="?", default="", help="JSON lines")
    parser.switch("--check", "which layers of the isolation hold here")
    parser.switch("--json", "print JSON")
    parser.add_option("--workers", int, 0, "programs at a time; 0 for as many as there are processors")
    parser.add_options(Limits)
    given = parser.parse_args(argv)
    if bool(given.file) == given.check:
        raise UsageError("give a FILE of programs, or --check alone")
    limits = Limits(**given.options(Limits))
    return _check(given.json) if given.check else _judge(Path(given.file), limits, given.workers, given.json)


def _check(json: bool) -> int:
    found = layers()
    if json:
        show.as_json({layer.name: layer.holds for layer in found})
    else:
        width = max(len(layer.name) for layer in found)
        for layer in found:
            state = "holds" if layer.holds else "MISSING" if layer.required else "not here"
            print(f"{layer.name:<{width}}  {state:<8}  {layer.what}")
    return 0 if all(layer.holds for layer in found if layer.required) else 1


def _judge(file: Path, limits: Limits, workers: int, json: bool) -> int:
    if not file.is_file():
        raise UsageError(f"{file} does not exist or is not a file; give JSON lines of programs and tests")
    submissions = [_submission(record, f"line {number} of {file}") for number, record in json_objects(file)]
    if not submissions:
        raise UsageError(f"{file} has no line; give JSON lines of programs and tests")
    with show.busy("judging"), Sandbox(limits, workers) as sandbox:
        verdicts = sandbox.judge(submissions)
    if json:
        show.as_json([{"status": v.status, "text": v.text, "seconds": v.seconds} for v in verdicts])
        return 0
    for number, verdict in enumerate(verdicts, 1):
        print(f"{number}  {verdict.status}  {verdict.text}".rstrip())
    print(", ".join(f"{count} {status}" for status, count in Counter(v.status for v in verdicts).most_common()))
    return 0


def _submission(record: dict[str, Any], where: str) -> Submission:
    missing = [name for name in _FIELDS[:2] if name not in record]
    if missing:
        raise UsageError(f"{where} has no {missing[0]!r}; each line needs program and tests")
    try:
        return Submission(**{name: record[name] for name in _FIELDS if name in record})
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None
