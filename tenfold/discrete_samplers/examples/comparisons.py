"""Which sampler is best where: every one that fits, on laws whose exact values are known, each for as many seconds."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from tenfold.discrete_samplers.comparison import compare, compared_rows
from tenfold.discrete_samplers.config import LatticeFlowConfig
from tenfold.discrete_samplers.evaluation import bond_energy
from tenfold.discrete_samplers.exact.enumeration import all_states, enumerate_states
from tenfold.discrete_samplers.graphs.config import GraphSetSettings
from tenfold.discrete_samplers.graphs.sets import random_graphs
from tenfold.discrete_samplers.learning.config import EnergyDataSettings, LikelihoodObjective
from tenfold.discrete_samplers.learning.data import load_bits
from tenfold.discrete_samplers.learning.phase import NegativePhase, likelihood_loss
from tenfold.discrete_samplers.model import exact_values, lattice_target
from tenfold.discrete_samplers.targets.binary import spin_glass
from tenfold.discrete_samplers.targets.graphs import MaximumIndependentSet
from tenfold.discrete_samplers.targets.machines import BoltzmannMachine
from tenfold.discrete_samplers.targets.protocol import DiscreteTarget
from tenfold.runs.outcome import Outcome

SECONDS, QUICK_SECONDS = 4.0, 0.1
_HIDDEN = 12  # bits of the machine: its exact means go through 2^12 states


@dataclass(frozen=True)
class Law:
    """A target, what is averaged, its exact mean, and the exact log Z."""

    target: DiscreteTarget
    observable: Callable[[Tensor], Tensor]
    mean: float
    log_z: float


def lattice_law(target: str, side: int, beta: float) -> Law:
    """A periodic lattice, and the energy of its bonds."""
    config = LatticeFlowConfig(
        target="potts" if target == "potts" else "ising", height=side, width=side, beta=beta,
        states=3 if target == "potts" else 2, network="none",
    )  # fmt: skip
    exact = exact_values(config)
    assert exact is not None  # sizes are chosen so
    return Law(lattice_target(config), lambda x: bond_energy(config, x), exact[1], exact[0])


def enumerated_law(target: DiscreteTarget) -> Law:
    """A small law, and minus log ρ."""
    found = enumerate_states(target)
    return Law(target, lambda x: -target.log_prob(x), -float(found.means[0]), found.log_z)


def glass_law(sites: int, beta: float, seed: int = 0) -> Law:
    """Sherrington and Kirkpatrick's spin glass, exp(β Σ_{i<j} J_ij s_i s_j) with J_ij of variance 1/n."""
    generator = torch.Generator().manual_seed(seed)
    upper = torch.randn(sites, sites, generator=generator).triu(1) * beta / sites**0.5
    return enumerated_law(spin_glass((upper + upper.T) / 2, torch.zeros(sites)))


def graph_law(nodes: int, temperature: float) -> Law:
    """Independent sets of a random graph."""
    (graph,) = random_graphs(GraphSetSettings(least=nodes, most=nodes, seed=1), "law", 1)
    return enumerated_law(MaximumIndependentSet(graph, temperature))


def machine_law(steps: int, seed: int = 0) -> Law:
    """A restricted Boltzmann machine of the digits as bits, by persistent contrastive divergence; exact by its hidden
    states: log p(x) needs x, and so the mean that is compared is that of the ink, Σ_h p(h) Σ_i p(x_i = 1 | h)."""
    rows = load_bits(EnergyDataSettings()).train.rows
    generator = torch.Generator().manual_seed(seed)
    start = 0.05 * torch.randn(_HIDDEN, 64, generator=generator)
    share = rows.double().mean(0).clamp(0.02, 0.98).float()
    machine = BoltzmannMachine(start, (share / (1 - share)).log(), torch.zeros(_HIDDEN))
    phase = NegativePhase(LikelihoodObjective(negative="persistent", particles=128), 64, seed)
    optimizer = torch.optim.Adam(machine.parameters(), 5e-3)
    for step in range(steps):
        phase.follow(machine, step)
        data = rows[torch.randint(len(rows), (100,), generator=generator)]
        loss = likelihood_loss(machine.log_prob(data), machine.log_prob(phase.x), phase.weights())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    machine.requires_grad_(False)
    h = all_states(_HIDDEN, 2).double()
    weights, visible, hidden = (p.double() for p in (machine.weights, machine.visible, machine.hidden))
    logs = h @ hidden + torch.nn.functional.softplus(h @ weights + visible).sum(1)
    ink = (logs.softmax(0)[:, None] * torch.sigmoid(h @ weights + visible)).sum()
    return Law(machine, lambda x: x.sum(1).float(), float(ink), float(logs.logsumexp(0)))


def laws(quick: bool) -> dict[str, Callable[[], Law]]:
    """By what tables call them."""
    if quick:
        return {
            "Ising 4 x 4, beta 0.3": lambda: lattice_law("ising", 4, 0.3),
            "machine of digits": lambda: machine_law(2),
        }
    lattices: dict[str, Callable[[], Law]] = {
        f"Ising {side} x {side}, beta {beta:g}": (lambda s=side, b=beta: lattice_law("ising", s, b))  # type: ignore[misc]
        for side in (10, 24)
        for beta in (0.3, 0.4407, 0.6)
    }
    return {
        **lattices,
        "Potts 6 x 6, 3 colours, beta 1.005": lambda: lattice_law("potts", 6, 1.005),
        "spin glass, 20 spins, beta 2": lambda: glass_law(20, 2.0),
        "machine of digits": lambda: machine_law(2000),
        "independent sets, 20 nodes, T = 0.2": lambda: graph_law(20, 0.2),
    }


def sampler_comparison(
    figures: Path, quick: bool = False, progress: Callable[[float], None] = lambda done: None
) -> Outcome:
    """The example "sampler-comparison"."""
    seconds, chains, known = (QUICK_SECONDS, 16, laws(True)) if quick else (SECONDS, 64, laws(False))
    rows = []
    for done, (name, made) in enumerate(known.items()):
        law = made()
        found = compare(law.target, law.observable, law.mean, seconds, chains)
        rows += compared_rows(name, found, law.mean, law.log_z)
        progress((done + 1) / len(known))
    return Outcome(rows, {}, {"system": "dnfs", "seconds": seconds, "chains": chains})
