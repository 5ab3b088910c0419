"""``tenfold solve``: an independent set, a clique or a cut of a user's graph, and whether it is proven."""

from __future__ import annotations

from tenfold.discrete_samplers.commands.options import SolveOptions
from tenfold.errors import UsageError, suggest
from tenfold.reports import console as show
from tenfold.settings.command import CommandParser

NAMES = {"mis": "independent set", "clique": "clique", "cut": "cut"}
SUMMARY = (
    "Find a largest independent set (mis), clique or cut of a graph: simulated annealing with a local search, then a "
    "proof by mixed-integer programming as far as the time goes. Graphs are edge lists, GraphML (.graphml) or DIMACS "
    "(.col, .clq)."
)
EXAMPLES = """\
  tenfold solve mis karate.txt
  tenfold solve cut network.graphml --sweeps 1000 --seconds 60
  tenfold solve clique brock200_2.clq --json
  tenfold solve mis small.txt --run runs/graphs
"""


def run_solve(argv: list[str]) -> int:
    """Read a line, solve, print."""
    parser = CommandParser("solve", "mis|clique|cut GRAPH_FILE [options]", SUMMARY, EXAMPLES)
    parser.add_argument("problem", metavar="PROBLEM", help="mis, clique or cut")
    parser.add_argument("graph", metavar="GRAPH_FILE", help="an edge list, GraphML or DIMACS")
    parser.switch("--json", "print JSON")
    parser.add_options(SolveOptions)
    given = parser.parse_args(argv)
    if given.problem not in NAMES:
        raise UsageError(f"problem is {given.problem!r}{suggest(given.problem, NAMES)}")
    options = SolveOptions(**given.options(SolveOptions))

    from tenfold.discrete_samplers.graphs.model import GraphFlow
    from tenfold.discrete_samplers.solving import solve
    from tenfold.discrete_samplers.targets.files import read_graph
    from tenfold.hub.fetch import model_folder

    graph = read_graph(given.graph)
    flow = None if options.run is None else GraphFlow.from_pretrained(model_folder(options.run))
    with show.busy(f"solve {given.problem}"):
        found = solve(graph, given.problem, options.chains, options.sweeps, options.seconds, options.seed, flow)
    chosen = [graph.names[i] if graph.names else str(i) for i in found.choice.nonzero()[:, 0].tolist()]
    if given.json:
        facts = {"problem": given.problem, "nodes": graph.nodes, "edges": len(graph.edges), "value": found.value}
        show.as_json(
            {**facts, "bound": found.bound, "proven": found.proven, "annealed": found.annealed,
             "sampled": found.sampled, "nodes_chosen": chosen}
        )  # fmt: skip
        return 0
    what = NAMES[given.problem]
    print(f"{what} of {found.value} on {graph.nodes} nodes and {len(graph.edges)} edges")
    if found.proven:
        print("proven optimal")
    elif found.bound is not None:
        print(f"not proven: no {what} is above {found.bound}; give the proof more --seconds")
    else:
        print("no proof was asked for; give it --seconds")
    if found.sampled is not None:
        print(f"annealing alone found {found.annealed}, the trained sampler {found.sampled}")
    print("nodes: " + " ".join(chosen))
    return 0
