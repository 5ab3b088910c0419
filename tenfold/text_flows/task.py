"""A flow of text as the training loop and the verbs see it."""

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from tenfold.data.text.texts import TextScoring, read_texts
from tenfold.data.text.token_rows import PackedRows, TokenRows
from tenfold.errors import UsageError
from tenfold.hub.fetch import model_folder
from tenfold.hub.folders import read_config
from tenfold.nn.cost import traced
from tenfold.runs.measurement import Measurement
from tenfold.runs.outcome import Outcome
from tenfold.runs.scores import Scores
from tenfold.settings.values import shown
from tenfold.text.scores import Rows, score_texts
from tenfold.text_flows.analysis import study_states
from tenfold.text_flows.bounds import elbo
from tenfold.text_flows.corpus import FlowCharacters, FlowCorpus, FlowDocuments, FlowSplits, reading_of
from tenfold.text_flows.evaluation import measure
from tenfold.text_flows.infilling import write_filled
from tenfold.text_flows.networks.conversion import AUTOREGRESSIVE, from_autoregressive
from tenfold.text_flows.networks.model import TextFlow
from tenfold.text_flows.options import TextFlowAnalysis, TextFlowSampling
from tenfold.text_flows.pictures import draw
from tenfold.text_flows.recipes import TextFlowRecipe, TokenFlowRecipe
from tenfold.text_flows.sampling import write_texts
from tenfold.training.optimizers import adamw_of_matrices
from tenfold.training.rehearsal import rehearsed
from tenfold.training.streams import Draws, key_of
from tenfold.training.task import LOSS, Batch, Task, Update, device_of

_VALIDATION_DRAWS = 2
_SYSTEM = TextFlowRecipe.system


class TextFlowTask:
    """Training on the ELBO with one draw of latents, nats per token."""

    metric = LOSS

    def __init__(self, recipe: TextFlowRecipe | TokenFlowRecipe, name: str = _SYSTEM) -> None:
        self.recipe, self.name = recipe, name
        self.corpus: FlowCorpus = (
            FlowDocuments(recipe.model, recipe.data)
            if isinstance(recipe, TokenFlowRecipe)
            else FlowCharacters(recipe.model, recipe.data)
        )
        self.device: torch.device | None = None
        self.dtype: torch.dtype | None = None

    @cached_property
    def model(self) -> TextFlow:
        """The flow: fresh, what it starts from, or what ``load`` read."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.recipe.train.seed)
            return self._placed(started(self.recipe))

    @property
    def data(self) -> FlowSplits:
        """The text as rows."""
        return self.corpus.splits

    def _placed(self, model: TextFlow) -> TextFlow:
        return model if self.device is None else model.to(self.device, self.dtype)

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> None:
        """Move the flow, and put there what is read later."""
        self.device, self.dtype = torch.device(device), dtype
        if "model" in vars(self):
            self.model = self._placed(self.model)

    def modules(self) -> dict[str, nn.Module]:
        """The flow."""
        return {"model": self.model}

    def optimizers(self, modules: Mapping[str, nn.Module]) -> dict[str, torch.optim.Optimizer]:
        """AdamW over what is not frozen; norms and biases do not decay."""
        trained = [p for p in modules["model"].parameters() if p.requires_grad]
        return {"model": adamw_of_matrices(trained, self.recipe.train)}

    def train_source(self) -> TokenRows | PackedRows:
        """Rows of the training text."""
        return self.data.train

    def validation_source(self) -> TokenRows | PackedRows:
        """Rows of the validation text, not more than the data's settings say."""
        return self.data.validation.some(self.recipe.data.validation_rows)

    def step(self, modules: Mapping[str, nn.Module], batch: Batch, draws: Draws) -> Iterator[Update]:
        """One update."""
        tokens = batch["tokens"]
        terms = modules["model"](tokens, self._noise(draws, "latents", batch))
        bound, count = terms.bound(), tokens.shape[1]
        metrics = {
            "reconstruction": terms.reconstruction.detach().mean(),
            "divergence": (terms.posterior.detach().sum(1) - terms.prior.detach().sum(1)).mean() / count,
        }
        yield Update("model", -bound.mean() / count, metrics, {"bound": bound.detach()})

    def validate(self, modules: Mapping[str, nn.Module], batch: Batch, draws: Draws) -> dict[str, Tensor]:
        """Per row: "loss", the ELBO of two draws in nats per token."""
        tokens, total = batch["tokens"], torch.zeros(())
        for k in range(_VALIDATION_DRAWS):
            total = (
                total.to(tokens.device) - modules["model"](tokens, self._noise(draws, f"validation-{k}", batch)).bound()
            )
        return {"loss": total / _VALIDATION_DRAWS / tokens.shape[1]}

    def _noise(self, draws: Draws, purpose: str, batch: Batch) -> Tensor:
        config, count = self.recipe.model, batch["tokens"].shape[1]
        return draws.normal(purpose, batch["index"], (-(-count // config.patch) * config.patch, config.dim))

    def state_dict(self) -> dict[str, Any]:
        """Nothing besides the weights."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Nothing to restore."""

    def export(self, folder: Path) -> None:
        """Write the model folder, with how text is read."""
        self.corpus.export(self.model, folder, {"name": self.name})

    def load(self, folder: Path | str) -> None:
        """Take the flow of a folder; raises UsageError where its settings differ from the run's."""
        model = TextFlow.from_pretrained(folder)
        if model.config != self.recipe.model:
            raise UsageError(f"{folder} holds a flow with {model.config}, but this run's is {self.recipe.model}")
        self.model = self._placed(model)

    def evaluate(self) -> list[Measurement]:
        """Bounds in bits per character or token of the test split, beside models that count."""
        frozen = self.recipe.objective.freeze
        return measure(self.model.eval(), self.data, self.recipe.evaluation, self._label, frozen)

    @property
    def _label(self) -> str:
        """What rows call the flow: a stage of a run bears the system's name, and is known by its couplings."""
        count = len(self.recipe.model.couplings)
        return self.name if self.name != _SYSTEM else f"{count} flow{'s' if count > 1 else ''}"

    def figures(self, directory: Path) -> list[Path]:
        """The importance-weighted bound over its draws, and the loss of every place, as PNG files with captions."""
        return draw(self.model.eval(), self.data, directory)

    def sample(self, options: TextFlowSampling, folder: Path) -> list[Path]:
        """Texts from noise, from a text's changed noise, after a prompt or between two sides: ``samples.txt`` and
        ``samples.json``."""
        text = options.edit or options.prompt
        if not text and not options.suffix:
            return write_texts(self.model, options, folder, self.name)
        encode = reading_of(self.model, self.recipe.data, [text, options.suffix]).encode
        if options.suffix:
            left, right = (torch.tensor(encode(side), dtype=torch.int64) for side in (options.prompt, options.suffix))
            return write_filled(self.model, options, folder, self.name, left, right)
        return write_texts(self.model, options, folder, self.name, torch.tensor(encode(text), dtype=torch.int64))

    def analyse(self, options: TextFlowAnalysis, figures: Path) -> Outcome:
        """The flow state by state: measurements, and a picture in the folder ``figures``."""
        judge = None
        if options.judge:
            judge = self._placed(from_autoregressive(model_folder(options.judge)))
        return study_states(self.model.eval(), judge, self.data, options, figures, self.name)

    def score(self, options: TextScoring, source: Any, picture: Path | None = None) -> Scores:
        """log p of a user's texts, at least this, from the least likely one.

        Raises UsageError, before any work, for what is no text in the model's tokens."""
        model, texts = self.model.eval(), read_texts(source, options.lines)
        reading = reading_of(model, self.recipe.data, (text.text for text in texts))
        note = (
            f"log p is at least this: the ELBO, {options.draws} draws of latents a row; rows of up to "
            f"{model.config.length} tokens, which know nothing of each other"
        )

        def nats(rows: Tensor) -> Rows:
            # Keyed by the row itself: a text has its value whatever is scored beside it.
            index = torch.tensor([key_of(row) >> 2 for row in rows.tolist()])
            here = rows.to(device_of(model))
            found = elbo(model, here, options.draws, seed=options.seed, batch=options.batch, index=index)
            return Rows(found.nats, found.standard_error)

        return score_texts(
            texts, reading.encode, reading.sizes, nats, model.config.length, reading.unit, self.name, note,
            of_text=reading.sizes,
        )  # fmt: skip

    @classmethod
    def describe(cls, recipe: TextFlowRecipe | TokenFlowRecipe) -> dict[str, Any]:
        """Size and cost of a recipe in training, from a flow on the meta device: parameters, bytes (see
        ``tenfold.training.rehearsal``) and floating-point operations, a step being three forward passes."""
        task, train, length = cls(recipe), recipe.train, recipe.data.length
        padded = -(-length // recipe.model.patch) * recipe.model.patch
        with torch.device("meta"):
            task.model = TextFlow(recipe.model)
            if recipe.objective.freeze:
                task.model.freeze(recipe.objective.freeze)
            given = torch.zeros(1, length, dtype=torch.long), torch.zeros(1, padded, recipe.model.dim)
            flops, _ = traced(lambda: task.model(*given))

        def batch(rows: int) -> Batch:
            return {"tokens": torch.zeros(rows, length, dtype=torch.long), "index": torch.zeros(rows).long()}

        return {
            "parameters": sum(p.numel() for p in task.model.parameters()),
            "forward_flops_per_token": flops // length,
            "flops_per_step": 3 * flops * train.batch_size,
            **rehearsed(cast(Task, task), task.modules(), batch, train),
            "row_tokens": length,
            "batch_size": train.batch_size,
        }


def started(recipe: TextFlowRecipe | TokenFlowRecipe) -> TextFlow:
    """The flow that a recipe trains: fresh weights, and those of ``objective.start`` where it has some.

    Raises UsageError for a start whose couplings are not the first ones of the recipe's flow."""
    model, objective = TextFlow(recipe.model), recipe.objective
    if not objective.start:
        return model
    if read_config(objective.start)["model_type"] == AUTOREGRESSIVE:
        before = from_autoregressive(objective.start, objective.log_scale)
        names = ("dim", "width", "heads", "layers", "local_mixing")
        if any(getattr(before.config, name) != getattr(recipe.model, name) for name in names):
            told = " ".join(f"--model.{name} {shown(getattr(before.config, name))}" for name in names)
            raise UsageError(f"{objective.start} is the limit of one mix-d flow; start from it with {told}")
    else:
        before = TextFlow.from_pretrained(objective.start)
    count = len(before.config.couplings)
    state = before.state_dict()
    own = model.state_dict()
    strange = [name for name, value in state.items() if name not in own or own[name].shape != value.shape]
    if strange or before.config.couplings != recipe.model.couplings[:count]:
        what = strange[0] if strange else "its couplings"
        raise UsageError(
            f"{objective.start} holds a flow of {', '.join(before.config.couplings)}, with which this one does not "
            f"begin ({what} differs); give it the same model settings"
        )
    model.load_state_dict({**own, **state})
    if objective.freeze:
        model.freeze(objective.freeze)
    return model
