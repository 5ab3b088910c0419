"""What a user can set about training and measuring a model of discrete diffusion. Imports no PyTorch."""

from dataclasses import dataclass
from typing import Literal

from tenfold.errors import UsageError

Loss = Literal["distribution", "score", "mdlm", "sedd", "udlm", "flow_matching", "d3pm"]


@dataclass(frozen=True)
class DiffusionObjective:
    """What is learnt.

    Attributes:
        loss: of target concrete score matching, from data alone: the "distribution" form (cross entropy) or the "score"
            form; or a method by its name: "mdlm" (the distribution form with the bound's weight, masks), "sedd" (score
            entropy), "udlm" (uniform noise), "flow_matching" (generalised KL), "d3pm" (a chain of ``steps`` steps).
        divergence: of the ratios, in the score form.
        weight: of the first two over time: "flat" (every active token alike) or "bound" (−α'/(1 − α)).
        cap: largest log-ratio of the score form; beyond it the loss is linear.
        entropy_draws: tokens drawn for the sum over the vocabulary in the score form with the generalised KL
            divergence; 0 for the whole sum.
        times: "stratified" (over the batch), "uniform", or "count" (masks only: the number of masks is drawn).
        epsilon: the least time.
        latest: the latest time (the largest share of masks) that is drawn; below 1, little noise alone is learnt.
        steps: T of d3pm.
    """

    loss: Loss = "distribution"
    divergence: Literal["generalised_kl", "half_squared", "itakura_saito", "logistic"] = "generalised_kl"
    weight: Literal["flat", "bound"] = "flat"
    cap: float = 20.0
    entropy_draws: int = 0
    times: Literal["stratified", "uniform", "count"] = "stratified"
    epsilon: float = 1e-3
    latest: float = 1.0
    steps: int = 1000

    def __post_init__(self) -> None:
        if not self.cap > 0:
            raise UsageError(f"objective.cap is {self.cap}; give a positive log-ratio")
        if not 0 < self.epsilon < 1:
            raise UsageError(f"objective.epsilon is {self.epsilon}; the least time lies between 0 and 1")
        if not self.epsilon < self.latest <= 1:
            raise UsageError(f"objective.latest is {self.latest}; it lies between objective.epsilon and 1")
        if self.steps < 2:
            raise UsageError(f"objective.steps is {self.steps}; a chain needs at least 2")
        if self.entropy_draws < 0:
            raise UsageError(f"objective.entropy_draws is {self.entropy_draws}; give at least 0")
        if self.entropy_draws and (self.loss != "score" or self.divergence != "generalised_kl"):
            raise UsageError(
                "objective.entropy_draws is for the score form with the generalised KL divergence; set it to 0"
            )

    def check(self, source: str, output: str, view: str) -> None:
        """Raises UsageError for a loss that a model of this source, output and view does not have."""
        if (self.loss == "sedd") != (output == "scores"):
            raise UsageError(
                f"objective.loss is {self.loss} and model.output {output}; score entropy (sedd) trains scores, the "
                "others probabilities"
            )
        if self.loss == "mdlm" and source != "mask":
            raise UsageError("objective.loss mdlm is for masks; set --model.source mask, or --objective.loss udlm")
        if self.loss == "udlm" and (source != "uniform" or view != "leave_one_out"):
            raise UsageError(
                "objective.loss udlm is exact for uniform noise and the leave-one-out view; set --model.source uniform "
                "and --model.view leave_one_out"
            )
        if self.loss == "d3pm" and source == "uniform" and view != "leave_one_out":
            raise UsageError("with uniform noise objective.loss d3pm needs --model.view leave_one_out")
        if self.times == "count" and (source != "mask" or self.loss == "d3pm"):
            raise UsageError("objective.times count draws numbers of masks; set --objective.times stratified")


@dataclass(frozen=True)
class DiffusionEvaluation:
    """What is measured on the test split after training.

    Attributes:
        draws: of noise a row, for the bound.
        rows: most rows that are scored, evenly spread; 0 for all.
        batch: rows computed together.
        baselines: whether models that count are measured beside.
        holes: holes of 1 to 8 characters in test rows that are filled and scored by exact match (by masks, by a chain
            under uniform noise, and from left to right); 0 for none.
    """

    draws: int = 4
    rows: int = 0
    batch: int = 64
    baselines: bool = True
    holes: int = 400

    def __post_init__(self) -> None:
        for name, least in (("draws", 1), ("rows", 0), ("batch", 1), ("holes", 0)):
            if getattr(self, name) < least:
                raise UsageError(f"evaluation.{name} is {getattr(self, name)}; it must be at least {least}")


@dataclass(frozen=True)
class TokenRowEvaluation:
    """What is measured of a model of a tokenizer's tokens on the test split.

    Attributes:
        draws: of noise a row, for the bound.
        rows: most rows that are scored, evenly spread; 0 for all.
        batch: rows computed together.
    """

    draws: int = 4
    rows: int = 1024
    batch: int = 4

    def __post_init__(self) -> None:
        for name, least in (("draws", 1), ("rows", 0), ("batch", 1)):
            if getattr(self, name) < least:
                raise UsageError(f"evaluation.{name} is {getattr(self, name)}; it must be at least {least}")
