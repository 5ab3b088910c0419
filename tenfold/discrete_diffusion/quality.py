"""How good samples are: judged by a model that reads from left to right, and by their variety."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tenfold.data.text.characters import CharacterSplits
from tenfold.discrete_diffusion.evaluation import averaged, some_rows
from tenfold.discrete_diffusion.networks.autoregressive import Autoregressive
from tenfold.discrete_diffusion.networks.model import DiscreteDiffusion
from tenfold.discrete_diffusion.options import DiffusionAnalysis
from tenfold.discrete_diffusion.samplers.options import ChainOptions
from tenfold.discrete_diffusion.sampling import Letters, draw
from tenfold.errors import UsageError
from tenfold.figures import lines
from tenfold.runs.measurement import Measurement
from tenfold.runs.outcome import Outcome
from tenfold.training.task import device_of


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
    rows = _rows(judge, some_rows(data.test, options.num)[:, :length], "held-out text", "")
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
            texts[label] = Letters(model.config.alphabet).texts(found.tokens[:4])
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
