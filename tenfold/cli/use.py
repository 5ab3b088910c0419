"""The verbs on a trained model: ``sample``, ``score``, ``analyse``, and those of rooms' own."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tenfold import api, progress
from tenfold.api import catalogue
from tenfold.cli import options
from tenfold.errors import UsageError, suggest
from tenfold.reports import console as show
from tenfold.settings.command import CommandParser, Given


class Page(NamedTuple):
    """What a verb's page says, what it reads besides the model, and where it writes to."""

    summary: str
    doing: str
    examples: str
    inputs: str = ""
    out: str = ""


SAMPLE = Page(
    "Draw samples from a run, a model folder or a hub id: a picture, the numbers, and how they were made.",
    "sampling",
    """\
  tenfold sample runs/a --num 64 --out samples
  tenfold sample runs/a --num 64 --class 3 --guidance 1.5 --denoise --json
""",
    out="where the files go (default: samples/ of the run, then samples-2/ and so on)",
)
SCORE = Page(
    "Print the log-likelihood of data under a trained model, from the least to the most likely, and its mean. INPUT "
    "is an image, a folder of images, a .npy or a .npz file (integers are levels of pixels, floats are in the model's "
    "own scale); for models of text a text file in UTF-8 or a folder of them.",
    "scoring",
    """\
  tenfold score runs/a photos --out scores.csv
  tenfold score runs/a digits.npy --bits-per-dim --draws 64 --json
  tenfold score runs/kjv psalms.txt --lines --out verses.csv
""",
    inputs="image, folder of images, .npy or .npz file; text",
    out="write all scores here (.csv or .json), with a picture beside",
)
ANALYSE = Page(
    "Look at how a model works: how near its order of decoding is to left-to-right, where it is sure, how well it "
    "fills in holes; how good samples are by the number of steps. Numbers, figures and a self-contained page.",
    "analysing",
    """\
  tenfold analyse runs/a
  tenfold analyse runs/a --temperatures 0,0.2,1 --holes 200 --autoregressive runs/ar --out runs/a-order --json
  tenfold analyse runs/kjv-masked --judge runs/kjv-ar --steps [4,16,64]
  tenfold analyse --example tcsm-worlds --out runs/tcsm-worlds
""",
    out="a new folder (default: analysis/ of the run)",
)


def sample(argv: list[str]) -> int:
    """Write samples into a folder."""
    opened, given, changes = opened_and_given("sample", SAMPLE, argv)
    with progress.shown(SAMPLE.doing):
        written = api.sample(opened, given.out, **changes)
    _tell_files(written, given.json)
    return 0


def score(argv: list[str]) -> int:
    """Score data and print the ranking."""
    opened, given, changes = opened_and_given("score", SCORE, argv)
    with progress.shown(SCORE.doing):
        found = api.score(opened, given.input, given.out, **changes)
    if given.json:
        show.as_json({**found.to_dict(), "files": [str(path) for path in found.files]})
    else:
        show.scores(found)
        print("".join(f"{path}\n" for path in found.files), end="")
    return 0


def analyse(argv: list[str]) -> int:
    """Write an analysis, or a worked example, into a folder, and print its numbers."""
    parser = _parser("analyse", ANALYSE)
    if "example" in parser.peek(argv)[1]:
        return _example("analyse", ANALYSE, argv)
    opened, given, changes = opened_and_given("analyse", ANALYSE, argv)
    with progress.shown(ANALYSE.doing):
        page, rows = api.analyse(opened, given.out, **changes)
    tell_page(given.source, page, rows, given.json)
    return 0


def own(verb: str, argv: list[str]) -> int:
    """A verb of a room's own."""
    known = catalogue.verbs()[verb]
    told = Page(known.summary, verb, known.examples, known.inputs, f"a new folder (default: {verb}/ of the run)")
    opened, given, changes = opened_and_given(verb, told, argv)
    with progress.shown(verb):
        page, rows = api.perform(verb, opened, given.input if known.inputs else None, given.out, **changes)
    tell_page(given.source, page, rows, given.json)
    return 0


def opened_and_given(verb: str, told: Page, argv: list[str]) -> tuple[api.Run | api.Model, Given, dict[str, Any]]:
    """The model that a line names, opened, the line, and the fields of the system's options that it gives."""
    parser = _parser(verb, told)
    named, asked = parser.peek(argv, options.bare_options(verb))
    if len(named) < (2 if told.inputs else 1) and "help" not in asked:
        also = ", and data," if told.inputs else ""
        example = told.examples.strip().splitlines()[0].strip().split(" --")[0]
        raise UsageError(f"name a run, a model folder or a hub id{also} {_to(verb)}, as in '{example}'")
    opened = api.open_source(named[0]) if named else None
    systems = catalogue.systems_with(verb) if opened is None else [opened.system]
    kinds = [catalogue.options_of(system, verb) for system in systems]
    for kind in kinds:
        parser.add_options(kind)
    given = parser.parse_args(argv)
    assert opened is not None  # help leaves before
    opened.place(given.device, given.dtype)
    return opened, given, given.options(kinds[0])


def _parser(verb: str, told: Page) -> CommandParser:
    line = f"RUN{' INPUT' if told.inputs else ''} [--out PATH] [options]"
    parser = CommandParser(verb, line, told.summary, told.examples)
    parser.add_argument("source", metavar="RUN", help="run folder, model folder or hub id")
    if told.inputs:
        parser.add_argument("input", metavar="INPUT", help=told.inputs)
    parser.add_option("--out", str | None, None, told.out)
    parser.switch("--json", "print JSON")
    options.add_device(parser, dtype=True)
    if shown := catalogue.examples(verb):
        parser.add_option("--example", str | None, None, f"instead of a run: {_listed(shown)}")
    return parser


def _to(verb: str) -> str:
    """The end of "name a run".

    >>> _to("sample"), _to("detect")
    ('to sample from', "for 'tenfold detect'")
    """
    return {"sample": "to sample from", "score": "to score", "analyse": "to analyse"}.get(verb, f"for 'tenfold {verb}'")


def _tell_files(files: Sequence[Path], as_json: bool) -> None:
    names = [str(path) for path in files]
    if as_json:
        show.as_json({"files": names})
    else:
        for path in files:
            if path.name == "samples.txt":
                print(show.readable(path.read_text(encoding="utf-8")))
        print("\n".join(names))


def tell_page(source: str, page: Path, rows: Any, as_json: bool) -> None:
    """Print measurements and where the page is."""
    if as_json:
        show.as_json({"report": str(page), "metrics": show.rows_as_json(rows)})
    else:
        show.measurements(source, rows)
        print(page)


def _listed(examples: dict[str, Any]) -> str:
    return "; ".join(f"{name}: {example.summary}" for name, example in examples.items())


def _example(verb: str, told: Page, argv: list[str]) -> int:
    known = catalogue.examples(verb)
    parser = CommandParser(verb, "--example NAME --out DIR [--quick]", told.summary, told.examples)
    parser.add_option("--example", str | None, None, _listed(known))
    parser.add_option("--out", str | None, None, "a new folder")
    parser.switch("--quick", "small sizes")
    parser.switch("--json", "print JSON")
    given: Any = parser.parse_args(argv)
    if given.example not in known:
        raise UsageError(f"there is no example {given.example!r}{suggest(given.example, known)}")
    if given.out is None:
        raise UsageError(
            f"an example writes a folder; name it, as in --example {given.example} --out runs/{given.example}"
        )
    with show.progress(f"example {given.example}") as done:
        page, rows = api.run_example(given.example, given.out, given.quick, done)
    show.example(given.example, given.out, page, rows, given.json)
    return 0
