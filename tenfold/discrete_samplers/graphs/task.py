"""A sampler that is conditioned on graphs as the training loop and the verbs see it."""

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tenfold.discrete_samplers.classical.kernels import ChainDraws
from tenfold.discrete_samplers.classical.repair import repaired
from tenfold.discrete_samplers.flow.residual import residual_loss
from tenfold.discrete_samplers.flow.simulation import times, trajectories
from tenfold.discrete_samplers.graphs.config import GraphSampling
from tenfold.discrete_samplers.graphs.evaluation import measure_graphs
from tenfold.discrete_samplers.graphs.model import GraphFlow
from tenfold.discrete_samplers.graphs.recipes import GraphFlowRecipe
from tenfold.discrete_samplers.graphs.replay import GraphReplay
from tenfold.discrete_samplers.graphs.sampling import flow_choices, values_of
from tenfold.discrete_samplers.graphs.sets import random_graphs
from tenfold.discrete_samplers.targets.files import read_graph
from tenfold.discrete_samplers.targets.graph_laws import GraphLaws
from tenfold.discrete_samplers.targets.graphs import Graph
from tenfold.errors import UsageError
from tenfold.figures import histograms, lines, write_captions
from tenfold.files import check_writable, write_json
from tenfold.nn.cost import traced
from tenfold.nn.memory import require
from tenfold.runs.measurement import Measurement
from tenfold.training.optimizers import adamw_of_matrices
from tenfold.training.rehearsal import rehearsed
from tenfold.training.streams import Draws
from tenfold.training.task import Batch, Update, device_of


class GraphFlowTask:
    """Coordinate descent on the Kolmogorov residual, with c_t of each graph from several trajectories of its own.

    The last weights are kept."""

    def __init__(self, recipe: GraphFlowRecipe, name: str = "graph-flow") -> None:
        self.recipe, self.name = recipe, name
        self.grid = times(recipe.objective.steps)
        self.replay = GraphReplay(recipe.objective.buffer, self.grid, recipe.model.nodes)

    @cached_property
    def model(self) -> GraphFlow:
        """The sampler: fresh, or what ``load`` read."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.recipe.train.seed)
            return GraphFlow(self.recipe.model)

    @cached_property
    def laws(self) -> GraphLaws:
        """The problems on the graphs of training."""
        return self.model.laws(random_graphs(self.recipe.data, "train", self.recipe.data.train))

    # --- training ---------------------------------------------------------------------------------------------

    def modules(self) -> dict[str, nn.Module]:
        """The sampler."""
        return {"flow": self.model}

    def optimizers(self, modules: Mapping[str, nn.Module]) -> dict[str, torch.optim.Optimizer]:
        """AdamW."""
        return {"flow": adamw_of_matrices(list(modules["flow"].parameters()), self.recipe.train)}

    def train_source(self) -> None:
        """There are no data: it learns from the targets."""

    def validation_source(self) -> None:
        """None: the last weights are kept."""

    def step(self, modules: Mapping[str, nn.Module], batch: Batch, draws: Draws) -> Iterator[Update]:
        """One update on states of the buffer; every ``inner`` steps it is refreshed first."""
        index = batch["index"]
        if self.replay.stale(draws.step, self.recipe.objective.inner):
            self.refresh(draws, index.device)
        x, place, graph, rate = self.replay.draw(draws.uniform("replay", index, (2,)))
        t = self.grid.to(index.device)[place].float()
        values = modules["flow"](x, t, self.laws.of(graph))
        loss = residual_loss(values, rate).mean()
        yield Update("flow", loss, {"rate": self.replay.rates.mean()}, {"xi": values.detach()})

    @torch.no_grad()
    def refresh(self, draws: Draws, device: torch.device) -> None:
        """Simulate some graphs with the present weights, and estimate c_t of each."""
        settings = self.recipe.objective
        numbers = torch.arange(settings.graphs, device=device) + draws.step * settings.graphs
        chosen = (draws.uniform("graphs", numbers) * len(self.laws.constant)).long()
        graph = chosen.clamp(max=len(self.laws.constant) - 1).repeat_interleave(settings.copies)
        laws = self.laws.of(graph)
        chains = torch.arange(len(graph), device=device) + draws.step * len(graph)
        made = trajectories(
            self.model.process(laws), laws, len(graph), self.grid, self.model.prior,
            ChainDraws(self.recipe.train.seed, chains),
        )  # fmt: skip
        self.replay.add(made, graph, settings.copies)

    def validate(self, modules: Mapping[str, nn.Module], batch: Batch, draws: Draws) -> dict[str, Tensor]:
        """Nothing is validated."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """The buffer; the graphs are functions of the settings."""
        return self.replay.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore it."""
        self.replay.load_state_dict(state)

    # --- use --------------------------------------------------------------------------------------------------

    def export(self, folder: Path) -> None:
        """Write the model folder."""
        self.model.save_pretrained(folder, {"name": self.name})

    def load(self, folder: Path | str) -> None:
        """Take the model of a folder."""
        self.model = GraphFlow.from_pretrained(folder).to(device_of(self.model))

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> None:
        """Move the sampler, and the graphs if there are any yet."""
        self.model.to(device, dtype)
        if "laws" in vars(self):
            self.laws = self.laws.to(device)

    def evaluate(self) -> list[Measurement]:
        """Choices on unseen graphs, beside optima, DMALA alone and annealing."""
        settings = self.recipe.evaluation
        self._require(settings.copies * self.recipe.data.test, "lower evaluation.copies")
        return measure_graphs(self.model.eval(), self._unseen(), settings, self.name)

    def _unseen(self) -> list[Graph]:
        return random_graphs(self.recipe.data, "test", self.recipe.data.test)

    def _require(self, samples: int, instead: str) -> None:
        train = self.recipe.train
        each = self.describe(self.recipe)["activation_bytes"] * train.accumulate // train.batch_size
        require(samples * each, device_of(self.model), f"{samples} samples at once", instead)

    def figures(self, directory: Path) -> list[Path]:
        """The objective of samples on one unseen graph, and how far ξ is from constant along the path."""
        flow, settings, device = self.model.eval(), self.recipe.evaluation, device_of(self.model)
        graph = self._unseen()[:1]
        laws = flow.laws(graph).of(torch.zeros(256, dtype=torch.int64, device=device))
        process = flow.process(laws)
        values = values_of(flow.problems(graph), flow_choices(process, laws, settings.steps), 256)
        files = [histograms({"samples": values[0].float()}, directory / "objective.png", "objective")]
        chains = ChainDraws(5, torch.arange(256, device=device))
        made = trajectories(process, laws, 256, self.grid, flow.prior, chains)
        spread = {"sd of the residual": (self.grid.numpy(), made.xi.std(1).cpu().numpy())}
        files.append(lines(spread, directory / "residual.png", "t", "nats"))
        captions = {
            "objective.png": "Nodes chosen (or edges cut) by samples on one unseen graph, after repair.",
            "residual.png": "Spread of the residual along the path on that graph.",
        }
        write_captions(directory, captions)
        return files

    def sample(self, options: GraphSampling, folder: Path) -> list[Path]:
        """``samples.npz``: feasible choices of nodes and their objective; ``samples.json``: the best."""
        if not options.graph:
            raise UsageError("name the graph's file with --graph: an edge list, GraphML or DIMACS")
        check_writable(folder, "samples", folder=True)
        graph = read_graph(options.graph)
        if graph.nodes > self.recipe.model.nodes:
            raise UsageError(
                f"{options.graph} has {graph.nodes} nodes; the sampler was trained for at most "
                f"{self.recipe.model.nodes}: train one of more (--model.nodes, --data.most), or use tenfold solve"
            )
        self._require(options.num, "take fewer (--num)")
        flow = self.model.eval()
        (problem,) = flow.problems([graph])
        laws = flow.laws([graph]).of(torch.zeros(options.num, dtype=torch.int64, device=device_of(flow)))
        x = flow_choices(flow.process(laws), laws, options.steps, options.refine, options.alpha, options.seed)
        chosen = repaired(problem, x.cpu()[:, : graph.nodes])
        values = problem.objective(chosen)
        folder.mkdir(parents=True, exist_ok=True)
        files = [folder / "samples.npz", folder / "samples.json"]
        np.savez_compressed(files[0], tokens=chosen.to(torch.uint8).numpy(), objective=values.numpy())
        top = chosen[int(values.argmax())].nonzero()[:, 0].tolist()
        names = [graph.names[i] if graph.names else str(i) for i in top]
        best = {"problem": problem.problem, "best": int(values.max()), "mean": float(values.double().mean())}
        write_json(files[1], {"model": self.name, "options": vars(options), **best, "nodes_chosen": names})
        return files

    @staticmethod
    def describe(recipe: GraphFlowRecipe) -> dict[str, Any]:
        """Size and cost of a recipe, from a network on the meta device; bytes: see ``tenfold.training.rehearsal``, with
        the trajectories that are kept."""
        train, settings, nodes = recipe.train, recipe.objective, recipe.model.nodes
        task = GraphFlowTask(recipe)
        task.model.to("meta")
        task.laws = _laws_on_meta(recipe)
        task.replay = RehearsedGraphs(settings.buffer, task.grid, nodes)
        network, one = task.model.network, task.laws.of(torch.zeros(1, dtype=torch.int64, device="meta"))
        x, t = torch.zeros(1, nodes, dtype=torch.int64, device="meta"), torch.zeros(1, device="meta")
        flops, _ = traced(lambda: network(x, t, one))
        simulated = settings.graphs * settings.copies * (settings.steps + 1) / settings.inner

        def batch(rows: int) -> Batch:
            return {"index": torch.zeros(rows, dtype=torch.int64)}

        found = rehearsed(task, task.modules(), batch, train)
        kept = 8 * nodes * (settings.steps + 1) * (settings.buffer + settings.graphs * settings.copies)
        return {
            "parameters": sum(p.numel() for p in task.model.parameters()),
            "forward_flops_per_state": flops,
            "flops_per_step": int(flops * (3 * train.batch_size + simulated)),
            **found,
            "trajectory_bytes": kept,
            "total_bytes": found["total_bytes"] + kept,
            "batch_size": train.batch_size,
        }


def _laws_on_meta(recipe: GraphFlowRecipe) -> GraphLaws:
    count, n = recipe.data.train, recipe.model.nodes
    with torch.device("meta"):
        return GraphLaws(
            0,
            torch.empty(count, n, n),
            torch.empty(count, n),
            torch.empty(count),
            torch.empty(count, n, dtype=torch.bool),
            torch.empty(count, n, n, dtype=torch.int64),
        )


class RehearsedGraphs(GraphReplay):
    """A buffer on the meta device that is always full."""

    def __init__(self, capacity: int, times: Tensor, nodes: int) -> None:
        with torch.device("meta"):
            super().__init__(1, times, nodes)
        self.filled = capacity

    def stale(self, step: int, every: int) -> bool:
        """Never."""
        return False

    def draw(self, uniforms: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """As many states."""
        count = len(uniforms)
        states = torch.empty(count, self.states.shape[-1], dtype=torch.int64, device="meta")
        place = torch.empty(count, dtype=torch.int64, device="meta")
        return states, place, place.clone(), torch.empty(count, device="meta")
