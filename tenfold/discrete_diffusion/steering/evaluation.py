"""What tuning changed: rewards of samples, the divergence that it cost, the bound on held-out text, variety."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tenfold.discrete.masking import mask_exactly
from tenfold.discrete.paths import MaskSource
from tenfold.discrete.schedules import time_of
from tenfold.discrete_diffusion import likelihood
from tenfold.discrete_diffusion.analysis.quality import sample_entropy
from tenfold.discrete_diffusion.evaluation import averaged, bound_row, some_rows
from tenfold.discrete_diffusion.networks.model import DiscreteDiffusion
from tenfold.discrete_diffusion.sampling import draw, plain_chain
from tenfold.discrete_diffusion.steering.reference import Tuned
from tenfold.discrete_diffusion.targets.rewards import Labelled, TrigramClassifier, testament_rows
from tenfold.rl.reference import drift
from tenfold.runs.measurement import Measurement
from tenfold.training.task import device_of


def measure_steered(task: Tuned, seconds: float = 0.0) -> list[Measurement]:
    """Rewards of samples, divergence from the reference and the bound on test text, of a tuned model and its reference,
    the same seed for both."""
    model, reward, options, name = task.model, task.reward, task.recipe.evaluation, task.name
    rows, settings = [], task.corpus.config
    test = some_rows(task.corpus.splits.test, options.rows).to(device_of(model))
    reference = task.reference.to(test.device)
    for label, one in ((name, model), ("reference", reference)):
        texts = draw(one, options.samples, settings.length, plain_chain(one, options.steps), 1, options.batch).tokens
        rows.append(_mean("mean_reward", reward(texts), "samples", label))
        rows.append(Measurement("distinct_trigrams", distinct(texts), "", "samples", label, None, len(texts)))
        rows.append(Measurement("sample_entropy", sample_entropy(texts), "bits", "samples", label, None, len(texts)))
        if one is model:
            away = divergence(model, reference, texts, options.draws, options.batch)
            note = "divergence of the paths from the reference's, at least that of the texts"
            rows.append(_mean("kl_from_reference", away, "samples", label, "nats", note))
        rows.append(bound_row(likelihood.bound(one, test, options.draws, batch=options.batch), label))
    if isinstance(reward, TrigramClassifier):
        rows += _of_text(reward, testament_rows(settings, settings.test_place))
    else:
        rows.append(_mean("mean_reward", reward(test), "test", "held-out text"))
    return rows


def _of_text(classifier: TrigramClassifier, rows: Labelled) -> list[Measurement]:
    note = "trained on the validation blocks; both kinds count alike"
    found = [Measurement("classifier_accuracy", classifier.accuracy(rows), "", "test", "trigrams", None, None, note)]
    for label, which in (("new testament", rows.new), ("old testament", ~rows.new)):
        found.append(_mean("mean_reward", classifier(rows.tokens[which]), "test", label))
    return found


def _mean(name: str, values: Tensor, split: str, model: str, unit: str = "", note: str = "") -> Measurement:
    mean, error = averaged(values)
    return Measurement(name, mean, unit, split, model, error, len(values), note)


def distinct(tokens: Int[Tensor, "b n"], order: int = 3) -> float:
    """Different n-grams over all n-grams."""
    grams = tokens.unfold(1, order, 1).reshape(-1, order)
    return len(grams.unique(dim=0)) / len(grams)


@torch.no_grad()
def divergence(
    model: DiscreteDiffusion, reference: DiscreteDiffusion, texts: Int[Tensor, "b n"], draws: int, batch: int
) -> Float[Tensor, " b"]:
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
            hidden = mask_exactly(torch.ones_like(clean, dtype=torch.bool), count, numbers)
            noisy, weight = torch.where(hidden, source.mask, clean), n / count
            time = time_of(model.schedule, 1 - 1 / weight)
            total[rows] += drift(model(noisy, time), reference(noisy, time), hidden, weight).double().cpu() / draws
    return total
