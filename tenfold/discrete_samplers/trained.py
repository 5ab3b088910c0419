"""Trained samplers of a lattice beside classical ones: read from their folders, and run for as long as asked."""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch

from tenfold.discrete_samplers.classical.gibbs import Gibbs
from tenfold.discrete_samplers.comparison import Run, compare, compared_rows
from tenfold.discrete_samplers.config import Lattice, SamplerStudy
from tenfold.discrete_samplers.evaluation import bond_energy
from tenfold.discrete_samplers.flow.simulation import sample_flow
from tenfold.discrete_samplers.model import LatticeFlow, exact_values, lattice_target
from tenfold.discrete_samplers.ordered.model import OrderedSampler
from tenfold.discrete_samplers.result import Counts, SamplerResult, weighted_result
from tenfold.errors import UsageError
from tenfold.figures import bars
from tenfold.hub.fetch import model_folder
from tenfold.hub.folders import read_config
from tenfold.runs.outcome import Outcome
from tenfold.settings.arguments import read_arguments

_KINDS: Mapping[str, type[LatticeFlow] | type[OrderedSampler]] = {
    kind.model_type: kind for kind in (LatticeFlow, OrderedSampler)
}


@read_arguments
def read_samplers(sources: Sequence[str | os.PathLike[str]]) -> list[LatticeFlow | OrderedSampler]:
    """The samplers in run or model folders. Raises UsageError for models of another kind, and of different lattices."""
    found: list[LatticeFlow | OrderedSampler] = []
    for source in sources:
        folder = model_folder(source)
        kind = _KINDS.get(read_config(folder)["model_type"])
        if kind is None:
            raise UsageError(f"{source} holds no sampler of a lattice; give runs of ising-4x4 or its like")
        found.append(kind.from_pretrained(folder).eval())
    for source, model in zip(sources, found, strict=True):
        if lattice_facts(model.config) != lattice_facts(found[0].config):
            raise UsageError(f"{source} is of another lattice than {sources[0]}; compare runs of one")
    return found


def lattice_facts(config: Lattice) -> dict[str, Any]:
    """What says which lattice it is."""
    return {name: getattr(config, name) for name in ("target", "height", "width", "beta", "field", "states")}


@read_arguments
def trained_runs(models: Sequence[LatticeFlow | OrderedSampler], chains: int, apart: int = 1) -> dict[str, Run]:
    """Functions of (work, seed): of flows with ``work`` steps, by their own weights alone and with a Gibbs sweep after
    every step; of ordered samplers ``work`` times ``chains`` samples. Several of a kind are numbered.

    Raises UsageError for what is no trained sampler, fewer than 2 chains, and ``apart`` below 1."""
    if chains < 2 or apart < 1:
        raise UsageError(f"chains and apart are {chains} and {apart}; give at least 2 and 1")
    found: dict[str, Run] = {}
    for model in models:
        for name, run in _runs(model, chains, apart).items():
            count = sum(other.split(" #")[0] == name for other in found)
            found[f"{name} #{count + 1}" if count else name] = run
    return found


@read_arguments
def study_samplers(model: LatticeFlow | OrderedSampler, options: SamplerStudy, figures: Path) -> Outcome:
    """A trained sampler and all others that fit, each for as many seconds on its lattice: the energy of the bonds, its
    error, independent draws a second, log Z.

    Raises UsageError for samplers of other lattices beside it, and names of samplers that there are not."""
    others = read_samplers(options.beside)
    config = model.config
    for source, other in zip(options.beside, others, strict=True):
        if lattice_facts(other.config) != lattice_facts(config):
            raise UsageError(f"{source} is of another lattice; give runs of this one")
    exact = exact_values(config)
    mean, log_z = (None, None) if exact is None else (exact[1], exact[0])
    found = compare(
        lattice_target(config), lambda x: bond_energy(config, x), mean, options.seconds, options.chains,
        options.samplers, seed=options.seed, more=trained_runs([model, *others], options.chains, options.apart),
    )  # fmt: skip
    name = f"{config.target} {config.height} x {config.width}, beta {config.beta:g}"
    shown = [row for row in found if math.isfinite(row.draws_per_second)]
    right = [row.sampler for row in shown if row.bias is None or abs(row.bias) < 4]
    bars(
        [row.sampler for row in shown], [row.draws_per_second for row in shown], figures / "draws.png",
        "independent draws a second", None, right,
    )  # fmt: skip
    caption = "Independent draws of the energy a second; highlighted where the mean is within four standard errors."
    settings = {"system": "dnfs", "analysis": vars(options), "lattice": lattice_facts(config)}
    return Outcome(compared_rows(name, found, mean, log_z), {"draws.png": caption}, settings)


def _runs(model: LatticeFlow | OrderedSampler, chains: int, apart: int) -> dict[str, Run]:
    if isinstance(model, OrderedSampler):
        return {"masked" if model.config.order == "any" else "autoregressive": lambda w, s: _drawn(model, chains, w, s)}
    return {
        "neural flow": lambda work, seed: sample_flow(num=chains, seed=seed, **model.way(work, apart=apart)),
        "neural flow + gibbs": lambda work, seed: sample_flow(
            num=chains, seed=seed, refine=Gibbs(), **model.way(work, apart=apart)
        ),
    }


def _drawn(model: OrderedSampler, chains: int, work: int, seed: int) -> SamplerResult:
    """In parts that fit into memory; samples are keyed by their number."""
    parts = [model.draw(chains, seed=seed, first=k * chains) for k in range(work)]
    counts = Counts()
    for part in parts:
        for field in fields(Counts):
            setattr(counts, field.name, getattr(counts, field.name) + getattr(part.counts, field.name))
    x, weights = torch.cat([p.samples for p in parts]), torch.cat([p.log_weights for p in parts])
    return weighted_result(x[None], weights[None], counts)
