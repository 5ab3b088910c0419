"""Ground truth: many long Metropolis chains at several temperatures that exchange their states."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from tenfold import progress
from tenfold.energy.molecules.systems import ParticleSystem
from tenfold.errors import UsageError
from tenfold.settings.arguments import read_arguments
from tenfold.training.streams import Draws

_LEAPS, _WANTED, _LARGEST_KICK = 8, 0.8, 2.0  # of a trajectory; acceptance; of a leap, in units of the momentum


@dataclass(frozen=True)
class Chains:
    """What ``replica_exchange`` drew at its first inverse temperature.

    Attributes:
        samples: (kept, chains, k), coordinates without the centre.
        energies: (kept, chains), U at temperature 1.
        acceptance: of the moves at each inverse temperature.
        exchanges: accepted between neighbours of the ladder.
        r_hat: split R̂ of the energy and of the mean distance; 1 where all chains tell the same.
        effective: effective number of independent samples behind the mean of each.
    """

    samples: Float[Tensor, "kept chains k"]
    energies: Float[Tensor, "kept chains"]
    acceptance: tuple[float, ...]
    exchanges: tuple[float, ...]
    r_hat: tuple[float, float]
    effective: tuple[float, float]

    @property
    def converged(self) -> bool:
        """Whether both R̂ are below 1.01 (Vehtari et al., arXiv 1903.08008)."""
        return max(self.r_hat) < 1.01


@read_arguments
def replica_exchange(
    system: ParticleSystem,
    inverse_temperatures: Sequence[float] = (1.0, 0.7, 0.5),
    chains: int = 256,
    kept: int = 100,
    every: int = 5,
    warmup: int = 300,
    seed: int = 0,
) -> Chains:
    """Samples of exp(−β U) by Hamiltonian Monte Carlo at every inverse temperature β of a ladder, of which neighbours
    exchange states after each move (replica exchange); float64, on the CPU. A move is a trajectory of eight leaps.

    The first β is the one that samples are kept of, one of ``every`` moves after ``warmup`` moves that set the step
    sizes. Every draw is keyed by the move and the chain: more chains change none of the others.

    Raises UsageError for an empty or unsorted ladder and for numbers below 1."""
    ladder = [float(beta) for beta in inverse_temperatures]
    if not ladder or not all(0 < b < math.inf for b in ladder) or sorted(ladder, reverse=True) != ladder:
        raise UsageError(f"inverse_temperatures are {ladder}; give positive numbers from the largest down")
    for name, value in {"chains": chains, "kept": kept, "every": every}.items():
        if value < 1:
            raise UsageError(f"{name} is {value}; give at least 1")
    if warmup < 0:
        raise UsageError(f"warmup is {warmup}; give at least 0")
    beta = torch.tensor(ladder, dtype=torch.float64)[:, None]
    index = torch.arange(chains)[None] * 1024 + torch.arange(len(ladder))[:, None]
    walk = _Ladder(system, beta, index, seed)
    samples, energies = [], []
    moves = warmup + kept * every
    for move in progress.track(range(moves), f"chains of {system.name}", "moves"):
        walk.step(move, adapt=move < warmup)
        if move >= warmup and (move - warmup + 1) % every == 0:
            samples.append(walk.x[0].clone())
            energies.append(walk.energy[0].clone())
    found, energy = torch.stack(samples), torch.stack(energies)
    spread = system.distances(found).mean(-1)
    diagnosed = [split_r_hat(values) for values in (energy, spread)]
    total = max(1, moves - warmup)
    return Chains(
        found,
        energy,
        tuple((walk.accepted / total).tolist()),
        tuple((walk.exchanged / max(1, total // 2)).tolist()),
        (diagnosed[0][0], diagnosed[1][0]),
        (diagnosed[0][1], diagnosed[1][1]),
    )


class _Ladder:
    """The state of all chains: x (ladder, chains, k)."""

    def __init__(self, system: ParticleSystem, beta: Tensor, index: Tensor, seed: int) -> None:
        self.system, self.beta, self.index, self.seed = system, beta, index, seed
        self.x = system.spacing * self._normal("start", -1)
        self.energy, self.force = system.energy_and_force(self.x)
        self.log_step = torch.full_like(beta[:, 0], math.log(0.01 * system.spacing))
        self.accepted, self.exchanged = torch.zeros(len(beta)), torch.zeros(len(beta) - 1)

    def _normal(self, purpose: str, move: int) -> Float[Tensor, "ladder chains k"]:
        drawn = Draws(self.seed, move + 1).normal(
            purpose, self.index.flatten(), (self.system.dimensions,), torch.float64
        )
        return drawn.view(*self.index.shape, -1)

    def _uniform(self, purpose: str, move: int) -> Float[Tensor, "ladder chains"]:
        return (
            Draws(self.seed, move + 1).uniform(purpose, self.index.flatten(), (), torch.float64).view(self.index.shape)
        )

    def _kick(self, force: Tensor, step: Tensor) -> Float[Tensor, "ladder chains k"]:
        """What a leap adds to the momentum. It is bounded where forces are huge: any field that depends on the
        position alone keeps leaps reversible and volume as it is, so that the correction stays exact."""
        kick = step * self.beta[..., None] * force
        most = _LARGEST_KICK * math.sqrt(kick.shape[-1])
        return kick * (most / kick.norm(dim=-1, keepdim=True).clamp_min(1e-300)).clamp(max=1)

    def step(self, move: int, adapt: bool) -> None:
        """One move of every chain, and one round of exchanges."""
        step = (self.log_step[:, None].exp() * (0.8 + 0.4 * self._uniform("leap", move)))[..., None]
        start = self._normal("momentum", move)
        x, momentum, force = self.x, start, self.force
        for _ in range(_LEAPS):
            momentum = momentum + 0.5 * self._kick(force, step)
            x = x + step * momentum
            energy, force = self.system.energy_and_force(x)
            momentum = momentum + 0.5 * self._kick(force, step)
        kinetic = 0.5 * (momentum.square().sum(-1) - start.square().sum(-1))
        log_ratio = -self.beta * (energy - self.energy) - kinetic
        taken = (self._uniform("accept", move).log() < log_ratio) & torch.isfinite(energy)
        self._replace(taken, x, energy, force)
        rate = taken.double().mean(1)
        if adapt:
            self.log_step += 0.5 * (rate - _WANTED) / math.sqrt(1 + move / 10)
        else:
            self.accepted += rate
        self._exchange(move, count=not adapt)

    def _replace(self, taken: Bool[Tensor, "ladder chains"], x: Tensor, energy: Tensor, force: Tensor) -> None:
        self.x = torch.where(taken[..., None], x, self.x)
        self.energy = torch.where(taken, energy, self.energy)
        self.force = torch.where(taken[..., None], force, self.force)

    def _exchange(self, move: int, count: bool) -> None:
        """Neighbours (0, 1), (2, 3), … and (1, 2), (3, 4), … in turn exchange with min(1, e^{(β_i−β_j)(U_i−U_j)})."""
        low = torch.arange(move % 2, len(self.beta) - 1, 2)
        if not len(low):
            return
        log_ratio = (self.beta[low] - self.beta[low + 1]) * (self.energy[low] - self.energy[low + 1])
        taken = self._uniform("exchange", move)[low].log() < log_ratio
        order = torch.arange(len(self.beta))[:, None].repeat(1, self.x.shape[1])
        order[low] += taken.long()
        order[low + 1] -= taken.long()
        self.energy = self.energy.gather(0, order)
        rows = order[..., None].expand_as(self.x)
        self.x, self.force = self.x.gather(0, rows), self.force.gather(0, rows)
        if count:
            self.exchanged[low] += taken.double().mean(1).float()


def split_r_hat(values: Float[Tensor, "draws chains"]) -> tuple[float, float]:
    """Split R̂ and the effective number of independent draws of a scalar (Vehtari et al., arXiv 1903.08008, without
    ranks); NaN where there are fewer than four draws a chain or nothing varies."""
    half = len(values) // 2
    if half < 2:
        return math.nan, math.nan
    parts = torch.cat([values[:half], values[-half:]], 1)
    within, between = parts.var(0).mean(), parts.mean(0).var()
    total = (half - 1) / half * within + between
    if not total > 0:
        return math.nan, math.nan
    centred = parts - parts.mean(0)
    spectrum = torch.fft.rfft(centred, 2 * half, dim=0).abs().square()
    covariance = torch.fft.irfft(spectrum, 2 * half, dim=0)[:half].mean(1) / half
    correlation = 1 - (within - covariance * half / (half - 1)) / total
    pairs = correlation[: half // 2 * 2].view(-1, 2).sum(1)  # Geyer: positive, and falling
    pairs = torch.where(torch.cummin(pairs, 0).values > 0, torch.cummin(pairs, 0).values, 0.0)
    time = max(float(2 * pairs.sum() - 1), 1 / math.log10(max(10, parts.numel())))
    return float((total / within).sqrt()), parts.numel() / time
