"""Trained samplers of a lattice beside classical ones: read from their folders, and run for as long as asked."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import torch

from tenfold.discrete_samplers.classical.gibbs import Gibbs
from tenfold.discrete_samplers.comparison import Run
from tenfold.discrete_samplers.config import Lattice
from tenfold.discrete_samplers.flow.simulation import sample_flow
from tenfold.discrete_samplers.model import LatticeFlow
from tenfold.discrete_samplers.ordered.model import OrderedSampler
from tenfold.discrete_samplers.result import Counts, SamplerResult, weighted_result
from tenfold.errors import UsageError
from tenfold.hub.fetch import model_folder
from tenfold.hub.folders import read_config

_KINDS: Mapping[str, type[LatticeFlow] | type[OrderedSampler]] = {
    kind.model_type: kind for kind in (LatticeFlow, OrderedSampler)
}


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


def trained_runs(models: Sequence[LatticeFlow | OrderedSampler], chains: int, apart: int = 1) -> dict[str, Run]:
    """Functions of (work, seed): of flows with ``work`` steps, by their own weights alone and with a Gibbs sweep after
    every step; of ordered samplers ``work`` times ``chains`` samples. Several of a kind are numbered."""
    found: dict[str, Run] = {}
    for model in models:
        for name, run in _runs(model, chains, apart).items():
            count = sum(other.split(" #")[0] == name for other in found)
            found[f"{name} #{count + 1}" if count else name] = run
    return found


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
