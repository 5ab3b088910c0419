"""How good choices of nodes are on graphs that a sampler has not seen, beside optima, DMALA alone and annealing."""

import math
import time
from collections.abc import Callable, Sequence
from functools import partial

import torch
from jaxtyping import Int
from torch import Tensor, nn

from tenfold import progress
from tenfold.discrete_samplers.classical.optimise import simulated_annealing
from tenfold.discrete_samplers.exact.proof import prove
from tenfold.discrete_samplers.flow.process import FlowProcess
from tenfold.discrete_samplers.graphs.config import GraphEvaluation
from tenfold.discrete_samplers.graphs.model import GraphFlow
from tenfold.discrete_samplers.graphs.sampling import flow_choices, moved_choices, values_of
from tenfold.discrete_samplers.targets.graphs import Graph
from tenfold.runs.measurement import Measurement


def value_rows(values: Int[Tensor, "g c"], best: Int[Tensor, " g"], model: str, note: str = "") -> list[Measurement]:
    """The objective of one sample and of the best of all, and both over the best that is known, means over graphs."""
    single, top = values.double().mean(1), values.double().amax(1)

    def row(name: str, of: Tensor, split: str) -> Measurement:
        error = float(of.std()) / math.sqrt(len(of)) if len(of) > 1 else None
        return Measurement(name, float(of.mean()), "", split, model, error, len(of), note)

    return [
        row("objective", single, "one sample"),
        row("objective", top, f"best of {values.shape[1]}"),
        row("ratio", single / best, "one sample"),
        row("ratio", top / best, f"best of {values.shape[1]}"),
    ]


@torch.no_grad()
def measure_graphs(flow: GraphFlow, graphs: Sequence[Graph], settings: GraphEvaluation, name: str) -> list[Measurement]:
    """Rows of the trained process, of the rates of conditionals before any training, of both with DMALA moves, of DMALA
    alone at equal steps and moves, and of simulated annealing with as many chains and sweeps."""
    problems, copies = flow.problems(graphs), settings.copies
    laws = flow.laws(graphs)
    rows = torch.arange(len(graphs), device=laws.constant.device).repeat_interleave(copies)
    laws, found = laws.of(rows), []
    best = torch.tensor([prove(problem, settings.seconds).bound for problem in progress.track(problems, "optima")])

    def told(model: str, made: Callable[[], Int[Tensor, "b n"]]) -> None:
        began = time.perf_counter()
        values = values_of(problems, made(), copies)
        found.append(Measurement("seconds", time.perf_counter() - began, "s", "", model))
        found.extend(value_rows(values, best, model))

    free = FlowProcess(None, flow.config.conditional).to(laws.constant.device)
    steps, alpha = settings.steps, settings.alpha
    for model, process in (("conditional rates", free), (name, flow.process(laws))):
        for moves in (0, *settings.moves):
            label = f"{model}, {moves} DMALA moves a step" if moves else model
            told(label, partial(flow_choices, process, laws, steps, moves, alpha, 1))
    for moves in settings.moves:
        told(f"DMALA alone, {moves} moves a step", partial(moved_choices, laws, steps, moves, alpha, 1))

    def annealed() -> Int[Tensor, "b n"]:
        found = [simulated_annealing(p, copies, steps, seed=1) for p in progress.track(problems, "annealing")]
        return torch.cat([nn.functional.pad(part.samples, (0, laws.sites - part.samples.shape[1])) for part in found])

    told("simulated annealing", annealed)
    return [*found, Measurement("objective", float(best.double().mean()), "", "", "optimum", None, len(graphs))]
