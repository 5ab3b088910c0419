"""A masked language model as the training loop sees it, and as the verbs use it, and what it costs."""

import copy
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tenfold.data.text.config import CodeDataConfig
from tenfold.data.text.texts import TextScoring, read_texts
from tenfold.data.text.token_rows import RowBatch, cut_to_random_length, keep_random_prefix
from tenfold.discrete import masking
from tenfold.discrete.objectives import cross_entropy
from tenfold.errors import UsageError
from tenfold.masked_lm import loss
from tenfold.masked_lm.analysis.study import draw, study
from tenfold.masked_lm.completion.batch_files import write_samples
from tenfold.masked_lm.completion.reading import reader_of
from tenfold.masked_lm.convert import read_published
from tenfold.masked_lm.data import CodeRows, read_rows
from tenfold.masked_lm.evaluation import measure, score
from tenfold.masked_lm.likelihood import sampled_losses
from tenfold.masked_lm.loss import Noised
from tenfold.masked_lm.model import MaskedLM
from tenfold.masked_lm.network import add_lora
from tenfold.masked_lm.options import MaskedAnalysis, MaskedSampling, ProblemSolving
from tenfold.masked_lm.recipes import MaskedLMRecipe
from tenfold.masked_lm.solving.solve import solve_problems
from tenfold.nn.cost import traced
from tenfold.runs.measurement import Measurement
from tenfold.runs.outcome import Outcome
from tenfold.runs.sampled_loss import SampledLoss
from tenfold.runs.scores import Scores
from tenfold.text.language_model import LanguageModel
from tenfold.training.optimizers import adamw_of_matrices
from tenfold.training.rehearsal import rehearsed
from tenfold.training.streams import Draws
from tenfold.training.task import Batch, MapSource, Update

# Of the tokens, those that are predicted: by times, half of them on average.
_SHARES = {"masked": 0.5, "autoregressive": 1.0}


class MaskedLMTask:
    """Adaptation or training of a masked language model on code (arXiv 2506.20639, sections 3 and 4.1), or of the
    autoregressive model that it starts from."""

    validation_draws = 2

    def __init__(self, recipe: MaskedLMRecipe, name: str = "masked-lm") -> None:
        self.recipe, self.name = recipe, name
        if recipe.data != CodeDataConfig():  # a model folder has no data of its own
            _require_positions(recipe)
        if recipe.objective.kind == "autoregressive" and not recipe.model.logit_shift:
            raise UsageError("an autoregressive model predicts the next token; set --model.logit_shift true")
        self._updates: nn.Module | None = None
        self._place: dict[str, Any] = {}

    @cached_property
    def model(self) -> MaskedLM:
        """The network: what training starts from, or what ``load`` read."""
        recipe = self.recipe
        if not recipe.objective.start:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(recipe.train.seed)
                return self._placed(MaskedLM.from_config(recipe.model))
        model = read_published(recipe.objective.start)
        if model.config != recipe.model:
            raise UsageError(
                f"objective.start {recipe.objective.start} holds {model.config}, but the recipe's model is "
                f"{recipe.model}"
            )
        return self._placed(model.float())

    @cached_property
    def data(self) -> CodeRows:
        """The texts as rows of tokens."""
        _require_positions(self.recipe)
        if self.model.tokenizer is None:
            raise UsageError(f"{self.recipe.objective.start or self.name} has no tokenizer, so it cannot read texts")
        return read_rows(self.recipe.data, self.model.special, self.model.tokenizer, self.model.logit_shift)

    # --- training -----------------------------------------------------------------------------------------

    def modules(self) -> dict[str, nn.Module]:
        """The network, with its low-rank updates if there are any."""
        objective = self.recipe.objective
        if objective.lora_rank and self._updates is None:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(self.recipe.train.seed)
                rank, alpha, dropout = objective.lora_rank, objective.lora_alpha, objective.lora_dropout
                self._updates = add_lora(self.model.network, rank, alpha, dropout)
        return {"model": self.model}

    def optimizers(self, modules: Mapping[str, nn.Module]) -> dict[str, torch.optim.Optimizer]:
        """AdamW over what is trained; norms and biases do not decay."""
        return {"model": adamw_of_matrices(modules["model"].parameters(), self.recipe.train)}

    def train_source(self) -> MapSource:
        """Rows of the training texts."""
        return self.data.train

    def validation_source(self) -> MapSource:
        """Rows of the validation texts, not more than the data's settings say."""
        return self.data.validation.some(self.recipe.data.validation_rows)

    def counts(self, batch: Mapping[str, Tensor], draws: Draws) -> dict[str, Tensor]:
        """What the loss is normalised by; with "none" each part of a batch counts for its share of the rows."""
        by = self.recipe.objective.normaliser
        count = loss.normaliser_of(self._varied(batch, draws).maskable, by)
        return {"normaliser": count * len(batch["index"]) / self.recipe.train.batch_size if by == "none" else count}

    def step(self, modules: Mapping[str, nn.Module], batch: Mapping[str, Tensor], draws: Draws) -> Iterator[Update]:
        """One update on the bound, or on the next-token loss."""
        objective = self.recipe.objective
        rows = self._varied(batch, draws)
        if objective.kind == "autoregressive":
            nll = self._next_token(modules["model"], rows)
            value = loss.normalised(nll.sum(1), rows.maskable, objective.normaliser, batch.get("mean_normaliser"))
            yield Update("model", value, {}, {"nll": nll.detach()})
            return
        noised = self._noised(rows, batch["index"], draws, "noise", objective.times, self.recipe.train.batch_size)
        attention = self._attention(rows, draws)
        of_token = loss.score if objective.loss == "score" else cross_entropy
        nll = modules["model"](noised.tokens, rows.tokens, noised.masked, attention, None, of_token)
        bounds = loss.bound(nll, noised)
        value = loss.normalised(bounds, rows.maskable, objective.normaliser, batch.get("mean_normaliser"))
        hidden = noised.masked.sum().clamp(min=1)
        metrics = {"nats_per_mask": (nll.detach().sum() / hidden), "masked_share": noised.masked.float().mean()}
        yield Update("model", value, metrics, {"nll": nll.detach()})

    def _varied(self, batch: Mapping[str, Tensor], draws: Draws) -> RowBatch:
        """The rows of a batch with the random prefixes and lengths of the objective."""
        objective, index = self.recipe.objective, batch["index"]
        rows = RowBatch(batch["tokens"], batch["maskable"], batch["real"])
        if objective.condition_steps:
            spared = draws.uniform("condition", index) < draws.step / objective.condition_steps
            free = rows.real.clone()
            free[:, 0] &= not self.recipe.model.logit_shift
            rows = rows._replace(maskable=torch.where(spared[:, None], rows.maskable, free))
        if objective.prefix_share:
            rows = keep_random_prefix(rows, draws.uniform("prefix", index, (2,)), objective.prefix_share)
        if objective.cut_share:
            pad = self.model.special.pad
            assert pad is not None  # read_rows made sure
            rows = cut_to_random_length(rows, draws.uniform("cut", index, (2,)), objective.cut_share, pad)
        return rows

    def _noised(self, rows: RowBatch, index: Tensor, draws: Draws, purpose: str, times: str, size: int) -> Noised:
        """Masks keyed by the sample; with times that are spread over ``size`` samples unless they are "uniform"."""
        mask, uniforms = self.recipe.model.mask, draws.uniform(purpose, index, tuple(rows.tokens.shape[1:]))
        if times == "uniform":
            places = draws.uniform(f"{purpose}-time", index)
        else:
            offset = draws.uniform(f"{purpose}-offset", torch.zeros_like(index[:1]))
            places = masking.stratified(offset, index, size)
        if times == "count":
            return loss.mask_counts(rows.tokens, rows.maskable, places, uniforms, mask)
        t = masking.times(places, self.recipe.objective.epsilon)
        return loss.mask_at_times(rows.tokens, rows.maskable, t, uniforms, mask)

    def _attention(self, rows: RowBatch, draws: Draws) -> Tensor | None:
        """None where everything looks at everything; the pattern of the annealing while it lasts."""
        steps = self.recipe.objective.anneal_steps
        if draws.step >= steps:
            return None if bool(rows.real.all()) else rows.real
        n, device = rows.tokens.shape[1], rows.tokens.device
        uniforms = torch.rand(n, n, generator=draws.generator("annealing", device), device=device)
        return loss.with_padding(loss.annealed_attention(uniforms, draws.step, steps), rows.real)

    def _next_token(self, model: nn.Module, rows: RowBatch) -> Tensor:
        causal = loss.causal_attention(rows.tokens.shape[1], rows.tokens.device)
        nll: Tensor = model(rows.tokens, rows.tokens, rows.maskable, loss.with_padding(causal, rows.real))
        return nll

    def validate(
        self, modules: Mapping[str, nn.Module], batch: Mapping[str, Tensor], draws: Draws
    ) -> dict[str, Tensor]:
        """Per row: "loss", the bound (or the next-token loss) in nats per token that could be masked."""
        rows = RowBatch(batch["tokens"], batch["maskable"], batch["real"])
        counts = rows.maskable.sum(1).clamp(min=1)
        if self.recipe.objective.kind == "autoregressive":
            return {"loss": self._next_token(modules["model"], rows).sum(1) / counts}
        real = None if bool(rows.real.all()) else rows.real
        total = torch.zeros(len(counts), device=counts.device)
        for k in range(self.validation_draws):
            noised = self._noised(rows, batch["index"], draws, f"validation-{k}", "count", 64)
            total += loss.bound(modules["model"](noised.tokens, rows.tokens, noised.masked, real), noised)
        return {"loss": total / self.validation_draws / counts}

    def reader(self, order: str | None = None) -> LanguageModel:
        """What scores texts token by token; see ``completion.reading``."""
        left_to_right = self.recipe.objective.kind == "autoregressive"
        return reader_of(self.model, order, self.name, autoregressive=left_to_right)

    def state_dict(self) -> dict[str, Any]:
        """Nothing besides the weights."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Nothing to restore."""

    # --- using the trained model ----------------------------------------------------------------------------

    def export(self, folder: Path) -> None:
        """Write the model folder, low-rank updates added to the weights."""
        # What scoring needs to know besides the network.
        objective, data = self.recipe.objective, self.recipe.data
        told = {"objective": {"kind": objective.kind}, "data": {"length": data.length}}
        self._whole().save_pretrained(folder, {"name": self.name, "recipe": told})

    def _whole(self) -> MaskedLM:
        """The model in evaluation mode, low-rank updates added to its weights."""
        model = self.model
        if self._updates is not None:
            network: Any = copy.deepcopy(self._updates)
            model = MaskedLM(network.merge_and_unload(), model.special, model.logit_shift, model.tokenizer)
        return model.eval()

    def load(self, folder: Path | str) -> None:
        """Take the model of a folder."""
        self.model, self._updates = MaskedLM.from_pretrained(folder, **self._place), None

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> None:
        """Move the model, and whatever is read later, to a device; and the weights to a floating type."""
        self._place = {"device": torch.device(device), "dtype": dtype}
        if "model" in vars(self):
            self._placed(self.model)

    def _placed(self, model: MaskedLM) -> MaskedLM:
        return model.to(**self._place) if self._place else model

    def evaluate(self) -> list[Measurement]:
        """Bits per byte of the test split, beside the baselines."""
        objective, options = self.recipe.objective, self.recipe.evaluation
        start = self._placed(read_published(objective.start)) if options.start and objective.start else None
        return measure(self._whole(), self.data, objective.kind, options, self.name, start)

    def figures(self, directory: Path) -> list[Path]:
        """How well tokens are predicted by how many are hidden: a PNG file with its caption."""
        rows = min(64, self.recipe.evaluation.rows or 64)  # seven passes over each
        return draw(self._whole(), self.data, self.recipe.objective.kind, directory, rows)

    def sample(self, options: MaskedSampling, folder: Path) -> list[Path]:
        """Complete or infill text: ``samples.txt`` and ``samples.json``, or a file of completions."""
        self._require_masked()
        return write_samples(self._whole(), options, folder, self.name)

    def solve(self, options: ProblemSolving, folder: Path) -> Outcome:
        """pass@k on a suite of problems with tests, which run in the sandbox; goes on from what ``folder`` holds."""
        self._require_masked()
        return solve_problems(self._whole(), options, self.name, folder)

    def analyse(self, options: MaskedAnalysis, figures: Path) -> Outcome:
        """How the model decodes held-out texts: measurements, and pictures in the folder ``figures``."""
        self._require_masked()
        other = self._placed(read_published(options.autoregressive).float()) if options.autoregressive else None
        encode, documents = self.data.tokenizer.encode, self.data.texts.test
        texts = [list(encode(document.prompt + document.text)) for document in documents]
        sources = [document.text for document in documents]
        return study(self._whole(), texts, options, figures, self.name, other, sources)

    def score(
        self, options: TextScoring, source: str | PathLike[str] | Iterable[object], picture: Path | None = None
    ) -> Scores:
        """log p of the texts in ``source`` (see ``tenfold.data.text.texts.read_texts``), from the least likely one.

        Raises UsageError, before any work, for what cannot be scored."""
        length = min(self.recipe.data.length, self.model.max_positions)
        texts = read_texts(source, options.lines)
        return score(self._whole(), texts, self.recipe.objective.kind, options, length, self.name)

    def sampled_losses(self) -> list[SampledLoss]:
        """The bound of test rows as a function of the number that chooses how much is masked."""
        self._require_masked()
        return sampled_losses(self._whole(), self.data.test.batch(np.arange(len(self.data.test))))

    def _require_masked(self) -> None:
        if self.recipe.objective.kind == "autoregressive":
            raise UsageError(
                f"{self.name} was trained to read from left to right and fills in no masks; train a masked model from "
                "it (--objective.start)"
            )

    @staticmethod
    def describe(recipe: MaskedLMRecipe) -> dict[str, Any]:
        """Size and cost of a recipe, from a network on the meta device: parameters, bytes and floating-point operations
        in training, and per token of a forward pass.

        FLOPs: the forward pass of one row counted by PyTorch on meta tensors, the head on every token; three times in
        training (twice for the backward pass; low-rank updates save a part of it that is not taken off), and once more
        with activation checkpointing. Bytes: see ``tenfold.training.rehearsal``."""
        task = MaskedLMTask(recipe)
        _require_positions(recipe)
        length, train = recipe.data.length, recipe.train

        def batch(rows: int) -> Batch:
            tokens, whole = torch.zeros(rows, length, dtype=torch.long), torch.ones(rows, length, dtype=torch.bool)
            found = {"tokens": tokens, "index": tokens[:, 0], "maskable": whole, "real": whole}
            return {**found, "mean_normaliser": torch.ones(())}

        with torch.device("meta"):
            model = task.model = MaskedLM.from_config(recipe.model)
            modules = task.modules()
            forward, _ = traced(lambda: model.logits(model.hidden(torch.zeros(1, length, dtype=torch.long))))
        times = 4 if train.activation_checkpointing else 3
        parameters = sum(p.numel() for p in model.parameters())
        share = _SHARES[recipe.objective.kind]
        # Enough for several parts of the head.
        found = rehearsed(
            task, modules, batch, train, (), share, few=max(1, 2**26 // int(share * length * recipe.model.vocab_size))
        )
        return {
            "parameters": parameters,
            "trained_parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
            "forward_flops_per_token": forward // length,
            "training_flops_per_token": forward * times // length,
            "flops_per_step": forward * times * train.batch_size,
            "bf16_weights_bytes": 2 * parameters,
            "row_activation_bytes": found["activation_bytes"] * train.accumulate // train.batch_size,
            **found,
            "row_tokens": length,
            "batch_size": train.batch_size,
        }


def _require_positions(recipe: MaskedLMRecipe) -> None:
    if recipe.data.length > recipe.model.positions:
        raise UsageError(
            f"data.length {recipe.data.length} exceeds model.positions {recipe.model.positions}; shorten the rows"
        )
