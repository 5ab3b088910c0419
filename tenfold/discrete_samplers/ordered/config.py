"""What samplers in an order are made of, and how they are trained. Imports no PyTorch."""

from typing import Literal

from tenfold.discrete_samplers.config import check_curriculum, check_lattice
from tenfold.errors import UsageError
from tenfold.settings.checks import at_least, settings


@settings
class OrderedConfig:
    """A target on a periodic lattice, and the conditionals that reveal its sites one after another.

    Attributes:
        target: "ising", exp(β Σ s s' + h Σ s) of spins, or "potts", exp(β · bonds whose ends agree).
        height: rows of the lattice.
        width: columns.
        beta: coupling of a bond; a published σ of J = σ · adjacency is β/2.
        field: h of spins.
        states: colours of Potts models; 2 for spins.
        order: "any" reveals the sites in a random order (a masked sampler), "raster" row by row (autoregressive).
        hidden: width of the transformer.
        heads: of its attention.
        layers: of it.
    """

    target: Literal["ising", "potts"] = "ising"
    height: int = 4
    width: int = 4
    beta: float = 0.2
    field: float = 0.0
    states: int = 2
    order: Literal["any", "raster"] = "any"
    hidden: int = 32
    heads: int = 4
    layers: int = 2

    def __post_init__(self) -> None:
        at_least(self, "model", height=1, width=1, states=2, hidden=1, heads=1, layers=1)
        check_lattice(self)
        if self.hidden % self.heads:
            raise UsageError(f"model.heads is {self.heads}; it must divide model.hidden, {self.hidden}")


@settings
class OrderedObjective:
    """How conditionals are trained on the sampler's own samples.

    Attributes:
        loss: "cross-entropy" of masked sites, samples weighted by target / model, and "log-variance" of path weights
            (both arXiv 2508.10684), for any order; "free-energy", E_q log q − log ρ by the score function with the
            batch's mean as baseline (arXiv 1809.10606), for the raster order.
        samples: drawn afresh in every refresh of the cross-entropy; the other losses draw a batch for every update.
        inner: updates between two refreshes.
        curriculum: share of the training over which the coupling grows from ``start`` of its value to the whole.
        start: share of the coupling at the beginning.
    """

    loss: Literal["cross-entropy", "log-variance", "free-energy"] = "cross-entropy"
    samples: int = 512
    inner: int = 10
    curriculum: float = 0.0
    start: float = 0.5

    def __post_init__(self) -> None:
        at_least(self, "objective", samples=2, inner=1)
        check_curriculum(self)


@settings
class OrderedEvaluation:
    """What a trained sampler is measured by.

    Attributes:
        samples: with exact weights.
        steps: of the annealed importance sampling beside it.
        baselines: whether that is measured.
    """

    samples: int = 4096
    steps: int = 64
    baselines: bool = True

    def __post_init__(self) -> None:
        at_least(self, "evaluation", samples=2, steps=1)


@settings
class OrderedSampling:
    """Options of ``sample``.

    Attributes:
        num: samples.
        method: "plain" gives every sample its weight, "smc" resamples on the way (any order alone), and keeps log Z.
        populations: of "smc", whose spread is the error of log Z; they share the samples.
        at_once: sites that are revealed in a pass (any order, plain); weights count what was drawn from.
        seed: of all draws.
    """

    num: int = 2048
    method: Literal["plain", "smc"] = "plain"
    populations: int = 8
    at_once: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        at_least(self, "", num=2, populations=1, at_once=1)
        if self.method == "smc" and (self.num % self.populations or self.num < 2 * self.populations):
            raise UsageError(
                f"num is {self.num}; give a multiple of the populations, {self.populations}, twice at least"
            )
        if self.method == "smc" and self.at_once > 1:
            raise UsageError(f"at_once is {self.at_once}; smc reveals one site a pass, leave it at 1")
