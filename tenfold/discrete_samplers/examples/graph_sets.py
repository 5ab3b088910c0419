"""Sets of random graphs as neural solvers publish them: proven optima, annealing, Langevin moves, local search, and the
published ratios to Gurobi beside them (arXiv 2505.17741, whose graphs are not public: ratios alone compare)."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Int
from torch import Tensor

from tenfold.discrete_samplers.classical.optimise import simulated_annealing
from tenfold.discrete_samplers.classical.repair import improved
from tenfold.discrete_samplers.exact.proof import prove
from tenfold.discrete_samplers.graphs.config import GraphSetSettings
from tenfold.discrete_samplers.graphs.evaluation import value_rows
from tenfold.discrete_samplers.graphs.sampling import moved_choices, values_of
from tenfold.discrete_samplers.graphs.sets import random_graphs
from tenfold.discrete_samplers.targets.graph_laws import graph_laws
from tenfold.discrete_samplers.targets.graphs import PROBLEMS, Graph
from tenfold.runs.measurement import Measurement
from tenfold.runs.outcome import Outcome

CHAINS, SWEEPS, COLD = 64, 200, 0.1
_PROVABLE = 45  # nodes of a cut that the mixed-integer program proves within seconds
PUBLISHED = {
    "independent sets, ER 16-20": (8.92, {"DMALA": 8.81, "GFlowNet": 8.75, "DNFS": 8.28, "DNFS + DMALA": 8.91}),
    "independent sets, ER 32-40": (14.62, {"DMALA": 14.02, "GFlowNet": 13.93, "DNFS": 13.18, "DNFS + DMALA": 14.31}),
    "independent sets, ER 64-75": (20.55, {"DMALA": 19.54, "GFlowNet": 19.13, "DNFS": 18.12, "DNFS + DMALA": 20.06}),
    "cuts, BA 16-20": (40.85, {"DMALA": 40.32, "GFlowNet": 39.93, "DNFS": 39.60, "DNFS + DMALA": 40.76}),
    "cuts, BA 32-40": (93.67, {"DMALA": 93.47, "GFlowNet": 90.65, "DNFS": 88.64, "DNFS + DMALA": 93.63}),
    "cuts, BA 64-75": (194.08, {"DMALA": 192.33, "GFlowNet": 186.60, "DNFS": 181.75, "DNFS + DMALA": 192.30}),
    "independent sets, RB 32-40, p = 0.1": (8.52, {"DMALA": 8.50, "DNFS": 8.00, "DNFS + DMALA": 8.51}),
    "independent sets, RB 32-40, p = 0.5": (7.06, {"DMALA": 7.01, "DNFS": 6.67, "DNFS + DMALA": 7.02}),
    "independent sets, RB 32-40, p = 0.9": (8.05, {"DMALA": 8.04, "DNFS": 7.97, "DNFS + DMALA": 8.04}),
}
"""Means over 100 graphs, Gurobi's and others', by what tables call the sets."""
RATIOS = {
    "cuts, BA 20-32": {"PDNS": (0.963, 0.911), "IEDG": (1.00, 0.965)},
    "cuts, BA 40-64": {"PDNS": (0.897, 0.869), "IEDG": (0.987, 0.920)},
    "cuts, BA 100-128": {"PDNS": (0.876, 0.840), "IEDG": (0.915, 0.871)},
}
"""Published ratios to the best that is known, of the best of 512 samples and of their mean (PDNS: arXiv 2510.03824)."""


def settings_of(name: str, count: int) -> tuple[str, GraphSetSettings]:
    """The problem of a set, and how its graphs are drawn."""
    problem, kind, *rest = name.replace(",", "").replace("independent sets", "mis").replace("cuts", "cut").split()
    least, most = (int(number) for number in rest[0].split("-"))
    probability = float(rest[-1]) if kind == "RB" else 0.15
    drawn = {"ER": "er", "BA": "ba", "RB": "rb"}[kind]
    return problem, GraphSetSettings(drawn, least, most, probability, test=count)  # type: ignore[arg-type]


def set_rows(name: str, graphs: list[Graph], problem: str, chains: int, sweeps: int) -> list[Measurement]:
    """One set: the best that is known, and what each way finds."""
    problems = [PROBLEMS[problem](graph) for graph in graphs]
    laws = graph_laws([PROBLEMS[problem](graph, COLD) for graph in graphs], max(graph.nodes for graph in graphs))

    def moved() -> Int[Tensor, "g c"]:
        parts = [
            moved_choices(laws.of(torch.full((chains,), g)), sweeps, 1, first=g * chains) for g in range(len(graphs))
        ]
        return values_of(problems, torch.cat(parts), chains)

    ways: dict[str, Callable[[], Int[Tensor, "g c"]]] = {
        "simulated annealing": lambda: torch.stack(
            [p.objective(simulated_annealing(p, chains, sweeps).samples) for p in problems]
        ),
        "DMALA": moved,
        "local search from nothing": lambda: torch.stack(
            [p.objective(improved(p, torch.zeros(1, p.sites, dtype=torch.int64))) for p in problems]
        ),
    }
    found, notes = {}, {}
    for way, run in ways.items():
        began = time.perf_counter()
        found[way] = run()
        notes[way] = f"{1000 * (time.perf_counter() - began) / len(graphs):.0f} ms a graph"
    best = torch.stack([values.amax(1) for values in found.values()]).amax(0)
    proven = torch.zeros(len(graphs), dtype=torch.bool)
    if problem != "cut" or max(graph.nodes for graph in graphs) <= _PROVABLE:
        optima = [prove(p, 20.0) for p in problems]
        best = torch.maximum(best, torch.tensor([o.value for o in optima]))
        proven = torch.tensor([o.bound for o in optima]) == best
    made = [row for way in ways for row in value_rows(found[way], best, way, notes[way])]
    told = f"{int(proven.sum())} of {len(graphs)} proven optimal"
    made.append(Measurement("objective", float(best.double().mean()), "", "best known", "best known", note=told))
    return [replace(row, split=f"{name}: {row.split}") for row in made]


def published_rows(name: str) -> list[Measurement]:
    """What was published about a set, as ratios."""
    if name in RATIOS:
        return [
            Measurement("ratio", value, "", f"{name}: {split}", f"published {model}")
            for model, pair in RATIOS[name].items()
            for split, value in zip(("best of 512", "one sample"), pair, strict=True)
        ]
    gurobi, others = PUBLISHED[name]
    return [
        Measurement("ratio", value / gurobi, "", f"{name}: published", f"{model}, over Gurobi", draws=100)
        for model, value in others.items()
    ]


def graph_sets(figures: Path, quick: bool = False, progress: Callable[[float], None] = lambda done: None) -> Outcome:
    """The example "graph-sets"."""
    count, chains, sweeps = (2, 8, 8) if quick else (32, CHAINS, SWEEPS)
    names = [name for name in (*PUBLISHED, *RATIOS) if not quick or name.endswith("16-20")]
    rows = []
    for done, name in enumerate(names):
        problem, settings = settings_of(name, count)
        rows += set_rows(name, random_graphs(settings, "test", count), problem, chains, sweeps)
        rows += published_rows(name)
        progress((done + 1) / len(names))
    return Outcome(rows, {}, {"system": "dnfs", "graphs": count, "chains": chains, "sweeps": sweeps})
