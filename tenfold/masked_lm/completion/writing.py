"""Samples of a masked language model as files: what ``tenfold sample`` writes."""

import json
from dataclasses import asdict
from pathlib import Path

import torch

from tenfold.errors import UsageError
from tenfold.files import write_output
from tenfold.masked_lm.completion.batch_files import FileJob, complete_file, write_form
from tenfold.masked_lm.completion.complete import Request, complete_texts, tokenizer_of
from tenfold.masked_lm.model import MaskedLM
from tenfold.masked_lm.options import MaskedSampling


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
