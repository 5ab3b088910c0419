"""A model that reads in an order as the training loop and the verbs see it."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from tenfold.errors import UsageError
from tenfold.figures import lines, write_captions
from tenfold.nn.cost import traced
from tenfold.ordering.choices.sets import SETS, place_of
from tenfold.ordering.choices.study import study_sets
from tenfold.ordering.evaluation import counting, measure_equations, measure_texts, position_table, unit_of
from tenfold.ordering.models.corpus import Characters, Corpus, Documents, EquationCorpus, Equations
from tenfold.ordering.models.model import OrderLM
from tenfold.ordering.models.reading import reader_of
from tenfold.ordering.models.starting import start_from
from tenfold.ordering.models.streams import hide_by, masked_bound, stream_of
from tenfold.ordering.options import SetsAnalysis
from tenfold.ordering.recipes import ArithmeticRecipe, ContinuedRecipe, OrderRecipe, OrderTokenRecipe
from tenfold.runs.measurement import Measurement
from tenfold.runs.outcome import Outcome
from tenfold.text.language_model import LanguageModel
from tenfold.training.optimizers import adamw_of_matrices
from tenfold.training.rehearsal import rehearsed
from tenfold.training.streams import Draws
from tenfold.training.task import LOSS, Batch, MapSource, Task, Update

AnyRecipe = OrderRecipe | OrderTokenRecipe | ContinuedRecipe | ArithmeticRecipe


class OrderTask:
    """Training on −log p in the model's order, or on the bound of arXiv:2110.02037 for one of masks; nats per token."""

    metric = LOSS

    def __init__(self, recipe: AnyRecipe, name: str = "ordering") -> None:
        self.recipe, self.name = recipe, name
        self.device: torch.device | None = None
        self.dtype: torch.dtype | None = None

    @cached_property
    def corpus(self) -> Corpus:
        """What is read."""
        recipe = self.recipe
        if isinstance(recipe, OrderRecipe):
            return Characters(recipe.model, recipe.data)
        if isinstance(recipe, OrderTokenRecipe):
            return Documents(recipe.model, recipe.data)
        if isinstance(recipe, ContinuedRecipe):
            return Documents(recipe.model, recipe.data, recipe.start)
        return EquationCorpus(recipe.model, recipe.data)

    @cached_property
    def model(self) -> OrderLM:
        """The network: fresh, with the weights of a published one, or what ``load`` read."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.recipe.train.seed)
            made = OrderLM(self.recipe.model)
        if isinstance(self.recipe, ContinuedRecipe):
            start_from(made, self.recipe.start)
        return self._placed(made)

    def _placed(self, model: OrderLM) -> OrderLM:
        return model if self.device is None else model.to(self.device, self.dtype)

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> None:
        """Move the network, and put there what is read later."""
        self.device, self.dtype = torch.device(device), dtype
        if "model" in vars(self):
            self.model = self._placed(self.model)

    def modules(self) -> dict[str, nn.Module]:
        """The network."""
        return {"model": self.model}

    def optimizers(self, modules: Mapping[str, nn.Module]) -> dict[str, torch.optim.Optimizer]:
        """AdamW; norms do not decay."""
        return {"model": adamw_of_matrices(modules["model"].parameters(), self.recipe.train)}

    def train_source(self) -> MapSource:
        """Rows to train on."""
        return self.corpus.splits.train

    def validation_source(self) -> MapSource:
        """Rows that choose the checkpoint."""
        return self.corpus.splits.validation

    def step(self, modules: Mapping[str, nn.Module], batch: Batch, draws: Draws) -> Iterator[Update]:
        """One update."""
        loss = self._losses(modules["model"], batch, draws, "")
        yield Update("model", loss.mean(), {}, {"loss": loss.detach()})

    def validate(self, modules: Mapping[str, nn.Module], batch: Batch, draws: Draws) -> dict[str, Tensor]:
        """Per row: "loss", nats per token; of a model without one order by one draw of an order or of masks."""
        return {"loss": self._losses(modules["model"], batch, draws, "validation-")}

    def _losses(self, module: nn.Module, batch: Batch, draws: Draws, purpose: str) -> Tensor:
        config, tokens, index = self.recipe.model, batch["tokens"], batch["index"]
        if config.mask is not None and config.order == "masked":
            places = draws.uniform(f"{purpose}places", index, (tokens.shape[1],))
            share = draws.uniform(f"{purpose}share", index)
            return masked_bound(module, tokens, hide_by(tokens, config.mask, places, share)) / tokens.shape[1]
        order = None
        if config.order == "permuted":
            order = draws.uniform(f"{purpose}order", index, (tokens.shape[1],)).argsort(1)
        nll: Tensor = module(*stream_of(config, tokens, order))
        return nll.mean(1)

    def state_dict(self) -> dict[str, Any]:
        """Nothing besides the weights."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Nothing to restore."""

    def export(self, folder: Path) -> None:
        """Write the model folder: order, packing and the tokenizer's hash are in its configuration."""
        model = self.model
        model.config = replace(model.config, tokenizer_hash=self.corpus.hash)
        model.tokenizer = self.corpus.tokenizer
        model.save_pretrained(folder, {"name": self.name})

    def load(self, folder: Path | str) -> None:
        """Take the model of a folder.

        Raises UsageError where it was trained in another order or packing than the run's, or has another geometry."""
        model = OrderLM.from_pretrained(folder)
        wanted = replace(self.recipe.model, tokenizer_hash=model.config.tokenizer_hash)
        if model.config != wanted:
            strange = [n for n in vars(wanted) if getattr(wanted, n) != getattr(model.config, n)]
            raise UsageError(
                f"{folder} holds a model with {strange[0]} {getattr(model.config, strange[0])!r}, but this run's is "
                f"{getattr(wanted, strange[0])!r}; give the run that it is of"
            )
        self.model = self._placed(model)

    def reader(self, order: str | None = None) -> LanguageModel:
        """What scores texts token by token; see ``reader_of``."""
        return reader_of(self.model, order, self.name)

    def evaluate(self) -> list[Measurement]:
        """Bits per character or token of the test split; of equations, entropies digit by digit and choices."""
        model, recipe = self.model.eval(), self.recipe
        if isinstance(recipe, ArithmeticRecipe):
            assert isinstance(self.corpus, EquationCorpus)
            return measure_equations(model, self.corpus, recipe.evaluation, self.name)
        tokens = self._test(recipe.evaluation.rows)
        rows = measure_texts(model, tokens, recipe.evaluation, unit_of(recipe.model), self.name)
        if isinstance(self.corpus, Characters) and recipe.evaluation.baselines:
            rows += counting(self.corpus.characters, tokens)
        return rows

    def analyse(self, options: SetsAnalysis, figures: Path) -> Outcome:
        """Every rule on sets of items, those that the training knew of where none is named.

        Raises UsageError, before any work, for a set that is not known or not at hand."""
        named = options.sets
        if not named and isinstance(self.recipe, ContinuedRecipe):
            named = tuple(name for name in self.recipe.data.items if name in SETS)
        for name in named:
            if name not in SETS:
                raise UsageError(f"there is no set {name!r}; known are {', '.join(SETS)}")
        return study_sets(self.reader(), {name: place_of(name) for name in named}, options.num, figures)

    def _test(self, count: int) -> Tensor:
        test = self.corpus.splits.test
        chosen = np.arange(len(test))
        if 0 < count < len(test):
            chosen = np.linspace(0, len(test) - 1, count).round().astype(np.int64)
        return test.batch(chosen)["tokens"]

    def figures(self, directory: Path) -> list[Path]:
        """Of equations: cross-entropy, the model's entropy and the exact one by digit. Of texts none."""
        directory.mkdir(parents=True, exist_ok=True)
        test = self.corpus.splits.test
        if not isinstance(test, Equations) or self.recipe.model.direction == "any":
            return []
        assert isinstance(self.corpus, EquationCorpus)
        surprise, entropy, exact = position_table(self.model.eval(), test, self.corpus.task)
        x = np.arange(1, len(exact) + 1)
        page = directory / "positions.png"
        drawn = {"cross-entropy": (x, surprise.mean(0)), "model's entropy": (x, entropy.mean(0)), "exact": (x, exact)}
        lines(drawn, page, "digit, in the order of emission", "nats", dashed=("exact",))
        told = "Cross-entropy of held-out equations, the model's own entropy, and the exact entropy, digit by digit."
        write_captions(directory, {page.name: told})
        return [page]

    @classmethod
    def describe(cls, recipe: AnyRecipe) -> dict[str, Any]:
        """Size and cost of a recipe in training, from a network on the meta device: parameters, bytes (see
        ``tenfold.training.rehearsal``) and floating-point operations, a step being three forward passes."""
        task, train, length = cls(recipe), recipe.train, recipe.data.length

        def batch(rows: int) -> Batch:
            return {"tokens": torch.zeros(rows, length, dtype=torch.long), "index": torch.zeros(rows).long()}

        with torch.device("meta"):
            task.model = OrderLM(recipe.model)
            # Without the causal mask the operations are the same, and the library looks at no numbers.
            plain = replace(recipe.model, order="masked", packing="rows", mask=recipe.model.begin)
            one, model = torch.zeros(1, length, dtype=torch.long), OrderLM(plain)
            flops, _ = traced(lambda: model(one, one))
        return {
            "parameters": sum(p.numel() for p in task.model.parameters()),
            "forward_flops_per_token": flops // length,
            "flops_per_step": 3 * flops * train.batch_size,
            **rehearsed(cast(Task, task), task.modules(), batch, train),
            "row_tokens": length,
            "batch_size": train.batch_size,
        }
