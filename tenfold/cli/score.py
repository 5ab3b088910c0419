"""``tenfold score``."""

from tenfold import api, progress
from tenfold.cli.options import bare_options, systems_with
from tenfold.errors import UsageError
from tenfold.reports import console as show
from tenfold.settings.command import CommandParser

SUMMARY = (
    "Print the log-likelihood of data under a trained model, from the least to the most likely, and its mean. INPUT "
    "is an image, a folder of images, a .npy or a .npz file (integers are levels of pixels, floats are in the model's "
    "own scale); for models of text a text file in UTF-8 or a folder of them."
)
EXAMPLES = """\
  tenfold score runs/a photos --out scores.csv
  tenfold score runs/a digits.npy --bits-per-dim --draws 64 --json
  tenfold score runs/kjv psalms.txt --lines --out verses.csv
"""


def run(argv: list[str]) -> int:
    """Score data and print the ranking."""
    parser = CommandParser("score", "RUN INPUT [--out FILE] [options]", SUMMARY, EXAMPLES)
    parser.add_argument("source", metavar="RUN", help="run folder, model folder or hub id")
    parser.add_argument("input", metavar="INPUT", help="image, folder of images, .npy or .npz file; text")
    parser.add_argument("--out", metavar="FILE", help="write all scores here (.csv or .json), with a picture beside")
    parser.switch("--json", "print JSON")
    named, options = parser.peek(argv, bare_options("score"))
    if len(named) < 2 and "help" not in options:
        raise UsageError("name a run, a model folder or a hub id, and data, as in 'tenfold score runs/a photos'")
    systems = [api.system_of(named[0])] if named else systems_with("score")
    for system in systems:
        parser.add_options(api.part(system, "score"))
    given = parser.parse_args(argv)
    with progress.shown("scoring"):
        found = api.score(given.source, given.input, given.out, **given.options(api.part(systems[0], "score")))
    if given.json:
        show.as_json({**found.to_dict(), "files": [str(path) for path in found.files]})
    else:
        show.scores(found)
        print("".join(f"{path}\n" for path in found.files), end="")
    return 0
