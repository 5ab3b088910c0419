"""What tuning changed: rewards of samples, the divergence that it cost, the bound on held-out text, variety."""

import math
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from tenfold import discrete
from tenfold.data.text.characters import CharacterSplits
from tenfold.data.text.characters_config import CharacterDataConfig
from tenfold.discrete.paths import MaskSource
from tenfold.discrete_diffusion import likelihood
from tenfold.discrete_diffusion.evaluation import row
from tenfold.discrete_diffusion.networks.model import DiscreteDiffusion
from tenfold.discrete_diffusion.samplers.options import ChainOptions
from tenfold.discrete_diffusion.samplers.writing import draw, sample_entropy
from tenfold.discrete_diffusion.steering.matching import drift
from tenfold.discrete_diffusion.steering.options import SteeringEvaluation
from tenfold.discrete_diffusion.steering.rewards import Labelled, TrigramClassifier, testament_rows
from tenfold.runs.measurement import Measurement


def measure_steered(
    model: DiscreteDiffusion,
    reference: DiscreteDiffusion,
    reward: Callable[[Tensor], Tensor],
    data: CharacterSplits,
    settings: CharacterDataConfig,
    options: SteeringEvaluation,
    name: str,
) -> list[Measurement]:
    """Rows of ``evaluation.json`` for a tuned model and its reference, the same seed for both."""
    rows = []
    test = _test(data, options.rows, next(model.parameters()).device)
    reference = reference.to(test.device)
    for label, one in ((name, model), ("reference", reference)):
        kind = "ancestral" if one.time_conditioned else "cached"
        chain = ChainOptions(kind=kind, steps=options.steps)  # type: ignore[arg-type]
        texts = draw(one, options.samples, settings.length, chain, 1, options.batch).tokens
        rows.append(_mean("mean_reward", reward(texts), "samples", label))
        rows.append(Measurement("distinct_trigrams", distinct(texts), "", "samples", label, None, len(texts)))
        rows.append(Measurement("sample_entropy", sample_entropy(texts), "bits", "samples", label, None, len(texts)))
        if one is model:
            away = divergence(model, reference, texts, options.draws, options.batch)
            note = "divergence of the paths from the reference's, at least that of the texts"
            rows.append(_mean("kl_from_reference", away, "samples", label, "nats", note))
        rows.append(row(likelihood.bound(one, test, options.draws, batch=options.batch), label))
    if isinstance(reward, TrigramClassifier):
        rows += _of_text(reward, testament_rows(settings, settings.test_place))
    else:
        rows.append(_mean("mean_reward", reward(test), "test", "held-out text"))
    return rows


def _test(data: CharacterSplits, count: int, device: torch.device) -> Tensor:
    import numpy as np

    some = data.test.some(count)
    return some.batch(np.arange(len(some)))["tokens"].to(device)


def _of_text(classifier: TrigramClassifier, rows: Labelled) -> list[Measurement]:
    note = "trained on the validation blocks; both kinds count alike"
    found = [Measurement("classifier_accuracy", classifier.accuracy(rows), "", "test", "trigrams", None, None, note)]
    for label, which in (("new testament", rows.new), ("old testament", ~rows.new)):
        found.append(_mean("mean_reward", classifier(rows.tokens[which]), "test", label))
    return found


def _mean(name: str, values: Tensor, split: str, model: str, unit: str = "", note: str = "") -> Measurement:
    values = values.double()
    error = float(values.std()) / math.sqrt(len(values))
    return Measurement(name, float(values.mean()), unit, split, model, error, len(values), note)


def distinct(tokens: Int[Tensor, "b n"], order: int = 3) -> float:
    """Different n-grams over all n-grams."""
    grams = tokens.unfold(1, order, 1).reshape(-1, order)
    return len(grams.unique(dim=0)) / len(grams)


@torch.no_grad()
def divergence(model: Any, reference: Any, texts: Int[Tensor, "b n"], draws: int, batch: int) -> Tensor:
    """KL of the two reverse processes at masked samples of ``model``, each row's mean over ``draws`` (nats, (b,)):
    E (L/l) Σ_masked KL(p_θ ‖ p_ref), l uniform."""
    source = model.source
    assert isinstance(source, MaskSource)
    n, generator, total = texts.shape[1], torch.Generator().manual_seed(2), torch.zeros(len(texts), dtype=torch.float64)
    for _ in range(draws):
        for rows in torch.arange(len(texts)).split(batch):
            clean = texts[rows.to(texts.device)]
            count = torch.randint(1, n + 1, (len(rows),), generator=generator).to(texts.device)
            numbers = torch.rand(clean.shape, generator=generator).to(texts.device)
            hidden = discrete.mask_exactly(torch.ones_like(clean, dtype=torch.bool), count, numbers)
            noisy, weight = torch.where(hidden, source.mask, clean), n / count
            time = discrete.time_of(model.schedule, 1 - 1 / weight)
            total[rows] += drift(model(noisy, time), reference(noisy, time), hidden, weight).double().cpu() / draws
    return total
