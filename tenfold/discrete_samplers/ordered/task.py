"""Samplers in an order as the training loop and the verbs see them."""

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tenfold.discrete_samplers.config import SamplerStudy
from tenfold.discrete_samplers.evaluation import bond_energy, rows_beside, rows_of
from tenfold.discrete_samplers.model import check_same_target, lattice_state, share_of_coupling
from tenfold.discrete_samplers.ordered.config import OrderedSampling
from tenfold.discrete_samplers.ordered.losses import free_energy_loss, log_variance, masked_cross_entropy
from tenfold.discrete_samplers.ordered.model import OrderedSampler
from tenfold.discrete_samplers.ordered.network import MaskedConditionals
from tenfold.discrete_samplers.ordered.recipes import OrderedRecipe
from tenfold.discrete_samplers.ordered.sampling import causal_log_prob, masked_smc, orders_of, path_log_prob
from tenfold.discrete_samplers.result import Counts, SamplerResult
from tenfold.discrete_samplers.saving import write_samples
from tenfold.discrete_samplers.trained import study_samplers
from tenfold.errors import UsageError
from tenfold.figures import histograms, write_captions
from tenfold.nn.cost import traced
from tenfold.nn.memory import require
from tenfold.runs.measurement import Measurement
from tenfold.runs.outcome import Outcome
from tenfold.smc.weights import normalised_weights
from tenfold.training.optimizers import adamw_of_matrices
from tenfold.training.rehearsal import rehearsed
from tenfold.training.streams import Draws
from tenfold.training.task import Batch, Update, device_of


class OrderedTask:
    """The cross-entropy, the log-variance or the free energy of samples that the sampler draws itself.

    The last weights are kept: there is no held-out data to choose by."""

    def __init__(self, recipe: OrderedRecipe, name: str = "ordered-sampler") -> None:
        self.recipe, self.name = recipe, name
        sites = recipe.model.height * recipe.model.width
        self.kept = torch.zeros(recipe.objective.samples, sites, dtype=torch.int64)
        self.log_weights = torch.zeros(recipe.objective.samples, dtype=torch.float64)
        self.filled = False

    @cached_property
    def model(self) -> OrderedSampler:
        """The sampler: fresh, or what ``load`` read."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.recipe.train.seed)
            return OrderedSampler(self.recipe.model)

    # --- training ---------------------------------------------------------------------------------------------

    def modules(self) -> dict[str, nn.Module]:
        """The sampler."""
        return {"sampler": self.model}

    def optimizers(self, modules: Mapping[str, nn.Module]) -> dict[str, torch.optim.Optimizer]:
        """AdamW."""
        return {"sampler": adamw_of_matrices(modules["sampler"].parameters(), self.recipe.train)}

    def train_source(self) -> None:
        """There are no data: it learns from the target."""

    def validation_source(self) -> None:
        """None: the last weights are kept."""

    def step(self, modules: Mapping[str, nn.Module], batch: Batch, draws: Draws) -> Iterator[Update]:
        """One update; what it is on was drawn by the present weights, or by those of the last refresh."""
        settings, index = self.recipe.objective, batch["index"]
        share = share_of_coupling(settings, draws.step, self.recipe.train.steps)
        if settings.loss == "cross-entropy":
            loss, watched = self._cross_entropy(modules["sampler"], index, draws, share)
        else:
            loss, watched = self._fresh(modules["sampler"], index, draws, share)
        yield Update("sampler", loss, {"ess": watched}, {"loss": loss.detach()})

    def _cross_entropy(self, sampler: nn.Module, index: Tensor, draws: Draws, share: float) -> tuple[Tensor, Tensor]:
        if draws.step % self.recipe.objective.inner == 0 or not self.filled:
            found = self.drawn(len(self.kept), share, draws.step * len(self.kept))
            self.kept, self.log_weights, self.filled = found.samples, found.log_weights, True
        weights = normalised_weights(self.log_weights).to(torch.float32) * len(self.kept)
        row = draws.integers("row", index, len(self.kept))
        uniforms = draws.uniform("masks", index, (1 + self.kept.shape[1],))
        losses = masked_cross_entropy(
            sampler, self.kept[row], self.recipe.model.states, uniforms[:, 0], uniforms[:, 1:]
        )
        return (weights[row] * losses).mean(), 1 / weights.square().mean()

    def _fresh(self, sampler: nn.Module, index: Tensor, draws: Draws, share: float) -> tuple[Tensor, Tensor]:
        count, seed = len(index), self.recipe.train.seed
        found = self.drawn(count, share, draws.step * self.recipe.train.batch_size)
        x, log_rho = found.samples, self.model.target(share).log_prob(found.samples).double()
        if self.recipe.objective.loss == "free-energy":
            loss = free_energy_loss(log_rho, causal_log_prob(sampler, x)).mean()
        else:
            order = orders_of(seed, draws.step * self.recipe.train.batch_size, x)
            loss = log_variance(log_rho, path_log_prob(sampler, x, order, self.recipe.model.states))
        return loss.float(), torch.tensor(found.ess, device=index.device)

    def drawn(self, num: int, share: float, first: int) -> SamplerResult:
        """Samples of the present weights, numbers ``first``, ..."""
        return self.model.draw(num, share, seed=self.recipe.train.seed, first=first)

    def validate(self, modules: Mapping[str, nn.Module], batch: Batch, draws: Draws) -> dict[str, Tensor]:
        """Nothing is validated."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Samples and their weights, and what they are samples of."""
        return {
            "samples": self.kept.to(torch.uint8),
            "log_weights": self.log_weights,
            "filled": torch.tensor(self.filled),
            "target": lattice_state(self.recipe.model),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore them. Raises UsageError for those of another target."""
        check_same_target(self.recipe.model, state)
        self.kept, self.log_weights = state["samples"].to(torch.int64), state["log_weights"].clone()
        self.filled = bool(state["filled"])

    # --- use --------------------------------------------------------------------------------------------------

    def export(self, folder: Path) -> None:
        """Write the model folder."""
        self.model.save_pretrained(folder, {"name": self.name})

    def load(self, folder: Path | str) -> None:
        """Take the model of a folder."""
        self.model = OrderedSampler.from_pretrained(folder).to(device_of(self.model))

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> None:
        """Move the sampler, and its samples."""
        self.model.to(device, dtype)
        self.kept, self.log_weights = self.kept.to(device), self.log_weights.to(device)

    def evaluate(self) -> list[Measurement]:
        """Effective size, log Z, energies, beside exact values and annealing."""
        settings, model = self.recipe.evaluation, self.model.eval()
        self._require(settings.samples, "lower evaluation.samples")
        found = model.draw(settings.samples, seed=1)
        rows = rows_of(found, model.config, self.name, "; ".join(found.notes))
        steps = settings.steps if settings.baselines else 0
        return rows + rows_beside(model.config, model.target(), settings.samples, steps)

    def _require(self, samples: int, instead: str) -> None:
        train = self.recipe.train
        each = self.describe(self.recipe)["activation_bytes"] * train.accumulate // train.batch_size
        require(samples * each, device_of(self.model), f"{samples} samples at once", instead)

    def figures(self, directory: Path) -> list[Path]:
        """Energies of samples, and their weights."""
        model = self.model.eval()
        found = model.draw(min(2048, self.recipe.evaluation.samples), seed=2)
        weights = found.log_weights - found.log_weights.mean()
        files = [
            histograms({"samples": bond_energy(model.config, found.samples)}, directory / "energy.png", "energy"),
            histograms({"log weights": weights}, directory / "weights.png", "log weight, less its mean"),
        ]
        captions = {
            "energy.png": "Energies of samples, before they are weighted.",
            "weights.png": "Log weights target / model, exact; a narrow peak is a good sampler.",
        }
        write_captions(directory, captions)
        return files

    def analyse(self, options: SamplerStudy, figures: Path) -> Outcome:
        """This sampler and all that fit, at equal seconds."""
        return study_samplers(self.model.eval(), options, figures)

    def sample(self, options: OrderedSampling, folder: Path) -> list[Path]:
        """``samples.npz`` (tokens and log weights) and ``samples.json`` (log Z and what it cost)."""
        model, target = self.model.eval(), self.model.target()
        masked = isinstance(model.network, MaskedConditionals)
        if not masked and (options.method == "smc" or options.at_once > 1):
            raise UsageError("the raster order has no smc and no at_once; leave --method and --at_once away")
        self._require(options.num, "take fewer (--num)")
        if options.method == "smc":
            assert isinstance(model.network, MaskedConditionals)
            found = masked_smc(
                model.network, target, options.num // options.populations, options.populations, seed=options.seed,
                device=device_of(model),
            )  # fmt: skip
        else:
            found = model.draw(options.num, at_once=options.at_once, seed=options.seed)
        return write_samples(found, model.config, self.name, options, folder)

    @staticmethod
    def describe(recipe: OrderedRecipe) -> dict[str, Any]:
        """Size and cost of a recipe, from a network on the meta device; bytes: see ``tenfold.training.rehearsal``."""
        sites, train, settings = recipe.model.height * recipe.model.width, recipe.train, recipe.objective
        task = RehearsedOrder(recipe)
        task.to("meta")
        task.filled = True
        x = torch.zeros(1, sites, dtype=torch.int64, device="meta")
        flops, _ = traced(lambda: task.model(x))
        passes = sites * settings.samples / settings.inner + 3 * train.batch_size
        if settings.loss != "cross-entropy":
            each = 3 if settings.loss == "free-energy" else 3 * sites
            passes = (sites + each) * train.batch_size

        def batch(rows: int) -> Batch:
            return {"index": torch.zeros(rows, dtype=torch.int64)}

        found = rehearsed(task, task.modules(), batch, train)
        return {
            "parameters": sum(p.numel() for p in task.model.parameters()),
            "forward_flops_per_state": flops,
            "flops_per_step": int(flops * passes),
            **found,
            "batch_size": train.batch_size,
        }


class RehearsedOrder(OrderedTask):
    """One that draws nothing: what it would draw is there."""

    def drawn(self, num: int, share: float, first: int) -> SamplerResult:
        """Samples without numbers."""
        x = torch.zeros(num, self.kept.shape[1], dtype=torch.int64, device="meta")
        return SamplerResult(x, torch.zeros(num, dtype=torch.float64), Counts())
