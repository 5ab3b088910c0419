"""Random graphs to learn from and to be measured on; each is a function of its seed and its number."""

import math

import networkx
import numpy as np

from tenfold.discrete_samplers.graphs.config import GraphSetSettings
from tenfold.discrete_samplers.targets.graphs import Graph, graph_of
from tenfold.errors import UsageError
from tenfold.settings.arguments import read_arguments
from tenfold.training.streams import key_of

_MOST_TRIES = 1000


@read_arguments
def random_graphs(settings: GraphSetSettings, split: str, count: int) -> list[Graph]:
    """``count`` graphs of a split; graphs without an edge are drawn again.

    Raises UsageError where such graphs hardly ever have an edge, and for "rb" without a size that fits."""
    return [_graph(settings, key_of(settings.seed, split, number)) for number in range(count)]


def _graph(settings: GraphSetSettings, key: int) -> Graph:
    for trial in range(_MOST_TRIES):
        random = np.random.Generator(np.random.Philox(key=[key, trial]))
        nodes = int(random.integers(settings.least, settings.most + 1))
        seed = int(random.integers(2**31))
        if settings.kind == "er":
            made = networkx.gnp_random_graph(nodes, settings.probability, seed)
        elif settings.kind == "ba":
            made = networkx.barabasi_albert_graph(nodes, settings.degree, seed)
        else:
            made = _model_rb(settings, random)
        if made.number_of_edges():
            return graph_of(made)
    raise UsageError(f"{_MOST_TRIES} graphs had no edge; raise data.probability, {settings.probability}")


def _model_rb(settings: GraphSetSettings, random: np.random.Generator) -> networkx.Graph:
    """Model RB (Xu, Boussemart, Hemery, Lecoutre 2007): n cliques of k = n^α nodes, and r n log n times p k² edges
    between two of them, with r = −α / log(1 − p), at which an independent set of n nodes is about to exist."""
    pairs = [
        (n, k)
        for n in range(5, settings.most // 2 + 1)
        for k in range(3, settings.most // n + 1)
        if settings.least <= n * k <= settings.most
    ]
    if not pairs:
        raise UsageError(f"no number of cliques gives {settings.least} to {settings.most} nodes; widen the range")
    n, k = pairs[int(random.integers(len(pairs)))]
    made = networkx.disjoint_union_all([networkx.complete_graph(k)] * n)
    p = settings.probability
    rounds = 0 if p == 1 else int(-math.log(k) / math.log1p(-p) * n)
    for _ in range(rounds):
        one, other = random.choice(n, 2, replace=False)
        chosen = random.choice(k * k, max(1, round(p * k * k)), replace=False)
        made.add_edges_from((int(one * k + c // k), int(other * k + c % k)) for c in chosen)
    return made
