"""Pictures of trained models: what is left to be known by noise level, loss against compute, and how good samples are:
judged by a model that reads from left to right, and by their variety."""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from tenfold.data.text.characters import CharacterSplits
from tenfold.discrete.objectives import cross_entropy
from tenfold.discrete.paths import in_view
from tenfold.discrete.schedules import time_of
from tenfold.discrete_diffusion.evaluation import averaged, some_rows
from tenfold.discrete_diffusion.networks.model import DiscreteDiffusion
from tenfold.discrete_diffusion.networks.stacked import Autoregressive
from tenfold.discrete_diffusion.options import ChainOptions, DiffusionAnalysis
from tenfold.discrete_diffusion.sampling import Letters, draw
from tenfold.errors import UsageError
from tenfold.figures import lines, write_captions
from tenfold.runs.measurement import Measurement
from tenfold.runs.outcome import Outcome
from tenfold.runs.run_folder import RunFolder
from tenfold.training.task import device_of

_LEVELS = (0.02, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.97)
_ROWS = 128


@torch.no_grad()
def plot(model: DiscreteDiffusion | Autoregressive, data: CharacterSplits, directory: Path) -> list[Path]:
    """Bits left of an active token against the share of tokens that are noise (of a token against its place, for a
    model that reads from left to right), on test rows."""
    directory.mkdir(parents=True, exist_ok=True)
    clean = data.test.batch(np.arange(min(_ROWS, len(data.test))))["tokens"].to(next(model.parameters()).device)
    if isinstance(model, Autoregressive):
        bits = -model(clean).gather(-1, clean[..., None])[..., 0].mean(0).cpu() / math.log(2)
        series = {"test rows": (range(1, len(bits) + 1), bits.tolist())}
        path = lines(series, directory / "by-place.png", "character of the row", "bits")
        write_captions(directory, {path.name: "What a character costs, by how many stand before it."})
        return [path]
    generator = torch.Generator().manual_seed(0)
    left: list[float] = []
    for level in _LEVELS:
        alpha = torch.full((len(clean),), 1 - level, device=clean.device)
        whether, which = torch.rand(2, *clean.shape, generator=generator).to(clean.device)
        noisy = model.source.noise(clean, alpha, whether, which)
        found = model(noisy, time_of(model.schedule, alpha))
        posterior = in_view(found, noisy, alpha, model.source, model.view, "posterior")
        active = model.source.active(noisy)
        left.append(cross_entropy(posterior, clean)[active].mean().item() / math.log(2))
    what = ("share of tokens that are noise", "bits of an active token")
    path = lines({"test rows": (_LEVELS, left)}, directory / "by-noise.png", *what)
    write_captions(directory, {path.name: "How much is left to be known of a token that may be noise, by its share."})
    return [path]


def loss_against_compute(
    runs: Mapping[str, str | os.PathLike[str]], path: Path, clock: str = "seconds", unit: str = "character"
) -> Path:
    """Validation loss of several runs by name in bits a token, which is called a ``unit``, against seconds of training
    (or "step").

    Raises UsageError for a run that has validated less than twice."""
    series: dict[str, tuple[list[float], list[float]]] = {}
    for name, folder in runs.items():
        found = [record for record in RunFolder(folder).read_metrics() if record.get("kind") == "validation"]
        if len(found) < 2:
            raise UsageError(f"{folder} has validated {len(found)} times; train it with --train.validate_every")
        series[name] = ([r[clock] for r in found], [r["loss"] / math.log(2) for r in found])
    spent = "step" if clock == "step" else f"{clock} of training"
    return lines(series, path, spent, f"validation bound, bits per {unit}", log=(True, False))


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
    if not model.config.alphabet:
        raise UsageError("the model's tokens are no characters (its alphabet is empty), so samples are no text")
    if judge.config.alphabet != model.config.alphabet:
        raise UsageError("the judge reads other characters than the model writes; train both on one alphabet")
    length = options.length or model.config.length
    if length > judge.config.length:
        raise UsageError(f"samples of {length} characters exceed the judge's {judge.config.length}; set --length")
    rows = _judged_rows(judge, some_rows(data.test, options.num)[:, :length], "held-out text", "")
    curves: dict[str, list[tuple[int, float, float]]] = {}
    texts: dict[str, list[str]] = {}
    base = ChainOptions(temperature=options.temperature)
    for kind in options.kinds:
        curves[kind] = []
        for steps in _distinct(kind, options.steps, length):
            chain = replace(base, kind=kind, steps=steps, per_call=math.ceil(length / steps))
            found = draw(model, options.num, length, chain, options.seed, options.batch)
            label, calls = f"{name}, {kind}, {steps} steps", found.rows / options.num
            perplexity, bits, entropy = _judged_rows(judge, found.tokens, label, f"{calls:.1f} calls a sequence")
            rows += [perplexity, bits, entropy]
            texts[label] = Letters(model.config.alphabet).texts(found.tokens[:4])
            curves[kind].append((steps, perplexity.value, entropy.value))
    captions = {
        "perplexity.png": "Perplexity of samples under the autoregressive judge, by the number of steps.",
        "entropy.png": "Entropy of the characters of a sample: lower than the text's where samples repeat themselves.",
    }
    labels = ("perplexity by the judge", "entropy of a sample, bits")
    for file, of, row, what in zip(captions, (1, 2), (0, 2), labels, strict=True):
        series = {kind: ([p[0] for p in points], [p[of] for p in points]) for kind, points in curves.items()}
        level = ("held-out text", rows[row].value)
        lines(series, figures / file, "steps", what, log=(True, of == 1), level=level)
    return Outcome(rows, captions, {"judge": options.judge, "length": length, "num": options.num}, {"samples": texts})


def _distinct(kind: str, steps: Sequence[int], length: int) -> list[int]:
    """First hitting has no more steps than tokens; the jumps of "gillespie" come when they come."""
    if kind == "gillespie":
        return [length]
    return sorted({min(n, length) if kind in ("first_hitting", "confidence") else n for n in steps})


def _judged_rows(judge: Autoregressive, tokens: Tensor, model: str, note: str) -> list[Measurement]:
    bits = judged(judge, tokens.to(device_of(judge)))
    mean, error = averaged(bits)
    perplexity, count = 2.0**mean, len(bits)
    return [
        Measurement(
            "generative_perplexity", perplexity, "", "samples", model, perplexity * math.log(2) * error, count, note
        ),
        Measurement("judged_bits_per_char", mean, "bits/char", "samples", model, error, count, note),
        Measurement("sample_entropy", sample_entropy(tokens), "bits", "samples", model, None, count, note),
    ]
