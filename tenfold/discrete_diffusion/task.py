"""A model of discrete diffusion, and the autoregressive one beside it, as the training loop and the verbs see them."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar, cast, runtime_checkable

import torch
from torch import Tensor, nn

from tenfold.data.text.characters import CharacterSplits
from tenfold.data.text.config import CharacterDataConfig
from tenfold.data.text.texts import TextScoring
from tenfold.data.text.token_rows import PackedRows, TokenRows
from tenfold.discrete.masking import stratified
from tenfold.discrete.paths import MaskSource
from tenfold.discrete_diffusion import likelihood
from tenfold.discrete_diffusion.config import AutoregressiveConfig
from tenfold.discrete_diffusion.corpus import CharacterCorpus, TokenCorpus, TokenSplits, score
from tenfold.discrete_diffusion.evaluation import some_rows
from tenfold.discrete_diffusion.networks.model import DiscreteDiffusion, ScoreNetwork
from tenfold.discrete_diffusion.networks.stacked import Autoregressive
from tenfold.discrete_diffusion.noising import Noise, losses, mean_loss
from tenfold.discrete_diffusion.options import DiffusionAnalysis, DiffusionSampling
from tenfold.discrete_diffusion.pictures import study
from tenfold.discrete_diffusion.reading import reader_of
from tenfold.discrete_diffusion.recipes import AutoregressiveRecipe, DiffusionRecipe, TokenRecipe
from tenfold.discrete_diffusion.sampling import Steering, write_samples
from tenfold.discrete_diffusion.targets.rewards import reward_of
from tenfold.errors import UsageError
from tenfold.hub.fetch import model_folder
from tenfold.nn.cost import traced
from tenfold.runs.measurement import Measurement
from tenfold.runs.outcome import Outcome
from tenfold.runs.sampled_loss import SampledLoss
from tenfold.runs.scores import Scores
from tenfold.text.language_model import LanguageModel
from tenfold.training.optimizers import adamw_of_matrices
from tenfold.training.rehearsal import rehearsed
from tenfold.training.streams import Draws
from tenfold.training.task import LOSS, Batch, Task, Update, device_of, mean_count

_T = TypeVar("_T")


@runtime_checkable
class Movable(Protocol):
    """Networks, teachers and rewards with weights: ``to`` moves them, weights to a floating type if one is given."""

    def to(self, device: torch.device, dtype: torch.dtype | None = None) -> Any: ...


def moved(part: Any, device: torch.device, dtype: torch.dtype | None) -> Any:
    """``part`` on a device: tensors, also in named tuples, and whatever is ``Movable``; anything else as it is."""
    if isinstance(part, Tensor):
        return part.to(device)
    if isinstance(part, tuple):
        items = (moved(item, device, dtype) for item in part)
        return type(part)(*items) if hasattr(part, "_fields") else tuple(items)
    return part.to(device, dtype) if isinstance(part, Movable) else part


class TaskDefaults:
    """What the tasks of the room do alike, unless they say otherwise. Each has a ``recipe``, a ``name``, a ``corpus``
    and a ``model``; what it makes or reads on first use it puts where it is (``placed``)."""

    metric = LOSS
    network: ClassVar[type[nn.Module]] = DiscreteDiffusion
    recipe: Any
    name: str
    corpus: CharacterCorpus | TokenCorpus
    device: torch.device | None = None
    dtype: torch.dtype | None = None

    @cached_property
    def model(self) -> Any:
        """The network: fresh, or what ``load`` read."""
        with seeded(self.recipe.train.seed):
            return self.placed(self.network(self.recipe.model))

    def placed(self, part: _T) -> _T:
        """``part`` where the task is."""
        return part if self.device is None else moved(part, self.device, self.dtype)

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> None:
        """Move what is read already, and put there what is read later."""
        self.device, self.dtype = torch.device(device), dtype
        for name, part in vars(self).items():
            vars(self)[name] = self.placed(part)

    @property
    def data(self) -> CharacterSplits | TokenSplits:
        """The text as rows."""
        return self.corpus.splits

    def modules(self) -> dict[str, nn.Module]:
        """The network."""
        return {"model": self.model}

    def optimizers(self, modules: Mapping[str, nn.Module]) -> dict[str, torch.optim.Optimizer]:
        """AdamW; norms and biases do not decay."""
        return {"model": adamw_of_matrices(modules["model"].parameters(), self.recipe.train)}

    def train_source(self) -> TokenRows | PackedRows:
        """Rows of the training text."""
        return self.data.train

    def validation_source(self) -> TokenRows | PackedRows | None:
        """Rows of the validation text, not more than the data's settings say."""
        return self.data.validation.some(self.recipe.data.validation_rows)

    def reader(self, order: str | None = None) -> LanguageModel:
        """What scores texts token by token; see ``reading``."""
        data = self.recipe.data
        return reader_of(self.model, data if isinstance(data, CharacterDataConfig) else None, order, self.name)

    def state_dict(self) -> dict[str, Any]:
        """Nothing besides the weights."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Nothing to restore."""

    def export(self, folder: Path) -> None:
        """Write the model folder."""
        self.corpus.export(self.model, folder, {"name": self.name})

    def load(self, folder: Path | str) -> None:
        """Take the model of a folder."""
        self.model = self.placed(self.network.from_pretrained(folder))  # type: ignore[attr-defined]

    def evaluate(self) -> list[Measurement]:
        """What the text is measured by, on the test split, beside models that count."""
        return self.corpus.measure(self.model, self.recipe.evaluation, self.name)

    def figures(self, directory: Path) -> list[Path]:
        """PNG files with their captions, if there are any for such a text."""
        return self.corpus.draw(self.model, directory)

    def score(self, options: TextScoring, source: Any, picture: Path | None = None) -> Scores:
        """log p of a user's texts, from the least likely one; see ``corpus.score``."""
        return score(self.model, options, source, self.name, self.recipe.data)

    def validate(self, modules: Mapping[str, nn.Module], batch: Batch, draws: Draws) -> dict[str, Tensor]:
        """Per row: "loss", the bound of the source in nats per token, by two draws of noise."""
        seen, clean, index = _Seen(modules["model"], self.model), batch["tokens"], batch["index"]
        every, count = torch.ones_like(clean, dtype=torch.bool), 2
        total = torch.zeros(len(clean), dtype=torch.float64, device=clean.device)
        for k in range(count):
            offset = draws.uniform(f"validation-{k}", torch.zeros_like(index[:1]))
            purposes = (f"validation-{what}-{k}" for what in ("noise", "tokens"))
            whether, which = (draws.uniform(purpose, index, (clean.shape[1],)) for purpose in purposes)
            total += likelihood.one_draw(seen, clean, every, stratified(offset, index, 64), whether, which)
        return {"loss": (total / count / clean.shape[1]).float()}

    def sample(self, options: DiffusionSampling, folder: Path) -> list[Path]:
        """Text from noise: ``samples.txt`` and ``samples.json``."""
        reward = None
        if options.reward:
            if not self.recipe.model.alphabet:
                raise UsageError("rewards are of characters, and the model's tokens are none; leave --reward out")
            reward = self.placed(reward_of(options.reward, self.recipe.data))
        return write_samples(self.model, options, folder, self.name, Steering(reward=reward))

    def analyse(self, options: DiffusionAnalysis, figures: Path) -> Outcome:
        """How good samples are by the number of steps: measurements, and pictures in the folder ``figures``."""
        if not options.judge:
            raise UsageError("samples are judged by an autoregressive model; name its run, as in --judge runs/kjv-ar")
        judge = self.placed(Autoregressive.from_pretrained(model_folder(options.judge)))
        return study(self.model, judge, self.data, options, figures, self.name)  # type: ignore[arg-type]

    def sampled_losses(self) -> list[SampledLoss]:
        """The bound of test rows as a function of the number that chooses how much noise there is.

        Raises UsageError for a network that undoes no noise."""
        if not isinstance(self.model, DiscreteDiffusion):
            raise UsageError(f"{self.name} draws no noise, so its loss is no function of any")
        rows = some_rows(self.data.test, 0).to(device_of(self.model))
        return likelihood.sampled_losses(self.model.eval(), rows, self.name)

    row_texts: ClassVar[int] = 1
    """Texts end to end in a row of training."""

    def rehearse(self) -> list[nn.Module]:
        """Put the network, and what else a step uses, on the meta device, their weights not read; returns the networks
        that are not trained."""
        self.model = self.network(self.recipe.model)
        return []

    @classmethod
    def describe(cls, recipe: Any) -> dict[str, Any]:
        """Size and cost of a recipe in training, from networks on the meta device: parameters, bytes (see
        ``tenfold.training.rehearsal``) and floating-point operations: a step takes three forward passes, without those
        of what draws, teaches or is compared with."""
        train, length, config = recipe.train, recipe.data.length, recipe.model
        left_to_right = isinstance(config, AutoregressiveConfig)
        task = cls(recipe)  # type: ignore[call-arg]

        def batch(rows: int) -> Batch:
            return {
                "tokens": torch.zeros(rows, length * cls.row_texts, dtype=torch.long),
                "index": torch.zeros(rows).long(),
            }

        with torch.device("meta"):
            model = Autoregressive(config) if left_to_right else DiscreteDiffusion(config)
            given = [torch.zeros(1, length, dtype=torch.long), *([] if left_to_right else [torch.zeros(1)])]
            flops, _ = traced(lambda: model(*given))
            frozen, modules = task.rehearse(), task.modules()
        found = rehearsed(cast(Task, task), modules, batch, train, frozen)
        return {
            "parameters": sum(p.numel() for p in task.model.parameters()),
            "forward_flops_per_token": flops // length,
            "training_flops_per_token": 3 * flops // length,
            "flops_per_step": 3 * flops * train.batch_size,
            "row_activation_bytes": found["activation_bytes"] * train.accumulate // train.batch_size,
            **found,
            "row_tokens": length,
            "batch_size": train.batch_size,
        }


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Fresh weights from a seed, without a trace in the global generator."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


class _Seen:
    """A module that training may have wrapped, with the attributes of the model inside."""

    def __init__(self, module: nn.Module, model: DiscreteDiffusion) -> None:
        self.module, self.model, self.schedule = module, model, model.schedule
        self.source, self.view, self.time_conditioned = model.source, model.view, model.time_conditioned

    def __call__(self, noisy: Tensor, time: Tensor | None = None, rows: Tensor | None = None) -> Tensor:
        if self.model.config.output == "scores":
            return self.model.probabilities(self.module(noisy, time), noisy, time)
        log_probs: Tensor = self.module(noisy, time, rows)
        return log_probs


class DiffusionTask(TaskDefaults):
    """Training by target concrete score matching from data, or by a method that it covers (arXiv 2504.16431), of
    characters or of a tokenizer's tokens."""

    def __init__(self, recipe: DiffusionRecipe | TokenRecipe, name: str = "discrete-diffusion") -> None:
        self.recipe, self.name, model = recipe, name, recipe.model
        if isinstance(recipe, TokenRecipe):
            self.corpus = TokenCorpus(model, recipe.data)
        else:
            self.corpus = CharacterCorpus(model, recipe.data)
        recipe.objective.check(model.source, model.output, model.view)
        if model.source == "uniform" and model.schedule in ("linear", "cosine", "cosine_squared") and not model.epsilon:
            raise UsageError("with uniform noise some tokens must survive to t = 1; set --model.epsilon 0.001")
        self.noise = Noise(model, recipe.objective, recipe.train.batch_size)

    def modules(self) -> dict[str, nn.Module]:
        """The network; of a network of scores, its ratios."""
        return {"model": ScoreNetwork(self.model) if self.recipe.model.output == "scores" else self.model}

    def counts(self, batch: Batch, draws: Draws) -> dict[str, Tensor]:
        """The tokens that are noise."""
        noisy = self.noise(batch["tokens"], batch["index"], draws).noisy
        return {"active": self.noise.source.active(noisy).sum()}

    def step(self, modules: Mapping[str, nn.Module], batch: Batch, draws: Draws) -> Iterator[Update]:
        """One update."""
        settings, source, view, index = self.recipe.objective, self.noise.source, self.recipe.model.view, batch["index"]
        seen = self.noise(batch["tokens"], index, draws)
        active, uniforms = source.active(seen.noisy), None
        if settings.entropy_draws:
            uniforms = draws.uniform("entropy", index, (active.shape[1], settings.entropy_draws))
        if isinstance(source, MaskSource) and settings.loss != "sedd":
            # The head runs on masks only; each is a row of one token.
            rows, numbers = seen.rows(active), None if uniforms is None else uniforms[active][:, None]

            def of_rows(log_probs: Tensor, which: Tensor) -> Tensor:
                chosen = None if numbers is None else numbers[which]
                return losses(settings, log_probs[:, None], rows.part(which), source, view, chosen)[:, 0]

            values = modules["model"](seen.noisy, seen.time, active, of_rows)
            here = torch.ones_like(values, dtype=torch.bool)
        else:
            outputs = modules["model"](seen.noisy, seen.time)
            values, here = losses(settings, outputs, seen, source, view, uniforms), active
        value = mean_loss(settings, values, here, active.numel(), mean_count(batch, "active", active.sum()))
        yield Update("model", value, {"noise_share": 1 - seen.alpha.mean()}, {"losses": values.detach()})


class AutoregressiveTask(TaskDefaults):
    """Training of the autoregressive model on the next character."""

    network = Autoregressive

    def __init__(self, recipe: AutoregressiveRecipe, name: str = "autoregressive") -> None:
        self.recipe, self.name, self.corpus = recipe, name, CharacterCorpus(recipe.model, recipe.data)

    def step(self, modules: Mapping[str, nn.Module], batch: Batch, draws: Draws) -> Iterator[Update]:
        """One update on the mean of −log p(x^i | x^{<i})."""
        nll = self._nll(modules["model"], batch["tokens"])
        yield Update("model", nll.mean(), {}, {"nll": nll.detach()})

    def validate(self, modules: Mapping[str, nn.Module], batch: Batch, draws: Draws) -> dict[str, Tensor]:
        """Per row: "loss", in nats per token."""
        return {"loss": self._nll(modules["model"], batch["tokens"]).mean(1)}

    @staticmethod
    def _nll(model: nn.Module, tokens: Tensor) -> Tensor:
        nll: Tensor = -model(tokens).gather(-1, tokens[..., None])[..., 0]
        return nll
