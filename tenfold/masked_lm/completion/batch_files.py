"""Files of prompts to files of completions, in batches, where an interrupted run goes on where it stopped; and what
``tenfold sample`` writes."""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from tenfold import progress
from tenfold.data.text.reading import json_objects
from tenfold.errors import UsageError
from tenfold.files import disk_errors, json_text, write_output
from tenfold.masked_lm.completion.complete import Completion, Request, check_request, complete_texts, tokenizer_of
from tenfold.masked_lm.decoding.options import GenerationOptions
from tenfold.masked_lm.decoding.sampling import require_batch
from tenfold.masked_lm.model import MaskedLM
from tenfold.masked_lm.options import MaskedSampling
from tenfold.settings.checks import at_least, settings
from tenfold.settings.values import read

_MADE = ("sample", "completion", "finish_reason", "completion_tokens")


@settings
class FileJob:
    """How a file of prompts is completed.

    Attributes:
        tokens: new tokens for a line that has no "max_tokens".
        samples: completions of each line.
        batch: lines completed together; no completion depends on it.
        seed: keys the draws of each line.
        stop: strings that end a completion.
    """

    tokens: int = 128
    samples: int = 1
    batch: int = 8
    seed: int = 0
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        at_least(self, "", tokens=1, samples=1, batch=1)


def read_prompts(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """All lines of ``prompts_of``."""
    return [line for _, line in prompts_of(path)]


def prompts_of(path: str | os.PathLike[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """The lines of a JSONL file, gzipped or not, with their numbers, one at a time; each has a "prompt", and may have
    "suffix", "max_tokens", "task_id" …

    Raises UsageError, with the line's number, for what is no such file."""
    file, wanted, number = Path(path), 'JSON lines, each with a "prompt"', 0
    if not file.is_file():
        raise UsageError(f"{file} does not exist or is not a file; give {wanted}")
    for number, line in json_objects(file, 'an object with a "prompt"'):
        if not isinstance(line.get("prompt"), str):
            raise UsageError(f'line {number} of {file} has no "prompt" string')
        yield number, line
    if not number:
        raise UsageError(f"{file} has no line; give {wanted}")


def complete_file(
    model: MaskedLM,
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    job: FileJob | None = None,
    options: GenerationOptions | None = None,
    needed: Sequence[str] = (),
) -> Path:
    """Complete every line of ``source`` into ``out``, a line each and sample: the line's own fields with "completion",
    "finish_reason", "sample", "completion_tokens".

    All lines are checked first, ``needed`` fields too. ``out`` appears when everything is done. Until then finished
    lines are in ``out``.partial, and the same call goes on behind them, to the same file as if never stopped: of a
    ``source`` that was mended too, and with another batch, on which no completion depends.

    Raises UsageError for a bad source, with the line, an ``out`` that exists, and a partial file of another source or
    other settings.
    """
    job, options = job or FileJob(), options or GenerationOptions(alg="entropy")
    target = Path(out)
    if target.exists():
        raise UsageError(f"{target} exists already; choose another file")
    total = job.samples * _checked(model, source, job, options, needed)
    partial = target.with_name(f"{target.name}.partial")
    # The first line says what the file is of.
    header = json.dumps({"job": asdict(replace(job, batch=1)), "options": asdict(options)}, sort_keys=True)
    with disk_errors(str(partial)):
        partial.parent.mkdir(parents=True, exist_ok=True)
        other = UsageError(
            f"{partial} is of another source or other settings; finish it with those, or remove it to write {target}"
        )
        done = _finished(partial, header, other)
        if done and not any(work.key in done for work in _work(source, job)):
            raise other
        missing = (work for work in _work(source, job) if work.key not in done)
        with open(partial, "ab") as file, progress.task("completing", total, "texts", done=len(done)) as step:
            while part := list(islice(missing, job.batch)):
                requests, samples = [work.request for work in part], [work.occurrence for work in part]
                made, _ = complete_texts(model, requests, options, job.stop, seed=job.seed, samples=samples)
                for work, completion in zip(part, made, strict=True):
                    done[work.key] = file.tell()
                    file.write(work.finished(completion).encode() + b"\n")
                    step()
                file.flush()
                os.fsync(file.fileno())
        writing = target.with_name(f".{target.name}.writing")
        with open(partial, "rb") as finished, open(writing, "wb") as file:
            for work in _work(source, job):
                finished.seek(done[work.key])
                file.write(finished.readline())
            file.flush()
            os.fsync(file.fileno())
        os.replace(writing, target)
    partial.unlink()
    return target


class _Work(NamedTuple):
    """A sample of a line, and how many equal ones are before it."""

    line: dict[str, Any]
    sample: int
    request: Request
    occurrence: int
    key: bytes

    def finished(self, found: Completion) -> str:
        """The line of the file that is made."""
        values = self.sample, found.text, found.finish_reason, found.completion_tokens
        return json_text({**self.line, **dict(zip(_MADE, values, strict=True))})


def _work(source: str | os.PathLike[str], job: FileJob) -> Iterator[_Work]:
    """Every sample of every line; the finished line is found by its own fields, and the occurrence of these."""
    requests, lines = Counter[bytes](), Counter[bytes]()
    for _, line in prompts_of(source):
        request = _request(line, job)
        text = _digest([request.prompt, request.suffix, request.tokens])
        for sample in range(job.samples):
            own = _digest(_fields(line) | {"sample": sample})
            yield _Work(line, sample, request, requests[text], _digest([own.hex(), lines[own]]))
            requests[text] += 1
            lines[own] += 1


def _request(line: Mapping[str, Any], job: FileJob) -> Request:
    suffix = read(str | None, line.get("suffix"), "suffix")
    return Request(line["prompt"], suffix, read(int, line.get("max_tokens", job.tokens), "max_tokens"))


def _fields(line: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in line.items() if name not in _MADE}


def _digest(value: Any) -> bytes:
    return hashlib.blake2b(json.dumps(value, sort_keys=True).encode(), digest_size=16).digest()


def _checked(
    model: MaskedLM, source: str | os.PathLike[str], job: FileJob, options: GenerationOptions, needed: Sequence[str]
) -> int:
    """How many lines there are; UsageError for the first that cannot be completed."""
    count = 0
    for number, line in progress.track(prompts_of(source), "checking", "lines"):
        try:
            for name in needed:
                if name not in line:
                    raise UsageError(f'there is no "{name}", which the form needs')
            check_request(model, _request(line, job), options)
        except UsageError as error:
            raise UsageError(f"line {number} of {source}: {error}") from None
        count += 1
    return count


def _finished(partial: Path, header: str, other: UsageError) -> dict[bytes, int]:
    """Where whole lines of results begin in a partial file, by their key; a kill may have cut the last one, which is
    removed. Raises ``other`` where the first line is not the header."""
    if not partial.exists():
        write_output(partial, header + "\n")
    lines, done, at = Counter[bytes](), {}, 0
    with open(partial, "rb+") as file:
        for line in file:
            if at == 0 and line.rstrip(b"\n") != header.encode():
                raise other
            if not line.endswith(b"\n"):
                break
            if at:
                try:
                    record = json.loads(line)
                    own = _digest(_fields(record) | {"sample": record["sample"]})
                except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
                    break
                done[_digest([own.hex(), lines[own]])] = at
                lines[own] += 1
            at += len(line)
        file.truncate(at)
    return done


# --- forms that other programs read -------------------------------------------------------------------------


FORMS: dict[str, Callable[[Sequence[Mapping[str, Any]]], list[Any]]] = {
    # EvalPlus: the solution is prompt and completion.
    "evalplus": lambda lines: [{"task_id": _task(x), "solution": x["prompt"] + x["completion"]} for x in lines],
    "human-eval": lambda lines: [{"task_id": _task(x), "completion": x["completion"]} for x in lines],
    # The bigcode harness: for each task, in order, the list of its generations, prompts included.
    "bigcode": lambda lines: [[x["prompt"] + x["completion"] for x in group] for group in _by_task(lines)],
}


def _by_task(lines: Sequence[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for line in lines:
        groups.setdefault(_task(line), []).append(line)
    return list(groups.values())


def write_form(source: str | os.PathLike[str], out: str | os.PathLike[str], form: str) -> Path:
    """A completed file in the form of another program: JSON lines, for bigcode one JSON list.

    Raises UsageError for an unknown form, and lines without "completion" or "task_id"."""
    if form not in FORMS:
        raise UsageError(f"there is no form {form!r}; choose one of {', '.join(FORMS)}")
    lines = read_prompts(source)
    for number, line in enumerate(lines, 1):
        if not isinstance(line.get("completion"), str):
            raise UsageError(f'line {number} of {source} has no "completion"; complete it first')
    made = FORMS[form](lines)
    text = json_text(made) + "\n" if form == "bigcode" else "".join(f"{json_text(item)}\n" for item in made)
    return write_output(Path(out), text)


def _task(line: Mapping[str, Any]) -> str:
    if "task_id" not in line:
        raise UsageError(f'a line has no "task_id", which this form needs: {json.dumps(dict(line))[:80]}')
    return str(line["task_id"])


def write_samples(model: MaskedLM, options: MaskedSampling, folder: Path, name: str) -> list[Path]:
    """``samples.txt`` (the texts) and ``samples.json`` (how they were made, with passes and positions computed); for a
    file of prompts ``completions.jsonl``, and the form asked for.

    Raises UsageError, before any pass, for options that do not fit the model, and where a finished file is in the way.
    """
    if options.input and (folder / "completions.jsonl").exists():
        raise UsageError(f"{folder / 'completions.jsonl'} exists already; choose another --out")
    tokenizer_of(model)
    together = options.batch if options.input else min(options.batch, options.num)
    require_batch(model, together, together * options.tokens, "lower --batch")
    if options.input:
        job = FileJob(options.tokens, options.num, options.batch, options.seed, options.stop)
        needed = () if options.form == "jsonl" else ("task_id",)
        made = [complete_file(model, options.input, folder / "completions.jsonl", job, options.generation, needed)]
        if options.form != "jsonl":
            suffix = "json" if options.form == "bigcode" else "jsonl"
            made.append(write_form(made[0], folder / f"{options.form}.{suffix}", options.form))
        return made
    requests = [Request(options.prompt, options.suffix, options.tokens)] * options.num
    check_request(model, requests[0], options.generation)
    with disk_errors(str(folder)):  # before the work
        folder.mkdir(parents=True, exist_ok=True)
    texts, costs = [], []
    for first in range(0, len(requests), options.batch):
        part = requests[first : first + options.batch]
        samples = range(first, first + len(part))
        given = model, part, options.generation, options.stop
        completions, found = complete_texts(*given, seed=options.seed, samples=samples)
        texts += completions
        costs.append({"texts": len(part), "passes": found.nfe, "token_forwards": found.token_forwards})
    record = {
        "model": name,
        "options": asdict(options),
        "samples": [asdict(completion) for completion in texts],
        "cost": costs,
    }
    bar = "-" * 40
    shown = [f"{options.prompt}⟦{c.text}⟧{options.suffix or ''}\n{bar} {c.finish_reason}\n" for c in texts]
    return [
        write_output(folder / "samples.txt", "".join(shown)),
        write_output(folder / "samples.json", json_text(record, indent=2) + "\n"),
    ]
