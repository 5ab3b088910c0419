"""Compositions of an energy's classes, judged by a classifier that saw neither the energy nor its teacher."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from tenfold import progress
from tenfold.data.images.splits import read_all
from tenfold.energy.composition.algebra import Composable, mixture
from tenfold.energy.feynman_kac.result import ParticleRun
from tenfold.energy.model import EnergyModel
from tenfold.energy.options import EnergyEvaluation, EnergySampling
from tenfold.energy.sampling import keep_normalisers, sampler_of
from tenfold.energy.worlds.rows import SampleWorld, to_pixels, to_unit
from tenfold.metrics.features import ClassifierFeatures, shared_classifier
from tenfold.runs.measurement import Measurement

THREE, EIGHT, NINE = 3, 8, 9
METHODS = {
    "plain guidance": EnergySampling(method="plain"),
    "continuous weights": EnergySampling(weights="continuous"),
    "exact weights": EnergySampling(),
    "exact weights and control": EnergySampling(control="ecg"),
}


def targets(model: EnergyModel) -> dict[str, tuple[str, Composable, int]]:
    """By name: the target in words, the target, and the class that satisfies it."""
    three, eight, nine = (model.given(label) for label in (THREE, EIGHT, NINE))
    one, other = mixture([three, eight]), mixture([eight, nine])
    return {
        "and": ("(threes | eights) & (eights | nines)", one & other, EIGHT),
        "not": ("1.5 * (threes | eights) - 0.5 * eights", 1.5 * one - 0.5 * eight, THREE),
        "cold": ("2.0 * eights", 2.0 * eight, EIGHT),
    }


class Judged(NamedTuple):
    """A target in words, the class that satisfies it, and its runs by method."""

    words: str
    satisfied: int
    runs: dict[str, ParticleRun]


def runs_of(model: EnergyModel, options: EnergyEvaluation, seed: int = 0) -> dict[str, Judged]:
    """Every target by every method, with the same numbers. Classes that were not calibrated are first."""
    missing = [label for label in (THREE, EIGHT, NINE) if label not in model.normalisers]
    keep_normalisers(model, max(64, options.calibrate), 2 * options.steps, missing)
    device = next(model.parameters()).device
    found = {}
    for name, (words, target, satisfied) in progress.track(targets(model).items(), "compositions", "targets"):
        runs = {}
        for method, settings in METHODS.items():
            sampler = sampler_of(target, model, replace(settings, steps=options.steps, particles=options.particles))
            runs[method] = sampler.sample(options.populations, options.particles, seed, device=device)
        found[name] = Judged(words, satisfied, runs)
    return found


def judged(run: ParticleRun, judge: ClassifierFeatures, levels: int, satisfied: int) -> Float[Tensor, " m"]:
    """The weighted share of particles, in each population, that the classifier takes for the class."""
    shape = tuple(run.log_weights.shape)
    told = judge.predict(to_pixels(run.particles.flatten(0, 1), levels).cpu()).view(shape)
    return (run.weighted.weights.cpu() * (told == satisfied)).sum(1)


def diversity(x: Float[Tensor, "n *shape"]) -> float:
    """Mean distance between two different samples, per root dimension; 0 of clones."""
    flat = x.flatten(1).double()
    distances = torch.cdist(flat, flat)
    return float(distances.sum() / (len(x) * (len(x) - 1)) / math.sqrt(flat.shape[1]))


def composition_rows(found: Mapping[str, Judged], world: SampleWorld, options: EnergyEvaluation) -> list[Measurement]:
    """Of every target and method: "share" that satisfies the target (± over populations), "diversity" of particles that
    were drawn by their weights over all populations, "ess" at the end, "unique_ancestors" and "evaluations" of networks
    a particle, in forward passes; for AND, how many standard errors exact weights lie above plain guidance."""
    images = world.images
    if images is None or not found:
        return []
    judge = shared_classifier(images)
    rows, m, n = [], options.populations, options.particles
    pixels, labels = read_all(images.test)
    for target, (words, satisfied, runs) in found.items():
        shares = {}
        for method, run in runs.items():
            shares[method] = judged(run, judge, images.levels, satisfied)
            drawn = run.weighted.resample().particles.flatten(0, 1)
            given: dict[str, Any] = {"split": words, "model": method}
            error = float(shares[method].std()) / math.sqrt(m)
            rows += [
                Measurement(
                    f"{target}_share", float(shares[method].mean()), "share", **given, standard_error=error, draws=m
                ),
                Measurement(f"{target}_diversity", diversity(drawn), "", **given),
                Measurement(f"{target}_ess", float(run.weighted.effective_size.mean()), f"of {n}", **given),
                Measurement(f"{target}_unique_ancestors", float(run.unique.double().mean()), f"of {n}", **given),
                Measurement(f"{target}_evaluations", run.units / (m * n), "a particle", **given),
            ]
        difference = shares["exact weights"] - shares["plain guidance"]
        error = float(difference.std()) / math.sqrt(m)
        rows.append(Measurement(
            f"{target}_gain", float(difference.mean()), "share", words, "exact weights", error, m, "over plain guidance"
        ))  # fmt: skip
        real = to_unit(pixels[labels == satisfied], images.levels)
        rows.append(Measurement(f"{target}_diversity", diversity(real), "", words, "real images"))
    return rows
