"""How good a trained sampler is: effective size, log Z and energy from its own path weights, beside the exact values
and annealed importance sampling at as many steps."""

import dataclasses
import math
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tenfold.discrete_samplers.classical.annealing import annealed_sampling
from tenfold.discrete_samplers.classical.gibbs import Gibbs
from tenfold.discrete_samplers.config import Lattice, LatticeEvaluation
from tenfold.discrete_samplers.distances import distance_rows
from tenfold.discrete_samplers.flow.simulation import sample_flow
from tenfold.discrete_samplers.model import LatticeFlow, exact_values, lattice_target
from tenfold.discrete_samplers.result import SamplerResult
from tenfold.runs.measurement import Measurement


def bond_energy(config: Lattice, x: Int[Tensor, "n d"]) -> Float[Tensor, " n"]:
    """−Σ over the bonds, without coupling and field."""
    unit = lattice_target(dataclasses.replace(config, beta=1.0, field=0.0)).to(x.device)
    return -unit.log_prob(x)


def rows_of(found: SamplerResult, config: Lattice, model: str, note: str = "") -> list[Measurement]:
    """Effective share, log Z, its lower bound, and the energy of raw and of weighted samples."""
    n = len(found.samples)

    def energy(x: Tensor) -> Tensor:
        return bond_energy(config, x)

    raw = energy(found.samples).double()
    rows = [
        Measurement("ess", found.ess, "share", "", model, None, n, note),
        Measurement("energy", float(raw.mean()), "J", "raw samples", model, float(raw.std()) / math.sqrt(n), n),
        Measurement(
            "energy", float(found.mean(energy)), "J", "weighted", model, float(found.standard_error(energy)), n
        ),
    ]
    if found.log_z is not None:
        rows.insert(1, Measurement("log_z", found.log_z, "nats", "", model, found.log_z_standard_error, n))
    if found.elbo is not None:
        rows.insert(2, Measurement("elbo", found.elbo, "nats", "", model, None, n))
    return rows


@torch.no_grad()
def measure(flow: LatticeFlow, settings: LatticeEvaluation, name: str) -> list[Measurement]:
    """Rows of the trained sampler, the exact values where they are known, and baselines."""
    config = flow.config
    way = flow.way(settings.steps, settings.grid, settings.apart, settings.floor)
    found = sample_flow(num=settings.samples, seed=1, **way)
    rows = rows_of(found, config, name, "; ".join(found.notes))
    if settings.distances:
        rows += distance_rows(flow, way, settings.distances, name)
    return rows + rows_beside(config, flow.target, settings.samples, settings.steps if settings.baselines else 0)


@torch.no_grad()
def rows_beside(config: Lattice, target: Any, samples: int, steps: int) -> list[Measurement]:
    """The exact values where they are known, and annealed importance sampling in so many steps (0: none)."""
    rows, exact = [], exact_values(config)
    if exact is not None:
        rows += [
            Measurement("log_z", exact[0], "nats", "", "exact"),
            Measurement("energy", exact[1], "J", "", "exact"),
        ]
    if steps:
        device = next(target.buffers()).device
        betas = torch.linspace(0, 1, steps + 1, device=device)
        plain = annealed_sampling(target, Gibbs(), samples, betas=betas, threshold=0.0, seed=1, device=device)
        rows += rows_of(plain, config, "annealed importance sampling, Gibbs")
    return rows
