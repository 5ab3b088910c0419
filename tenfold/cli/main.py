"""The ``tenfold`` command: finds the verb, runs it, and turns every failure into one line and an exit code.

Exit codes: 0 done, 1 failed, 2 bad arguments (found before any work), 130 interrupted.
"""

import os
import sys
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from tenfold.api import catalogue
from tenfold.cli import bench, convert, doctor, evaluate, report, train, use
from tenfold.cli import list as list_
from tenfold.cli.completion import completes
from tenfold.errors import TenfoldError, suggest
from tenfold.version import __version__

# verb -> (what runs it: arguments to exit code, what it does)
VERBS: dict[str, tuple[Callable[[list[str]], int], str]] = {
    "list": (list_.run, "the ten systems, their state, and the recipes"),
    "train": (train.run, "train a recipe, or resume a run; then evaluate and report"),
    "sample": (use.sample, "draw samples from a run or a model folder"),
    "analyse": (use.analyse, "how a model decodes: orders, confidence, infilled holes"),
    "score": (use.score, "print the log-likelihood of your data under a run or a model folder"),
    "evaluate": (evaluate.run, "measure a run again and print the table"),
    "report": (report.run, "write a run's figures and its self-contained HTML page"),
    "convert": (convert.run, "turn a published checkpoint into a model folder"),
    "bench": (bench.run, "compare speed with the reference algorithm (source checkout)"),
    "doctor": (doctor.run, "what this installation runs on, and what it lacks"),
}

INTERRUPTED = 130  # as shells have it: 128, and the number of the signal
FRAME = ("--help", "--version")

EXAMPLES = """\
examples:
  tenfold list
  tenfold train tarflow-digits --out runs/a
  tenfold sample runs/a --num 64 --out samples
"""


def verbs() -> dict[str, tuple[Callable[[list[str]], int], str]]:
    """The verbs of all systems, and those of rooms' own."""
    own = {verb: (partial(use.own, verb), known.summary) for verb, known in catalogue.verbs().items()}
    return {**VERBS, **own, **{verb: (known.run, known.summary) for verb, known in catalogue.commands().items()}}


def usage() -> str:
    """The page of ``tenfold --help``."""
    known = verbs()
    width = max(map(len, known))
    lines = [f"  {name:<{width}}  {summary}" for name, (_, summary) in known.items()]
    return (
        "usage: tenfold [--version] [--help] COMMAND ...\n\n"
        "Ten research systems in one PyTorch library and one command.\n\ncommands:\n"
        + "\n".join(lines)
        + "\n\n'tenfold COMMAND --help' explains a command and its options.\n\n"
        + EXAMPLES
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line ``argv`` (without the program's name) and return its exit code."""
    return guarded(_dispatch, list(sys.argv[1:] if argv is None else argv))


def guarded(run: Callable[[list[str]], int], argv: list[str]) -> int:
    """``run(argv)`` with every failure as one line on standard error; returns the exit code."""
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _warn
            code = run(argv)
        sys.stdout.flush()
        return code
    except TenfoldError as error:
        return _fail(str(error), error.exit_code, error)
    except KeyboardInterrupt as error:
        return _fail(str(error) or "interrupted", INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader left: nothing to complain about
        return 1
    except SystemExit as leave:  # --help
        return _fail(leave.code, 1) if isinstance(leave.code, str) else leave.code or 0
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _fail(f"{where}{error.strerror or error}", 1, error)
    except Exception as error:
        return _fail(f"unexpected {type(error).__name__}: {error}; set TENFOLD_TRACEBACK=1 for the traceback", 1, error)


def _dispatch(arguments: list[str]) -> int:
    if completes(verbs(), (*FRAME, "-h", "-V")):
        return 0
    if not arguments or arguments[0] in ("-h", "--help") or arguments == ["help"]:
        print(usage(), end="")
        return 0 if arguments else 2
    name, *rest = arguments
    if name in ("--version", "-V"):
        print(f"tenfold {__version__}")
        return 0
    if name == "help":
        name, rest = rest[0], ["--help"]
    known = verbs()
    if name not in known:
        asked = name.startswith("-")
        return _fail(
            f"there is no {'option' if asked else 'command'} {name!r}{suggest(name, FRAME if asked else known)}", 2
        )
    run, _ = known[name]
    return run(rest)


def _warn(message: Warning | str, *_: Any, **__: Any) -> None:
    print(f"tenfold: warning: {' '.join(str(message).split())}", file=sys.stderr)


def _fail(message: str, code: int, error: BaseException | None = None) -> int:
    if error is not None and os.environ.get("TENFOLD_TRACEBACK", "0") not in ("", "0"):
        raise error
    print(f"tenfold: {' '.join(message.split())}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
