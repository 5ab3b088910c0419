"""Options of ``tenfold sample`` and ``tenfold analyse`` for discrete diffusion. Imports no PyTorch."""

from dataclasses import dataclass, fields
from typing import Literal

from tenfold.discrete_diffusion.samplers.options import ChainOptions, Kind, Sigma
from tenfold.errors import UsageError


@dataclass(frozen=True)
class DiffusionSampling:
    """Options of ``tenfold sample``.

    Attributes:
        num: texts.
        length: characters (or tokens) of each; 0 for the length that the model was trained on.
        template: text whose "_" are filled in, the rest staying as it is; its length is the samples'.
        kind: the sampler.
        steps: of its grid.
        power: of its grid t = (1 − k/N)^power.
        temperature: of the predictions; 0 is the most likely character.
        top_p: characters beyond this cumulative probability are dropped.
        guidance: weight of the prediction with the template against the one without.
        corrector: strength of moves at a time that keep the noisy distribution.
        sigma: schedule of re-masking.
        eta: strength of re-masking.
        per_call: masks of a call of "first_hitting".
        floor: noise at which "gillespie" draws all characters.
        reward: "testament" or "word_length" (of characters): the chain is guided towards it without training, kinds
            "first_hitting" and "analytic"; every step looks at all sequences that it may lead to.
        values: draws behind the value of each of those; 0 for 8 with a reward.
        beta: of the law p e^(R/beta) that it is guided to.
        batch: texts drawn together.
        seed: of the draws.
    """

    num: int = 8
    length: int = 0
    template: str = ""
    kind: Kind = "ancestral"
    steps: int = 64
    power: float = 1.0
    temperature: float = 1.0
    top_p: float | None = None
    guidance: float = 0.0
    corrector: float = 0.0
    sigma: Sigma = "cap"
    eta: float = 0.1
    per_call: int = 1
    floor: float = 1e-3
    reward: Literal["", "testament", "word_length"] = ""
    values: int = 0
    beta: float = 1.0
    batch: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("num", "batch"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.length < 0:
            raise UsageError(f"length is {self.length}; give at least 1, or 0 for the model's")
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
        names = {field.name for field in fields(ChainOptions)} & set(vars(self))
        values = self.values or (8 if self.reward else 0)
        return ChainOptions(**{**{name: getattr(self, name) for name in names}, "values": values})


@dataclass(frozen=True)
class RatioSampling(DiffusionSampling):
    """Options of ``tenfold sample`` for a density ratio: those of the model that it corrects, and two more.

    Attributes:
        candidates: k texts drawn at each step, of which the ratio chooses one; 1 for the plain chain.
        window: share of the steps, from the beginning, in which it does.
    """

    candidates: int = 4
    window: float = 1.0


@dataclass(frozen=True)
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
        if self.num < 2 or self.batch < 1 or self.length < 0:
            raise UsageError(
                f"num is {self.num}, batch {self.batch} and length {self.length}; give at least 2, 1 and 0"
            )
        if not self.steps or not self.kinds or min(self.steps) < 1:
            raise UsageError(f"steps are {self.steps} and kinds {self.kinds}; give at least one of each, steps above 0")
        for kind in self.kinds:
            ChainOptions(kind=kind, temperature=self.temperature)
