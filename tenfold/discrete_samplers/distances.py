"""How far the empirical law of many samples is from a small target's, beside independent exact draws."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tenfold import progress
from tenfold.discrete_samplers.classical.chains import run_chains
from tenfold.discrete_samplers.classical.gibbs import Gibbs
from tenfold.discrete_samplers.exact.enumeration import log_probabilities, state_numbers
from tenfold.discrete_samplers.flow.simulation import sample_flow
from tenfold.discrete_samplers.model import LatticeFlow
from tenfold.runs.measurement import Measurement
from tenfold.training.streams import Draws

MOST = 2**16  # states
_CHUNK = 2**15  # samples
_SWEEPS = 64


class Distances(NamedTuple):
    """Total variation ½ Σ |q − p|, KL(q | p) and χ² = Σ (q − p)²/p of an empirical law q."""

    tv: float
    kl: float
    chi2: float


def distances(log_p: Float[Tensor, " n"], masses: Float[Tensor, " n"]) -> Distances:
    """Of masses (they are normalised) to p, float64; every p is above 0.

    >>> distances(torch.tensor([0.5, 0.5]).double().log(), torch.tensor([3.0, 1.0]).double())
    Distances(tv=0.25, kl=0.13081203594113697, chi2=0.25)
    """
    q, p = masses / masses.sum(), log_p.exp()
    kl = torch.where(q > 0, q * (q.clamp(min=1e-300).log() - log_p), 0.0).sum()
    return Distances(float((q - p).abs().sum() / 2), float(kl), float(((q - p).square() / p).sum()))


def _chunks(total: int) -> Iterator[int]:
    """Numbers of chunks of one size, at least as many samples as asked for."""
    return iter(progress.track(range(-(-total // _CHUNK)), "samples for distances"))


def _counted(number: Int[Tensor, " n"], count: int, weights: Float[Tensor, " n"] | None = None) -> Tensor:
    return torch.bincount(number.cpu(), None if weights is None else weights.cpu(), count).double()


@torch.no_grad()
def distance_rows(flow: LatticeFlow, way: dict[str, object], total: int, name: str) -> list[Measurement]:
    """Rows of the flow, raw and weighted, of Gibbs sampling and of independent draws: ``total`` samples of each, up to
    a whole number of chunks."""
    target = flow.target
    log_p = log_probabilities(target.to("cpu"))
    target.to(next(flow.parameters()).device)
    count, size = len(log_p), min(total, _CHUNK)
    masses = {key: torch.zeros(count, dtype=torch.float64) for key in ("raw", "weighted", "gibbs", "exact")}
    levels = log_p.exp().cumsum(0)
    for k in _chunks(total):
        found = sample_flow(num=size, seed=2, first=k, **way)  # type: ignore[arg-type]
        number = state_numbers(found.samples, target.states)
        masses["raw"] += _counted(number, count)
        masses["weighted"] += _counted(number, count, found.log_weights.exp())
        chains = run_chains(
            target, Gibbs(), size, _SWEEPS, _SWEEPS, seed=3, first=k * size, device=found.samples.device
        )
        masses["gibbs"] += _counted(state_numbers(chains.samples, target.states), count)
        uniforms = Draws(4, k).uniform("exact", torch.arange(size), (1,), dtype=torch.float64)[:, 0]
        masses["exact"] += _counted(torch.searchsorted(levels, uniforms * levels[-1], right=True), count)
    told = {
        "raw": (name, "raw samples"),
        "weighted": (name, "weighted"),
        "gibbs": (f"Gibbs, {_SWEEPS} sweeps", ""),
        "exact": ("independent exact draws", ""),
    }
    samples = size * -(-total // _CHUNK)
    return [
        Measurement(metric, value, "", told[key][1], told[key][0], None, samples)
        for metric in Distances._fields
        for key in masses
        for value in (getattr(distances(log_p, masses[key]), metric),)
    ]
