"""What a user can set about scoring and reading in an order. Imports no PyTorch."""

from typing import Literal

from tenfold.errors import UsageError
from tenfold.ordering.choices.layout import Templates
from tenfold.settings.checks import at_least, settings
from tenfold.settings.values import read

Question = Literal["pair", "question"]
FORWARD = ("sum", "character", "byte", "token", "stop", "pmi")
BACKWARD = ("paradigm-1", "paradigm-2", "paradigm-3")
RULES = (*FORWARD, *BACKWARD)


@settings
class ChoiceScoring:
    """How items are scored.

    Attributes:
        rules: which rules; all by default. Passes that no rule needs are left out.
        natural: text in which the question stands before the answer.
        reverse: text in which the answer stands before the question.
        norm: M of paradigm 1: tokens of the question and the option, "pair", or of the "question" alone.
    """

    rules: tuple[str, ...] = RULES
    natural: str = Templates().natural
    reverse: str = Templates().reverse
    norm: Question = "pair"

    def __post_init__(self) -> None:
        if not self.rules or len(set(self.rules)) < len(self.rules):
            raise UsageError(f"rules are {self.rules}; give at least one of {', '.join(RULES)}, each once")
        for rule in self.rules:
            read(Literal[RULES], rule, "rules")
        Templates(self.natural, self.reverse)


@settings
class ChoiceVerb:
    """How ``tenfold score-choices`` reads items and reports on them.

    Attributes:
        order: l2r or r2l, for a stock model that was trained in another order than it says; none for the model's own.
        num: items, evenly spread over the file; 0 for all.
        seed: of the bootstrap.
        resamples: of the bootstrap.
        fit: share of the items on which weights of both directions are fitted, to be tried on the rest; 0 for none.
    """

    order: str | None = None
    num: int = 0
    seed: int = 0
    resamples: int = 1000
    fit: float = 0.0

    def __post_init__(self) -> None:
        at_least(self, "", num=0, resamples=100)
        if not 0 <= self.fit < 1:
            raise UsageError(f"fit is {self.fit}; give a share of the items from 0 (no fit) to below 1")
        if self.order not in (None, "l2r", "r2l"):
            raise UsageError(f"order is {self.order!r}; expected l2r or r2l")


@settings
class EntropyVerb:
    """How ``tenfold entropy`` reads items and what it draws.

    Attributes:
        order: l2r or r2l, for a stock model that was trained in another order than it says; none for the model's own.
        num: items, evenly spread over the file; 0 for all.
        rollouts: continuations of each item in each direction.
        length: tokens of a continuation, and positions of the excess.
        seed: of the continuations and the bootstrap.
    """

    order: str | None = None
    num: int = 0
    rollouts: int = 1
    length: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        at_least(self, "", num=0, rollouts=1, length=1)
        if self.order not in (None, "l2r", "r2l"):
            raise UsageError(f"order is {self.order!r}; expected l2r or r2l")


@settings
class SetsAnalysis:
    """On which items ``tenfold analyse`` tries a model that was trained on.

    Attributes:
        sets: names of sets (logiqa, social_iqa, riddle_sense, strategyqa, physics); none for those whose words its
            training left out.
        num: items of each, evenly spread; 0 for all.
    """

    sets: tuple[str, ...] = ()
    num: int = 300

    def __post_init__(self) -> None:
        at_least(self, "", num=0)


@settings
class OrderEvaluation:
    """What is measured on the test split after training.

    Attributes:
        rows: most rows, evenly spread; 0 for all.
        batch: rows computed together.
        orders: random orders of every row for a model of any order, and draws of masks for one of masks.
        baselines: whether models that count are measured beside, on characters.
        seed: of the orders and masks.
    """

    rows: int = 512
    batch: int = 64
    orders: int = 8
    baselines: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        at_least(self, "evaluation", rows=0, batch=1, orders=2)


@settings
class ArithmeticEvaluation:
    """What is measured of a model of equations.

    Attributes:
        rows: held-out equations; 0 for all.
        batch: computed together.
        items: multiple-choice items of held-out equations; 0 for none.
        distractors: "clean" (no wrong option answers the question) or "any", as published.
        seed: of the wrong options.
    """

    rows: int = 0
    batch: int = 256
    items: int = 200
    distractors: Literal["clean", "any"] = "clean"
    seed: int = 0

    def __post_init__(self) -> None:
        at_least(self, "evaluation", rows=0, batch=1, items=0)
