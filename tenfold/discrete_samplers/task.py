"""A neural sampler of a lattice as the training loop and the verbs see it."""

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn

from tenfold.discrete_samplers.classical.gibbs import Gibbs
from tenfold.discrete_samplers.classical.kernels import ChainDraws
from tenfold.discrete_samplers.config import LatticeSampling, SamplerStudy
from tenfold.discrete_samplers.evaluation import bond_energy, measure
from tenfold.discrete_samplers.flow.residual import joint_loss, residual_loss
from tenfold.discrete_samplers.flow.simulation import sample_flow, times, trajectories
from tenfold.discrete_samplers.model import (
    LatticeFlow,
    RateNetwork,
    check_same_target,
    lattice_state,
    share_of_coupling,
)
from tenfold.discrete_samplers.recipes import LatticeFlowRecipe
from tenfold.discrete_samplers.replay import Replay
from tenfold.discrete_samplers.saving import write_samples
from tenfold.discrete_samplers.trained import study_samplers
from tenfold.figures import histograms, lines, write_captions
from tenfold.files import check_writable
from tenfold.nn.cost import traced
from tenfold.nn.memory import require
from tenfold.runs.measurement import Measurement
from tenfold.runs.outcome import Outcome
from tenfold.training.optimizers import adamw_of_matrices
from tenfold.training.rehearsal import rehearsed
from tenfold.training.streams import Draws
from tenfold.training.task import Batch, Update, device_of


class LatticeFlowTask:
    """Coordinate descent on the Kolmogorov residual: trajectories and c_t from time to time, updates on them between.

    The last weights are kept: there is no held-out data to choose by."""

    def __init__(self, recipe: LatticeFlowRecipe, name: str = "dnfs") -> None:
        self.recipe, self.name = recipe, name
        self.grid = times(recipe.objective.steps)
        model = recipe.model
        self.replay = Replay(recipe.objective.buffer, self.grid, model.height * model.width)

    @cached_property
    def model(self) -> LatticeFlow:
        """The sampler: fresh, or what ``load`` read."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.recipe.train.seed)
            return LatticeFlow(self.recipe.model)

    @cached_property
    def rate(self) -> RateNetwork:
        """c_t, where it is learned."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.recipe.train.seed + 1)
            return RateNetwork()

    # --- training ---------------------------------------------------------------------------------------------

    @property
    def _joint(self) -> bool:
        return self.recipe.objective.rate == "network"

    def modules(self) -> dict[str, nn.Module]:
        """The sampler, and c_t where it is learned."""
        return {"flow": self.model, "rate": self.rate} if self._joint else {"flow": self.model}

    def optimizers(self, modules: Mapping[str, nn.Module]) -> dict[str, torch.optim.Optimizer]:
        """AdamW over both."""
        parameters = [p for module in modules.values() for p in module.parameters()]
        return {"flow": adamw_of_matrices(parameters, self.recipe.train)}

    def train_source(self) -> None:
        """There are no data: it learns from the target."""

    def validation_source(self) -> None:
        """None: the last weights are kept."""

    def step(self, modules: Mapping[str, nn.Module], batch: Batch, draws: Draws) -> Iterator[Update]:
        """One update on states of the buffer; every ``inner`` steps it is refreshed first."""
        settings, index = self.recipe.objective, batch["index"]
        if self.replay.stale(draws.step, settings.inner):
            self.model.couple(share_of_coupling(settings, draws.step, self.recipe.train.steps))
            self.refresh(draws, index.device)
        x, place = self.replay.draw(draws.uniform("replay", index, (2,)))
        t = self.grid.to(index.device)[place].float()
        values = modules["flow"](x, t, settings.clamp)
        if self._joint:
            loss = joint_loss(values, modules["rate"](t))
        else:
            loss = residual_loss(values, self.replay.rates[place])
        yield Update("flow", loss.mean(), {"log_z": self._log_z()}, {"xi": values.detach()})

    @torch.no_grad()
    def refresh(self, draws: Draws, device: torch.device) -> None:
        """Simulate with the present weights, and estimate c_t."""
        settings = self.recipe.objective
        numbers = torch.arange(settings.trajectories, device=device) + draws.step * settings.trajectories
        made = trajectories(
            self.model.process, self.model.target, settings.trajectories, self.grid, self.model.prior,
            ChainDraws(self.recipe.train.seed, numbers),
        )  # fmt: skip
        if settings.clamp is not None:
            flat = made.states.flatten(0, 1)
            t = self.grid.to(device).float().repeat_interleave(settings.trajectories)
            once = self.recipe.train.batch_size // self.recipe.train.accumulate  # what a step holds, with gradients
            parts = zip(flat.split(once), t.split(once), strict=True)
            clamped = torch.cat([self.model(*part, settings.clamp) for part in parts])
            made = made._replace(xi=clamped.view_as(made.xi))
        self.replay.add(made, settings.rate, settings.decay)

    def _log_z(self) -> Tensor:
        """∫ c dt by trapezia: what training takes log Z for."""
        return torch.trapezoid(self.replay.rates, self.grid.to(self.replay.rates))

    def validate(self, modules: Mapping[str, nn.Module], batch: Batch, draws: Draws) -> dict[str, Tensor]:
        """Nothing is validated."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """The buffer, the share of the coupling, and what it is a share of."""
        share = torch.tensor(self.model.coupling, dtype=torch.float64)
        return {**self.replay.state_dict(), "coupling": share, "target": lattice_state(self.recipe.model)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore them. Raises UsageError for those of another target."""
        check_same_target(self.recipe.model, state)
        self.replay.load_state_dict(state)
        self.model.couple(float(state["coupling"]))

    # --- use --------------------------------------------------------------------------------------------------

    def export(self, folder: Path) -> None:
        """Write the model folder."""
        self.model.save_pretrained(folder, {"name": self.name})

    def load(self, folder: Path | str) -> None:
        """Take the model of a folder."""
        self.model = LatticeFlow.from_pretrained(folder).to(device_of(self.model))

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> None:
        """Move the sampler."""
        self.model.to(device, dtype)

    def evaluate(self) -> list[Measurement]:
        """Effective size, log Z, energies, beside exact values and annealing."""
        self.model.couple(1.0)
        self._require(self.recipe.evaluation.samples, "lower evaluation.samples")
        return measure(self.model.eval(), self.recipe.evaluation, self.name)

    def _require(self, samples: int, instead: str) -> None:
        """Raise UsageError where so many samples at once are beyond the memory at hand: each takes what a state of
        training takes, without its gradients, at most."""
        train = self.recipe.train
        each = self.describe(self.recipe)["activation_bytes"] * train.accumulate // train.batch_size
        require(samples * each, device_of(self.model), f"{samples} samples at once", instead)

    def figures(self, directory: Path) -> list[Path]:
        """Energies of samples, and c_t."""
        self.model.couple(1.0)
        settings, flow = self.recipe.evaluation, self.model.eval()
        device = device_of(flow)
        way = flow.way(settings.steps, settings.grid, settings.apart, settings.floor)
        found = sample_flow(num=min(512, settings.samples), **way)
        weights = found.log_weights - found.log_weights.mean()
        files = [
            histograms({"samples": bond_energy(flow.config, found.samples)}, directory / "energy.png", "energy"),
            histograms({"log weights": weights}, directory / "weights.png", "log weight, less its mean"),
        ]
        made = trajectories(
            flow.process, flow.target, 256, self.grid, flow.prior, ChainDraws(5, torch.arange(256, device=device))
        )
        spread = {"sd of the residual": (self.grid.numpy(), made.xi.std(1).cpu().numpy())}
        files.append(lines(spread, directory / "residual.png", "t", "nats"))
        captions = {
            "energy.png": "Energies of samples, before they are weighted.",
            "weights.png": "Log weights of the path, exact for this number of steps; a narrow peak is a good sampler.",
            "residual.png": "Spread of the residual along the path; where it is large, time steps should be short.",
        }
        write_captions(directory, captions)
        return files

    def analyse(self, options: SamplerStudy, figures: Path) -> Outcome:
        """This sampler and all that fit, at equal seconds."""
        self.model.couple(1.0)
        return study_samplers(self.model.eval(), options, figures)

    def sample(self, options: LatticeSampling, folder: Path) -> list[Path]:
        """``samples.npz`` (tokens and log weights) and ``samples.json`` (log Z and what it cost)."""
        check_writable(folder, "samples", folder=True)
        self._require(options.num, "take fewer (--num)")
        self.model.couple(1.0)
        flow, smc = self.model.eval(), options.method == "smc"
        found = sample_flow(
            num=options.num // options.populations if smc else options.num,
            threshold=0.5 if smc else 0.0,
            populations=options.populations if smc else 1,
            refine=Gibbs() if options.refine else None,
            refinements=max(1, options.refine),
            seed=options.seed,
            **flow.way(options.steps, options.grid, options.apart, options.floor, options.seed),
        )
        return write_samples(found, flow.config, self.name, options, folder)

    @staticmethod
    def describe(recipe: LatticeFlowRecipe) -> dict[str, Any]:
        """Size and cost of a recipe, from a network on the meta device; bytes: see ``tenfold.training.rehearsal``, with
        the trajectories that are kept."""
        train, settings, sites = recipe.train, recipe.objective, recipe.model.height * recipe.model.width
        task = LatticeFlowTask(recipe)
        task.model.to("meta")
        task.rate.to("meta")
        _ = task.model.prior  # made before numbers are none
        task.replay = Rehearsed(settings.buffer, task.grid, sites)
        network = task.model.process.network
        flops = 0
        if network is not None:
            x, t = torch.zeros(1, sites, dtype=torch.int64, device="meta"), torch.zeros(1, device="meta")
            flops, _ = traced(lambda: network(x, t))
        simulated = settings.trajectories * (settings.steps + 1) / settings.inner

        def batch(rows: int) -> Batch:
            return {"index": torch.zeros(rows, dtype=torch.int64)}

        found = rehearsed(task, task.modules(), batch, train)
        kept = 8 * sites * (settings.steps + 1) * (settings.buffer + settings.trajectories)
        return {
            "parameters": sum(p.numel() for p in task.model.parameters()),
            "forward_flops_per_state": flops,
            "flops_per_step": int(flops * (3 * train.batch_size + simulated)),
            **found,
            "trajectory_bytes": kept,
            "total_bytes": found["total_bytes"] + kept,
            "batch_size": train.batch_size,
        }


class Rehearsed(Replay):
    """A buffer on the meta device that is always full."""

    def __init__(self, capacity: int, times: Tensor, sites: int) -> None:
        with torch.device("meta"):
            super().__init__(1, times, sites)
        self.filled = capacity

    def stale(self, step: int, every: int) -> bool:
        """Never."""
        return False

    def draw(self, uniforms: Tensor) -> tuple[Int[Tensor, "b d"], Int[Tensor, " b"]]:
        """As many states."""
        count = len(uniforms)
        states = torch.empty(count, self.states.shape[-1], dtype=torch.int64, device="meta")
        return states, torch.empty(count, dtype=torch.int64, device="meta")
