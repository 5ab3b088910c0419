"""Tuning of one masked model: the model that it starts from, once to be trained and once as the reference that stays,
a reward, samples of the reference, and what tuning changed: rewards of samples, the divergence that it cost, the bound
on held-out text, variety."""

from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tenfold.discrete.masking import mask_exactly
from tenfold.discrete.paths import MaskSource
from tenfold.discrete.schedules import time_of
from tenfold.discrete_diffusion import likelihood
from tenfold.discrete_diffusion.corpus import CharacterCorpus
from tenfold.discrete_diffusion.evaluation import averaged, bound_row, some_rows
from tenfold.discrete_diffusion.networks.model import DiscreteDiffusion
from tenfold.discrete_diffusion.noising import Masks
from tenfold.discrete_diffusion.pictures import sample_entropy
from tenfold.discrete_diffusion.sampling import draw, plain_chain
from tenfold.discrete_diffusion.steering.recipes import SteeringRecipe
from tenfold.discrete_diffusion.targets.rewards import (
    Labelled,
    TrigramClassifier,
    reward_of,
    testament_rows,
    word_length,
)
from tenfold.discrete_diffusion.task import TaskDefaults
from tenfold.errors import UsageError
from tenfold.hub.fetch import model_folder
from tenfold.rl.reference import check_frozen, drift
from tenfold.rl.rewards import Pool, Reward
from tenfold.runs.measurement import Measurement
from tenfold.training.task import device_of


class SteeringTask(TaskDefaults):
    """What the ways of steering a model of characters have alike."""

    corpus: CharacterCorpus

    def __init__(self, recipe: SteeringRecipe, name: str = "") -> None:
        self.recipe, self.name = recipe, name or recipe.system
        self.corpus = CharacterCorpus(recipe.model, recipe.data)
        self.masks = Masks(recipe.model, recipe.train.batch_size)

    def start(self) -> DiscreteDiffusion:
        """The model of ``objective.start``, a run or a model folder; UsageError where its configuration is another."""
        config, start = self.recipe.model, self.recipe.objective.start
        model = DiscreteDiffusion.from_pretrained(model_folder(start))
        if model.config != config:
            raise UsageError(f"objective.start {start} holds {model.config}, but the recipe's model is {config}")
        return self.placed(model)


class TuningTask(SteeringTask):
    """Tuning by a reward."""

    @cached_property
    def reference(self) -> DiscreteDiffusion:
        """The model as it was, with weights of its own that are not trained."""
        return self.start().requires_grad_(False)

    @cached_property
    def model(self) -> DiscreteDiffusion:
        """The network: what training starts from, or what ``load`` read."""
        return self.start().train()

    def rehearse(self) -> list[nn.Module]:
        """The network and its reference; rewards are letters counted, whatever they are."""
        self.reference = DiscreteDiffusion(self.recipe.model).requires_grad_(False)
        self.reward = word_length(0)
        return [*super().rehearse(), self.reference]

    @cached_property
    def reward(self) -> Reward:
        """R of sequences."""
        return self.placed(reward_of(self.recipe.objective.reward, self.recipe.data))

    @cached_property
    def pool(self) -> Pool:
        """Samples of the reference, and their rewards, where the objective has a pool; the same in every process and
        after a resume."""
        recipe, settings = self.recipe, self.recipe.objective
        check_frozen(self.reference, self.model)
        chain = plain_chain(self.reference, settings.pool_steps)
        tokens = draw(self.reference, settings.pool, recipe.data.length, chain, recipe.train.seed).tokens
        return Pool(tokens, self.reward(tokens))

    def validation_source(self) -> None:
        """None: the bound on data is not what is tuned, so the last checkpoint is kept."""

    def evaluate(self) -> list[Measurement]:
        """Rewards of samples, divergence from the reference and the bound on test text, of a tuned model and its
        reference, the same seed for both."""
        model, reward, options = self.model, self.reward, self.recipe.evaluation
        rows, settings = [], self.corpus.config
        test = some_rows(self.corpus.splits.test, options.rows).to(device_of(model))
        reference = self.reference.to(test.device)
        for label, one in ((self.name, model), ("reference", reference)):
            texts = draw(
                one, options.samples, settings.length, plain_chain(one, options.steps), 1, options.batch
            ).tokens
            rows.append(_mean("mean_reward", reward(texts), "samples", label))
            rows.append(Measurement("distinct_trigrams", distinct(texts), "", "samples", label, None, len(texts)))
            rows.append(
                Measurement("sample_entropy", sample_entropy(texts), "bits", "samples", label, None, len(texts))
            )
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
