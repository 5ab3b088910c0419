"""Samples of discrete diffusion as text files, and how good they are."""

import json
import math
import re
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tenfold import progress
from tenfold.data.text.characters import CharacterSplits
from tenfold.discrete_diffusion.commands import DiffusionAnalysis, DiffusionSampling
from tenfold.discrete_diffusion.networks.autoregressive import Autoregressive
from tenfold.discrete_diffusion.networks.model import DiscreteDiffusion
from tenfold.discrete_diffusion.samplers.chain import LogRatio, Sampled, noise, run_chain
from tenfold.discrete_diffusion.samplers.options import ChainOptions
from tenfold.discrete_diffusion.samplers.random import Random
from tenfold.discrete_diffusion.targets.densities import LogDensity
from tenfold.errors import UsageError
from tenfold.figures import lines
from tenfold.files import write_output
from tenfold.runs.measurement import Measurement
from tenfold.runs.outcome import Outcome
from tenfold.text.tokenizer import FileTokenizer


def draw(
    model: Any,
    count: int,
    length: int,
    options: ChainOptions,
    seed: int,
    batch: int = 64,
    given: Int[Tensor, " n"] | None = None,
    fixed: Bool[Tensor, " n"] | None = None,
    log_ratio: LogRatio | None = None,
    reward: LogDensity | None = None,
) -> Sampled:
    """``count`` sequences of ``length`` tokens; where ``fixed``, the tokens of ``given`` stay; see ``run_chain``."""
    random, parts = Random(seed), []
    device = next(model.parameters()).device
    for first in range(0, count, batch):
        rows = min(batch, count - first)
        clean = torch.zeros(rows, length, dtype=torch.long, device=device) if given is None else given.expand(rows, -1)
        prompt = torch.zeros_like(clean, dtype=torch.bool) if fixed is None else fixed.expand(rows, -1)
        start = noise(model.source, clean, prompt, random)
        parts.append(run_chain(model, model.schedule, start, options, random, prompt, log_ratio, reward))
    tokens = torch.cat([part.tokens for part in parts])
    return Sampled(tokens, sum(part.calls for part in parts), sum(part.rows for part in parts))


def write_samples(
    model: DiscreteDiffusion,
    options: DiffusionSampling,
    folder: Path,
    name: str,
    log_ratio: LogRatio | None = None,
    reward: LogDensity | None = None,
) -> list[Path]:
    """``samples.txt``, one text a line, and ``samples.json``: how they were made, with the calls of the network.

    A model whose tokens are no characters writes text by its tokenizer, a line each with its breaks as \\n; without
    one, the numbers of tokens as JSON, which a note says.

    Raises UsageError for a template that cannot be read in the model's tokens, or one too long."""
    write = _script(model)
    length = options.length or model.config.length
    given = fixed = None
    if options.template:
        if write is None:
            raise UsageError(f"a template is text, and the model has no tokenizer to read it; {_HOW}")
        given, fixed = write.template(options.template)
        length = len(given)
    if length > model.config.length:
        unit = "characters" if model.config.alphabet else "tokens"
        raise UsageError(f"{length} {unit} exceed the {model.config.length} of the model; ask for fewer")
    found = draw(
        model, options.num, length, options.chain, options.seed, options.batch, given, fixed, log_ratio, reward
    )
    facts = {"calls": found.calls, "sequences_computed": found.rows}
    record: dict[str, Any] = {"model": name, "options": asdict(options)}
    if write is None:
        progress.note(f"the model has no tokenizer, so samples are numbers of tokens in samples.json; {_HOW}")
        record |= {"tokens": found.tokens.tolist(), **facts}
        return [write_output(folder / "samples.json", json.dumps(record) + "\n")]
    texts = write.texts(found.tokens)
    lines_ = "".join(text.replace("\n", "\\n") + "\n" for text in texts)
    record |= {"samples": texts, **facts}
    return [
        write_output(folder / "samples.txt", lines_),
        write_output(folder / "samples.json", json.dumps(record, indent=2) + "\n"),
    ]


_HOW = "convert the checkpoint again with --tokenizer FOLDER_OR_HUB_ID (openai-community/gpt2 of the published ones)"


class _Letters:
    """Tokens that are characters."""

    def __init__(self, alphabet: str) -> None:
        self.alphabet = alphabet

    def template(self, text: str) -> tuple[Tensor, Tensor]:
        return read_template(text, self.alphabet)

    def texts(self, tokens: Tensor) -> list[str]:
        return text_of(tokens, self.alphabet)


class _Pieces:
    """Tokens of a tokenizer; each "_" of a template is one of them."""

    def __init__(self, tokenizer: FileTokenizer) -> None:
        self.tokenizer = tokenizer

    def template(self, text: str) -> tuple[Tensor, Tensor]:
        parts = [([0] * len(part), False) if part[0] == "_" else (self.tokenizer.encode(part), True)
                 for part in re.findall("_+|[^_]+", text)]  # fmt: skip
        fixed = torch.tensor([given for tokens, given in parts for _ in tokens])
        return torch.tensor([token for tokens, _ in parts for token in tokens]), fixed

    def texts(self, tokens: Tensor) -> list[str]:
        return [self.tokenizer.decode(row) for row in tokens.tolist()]


def _script(model: Any) -> _Letters | _Pieces | None:
    """How a model's tokens are written; None where nobody knows."""
    if model.config.alphabet:
        return _Letters(model.config.alphabet)
    return None if model.tokenizer is None else _Pieces(model.tokenizer)


def alphabet_of(model: Any) -> str:
    """The characters of a model's tokens.

    Raises UsageError where tokens are not characters."""
    if not model.config.alphabet:
        raise UsageError("the model's tokens are no characters (its alphabet is empty), so samples are no text")
    return str(model.config.alphabet)


def read_template(template: str, alphabet: str) -> tuple[Int[Tensor, " n"], Bool[Tensor, " n"]]:
    """Tokens, and which of them are given.

    >>> read_template("a_b", "ab")
    (tensor([0, 0, 1]), tensor([ True, False,  True]))
    """
    strange = sorted(set(template) - set(alphabet) - {"_"})
    if strange:
        raise UsageError(f'the template holds {strange[0]!r}; the model knows {alphabet!r}, and "_" is filled in')
    places = {letter: number for number, letter in enumerate(alphabet)}
    fixed = torch.tensor([letter != "_" for letter in template])
    return torch.tensor([places.get(letter, 0) for letter in template]), fixed


def text_of(tokens: Int[Tensor, "b n"], alphabet: str) -> list[str]:
    """Rows as strings."""
    return ["".join(alphabet[i] for i in row) for row in tokens.tolist()]


# --- how good samples are --------------------------------------------------------------------------------------------


@torch.no_grad()
def judged(judge: Autoregressive, tokens: Int[Tensor, "b n"], batch: int = 64) -> Float[Tensor, " b"]:
    """Bits per token of each sequence under the judge."""
    nats = torch.cat([judge.log_prob(part) for part in tokens.split(batch)])
    return -nats.double() / tokens.shape[1] / math.log(2)


def unigram_entropy(tokens: Int[Tensor, "b n"]) -> float:
    """Entropy of the tokens of all sequences, bits: samples that repeat themselves have little."""
    shares = torch.bincount(tokens.flatten()).double() / tokens.numel()
    return float(-(shares * shares.clamp(min=1e-300).log2()).sum())


def sample_entropy(tokens: Int[Tensor, "b n"]) -> float:
    """Mean over sequences of the entropy of their own tokens, bits, as published tables have it."""
    return sum(unigram_entropy(row[None]) for row in tokens) / len(tokens)


def study(
    model: DiscreteDiffusion,
    judge: Autoregressive,
    data: CharacterSplits,
    options: DiffusionAnalysis,
    figures: Path,
    name: str,
) -> Outcome:
    """Generative perplexity and entropy of samples against the number of steps, beside those of test text.

    Raises UsageError for a judge of other characters."""
    if judge.config.alphabet != alphabet_of(model):
        raise UsageError("the judge reads other characters than the model writes; train both on one alphabet")
    length = options.length or model.config.length
    if length > judge.config.length:
        raise UsageError(f"samples of {length} characters exceed the judge's {judge.config.length}; set --length")
    real = data.test.some(options.num).batch(np.arange(min(options.num, len(data.test))))["tokens"][:, :length]
    rows = _rows(judge, real, "held-out text", "")
    quality: dict[str, tuple[list[int], list[float]]] = {}
    spread: dict[str, tuple[list[int], list[float]]] = {}
    texts: dict[str, list[str]] = {}
    base = ChainOptions(temperature=options.temperature)
    for kind in options.kinds:
        places, perplexities, entropies = [], [], []
        for steps in _distinct(kind, options.steps, length):
            chain = replace(base, kind=kind, steps=steps, per_call=math.ceil(length / steps))
            found = draw(model, options.num, length, chain, options.seed, options.batch)
            label, calls = f"{name}, {kind}, {steps} steps", found.rows / options.num
            perplexity, bits, entropy = _rows(judge, found.tokens, label, f"{calls:.1f} calls a sequence")
            rows += [perplexity, bits, entropy]
            texts[label] = text_of(found.tokens[:4], alphabet_of(model))
            places.append(steps)
            perplexities.append(perplexity.value)
            entropies.append(entropy.value)
        quality[kind], spread[kind] = (places, perplexities), (places, entropies)
    captions = {}
    level = ("held-out text", rows[0].value)
    path = lines(quality, figures / "perplexity.png", "steps", "perplexity by the judge", log=(True, True), level=level)
    captions[path.name] = "Perplexity of samples under the autoregressive judge, by the number of steps."
    level = ("held-out text", rows[2].value)
    path = lines(spread, figures / "entropy.png", "steps", "entropy of a sample, bits", log=(True, False), level=level)
    captions[path.name] = (
        "Entropy of the characters of a sample: lower than the text's where samples repeat themselves."
    )
    return Outcome(rows, captions, {"judge": options.judge, "length": length, "num": options.num}, {"samples": texts})


def _distinct(kind: str, steps: Sequence[int], length: int) -> list[int]:
    """First hitting has no more steps than tokens; the jumps of "gillespie" come when they come."""
    if kind == "gillespie":
        return [length]
    return sorted({min(n, length) if kind in ("first_hitting", "confidence") else n for n in steps})


def _rows(judge: Autoregressive, tokens: Tensor, model: str, note: str) -> list[Measurement]:
    bits = judged(judge, tokens.to(next(judge.parameters()).device))
    mean, error = float(bits.mean()), float(bits.std()) / math.sqrt(len(bits))
    perplexity = 2.0**mean
    count = len(bits)
    return [
        Measurement(
            "generative_perplexity", perplexity, "", "samples", model, perplexity * math.log(2) * error, count, note
        ),
        Measurement("judged_bits_per_char", mean, "bits/char", "samples", model, error, count, note),
        Measurement("sample_entropy", sample_entropy(tokens), "bits", "samples", model, None, count, note),
    ]
