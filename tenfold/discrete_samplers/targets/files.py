"""Graphs from files: edge lists, GraphML, DIMACS."""

from pathlib import Path

import networkx
import torch

from tenfold.discrete_samplers.targets.graphs import Graph, graph_of
from tenfold.errors import UsageError

_DIMACS = (".col", ".clq", ".dimacs", ".mis")


def read_graph(path: str | Path) -> Graph:
    """A graph from a file: DIMACS (.col, .clq, .dimacs, .mis: lines "p edge NODES EDGES" and "e A B" from 1 on),
    GraphML (.graphml), and else an edge list, two names a line, what follows "#" left out.

    An edge that stands once in each direction is one edge.

    Raises UsageError for files that are not there or hold something else."""
    path = Path(path)
    if not path.is_file():
        raise UsageError(f"{path} does not exist; give a file with a graph")
    try:
        if path.suffix == ".graphml":
            found = networkx.read_graphml(path)
            return graph_of(networkx.Graph(found))
        text = path.read_text(encoding="utf-8")
    except (UnicodeDecodeError, networkx.NetworkXError, SyntaxError) as error:
        raise UsageError(f"{path} holds no graph: {error}") from None
    return _dimacs(text, path) if path.suffix in _DIMACS else _edge_list(text, path)


def _dimacs(text: str, path: Path) -> Graph:
    nodes, pairs = 0, set()
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        try:
            if words[:1] == ["p"]:
                nodes = int(words[2])
            elif words[:1] == ["e"]:
                pairs.add((min(int(words[1]), int(words[2])) - 1, max(int(words[1]), int(words[2])) - 1))
        except (IndexError, ValueError):
            raise UsageError(f"line {number} of {path} is {line!r}; expected 'p edge NODES EDGES' or 'e A B'") from None
    return Graph(nodes, torch.tensor(sorted(pairs), dtype=torch.int64).reshape(-1, 2))


def _edge_list(text: str, path: Path) -> Graph:
    graph = networkx.Graph()
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].replace(",", " ").split()
        if not words:
            continue
        if len(words) < 2:
            raise UsageError(f"line {number} of {path} is {line!r}; expected two nodes")
        graph.add_edge(words[0], words[1])
    return graph_of(graph)
