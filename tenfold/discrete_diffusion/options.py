"""What a user can set about training, measuring and sampling a model of discrete diffusion. Imports no PyTorch."""

import math
from dataclasses import fields
from typing import Literal, get_args

from tenfold.errors import UsageError, suggest
from tenfold.settings.checks import at_least, settings

Kind = Literal[
    "ancestral", "cached", "euler", "exponential", "tau_leap", "analytic", "remask", "confidence", "first_hitting",
    "gillespie",
]  # fmt: skip
Sigma = Literal["cap", "rescale", "confidence", "loop"]
MASK_ONLY = ("cached", "remask", "confidence", "first_hitting")


@settings
class ChainOptions:
    """How noise becomes tokens.

    Attributes:
        kind: the step. "ancestral", "euler", "exponential", "tau_leap" and "analytic" run on a grid of ``steps``;
            "cached" is ancestral without the calls that change nothing (masks, networks that are not told the time);
            "remask" lets tokens return to the mask; "confidence" reveals equally many masks a step, the surest first;
            "first_hitting" and "gillespie" have no grid: every jump at its own time.
        steps: N, steps of the grid t = (1 − k/N)^power.
        power: of the grid; above 1 the steps get shorter towards clean tokens.
        temperature: of the predictions; 0 is the most likely token.
        top_p: tokens beyond this cumulative probability are dropped; None for none.
        guidance: w of log p(· | prompt) (1 + w) − w log p(· | no prompt); 0 for none.
        corrector: strength of a move at each time that keeps the noisy distribution; 0 for none.
        sigma: of "remask": min(eta, bound), eta · bound, by the probability a token was drawn with, or only while a
            share of tokens is held (loop).
        eta: its strength.
        loop: first and last time of that interval, and the revealed share in it.
        per_call: masks of a call of "first_hitting".
        candidates: k sequences drawn from the prediction, one of them chosen by a density ratio; 1 for none.
        window: share of the steps, from the beginning, in which candidates are drawn.
        floor: 1 − α at which "gillespie" draws all tokens at once.
        values: K draws of clean tokens behind the value A_t = log E e^{R/β} of every sequence that a step may lead to:
            the chain is guided towards p e^{R/β} without training ("first_hitting" and "analytic"); 0 for none.
        beta: β.
    """

    kind: Kind = "ancestral"
    steps: int = 64
    power: float = 1.0
    temperature: float = 1.0
    top_p: float | None = None
    guidance: float = 0.0
    corrector: float = 0.0
    sigma: Sigma = "cap"
    eta: float = 0.1
    loop: tuple[float, float, float] = (0.55, 0.05, 0.9)
    per_call: int = 1
    candidates: int = 1
    window: float = 1.0
    floor: float = 1e-3
    values: int = 0
    beta: float = 1.0

    def __post_init__(self) -> None:
        for name, kinds in (("kind", Kind), ("sigma", Sigma)):
            if getattr(self, name) not in get_args(kinds):
                raise UsageError(
                    f"{name} is {getattr(self, name)!r}{suggest(str(getattr(self, name)), get_args(kinds))}"
                )
        at_least(self, "", steps=1, per_call=1, candidates=1)
        for name in ("temperature", "guidance", "corrector"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise UsageError(f"{name} is {value}; it must be at least 0")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise UsageError(f"top_p is {self.top_p}; a probability in (0, 1] is needed, or leave it out")
        for name in ("eta", "window"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"{name} is {getattr(self, name)}; it must lie in [0, 1]")
        if not 0 < self.floor < 1:
            raise UsageError(f"floor is {self.floor}; 1 − α at the end must lie in (0, 1)")
        if not self.power > 0:
            raise UsageError(f"power is {self.power}; it must be positive")
        on, off, revealed = self.loop
        if not (1 > on > off > 0 and 0 < revealed < 1):
            raise UsageError(f"loop is {self.loop}; give times 1 > first > last > 0 and a revealed share in (0, 1)")
        if self.corrector and self.kind in ("cached", "first_hitting", "gillespie", "confidence"):
            raise UsageError(f"a corrector belongs to a grid of steps, which {self.kind!r} is not; use 'ancestral'")
        if self.candidates > 1 and self.kind != "ancestral":
            raise UsageError(f"candidates are drawn with kind 'ancestral', but the kind is {self.kind!r}")
        if not (math.isfinite(self.beta) and self.beta > 0):
            raise UsageError(f"beta is {self.beta}; the temperature of the reward must be positive")
        if self.values < 0:
            raise UsageError(f"values is {self.values}; give at least 1 draw, or 0 for no reward")
        if self.values and (self.kind not in ("first_hitting", "analytic") or self.per_call > 1):
            raise UsageError(
                f"a reward guides kind 'first_hitting' with per_call 1, or 'analytic'; the kind is {self.kind!r} and "
                f"per_call {self.per_call}"
            )


Loss = Literal["distribution", "score", "mdlm", "sedd", "udlm", "flow_matching", "d3pm"]


@settings
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
        at_least(self, "objective", steps=2, entropy_draws=0)
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


@settings
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
        at_least(self, "evaluation", draws=1, rows=0, batch=1, holes=0)


@settings
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
        at_least(self, "evaluation", draws=1, rows=0, batch=1)


@settings
class DiffusionSampling(ChainOptions):
    """Options of ``tenfold sample``: those of a chain, and these.

    Attributes:
        num: texts.
        length: characters (or tokens) of each; 0 for the length that the model was trained on.
        template: text whose "_" are filled in, the rest staying as it is; its length is the samples'.
        guidance: weight of the prediction with the template against the one without.
        reward: "testament" or "word_length" (of characters): the chain is guided towards it without training, kinds
            "first_hitting" and "analytic"; every step looks at all sequences that it may lead to.
        values: draws behind the value of each of those; 0 for 8 with a reward.
        batch: texts drawn together.
        seed: of the draws.
    """

    num: int = 8
    length: int = 0
    template: str = ""
    reward: Literal["", "testament", "word_length"] = ""
    batch: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        at_least(self, "", num=1, batch=1, length=0)
        if self.template and self.length:
            raise UsageError("a template has its own length; leave length out")
        if self.template and "_" not in self.template:
            raise UsageError('the template has no "_" to be filled in; put one for each character that is wanted')
        if self.guidance and not self.template:
            raise UsageError("guidance compares predictions with and without a template; give --template")
        if self.values and not self.reward:
            raise UsageError("values are draws for a reward that guides the chain; give --reward too")
        self.chain  # noqa: B018 - refuses what does not go together

    @property
    def chain(self) -> ChainOptions:
        """The same for ``run_chain``."""
        chain = {field.name: getattr(self, field.name) for field in fields(ChainOptions)}
        return ChainOptions(**{**chain, "values": self.values or (8 if self.reward else 0)})


@settings
class DiffusionAnalysis:
    """Options of ``tenfold analyse``: how good samples are, by the number of steps.

    Attributes:
        judge: run or model folder of an autoregressive model of the same characters; its perplexity of the samples is
            reported, beside that of held-out text.
        kinds: samplers that are compared.
        steps: numbers of steps.
        num: samples of each.
        length: characters of a sample; 0 for the length that the model was trained on.
        temperature: of the predictions.
        batch: texts drawn together.
        seed: of the draws.
    """

    judge: str = ""
    kinds: tuple[Kind, ...] = ("ancestral",)
    steps: tuple[int, ...] = (2, 4, 8, 16, 32, 64)
    num: int = 128
    length: int = 0
    temperature: float = 1.0
    batch: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        at_least(self, "", num=2, batch=1, length=0)
        if not self.steps or not self.kinds or min(self.steps) < 1:
            raise UsageError(f"steps are {self.steps} and kinds {self.kinds}; give at least one of each, steps above 0")
        for kind in self.kinds:
            ChainOptions(kind=kind, temperature=self.temperature)
