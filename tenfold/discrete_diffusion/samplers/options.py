"""What a user can set about sampling. Imports no PyTorch."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from tenfold.errors import UsageError, suggest
from tenfold.settings.checks import at_least

Kind = Literal[
    "ancestral", "cached", "euler", "exponential", "tau_leap", "analytic", "remask", "confidence", "first_hitting",
    "gillespie",
]  # fmt: skip
Sigma = Literal["cap", "rescale", "confidence", "loop"]
MASK_ONLY = ("cached", "remask", "confidence", "first_hitting")


@dataclass(frozen=True)
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
