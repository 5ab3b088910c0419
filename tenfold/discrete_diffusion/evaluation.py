"""What is measured of held-out text: the trained model, by a bound with a name, and models that count."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from tenfold.data.text.characters import CharacterSplits
from tenfold.data.text.token_rows import PackedRows, TokenRows
from tenfold.discrete.paths import MaskSource
from tenfold.discrete.schedules import Linear, time_of
from tenfold.discrete_diffusion import likelihood
from tenfold.discrete_diffusion.likelihood import LikelihoodBound
from tenfold.discrete_diffusion.networks.model import Denoiser, DiscreteDiffusion, ScheduledNetwork
from tenfold.discrete_diffusion.networks.stacked import Autoregressive
from tenfold.discrete_diffusion.options import ChainOptions, DiffusionEvaluation, TokenRowEvaluation
from tenfold.discrete_diffusion.samplers.chain import noise, run_chain
from tenfold.discrete_diffusion.samplers.prediction import Random
from tenfold.errors import UsageError
from tenfold.runs.measurement import Measurement
from tenfold.text.ngrams import BackOff, Unigram, best_order
from tenfold.training.task import device_of

NAME, UNIT = "bits_per_char", "bits/char"


@dataclass(frozen=True)
class Holes:
    """Rows (h, n), where the hole of each is, and its size."""

    rows: Int[Tensor, "h n"]
    hidden: Bool[Tensor, "h n"]

    def share(self, filled: Int[Tensor, "h n"]) -> tuple[float, float]:
        """Share of holes that are filled as they were, and its standard error."""
        exact = ((filled == self.rows) | ~self.hidden).all(1).double().mean().item()
        return exact, math.sqrt(exact * (1 - exact) / len(self.rows))


def cut_holes(rows: Int[Tensor, "b n"], count: int, longest: int = 8, seed: int = 0) -> Holes:
    """``count`` holes of 1 to ``longest`` tokens, as many of each length, one in each of ``count`` rows; a token at
    least stands on both sides.

    Raises UsageError for rows too short for the longest hole."""
    n = rows.shape[1]
    if n < longest + 2:
        raise UsageError(f"rows of {n} tokens are too short for holes of {longest}; give rows of {longest + 2}")
    generator = torch.Generator().manual_seed(seed)
    chosen = rows[torch.randperm(len(rows), generator=generator).repeat(-(-count // len(rows)))[:count]]
    size = torch.arange(count) % longest + 1
    first = 1 + (torch.rand(count, generator=generator) * (n - 1 - size)).long()
    place = torch.arange(n)
    hidden = (place >= first[:, None]) & (place < (first + size)[:, None])
    return Holes(chosen, hidden.to(rows.device))


@torch.no_grad()
def fill_masks(model: Denoiser, holes: Holes) -> Int[Tensor, "h n"]:
    """Holes filled one token a pass, the surest first, each by its likeliest.

    Raises UsageError for a model of another source than masks."""
    if not isinstance(model.source, MaskSource):
        raise UsageError("holes are filled by a model of masks; this one's noise is uniform: use fill_by_chain")
    tokens, left = torch.where(holes.hidden, model.source.mask, holes.rows), holes.hidden.clone()
    for _ in range(int(left.sum(1).max())):
        alpha = (~left).double().mean(1)
        time = time_of(getattr(model, "schedule", Linear()), alpha).float() if model.time_conditioned else None
        best, token = model(tokens, time).max(-1)
        place = torch.where(left, best, -torch.inf).argmax(1, keepdim=True)
        open_ = left.gather(1, place)
        tokens.scatter_(1, place, torch.where(open_, token.gather(1, place), tokens.gather(1, place)))
        left.scatter_(1, place, False)
    return tokens


def fill_by_chain(model: ScheduledNetwork, holes: Holes, steps: int = 16, seed: int = 0) -> Int[Tensor, "h n"]:
    """Holes filled by the ancestral chain at temperature 0, what stands around them fixed from the beginning: for
    uniform noise, where no token says that it is to be filled. ``seed`` is of the noise and of the chain."""
    random = Random(seed)
    start = noise(model.source, holes.rows, ~holes.hidden, random)
    options = ChainOptions(steps=steps, temperature=0.0)
    return run_chain(model, model.schedule, start, options, random, ~holes.hidden).tokens


@torch.no_grad()
def fill_from_left(model: Autoregressive, holes: Holes) -> Int[Tensor, "h n"]:
    """Holes guessed from what stands left of them, each token the likeliest."""
    tokens = torch.where(holes.hidden, 0, holes.rows)
    places = holes.hidden.any(0).nonzero()[:, 0]
    for i in range(int(places.min()), int(places.max()) + 1):
        guess = model(tokens[:, : i + 1])[:, i].argmax(-1)
        tokens[:, i] = torch.where(holes.hidden[:, i], guess, tokens[:, i])
    return tokens


def measure(
    model: DiscreteDiffusion | Autoregressive, data: CharacterSplits, options: DiffusionEvaluation, name: str
) -> list[Measurement]:
    """Rows of ``evaluation.json`` of a model of characters on the test split: the bound, or the exact likelihood from
    left to right; holes; the models that count, on the same rows."""
    tokens = some_rows(data.test, options.rows).to(device_of(model))
    rows = []
    if isinstance(model, Autoregressive):
        rows.append(bound_row(likelihood.autoregressive(model, tokens, options.batch), name))
    else:
        rows.append(bound_row(likelihood.bound(model, tokens, options.draws, batch=options.batch), name))
        if not isinstance(model.source, MaskSource):
            loose = likelihood.bound(model, tokens, options.draws, "generalised_kl", batch=options.batch)
            rows.append(bound_row(loose, name, "bits_per_char_generalised_kl"))
    if options.holes:
        holes = cut_holes(tokens, options.holes)
        filled, note = _fill(model, holes)
        share, error = holes.share(filled)
        rows.append(Measurement("hole_accuracy", share, "", "test", name, error, options.holes, note))
    rows.append(size_row(model, name))
    return rows + (baselines(data, tokens.cpu()) if options.baselines else [])


def _fill(model: DiscreteDiffusion | Autoregressive, holes: Holes) -> tuple[Tensor, str]:
    """The holes filled as the kind of model can, and how."""
    if isinstance(model, Autoregressive):
        return fill_from_left(model, holes), "from left to right"
    if isinstance(model.source, MaskSource):
        return fill_masks(model, holes), "filled from both sides"
    return fill_by_chain(model, holes), "filled from both sides, by a chain around what is given"


def baselines(data: CharacterSplits, test: Int[Tensor, "b n"]) -> list[Measurement]:
    """The add-one unigram, n-grams of two orders and the back-off model of the best, each row read by itself."""
    symbols, stream = len(data.alphabet), data.stream.astype(np.int64)
    held_out = list(data.validation.some(512).arrays["tokens"].astype(np.int64))
    best = best_order(stream, held_out, symbols=symbols)
    models: dict[str, tuple[Unigram | BackOff, str]] = {
        "unigram": (Unigram(stream, symbols), "one added to each count"),
        "bigram": (BackOff(stream, 2, symbols), "Witten-Bell"),
        "trigram": (BackOff(stream, 3, symbols), "Witten-Bell"),
        "back-off": (best, f"Witten-Bell, {best.order - 1} characters of context"),
    }
    rows = []
    for name, (model, note) in models.items():
        bits = torch.tensor([float(model.cost(line).sum()) for line in test.numpy()], dtype=torch.float64)
        counts = torch.full((len(bits),), test.shape[1])
        found = LikelihoodBound(bits * float(np.log(2)), torch.zeros_like(bits), counts, 1, note)
        value, error = found.bits_per_token()
        rows.append(Measurement(NAME, value, UNIT, "test", name, error, None, note))
    return rows


def measure_tokens(
    model: DiscreteDiffusion, train: PackedRows, test: PackedRows, options: TokenRowEvaluation, name: str
) -> list[Measurement]:
    """The same of a model of a tokenizer's tokens: bits per token and perplexity of test rows, by the bound, and by the
    frequencies of the training rows' tokens."""
    tokens = some_rows(test, options.rows)
    found = likelihood.bound(model, tokens.to(device_of(model)), options.draws, batch=options.batch)
    costs = unigram_nats(train, tokens, model.config.vocabulary)
    rows = _token_rows(found.nats.cpu(), tokens, name, found.name, options.draws)
    rows += _token_rows(costs, tokens, "unigram", "one added to each count", None)
    return [*rows, size_row(model, name)]


def _token_rows(nats: Tensor, tokens: Tensor, model: str, note: str, draws: int | None) -> list[Measurement]:
    mean, error = averaged(nats / tokens.shape[1])
    bits, size = 1 / math.log(2), math.exp(mean)
    return [
        Measurement("bits_per_token", mean * bits, "bits/token", "test", model, error * bits, draws, note),
        Measurement("perplexity", size, "", "test", model, size * error, draws, note),
    ]


# --- rows that several evaluations share --------------------------------------------------------------------------


def some_rows(split: TokenRows | PackedRows, count: int) -> Int[Tensor, "b n"]:
    """At most ``count`` rows of a split, evenly spread; all for 0."""
    some = split.some(count)
    return some.batch(np.arange(len(some)))["tokens"]


def averaged(values: Float[Tensor, " b"]) -> tuple[float, float]:
    """The mean, and its standard error."""
    values = values.double()
    return float(values.mean()), float(values.std()) / math.sqrt(len(values))


def bound_row(found: LikelihoodBound, model: str, name: str = NAME) -> Measurement:
    """A bound as a measurement."""
    value, error = found.bits_per_token()
    return Measurement(name, value, UNIT, "test", model, error, found.draws, found.name)


def size_row(model: nn.Module, name: str) -> Measurement:
    """The number of a model's parameters."""
    return Measurement("parameters", sum(p.numel() for p in model.parameters()), model=name)


def unigram_nats(train: TokenRows | PackedRows, tokens: Int[Tensor, "b n"], vocabulary: int) -> Float[Tensor, " b"]:
    """−log p of rows by the frequencies of the training rows' tokens, one added to each count."""
    counts = np.bincount(train.arrays["tokens"].ravel(), minlength=vocabulary) + 1.0
    return torch.from_numpy(-np.log(counts / counts.sum()))[tokens].sum(1)
