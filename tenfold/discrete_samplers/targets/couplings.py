"""Symmetric couplings between sites as a list of edges, and the sums over neighbours that every pairwise law needs."""

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from tenfold.errors import UsageError
from tenfold.nn.border import Values, floats, whole
from tenfold.settings.arguments import read_arguments

_DENSE = 1024  # sites up to which a matrix product beats gathering along edges


class Couplings(nn.Module):
    """w_ij over edges i < j of a graph of ``sites`` nodes; every edge stands once.

    Args:
        sites: d.
        edges: (m, 2) numbers of nodes; either order, no edge twice, no loop.
        weights: (m,) finite.

    Raises:
        UsageError: loops, edges that stand twice, nodes that there are not, weights of another number.
    """

    edges: Tensor
    weights: Tensor
    matrix: Tensor

    def __init__(self, sites: int, edges: Tensor, weights: Tensor) -> None:
        super().__init__()
        edges, weights = check_edges(sites, edges), floats(weights, "weights")
        if weights.shape != (len(edges),):
            raise UsageError(f"weights have shape {tuple(weights.shape)} for {len(edges)} edges; give one an edge")
        self.sites = sites
        self.register_buffer("edges", edges)
        self.register_buffer("weights", weights)
        dense = weights.new_zeros(sites, sites) if sites <= _DENSE else weights.new_zeros(0, 0)
        if sites <= _DENSE:
            dense[edges[:, 0], edges[:, 1]] = weights
            dense = dense + dense.T
        self.register_buffer("matrix", dense, persistent=False)

    def neighbour_sums(self, v: Float[Tensor, "b d *c"]) -> Float[Tensor, "b d *c"]:
        """Σ_j w_ij v_j at every site."""
        if len(self.matrix):
            return torch.einsum("ij,bj...->bi...", self.matrix, v)
        i, j = self.edges.T
        weights = self.weights.reshape(-1, *(1,) * (v.ndim - 2))
        total = torch.zeros_like(v).index_add_(1, i, v[:, j] * weights)
        return total.index_add_(1, j, v[:, i] * weights)

    def sums_at(self, v: Float[Tensor, "b d *c"], chosen: Int[Tensor, " m"]) -> Float[Tensor, "b m *c"]:
        """Σ_j w_ij v_j at some sites."""
        if len(self.matrix):
            return torch.einsum("ij,bj...->bi...", self.matrix[chosen], v)
        return self.neighbour_sums(v)[:, chosen]

    def between(self, v: Shaped[Tensor, "b d"]) -> tuple[Shaped[Tensor, "b m"], Shaped[Tensor, "b m"]]:
        """What stands at the two ends of every edge."""
        return v[:, self.edges[:, 0]], v[:, self.edges[:, 1]]


def check_edges(sites: int, edges: Tensor) -> Int[Tensor, "m 2"]:
    """Edges (m, 2) int64, the smaller node first. Raises UsageError for loops, repetitions and unknown nodes."""
    edges = whole(edges, "edges")
    if edges.ndim != 2 or edges.shape[1] != 2:
        raise UsageError(f"edges have shape {tuple(edges.shape)}; give (number, 2) nodes")
    if len(edges) and (int(edges.min()) < 0 or int(edges.max()) >= sites):
        raise UsageError(f"edges name nodes {int(edges.min())} to {int(edges.max())}; there are 0..{sites - 1}")
    ordered = edges.sort(1).values
    loops = ordered[:, 0] == ordered[:, 1]
    if bool(loops.any()):
        raise UsageError(f"node {int(ordered[loops][0, 0])} has an edge to itself; leave loops out")
    keys = (ordered[:, 0] * sites + ordered[:, 1]).sort().values
    same = keys[1:] == keys[:-1]
    if bool(same.any()):
        key = int(keys[1:][same][0])
        raise UsageError(f"the edge {key // sites}-{key % sites} stands twice; give every edge once")
    return ordered


def matrix_edges(matrix: Values, name: str) -> tuple[Int[Tensor, "m 2"], Float[Tensor, " m"]]:
    """The edges of a symmetric matrix M, and the weights M_ij + M_ji that x'Mx has of x_i x_j.

    Raises UsageError for what is not square, not finite or not symmetric."""
    matrix = floats(matrix, name)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not len(matrix):
        raise UsageError(f"{name} has shape {tuple(matrix.shape)}; give a square matrix")
    if not torch.allclose(matrix, matrix.T, rtol=1e-6, atol=0):
        raise UsageError(f"{name} is not symmetric; give ({name} + {name}ᵀ)/2, which is the same quadratic form")
    edges = matrix.triu(1).nonzero()
    return edges, 2 * matrix[edges[:, 0], edges[:, 1]]


def colouring(sites: int, edges: Int[Tensor, "m 2"]) -> list[Int[Tensor, " k"]]:
    """Sets of sites without an edge inside, greedily, the sites with most neighbours first."""
    adjacent: list[list[int]] = [[] for _ in range(sites)]
    for i, j in edges.tolist():
        adjacent[i].append(j)
        adjacent[j].append(i)
    colours = [-1] * sites
    for node in sorted(range(sites), key=lambda n: -len(adjacent[n])):
        taken = {colours[other] for other in adjacent[node]}
        colours[node] = next(c for c in range(sites) if c not in taken)
    found = torch.tensor(colours)
    return [(found == c).nonzero()[:, 0] for c in range(int(found.max()) + 1)]


@read_arguments
def spread_sites(height: int, width: int, apart: int) -> list[Int[Tensor, " k"]]:
    """Sets of sites of a periodic lattice that are more than ``apart`` bonds from each other: by the perfect code
    where there is one (2 apart, sides that 5 divides: five sets), greedily otherwise.

    >>> [len(sites) for sites in spread_sites(10, 10, 2)]
    [20, 20, 20, 20, 20]
    """
    if min(height, width) < 1 or apart < 0:
        raise UsageError(
            f"height, width, apart are {height}, {width}, {apart}; give sides of 1 or more, 0 or more bonds"
        )
    site = torch.arange(height * width)
    row, column = site // width, site % width
    if apart == 2 and height % 5 == 0 and width % 5 == 0:
        kind = (row + 2 * column) % 5
        return [(kind == k).nonzero()[:, 0] for k in range(5)]
    down, right = ((place[:, None] - place[None]).abs() for place in (row, column))
    near = torch.minimum(down, height - down) + torch.minimum(right, width - right) <= apart
    return colouring(height * width, near.triu(1).nonzero())


def lattice_edges(height: int, width: int) -> Int[Tensor, "m 2"]:
    """The edges of a periodic lattice, site i w + j in row i and column j. With 2 rows (columns) both bonds between a
    pair are one edge, with 1 there is none: ``lattice_bonds`` says how many bonds each edge stands for."""
    return _bonds(height, width)[0]


def lattice_bonds(height: int, width: int) -> Float[Tensor, " m"]:
    """How many of the 2·height·width bonds each edge of ``lattice_edges`` stands for: 1, or 2 where a side is 2."""
    return _bonds(height, width)[1]


def _bonds(height: int, width: int) -> tuple[Tensor, Tensor]:
    site = torch.arange(height * width).view(height, width)
    pairs = torch.cat([torch.stack([site, site.roll(-1, axis)], -1).flatten(0, 1) for axis in (0, 1)])
    pairs = pairs[pairs[:, 0] != pairs[:, 1]].sort(1).values
    edges, counts = pairs.unique(dim=0, return_counts=True)
    return edges, counts.to(torch.float32)
