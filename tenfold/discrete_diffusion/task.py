"""A model of discrete diffusion, and the autoregressive one beside it, as the training loop sees them."""

from collections.abc import Iterator, Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from tenfold import discrete
from tenfold.data.text.characters import CharacterSplits, read_characters
from tenfold.data.text.characters import encode as encode_characters
from tenfold.data.text.characters_config import CharacterDataConfig
from tenfold.data.text.texts import TextScoring, read_texts
from tenfold.data.text.token_rows import TokenRows
from tenfold.discrete import bounds
from tenfold.discrete.paths import MaskSource
from tenfold.discrete_diffusion import likelihood, objective
from tenfold.discrete_diffusion.commands import DiffusionAnalysis, DiffusionSampling
from tenfold.discrete_diffusion.config import AutoregressiveConfig, DiffusionConfig
from tenfold.discrete_diffusion.networks.autoregressive import Autoregressive
from tenfold.discrete_diffusion.networks.model import DiscreteDiffusion, Scores
from tenfold.discrete_diffusion.options import DiffusionEvaluation, DiffusionObjective
from tenfold.errors import UsageError
from tenfold.runs.measurement import Measurement
from tenfold.runs.outcome import Outcome
from tenfold.runs.sampled_loss import SampledLoss
from tenfold.runs.scores import Scores as Scored
from tenfold.text.scores import Rows as ScoredRows
from tenfold.text.scores import score_texts
from tenfold.training.optimizers import adamw_of_matrices
from tenfold.training.task import Update


@runtime_checkable
class DiffusionRecipe(Protocol):
    """What a recipe must hold; ``train`` has the optimiser's fields, the batch and the seed."""

    model: DiffusionConfig
    data: CharacterDataConfig
    objective: DiffusionObjective
    evaluation: DiffusionEvaluation
    train: Any


@runtime_checkable
class AutoregressiveRecipe(Protocol):
    """The same without an objective: there is one."""

    model: AutoregressiveConfig
    data: CharacterDataConfig
    evaluation: DiffusionEvaluation
    train: Any


class TextTask:
    """What both kinds of model share: characters, optimiser, measuring."""

    def __init__(self, recipe: Any, name: str) -> None:
        self.recipe, self.name = recipe, name
        self._check_data()

    def _check_data(self) -> None:
        """Raises UsageError for data of other tokens than the model's; a model without an alphabet is one that was
        converted, and has no data here."""
        model, data = self.recipe.model, self.recipe.data
        if model.alphabet and (model.vocabulary != len(data.alphabet) or model.alphabet != data.alphabet):
            raise UsageError(
                f"model.alphabet {model.alphabet!r} and data.alphabet {data.alphabet!r} must be the same, of "
                f"model.vocabulary ({model.vocabulary}) characters"
            )
        if model.alphabet and data.length > model.length:
            raise UsageError(f"data.length {data.length} exceeds model.length {model.length}; shorten the rows")

    model: Any

    @cached_property
    def data(self) -> CharacterSplits:
        """The text as rows of characters.

        Raises UsageError for a model of other tokens."""
        if not self.recipe.model.alphabet:
            raise UsageError(
                "the model's tokens are no characters (model.alphabet is empty), so the text cannot be read in them; "
                "it can be sampled, and recipes 'mdlm-owt' and 'sedd-owt' train such models"
            )
        return read_characters(self.recipe.data)

    def optimizers(self, modules: Mapping[str, nn.Module]) -> dict[str, torch.optim.Optimizer]:
        """AdamW; norms and biases do not decay."""
        return {"model": adamw_of_matrices(modules["model"].parameters(), self.recipe.train)}

    def train_source(self) -> TokenRows:
        """Rows of the training blocks."""
        return self.data.train

    def validation_source(self) -> TokenRows:
        """Rows of the validation blocks, not more than the data's settings say."""
        return self.data.validation.some(self.recipe.data.validation_rows)

    def state_dict(self) -> dict[str, Any]:
        """Nothing besides the weights."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Nothing to restore."""

    def export(self, folder: Path) -> None:
        """Write the model folder."""
        data = self.recipe.data
        read = {name: getattr(data, name) for name in ("alphabet", "lower", "others", "length")}
        self.model.save_pretrained(folder, {"name": self.name, "recipe": {"data": read}})

    def evaluate(self, seconds: float = 0.0) -> list[Measurement]:
        """Bits per character of the test split, beside models that count."""
        from tenfold.discrete_diffusion.evaluation import measure

        return measure(self.model, self.data, self.recipe.evaluation, self.name)

    def score(self, options: TextScoring, source: Any, picture: Path | None = None) -> Scored:
        """log p of the texts in ``source`` (see ``tenfold.data.text.texts.read_texts``), from the least likely one.

        Raises UsageError, before any work, for what is no text in the model's tokens."""
        texts, config, data = read_texts(source, options.lines), self.model.config, self.recipe.data
        if config.alphabet:
            unit, sizes = "char", lambda tokens: [1] * len(tokens)
            encode = lambda text: encode_characters(text, data).tolist()  # noqa: E731
        elif getattr(self.model, "tokenizer", None) is None:
            raise UsageError("the model has no tokenizer to read texts with; convert its checkpoint with --tokenizer")
        else:
            unit, encode, sizes = "byte", self.model.tokenizer.encode, self.model.tokenizer.sizes
        self.model.eval()
        note = f"{self._scored(options)}; rows of up to {config.length} tokens, which know nothing of each other"
        of_rows = partial(self._likelihood, options)
        return score_texts(texts, encode, sizes, of_rows, config.length, unit, self.name, note)

    def _scored(self, options: TextScoring) -> str:
        """What ``_likelihood`` says, in words."""
        return "log p, exact from left to right"

    def _likelihood(self, options: TextScoring, rows: Tensor) -> ScoredRows:
        """−log p of rows of tokens."""
        found = likelihood.autoregressive(self.model, rows.to(next(self.model.parameters()).device), options.batch)
        return ScoredRows(found.nats, found.standard_error)

    def figures(self, directory: Path) -> list[Path]:
        """A PNG file with its caption."""
        from tenfold.discrete_diffusion.pictures import draw

        return draw(self.model, self.data, directory)


class DiffusionTask(TextTask):
    """Training by target concrete score matching from data, or by a method that it covers (arXiv 2504.16431)."""

    validation_draws = 2

    def __init__(self, recipe: DiffusionRecipe, name: str = "discrete-diffusion") -> None:
        super().__init__(recipe, name)
        model = recipe.model
        recipe.objective.check(model.source, model.output, model.view)
        if model.source == "uniform" and model.schedule in ("linear", "cosine", "cosine_squared") and not model.epsilon:
            raise UsageError("with uniform noise some tokens must survive to t = 1; set --model.epsilon 0.001")

    @cached_property
    def model(self) -> DiscreteDiffusion:
        """The network: fresh, or what ``load`` read."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.recipe.train.seed)
            return DiscreteDiffusion(self.recipe.model)

    def modules(self) -> dict[str, nn.Module]:
        """The network; of a network of scores, its ratios."""
        return {"model": Scores(self.model) if self.recipe.model.output == "scores" else self.model}

    def step(self, modules: Mapping[str, nn.Module], batch: Mapping[str, Tensor], draws: Any) -> Iterator[Update]:
        """One update."""
        settings, source, clean = self.recipe.objective, self.model.source, batch["tokens"]
        noisy, time, weight = self._noised(clean, batch["index"], draws)
        alpha, rate = self.model.schedule.alpha(time), -self.model.schedule.alpha_prime(time)
        if settings.times == "count" and settings.loss != "d3pm":
            alpha, rate = 1 - 1 / weight, torch.ones_like(weight)  # so that the bound's weight is L / l
        active = source.active(noisy)
        uniforms = None
        if settings.entropy_draws:
            uniforms = draws.uniform("entropy", batch["index"], (clean.shape[1], settings.entropy_draws))
        if isinstance(source, MaskSource) and settings.loss != "sedd":
            # The head runs on masks only; each is a row of one token.
            rows, _ = active.nonzero(as_tuple=True)
            given = (clean[active], noisy[active], alpha[rows].double(), rate[rows].double())
            chosen = None if uniforms is None else uniforms[active]

            def of_rows(log_probs: Tensor, which: Tensor) -> Tensor:
                tokens, hidden, levels, rates = (x[which] for x in given)
                numbers = None if chosen is None else chosen[which][:, None]
                known = (tokens[:, None], hidden[:, None], levels, rates)
                made = objective.losses(settings, log_probs[:, None], *known, source, self.model.view, numbers)
                return made[:, 0]

            values = modules["model"](noisy, time, active, of_rows)
            here = torch.ones_like(values, dtype=torch.bool)
        else:
            outputs = modules["model"](noisy, time)
            values = objective.losses(
                settings, outputs, clean, noisy, alpha.double(), rate.double(), source, self.model.view, uniforms
            )
            here = active
        value = objective.mean(values, here, clean.numel(), objective.is_weighted(settings))
        metrics = {"noise_share": 1 - alpha.mean()}
        yield Update("model", value, metrics, {"losses": values.detach()})

    def _noised(self, clean: Tensor, index: Tensor, draws: Any) -> tuple[Tensor, Tensor, Tensor]:
        """x_t, t and, where the number of masks is drawn, L / l: keyed by the sample, times of low discrepancy."""
        settings, source, n = self.recipe.objective, self.model.source, clean.shape[1]
        whether, which = (draws.uniform(purpose, index, (n,)) for purpose in ("noise", "tokens"))
        if settings.times == "uniform":
            places = draws.uniform("time", index)
        else:
            offset = draws.uniform("time-offset", torch.zeros_like(index[:1]))
            places = discrete.stratified(offset, index, self.recipe.train.batch_size)
        if settings.times == "count":
            assert isinstance(source, MaskSource)  # options made sure
            count = (1 + (places * settings.latest * n).long()).clamp(max=n)
            hidden = discrete.mask_exactly(torch.ones_like(clean, dtype=torch.bool), count, whether)
            time = discrete.time_of(self.model.schedule, 1 - count / n)
            return torch.where(hidden, source.mask, clean), time, n / count
        time = settings.latest - (settings.latest - settings.epsilon) * places
        return source.noise(clean, self.model.schedule.alpha(time), whether, which), time, torch.ones_like(time)

    def validate(self, modules: Mapping[str, nn.Module], batch: Mapping[str, Tensor], draws: Any) -> dict[str, Tensor]:
        """Per row: "loss", the bound of the source in nats per token."""
        seen, clean, index = _Seen(modules["model"], self.model), batch["tokens"], batch["index"]
        shape, every = (clean.shape[1],), torch.ones_like(clean, dtype=torch.bool)
        total = torch.zeros(len(clean), dtype=torch.float64, device=clean.device)
        for k in range(self.validation_draws):
            offset = draws.uniform(f"validation-{k}", torch.zeros_like(index[:1]))
            places = discrete.stratified(offset, index, 64)
            whether, which = (draws.uniform(f"validation-{what}-{k}", index, shape) for what in ("noise", "tokens"))
            total += likelihood.one_draw(seen, clean, every, places, whether, which)
        return {"loss": (total / self.validation_draws / clean.shape[1]).float()}

    def load(self, folder: Path | str) -> None:
        """Take the model of a folder."""
        self.model = DiscreteDiffusion.from_pretrained(folder)

    def _scored(self, options: TextScoring) -> str:
        name = bounds.NAMES[likelihood.default_bound(self.model.source)]
        return f"log p is at least this: minus the {name}, {options.draws} draws of noise a row"

    def _likelihood(self, options: TextScoring, rows: Tensor) -> ScoredRows:
        device = next(self.model.parameters()).device
        found = likelihood.bound(self.model, rows.to(device), options.draws, seed=options.seed, batch=options.batch)
        return ScoredRows(found.nats, found.standard_error)

    def sample(self, options: DiffusionSampling, folder: Path) -> list[Path]:
        """Text from noise: ``samples.txt`` and ``samples.json``."""
        from tenfold.discrete_diffusion.samplers.writing import write_samples

        reward = None
        if options.reward:
            from tenfold.discrete_diffusion.steering.rewards import reward_of

            if not self.recipe.model.alphabet:
                raise UsageError("rewards are of characters, and the model's tokens are none; leave --reward out")
            reward = reward_of(options.reward, self.recipe.data)
        return write_samples(self.model, options, folder, self.name, reward=reward)

    def analyse(self, options: DiffusionAnalysis, figures: Path) -> Outcome:
        """How good samples are by the number of steps: measurements, and pictures in the folder ``figures``."""
        from tenfold.discrete_diffusion.samplers.writing import study

        if not options.judge:
            raise UsageError("samples are judged by an autoregressive model; name its run, as in --judge runs/kjv-ar")
        return study(self.model, read_autoregressive(options.judge), self.data, options, figures, self.name)

    def sampled_losses(self) -> list[SampledLoss]:
        """The bound of test rows as a function of the number that chooses how much noise there is."""
        from tenfold.discrete_diffusion.sampled_losses import sampled_losses

        rows = torch.from_numpy(self.data.test.arrays["tokens"].astype(np.int64))
        return sampled_losses(self.model.eval(), rows, self.name)

    @staticmethod
    def describe(recipe: DiffusionRecipe) -> dict[str, Any]:
        """Size and cost of a recipe, from a network on the meta device."""
        from tenfold.discrete_diffusion.cost import cost

        with torch.device("meta"):
            model = DiscreteDiffusion(recipe.model)
            tokens = torch.zeros(1, recipe.data.length, dtype=torch.long)
            return cost(model, lambda: model(tokens, torch.zeros(1)), recipe.data.length, recipe.train)


def read_autoregressive(source: str) -> Autoregressive:
    """The autoregressive model of a run or a model folder."""
    inside = Path(source) / "model"
    return Autoregressive.from_pretrained(inside if (inside / "config.json").is_file() else source)


def read_diffusion(source: str) -> DiscreteDiffusion:
    """The diffusion model of a run or a model folder."""
    inside = Path(source) / "model"
    return DiscreteDiffusion.from_pretrained(inside if (inside / "config.json").is_file() else source)


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


class AutoregressiveTask(TextTask):
    """Training of the autoregressive model on the next character."""

    def __init__(self, recipe: AutoregressiveRecipe, name: str = "autoregressive") -> None:
        super().__init__(recipe, name)

    @cached_property
    def model(self) -> Autoregressive:
        """The network: fresh, or what ``load`` read."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.recipe.train.seed)
            return Autoregressive(self.recipe.model)

    def modules(self) -> dict[str, nn.Module]:
        """The network."""
        return {"model": self.model}

    def step(self, modules: Mapping[str, nn.Module], batch: Mapping[str, Tensor], draws: Any) -> Iterator[Update]:
        """One update on the mean of −log p(x^i | x^{<i})."""
        nll = self._nll(modules["model"], batch["tokens"])
        yield Update("model", nll.mean(), {}, {"nll": nll.detach()})

    def validate(self, modules: Mapping[str, nn.Module], batch: Mapping[str, Tensor], draws: Any) -> dict[str, Tensor]:
        """Per row: "loss", in nats per token."""
        return {"loss": self._nll(modules["model"], batch["tokens"]).mean(1)}

    @staticmethod
    def _nll(model: nn.Module, tokens: Tensor) -> Tensor:
        nll: Tensor = -model(tokens).gather(-1, tokens[..., None])[..., 0]
        return nll

    def load(self, folder: Path | str) -> None:
        """Take the model of a folder."""
        self.model = Autoregressive.from_pretrained(folder)

    @staticmethod
    def describe(recipe: AutoregressiveRecipe) -> dict[str, Any]:
        """Size and cost of a recipe, from a network on the meta device."""
        from tenfold.discrete_diffusion.cost import cost

        with torch.device("meta"):
            model = Autoregressive(recipe.model)
            tokens = torch.zeros(1, recipe.data.length, dtype=torch.long)
            return cost(model, lambda: model(tokens), recipe.data.length, recipe.train)
