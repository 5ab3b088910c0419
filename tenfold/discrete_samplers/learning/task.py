"""An energy of bits as the training loop and the verbs see it."""

import math
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tenfold.discrete_samplers.classical.annealing import annealed_sampling
from tenfold.discrete_samplers.classical.gibbs import Gibbs
from tenfold.discrete_samplers.exact.enumeration import machine_log_z
from tenfold.discrete_samplers.learning.config import DENSITIES, EnergySampleOptions
from tenfold.discrete_samplers.learning.data import BitRows, BitSplits, load_bits
from tenfold.discrete_samplers.learning.densities import plane_entropy
from tenfold.discrete_samplers.learning.model import DiscreteEnergy, LearnedCouplings
from tenfold.discrete_samplers.learning.phase import NegativePhase, hamming_mmd, likelihood_loss
from tenfold.discrete_samplers.learning.recipes import DiscreteEnergyRecipe
from tenfold.discrete_samplers.result import SamplerResult
from tenfold.discrete_samplers.targets.couplings import Couplings, lattice_bonds, lattice_edges
from tenfold.discrete_samplers.targets.machines import BoltzmannMachine
from tenfold.figures import histograms, write_captions
from tenfold.files import check_writable, write_json
from tenfold.nn.cost import traced
from tenfold.runs.measurement import Measurement
from tenfold.training.optimizers import adamw
from tenfold.training.rehearsal import rehearsed
from tenfold.training.streams import Draws
from tenfold.training.task import Batch, Update, device_of

_COMPARED = 4000  # held-out rows that samples are compared with
_MOST_HIDDEN = 20  # bits of a machine whose states are summed


class DiscreteEnergyTask:
    """Maximum likelihood with particles that follow the law. The last weights are kept."""

    def __init__(self, recipe: DiscreteEnergyRecipe, name: str = "discrete-energy") -> None:
        self.recipe, self.name = recipe, name
        self.phase = NegativePhase(recipe.objective, recipe.model.sites, recipe.train.seed)

    @cached_property
    def model(self) -> DiscreteEnergy:
        """The energy: fresh, or what ``load`` read."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.recipe.train.seed)
            return DiscreteEnergy(self.recipe.model)

    @cached_property
    def bits(self) -> BitSplits:
        """Training and held-out rows."""
        return load_bits(self.recipe.data)

    # --- training ---------------------------------------------------------------------------------------------

    def modules(self) -> dict[str, nn.Module]:
        """The energy."""
        return {"energy": self.model}

    def optimizers(self, modules: Mapping[str, nn.Module]) -> dict[str, torch.optim.Optimizer]:
        """AdamW."""
        return {"energy": adamw(modules["energy"].parameters(), self.recipe.train)}

    def train_source(self) -> BitRows:
        """Rows of bits."""
        return self.bits.train

    def validation_source(self) -> None:
        """None: a likelihood needs Z, which is found once at the end."""

    def step(self, modules: Mapping[str, nn.Module], batch: Batch, draws: Draws) -> Iterator[Update]:
        """Particles follow the present law, then one update; data and particles in one pass."""
        self.phase.follow(self.model.target, draws.step)
        values = modules["energy"](torch.cat([batch["x"], self.phase.x]))
        data, particles = values.split([len(batch["x"]), len(self.phase.x)])
        loss = likelihood_loss(data, particles, self.phase.weights())
        if self.recipe.objective.sparsity and isinstance(self.model.law, LearnedCouplings):
            loss = loss + self.recipe.objective.sparsity * self.model.law.upper.triu(1).abs().sum()
        yield Update("energy", loss, {"log_z": self.phase.estimate()}, {"log_prob": values.detach()})

    def validate(self, modules: Mapping[str, nn.Module], batch: Batch, draws: Draws) -> dict[str, Tensor]:
        """Nothing is validated."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """The particles."""
        return self.phase.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore them."""
        self.phase.load_state_dict(state)

    # --- use --------------------------------------------------------------------------------------------------

    def export(self, folder: Path) -> None:
        """Write the model folder."""
        self.model.save_pretrained(folder, {"name": self.name})

    def load(self, folder: Path | str) -> None:
        """Take the model of a folder."""
        self.model = DiscreteEnergy.from_pretrained(folder).to(device_of(self.model))

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> None:
        """Move the energy and the particles."""
        self.model.to(device, dtype)
        self.phase.to(device)

    def _annealed(self, num: int, steps: int, seed: int) -> SamplerResult:
        """Weighted samples of the model."""
        device = device_of(self.model)
        populations = max(1, num // 100)
        return annealed_sampling(
            self.model.eval().target, Gibbs(), num // populations, populations, torch.linspace(0, 1, steps + 1),
            seed=seed, device=device,
        )  # fmt: skip

    @torch.no_grad()
    def _log_prob(self, rows: BitRows) -> Tensor:
        device = device_of(self.model)
        return torch.cat([self.model(part.to(device)).double().cpu() for part in rows.rows.split(4096)])

    def evaluate(self) -> list[Measurement]:
        """Negative log-likelihoods, with an exact log Z where there is one; the distance of samples of the plane; how
        near couplings are to those of the lattice."""
        settings, law, name = self.recipe.evaluation, self.model.eval().law, self.name
        exact = isinstance(law, BoltzmannMachine) and len(law.hidden) <= _MOST_HIDDEN
        found = self._annealed(settings.samples, settings.steps, 1)
        assert found.log_z is not None
        log_z, error = found.log_z, found.log_z_standard_error or 0.0
        rows = [
            Measurement("log_z", log_z, "nats", "annealed", name, error, len(found.samples), "; ".join(found.notes))
        ]
        if isinstance(law, BoltzmannMachine) and exact:
            log_z, error = machine_log_z(law), 0.0
            rows.append(Measurement("log_z", log_z, "nats", "exact", name))
        for split, part in (("train", self.bits.train), ("test", self.bits.test)):
            values = self._log_prob(part)
            spread = math.hypot(float(values.std()) / math.sqrt(len(values)), error)
            rows.append(Measurement("nll", log_z - float(values.mean()), "nats", split, name, spread, len(values)))
        if self.recipe.data.source in DENSITIES:
            floor = plane_entropy(self.recipe.data.source, self.recipe.data.bits)
            rows.append(Measurement("nll", floor, "nats", "test", "entropy of the density"))
            drawn, held = found.samples.cpu(), self.bits.test.rows[:_COMPARED]
            distance = hamming_mmd(drawn, held, log_weights=found.log_weights.cpu())
            rows.append(Measurement("mmd", float(distance), "", "test", name, None, len(drawn)))
        if isinstance(law, LearnedCouplings) and self.recipe.data.source == "ising":
            gap = (law.couplings.detach().cpu() - self._true_couplings()).square()
            off = gap.sum() / (law.sites * (law.sites - 1))
            rows.append(Measurement("minus_log_rmse", -0.5 * math.log(float(off)), "", "", name))
        return rows

    def _true_couplings(self) -> Tensor:
        side, beta = self.recipe.data.side, self.recipe.data.beta
        return Couplings(side * side, lattice_edges(side, side), beta / 2 * lattice_bonds(side, side)).matrix

    def figures(self, directory: Path) -> list[Path]:
        """log ρ of data and of samples."""
        found = self._annealed(min(500, self.recipe.evaluation.samples), self.recipe.evaluation.steps, 2)
        with torch.no_grad():
            drawn = self.model(found.samples).cpu()
        held = self._log_prob(self.bits.test)
        file = histograms(
            {"samples": drawn, "held out": held}, directory / "log_prob.png", "log probability, unnormalised"
        )
        captions = {"log_prob.png": "Samples of the model and held-out rows; where they differ, the model does."}
        write_captions(directory, captions)
        return [file]

    def sample(self, options: EnergySampleOptions, folder: Path) -> list[Path]:
        """``samples.npz`` (bits and log weights) and ``samples.json``."""
        check_writable(folder, "samples", folder=True)
        found = self._annealed(options.num, options.steps, options.seed)
        folder.mkdir(parents=True, exist_ok=True)
        files = [folder / "samples.npz", folder / "samples.json"]
        np.savez_compressed(
            files[0],
            bits=found.samples.to(torch.uint8).cpu().numpy(),
            log_weights=found.log_weights.cpu().numpy(),
        )
        about = {"log_z": found.log_z, "log_z_standard_error": found.log_z_standard_error, "ess": found.ess}
        write_json(files[1], {"model": self.name, "options": vars(options), **about, "notes": list(found.notes)})
        return files

    @staticmethod
    def describe(recipe: DiscreteEnergyRecipe) -> dict[str, Any]:
        """Size and cost of a recipe, from a network on the meta device; bytes: see ``tenfold.training.rehearsal``."""
        task, train, sites = RehearsedEnergy(recipe), recipe.train, recipe.model.sites
        task.model.to("meta")
        x = torch.zeros(1, sites, dtype=torch.int64, device="meta")
        task.phase.x = torch.zeros(recipe.objective.particles, sites, dtype=torch.int64, device="meta")
        task.phase.log_weights = torch.zeros(recipe.objective.particles, dtype=torch.float64, device="meta")
        task.phase.log_z = torch.zeros((), dtype=torch.float64, device="meta")
        flops, _ = traced(lambda: task.model(x))
        asked = 2 if recipe.model.kind == "perceptron" else 1  # for each site of a sweep, with both its tokens
        moved = recipe.objective.particles * recipe.objective.moves * sites * asked

        def batch(rows: int) -> Batch:
            return {"index": torch.zeros(rows, dtype=torch.int64), "x": torch.zeros(rows, sites, dtype=torch.int64)}

        found = rehearsed(task, task.modules(), batch, train)
        return {
            "parameters": sum(p.numel() for p in task.model.parameters()),
            "forward_flops_per_state": flops,
            "flops_per_step": int(flops * (3 * (train.batch_size + recipe.objective.particles) + moved)),
            **found,
            "batch_size": train.batch_size,
        }


class RehearsedEnergy(DiscreteEnergyTask):
    """One whose particles stay where they are."""

    def __init__(self, recipe: DiscreteEnergyRecipe) -> None:
        super().__init__(recipe)
        self.phase.follow = lambda target, step: None  # type: ignore[method-assign]
