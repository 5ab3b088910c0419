"""Discrete samplers against the published algorithms: ``python -m benchmarks.discrete_samplers``.

The transformer has the released sizes (width 64, heads of 16, three blocks) and random weights; what is timed does not
depend on them.
"""

import math
import sys
from collections.abc import Callable
from typing import Any

import networkx
import torch

from benchmarks import reference_discrete_samplers as reference
from benchmarks.harness import Record, main, paired
from tenfold.discrete_samplers.classical.annealing import annealed_sampling
from tenfold.discrete_samplers.classical.bits import packed_gibbs
from tenfold.discrete_samplers.classical.chains import run_chains
from tenfold.discrete_samplers.classical.clusters import SwendsenWang
from tenfold.discrete_samplers.classical.gibbs import Gibbs
from tenfold.discrete_samplers.classical.kernels import ChainDraws
from tenfold.discrete_samplers.classical.optimise import simulated_annealing
from tenfold.discrete_samplers.exact.lattice import ising_lattice
from tenfold.discrete_samplers.flow.process import FlowProcess, see
from tenfold.discrete_samplers.flow.residual import residual_loss
from tenfold.discrete_samplers.flow.simulation import sample_flow, times, trajectories
from tenfold.discrete_samplers.networks.transformer import EquivariantTransformer
from tenfold.discrete_samplers.targets.annealed import uniform
from tenfold.discrete_samplers.targets.binary import Ising
from tenfold.discrete_samplers.targets.graphs import MaximumCut, graph_of

Emit = Callable[[Record], None]


def transformer(side: int) -> EquivariantTransformer:
    """The released size."""
    torch.manual_seed(0)
    return EquivariantTransformer(side * side, 2, 64, 16, 3)


def forward(emit: Emit, side: int, batch: int, repeats: int) -> None:
    """G of a batch."""
    network = transformer(side)
    other, x, t = reference.ReferenceTransformer(network), torch.randint(2, (batch, side**2)), torch.rand(batch)
    with torch.no_grad():
        error = float((network(x, t) - other(x, t)).abs().max())
        seconds = paired(lambda: network(x, t), lambda: other(x, t), repeats)
    emit(Record("letf-forward", *seconds, "seconds", error, {"sites": side**2, "batch": batch}))


def epoch(emit: Emit, side: int, chains: int, steps: int, inner: int, batch: int, repeats: int) -> None:
    """Trajectories, d/dt log Z on the grid, and updates. The reference simulates, and then computes G of all states
    again for d/dt log Z; here one pass serves both."""
    network, target, prior = transformer(side), Ising(side, side, 0.2), uniform(side**2, 2)
    process, peer = FlowProcess(network, None), reference.ReferenceTransformer(network)
    grid, adjacency = times(steps), target.couplings.matrix / 2
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-5)

    def update(
        xi: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], states: torch.Tensor, rate: torch.Tensor
    ) -> None:
        for _ in range(inner):
            k, row = torch.randint(len(states), (batch,)), torch.randint(chains, (batch,))
            loss = residual_loss(xi(states[k, row], grid[k].float()), rate[k]).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    def ours() -> None:
        made = trajectories(process, target, chains, grid, prior, ChainDraws(0, torch.arange(chains)))
        update(lambda x, t: see(process, target, prior, x, t).xi(5.0), made.states, made.xi.mean(1))

    def xi_of_peer(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        s = 2.0 * x - 1
        change = ((s @ adjacency) * s).sum(1) + side**2 * 0.6931471805599453
        return change + reference.stein(peer(x, t), reference.lattice_ratios(x, adjacency, t), 5.0)

    def other() -> None:
        with torch.no_grad():
            states = [torch.randint(2, (chains, side**2))]
            for k in range(steps):
                x, t = states[-1], torch.full((chains,), k / steps)
                move = (peer(x, t).clamp(min=0) / steps).clamp(max=1).scatter(-1, x[..., None], 0)
                stay = (1 - move.sum(-1, keepdim=True)).clamp(min=0)
                states.append(torch.distributions.Categorical(move.scatter(-1, x[..., None], stay)).sample())
            rate = torch.stack([xi_of_peer(x, torch.full((chains,), k / steps)).mean() for k, x in enumerate(states)])
        update(xi_of_peer, torch.stack(states), rate)

    sizes = {"sites": side**2, "trajectories": chains, "steps": steps, "updates": inner, "batch": batch}
    emit(Record("letf-epoch", *paired(ours, other, repeats), "seconds", None, sizes))


def sampling(emit: Emit, side: int, num: int, steps: int, repeats: int) -> None:
    """Euler steps with left-endpoint weights, as the reference has them, and one call of the network a state."""
    network, target = transformer(side), Ising(side, side, 0.2)
    process, peer = FlowProcess(network, None), reference.ReferenceTransformer(network)
    adjacency = target.couplings.matrix / 2
    ours = lambda: sample_flow(process, target, num, times(steps), step="euler", floor=0.0)  # noqa: E731

    def other() -> Any:
        with torch.no_grad():
            return reference.sample_with_weights(peer, adjacency, num, steps)

    seconds = paired(ours, other, repeats)
    emit(Record("sampling-weights", *seconds, "seconds", None, {"sites": side**2, "samples": num, "steps": steps}))


def gibbs(emit: Emit, side: int, chains: int, sweeps: int, repeats: int) -> None:
    """Sweeps of many lattices; energies of both sides are compared in standard errors."""
    target = Ising(side, side, 0.3)
    unit = Ising(side, side, 1.0)
    other = lambda: reference.rolled_gibbs(side, 0.3, chains, sweeps)  # noqa: E731
    ours = lambda: packed_gibbs(target, chains, sweeps)  # noqa: E731
    energies = [-unit.log_prob(x).double() for x in (ours().samples, ((other() + 1) / 2).long().flatten(1))]
    gap = float(energies[0].mean() - energies[1].mean()) / float((2 * energies[0].var() / chains) ** 0.5)
    sizes = {"side": side, "chains": chains, "sweeps": sweeps}
    emit(Record("gibbs-bitpacked", *paired(ours, other, repeats), "seconds", None, sizes, {"gap_in_errors": gap}))
    keyed = lambda: run_chains(target, Gibbs(), chains, sweeps, burn_in=sweeps)  # noqa: E731
    note = "keyed draws, any pairwise target"
    emit(Record("gibbs-keyed", *paired(keyed, other, repeats), "seconds", None, sizes, {}, note))


def log_z(emit: Emit, side: int, steps: int, scale: int, repeats: int) -> None:
    """log Z a little beyond the critical coupling: resampling populations, and annealed importance sampling without
    resampling, as many steps; root mean square errors over four seeds."""
    target, exact = Ising(side, side, 0.4461), ising_lattice(side, side, 0.4461).log_z
    betas = torch.linspace(0, 1, steps + 1)

    def ours(seed: int = 0) -> float:
        return annealed_sampling(target, Gibbs(), 64 * scale, 4, betas=betas, seed=seed).log_z or math.nan

    def other(seed: int = 0) -> float:
        return annealed_sampling(target, Gibbs(), 512 * scale, betas=betas, threshold=0.0, seed=seed).log_z or math.nan

    errors = [math.sqrt(sum((run(seed) - exact) ** 2 for seed in range(4)) / 4) for run in (ours, other)]
    sizes = {"sites": side**2, "steps": steps, "particles": 256 * scale, "other_particles": 512 * scale}
    details = {"ours_error": errors[0], "other_error": errors[1]}
    emit(Record("logz-ais", *paired(ours, other, repeats), "seconds", errors[0], sizes, details))


def clusters(emit: Emit, side: int, chains: int, sweeps: int, repeats: int) -> None:
    """All clusters of many lattices."""
    target, start = Ising(side, side, 0.4407), torch.randint(2, (chains, side, side)).float() * 2 - 1
    ours = lambda: run_chains(target, SwendsenWang(), chains, sweeps, burn_in=sweeps)  # noqa: E731
    other = lambda: reference.looped_swendsen_wang(start.clone(), 0.4407, sweeps)  # noqa: E731
    sizes = {"side": side, "chains": chains, "sweeps": sweeps}
    emit(Record("swendsen-wang", *paired(ours, other, repeats), "seconds", None, sizes))


def annealing(emit: Emit, nodes: int, chains: int, sweeps: int, repeats: int) -> None:
    """Maximum cuts of a random graph by as many chains and sweeps; the best cuts of both sides stand in the details.
    Ours is annealed by colours of sites, keyed by chain, and ends in a local search."""
    try:
        from dwave.samplers import SimulatedAnnealingSampler
    except ImportError:
        print("dwave-samplers is not installed; annealing is left out", file=sys.stderr)
        return
    graph = networkx.gnp_random_graph(nodes, 20 / nodes, seed=1)
    problem, bonds = MaximumCut(graph_of(graph)), dict.fromkeys(graph.edges, 1.0)
    sampler = SimulatedAnnealingSampler()
    ours = lambda: simulated_annealing(problem, chains, sweeps)  # noqa: E731
    other = lambda: sampler.sample_ising({}, bonds, num_reads=chains, num_sweeps=sweeps, seed=0)  # noqa: E731
    best = int(problem.objective(ours().samples).max()), round((len(bonds) - other().first.energy) / 2)
    sizes, details = {"nodes": nodes, "chains": chains, "sweeps": sweeps}, {"cut": best[0], "other_cut": best[1]}
    emit(Record("annealing", *paired(ours, other, repeats), "seconds", None, sizes, details))


def benchmarks(quick: bool, emit: Emit) -> None:
    """All records of this room."""
    repeats, side = (1, 4) if quick else (5, 10)
    forward(emit, side, 32 if quick else 256, repeats)
    epoch(emit, 4, 16 if quick else 64, 8 if quick else 63, 4 if quick else 100, 32 if quick else 128, min(repeats, 3))
    sampling(emit, side, 16 if quick else 128, 4 if quick else 63, min(repeats, 3))
    gibbs(emit, side, 2048, 4 if quick else 64, repeats)
    log_z(emit, side, 8 if quick else 256, 1 if quick else 4, min(repeats, 3))
    clusters(emit, side, 8 if quick else 64, 2 if quick else 16, repeats)
    annealing(emit, 20 if quick else 200, 4 if quick else 64, 10 if quick else 200, min(repeats, 3))


if __name__ == "__main__":
    sys.exit(main("discrete_samplers", benchmarks, ("tenfold", "torch", "numpy", "scipy")))
