"""Problems with tests solved by a model: completions, run in the sandbox, and pass@k (arXiv 2107.03374)."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from tenfold import progress
from tenfold.errors import UsageError
from tenfold.files import sha256
from tenfold.masked_lm.analysis.order import mean_and_error, pass_at_k
from tenfold.masked_lm.completion.complete import check_request, complete_texts
from tenfold.masked_lm.decoding.sampling import require_batch
from tenfold.masked_lm.model import MaskedLM
from tenfold.masked_lm.options import ProblemSolving
from tenfold.masked_lm.solving.journal import Journal, Key
from tenfold.masked_lm.solving.problems import Posed, posed
from tenfold.runs.measurement import Measurement, interval
from tenfold.runs.outcome import Outcome
from tenfold.sandbox.limits import Limits
from tenfold.sandbox.pool import Sandbox

_PEEKED = 16  # weights of each tensor that tell models apart


def solve_problems(model: MaskedLM, options: ProblemSolving, name: str, folder: Path | None = None) -> Outcome:
    """pass@k of a model, the mean over problems of 1 − C(n−c, k)/C(n, k); errors and 95 % intervals are over problems.
    ``data`` holds every completion with its verdict.

    In a ``folder`` what is finished is kept (``completions.jsonl``, whose lines EvalPlus's checker reads too): a call
    that was cut off goes on behind it, to the same numbers.

    Raises UsageError and TenfoldError before any completion is drawn: for problems that do not fit, where this machine
    cannot hold programs, and for a folder with work of another kind."""
    given = posed(options)
    together = min(options.batch, len(given) * options.num)
    require_batch(model, together, together * options.tokens, "lower --batch")
    for one in given:
        try:
            check_request(model, one.request, options.generation)
        except UsageError as error:
            raise UsageError(f"{one.problem['task_id']}: {error}") from None
    work = [(number, sample) for number in range(len(given)) for sample in range(options.num)]
    with Sandbox(Limits(seconds=options.seconds)) as sandbox:
        journal = Journal(folder, _header(model, given, options))
        missing = [key for key in work if key not in journal.done]
        with progress.task("solving", len(work), "completions", done=len(work) - len(missing)) as step:
            for part in (missing[at : at + options.batch] for at in range(0, len(missing), options.batch)):
                journal.add(_solved(model, sandbox, given, part, options))
                step(len(part))
    done = [journal.done[key] for key in work]
    rows = _rows(done, given, options, name)
    return Outcome(rows, {}, asdict(options), {"completions": done})


def _header(model: MaskedLM, given: Sequence[Posed], options: ProblemSolving) -> dict[str, Any]:
    """What completions and verdicts depend on; the batch and the file's name are not among it."""
    problems = sha256(*(repr(one) for one in given))
    return {
        "model": fingerprint(model),
        "problems": problems,
        "options": asdict(replace(options, batch=1)) | {"path": ""},
    }


def fingerprint(model: MaskedLM) -> str:
    """Names, types and shapes of a model's tensors, and a few numbers of each: training changes them all."""
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in model.state_dict().items():
        peeked = tensor.detach().flatten()[:_PEEKED].double().cpu()
        digest.update(repr((name, tensor.dtype, tuple(tensor.shape), peeked.tolist())).encode())
    return digest.hexdigest()


@torch.no_grad()
def _solved(
    model: MaskedLM, sandbox: Sandbox, given: Sequence[Posed], part: Sequence[Key], options: ProblemSolving
) -> list[dict[str, Any]]:
    """Samples, completed together and judged."""
    asked = [given[number] for number, _ in part]
    requests, samples = [one.request for one in asked], [sample for _, sample in part]
    stops = asked[0].stops  # those of a suite are the same
    made = complete_texts(model, requests, options.generation, stops, seed=options.seed, samples=samples)[0]
    texts = [completion.text for completion in made]
    verdicts = sandbox.judge(one.submission(text) for one, text in zip(asked, texts, strict=True))
    # What passes all of EvalPlus's tests passes the fewer before them.
    fewer = [n for n, verdict in enumerate(verdicts) if asked[n].problem["base"] and not verdict.passed]
    base = dict(zip(fewer, sandbox.judge(asked[n].submission(texts[n], "base") for n in fewer), strict=True))
    return [
        {
            "problem": number,
            "task_id": one.problem["task_id"],
            "sample": sample,
            "solution": one.prefix + text,
            "status": verdict.status,
            "text": verdict.text,
            "base_status": base.get(place, verdict).status,
        }
        for place, ((number, sample), one, text, verdict) in enumerate(zip(part, asked, texts, verdicts, strict=True))
    ]


def _rows(
    done: Sequence[Mapping[str, Any]], given: Sequence[Posed], options: ProblemSolving, name: str
) -> list[Measurement]:
    """pass@k for each k, of all tests and of EvalPlus's fewer ones; and the share of each verdict."""
    rows: list[Measurement] = []
    about = f"{options.suite}, {options.template}, {options.num} completions, temperature {options.temperature:g}"
    kinds = {"": "status"} | ({"base_": "base_status"} if any(one.problem["base"] for one in given) else {})
    for label, field in kinds.items():
        right = Counter(one["problem"] for one in done if one[field] == "passed")
        for k in options.k:
            mean, error = mean_and_error([pass_at_k(options.num, right[number], k) for number in range(len(given))])
            low, high = interval(mean, len(given))
            note = f"{about}; 95 % interval {low:.3g} to {high:.3g}"
            rows.append(Measurement(f"{label}pass_at_{k}", mean, "", "test", name, error, len(done), note))
    for status, count in Counter(str(one["status"]) for one in done).most_common():
        told = f"share_{status.replace(' ', '_')}"
        rows.append(Measurement(told, count / len(done), "", "test", name, None, len(done), about))
    return rows
