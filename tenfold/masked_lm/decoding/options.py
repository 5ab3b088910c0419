"""What a user can set about generation. Imports no PyTorch."""

import math
from dataclasses import replace
from typing import Any, Literal

from tenfold.errors import UsageError, suggest
from tenfold.settings.checks import at_least, settings

Alg = Literal["origin", "maskgit_plus", "topk_margin", "entropy"]
ScheduleName = Literal["exact", "reference"]
StrategyName = Literal["topk", "threshold", "factor", "entropy_bound", "remdm", "self_speculative"]
CacheName = Literal["none", "prefix", "dual", "delayed", "block_delayed", "adaptive"]

# The strategies that are chosen by giving their number.
_OWNERS = {"threshold": "threshold", "factor": "factor", "entropy_bound": "gamma"}
# What has a meaning with one choice alone.
_IGNORED = {"strategy remdm": "eta sigma", "sigma loop": "loop", "strategy self_speculative": "draft"}


@settings
class DecodingOptions:
    """Which masks a pass reveals, and what it computes: what Python and the command line set alike.

    Attributes:
        steps: passes that the schedule is laid out for; None for one a token.
        alg: what ranks the masked positions: probability of the proposal (maskgit_plus), margin of the two best
            (topk_margin), negative entropy (entropy); or each by itself with the probability of the reverse process
            (origin).
        alg_temp: temperature of a random choice by rank; None or 0 takes the best.
        temperature: of the proposals; 0 is the most likely token.
        top_p: nucleus: tokens after the one that carries the cumulative probability over top_p are dropped.
        top_k: tokens below the k-th logit are dropped.
        schedule: "exact" divides the masks evenly over the steps; "reference" is the published truncation.
        block_length: tokens of a block, blocks filled from left to right; None for one block.
        strategy: which positions a pass reveals; None takes "threshold", "factor" or "entropy_bound" where its number
            is given, else "topk".
        threshold: probability from which on a proposal is revealed.
        factor: f: rank r is revealed while its probability is at least 1 − f / (r + 1).
        gamma: nats of joint entropy beyond the largest one that a pass may reveal (entropy_bound).
        eta: strength of re-masking (remdm).
        draft: drafted tokens of a self-speculative pass.
        cache: which keys and values are kept between passes.
        refresh: passes between two full ones; 0: prefix, dual and block_delayed at a block's start only, others by
            their default.
        window: of the masks, the delayed caches compute those this near to what was revealed in the pass before (the
            greedy variant of dKV-Cache); 0 for all.
    """

    steps: int | None = None
    alg: Alg = "origin"
    alg_temp: float | None = None
    temperature: float = 0.0
    top_p: float | None = None
    top_k: int | None = None
    schedule: ScheduleName = "exact"
    block_length: int | None = None
    strategy: StrategyName | None = None
    threshold: float | None = None
    factor: float | None = None
    gamma: float | None = None
    eta: float = 0.1
    draft: int = 4
    cache: CacheName = "none"
    refresh: int = 0
    window: int = 0


@settings
class GenerationOptions(DecodingOptions):
    """How a masked diffusion model fills in its masks; besides the ``DecodingOptions``:

    Attributes:
        max_new_tokens: L, the masks that are put behind the prompt; not used with ``infill``.
        eps: last time of the schedule, which runs linearly from 1.
        num_return_sequences: rows for each prompt.
        quota: tokens of a step counted for each row, or as the published mean of the batch.
        carry: threshold only: a pass reveals no more than the schedule's number, and what it holds back is added to
            the next pass's.
        sigma: schedule of re-masking (remdm): min(eta, sigma_max), eta · sigma_max, by the confidence at the time of
            revealing, or with a time interval in which the share of masks stays the same (loop).
        loop: first and last time of that interval, and the revealed share in it.
        prompt_refresh: passes between two full ones for the prompt of the adaptive cache.
        share: part of the response that the adaptive cache recomputes in between.
        first_token: with logit shift and a prefix or dual cache, the first token of a block is predicted from the
            block's full pass ("own"), or revealed in it unconditionally as published ("reference").
        infill: the prompt has masks, and these are filled; nothing is put behind it.
        suppress_mask: never propose the mask token.
        stop_ids: token ids that end a sequence.
    """

    max_new_tokens: int = 256
    eps: float = 1e-3
    num_return_sequences: int = 1
    quota: Literal["row", "batch"] = "row"
    carry: bool = False
    sigma: Literal["cap", "rescale", "confidence", "loop"] = "cap"
    loop: tuple[float, float, float] = (0.55, 0.05, 0.9)
    prompt_refresh: int = 100
    share: float = 0.25
    first_token: Literal["own", "reference"] = "own"
    infill: bool = False
    suppress_mask: bool = True
    stop_ids: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        at_least(self, "", max_new_tokens=1, num_return_sequences=1, draft=1, prompt_refresh=1)
        self._ranges()
        self._combinations()

    @property
    def chosen(self) -> str:
        """The strategy by name."""
        given = (name for name, number in _OWNERS.items() if getattr(self, number) is not None)
        return self.strategy or next(given, "topk")

    @property
    def scheduled(self) -> bool:
        """Whether ``steps`` fixes how many passes there are."""
        return self.chosen in ("topk", "remdm") or self.carry

    def _ranges(self) -> None:
        for name in ("steps", "block_length", "top_k"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"{name} is {value}; it must be at least 1, or left out")
        for name in ("threshold", "top_p"):
            value = getattr(self, name)
            if value is not None and not 0 < value <= 1:
                raise UsageError(f"{name} is {value}; a probability in (0, 1] is needed, or leave it out")
        for name in ("temperature", "alg_temp", "factor", "gamma", "refresh", "window"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise UsageError(f"{name} is {value}; it must be at least 0")
        if not 0 < self.eps < 1:
            raise UsageError(f"eps is {self.eps}; the last time must lie in (0, 1)")
        for name, what in (("eta", "the strength of re-masking"), ("share", "the recomputed part")):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"{name} is {getattr(self, name)}; {what} must lie in [0, 1]")
        on, off, revealed = self.loop
        if not (1 > on > off > 0 and 0 < revealed < 1):
            raise UsageError(f"loop is {self.loop}; give times 1 > first > last > 0 and a revealed share in (0, 1)")

    def _combinations(self) -> None:
        if self.threshold is not None and self.factor is not None:
            raise UsageError(
                f"threshold {self.threshold} and factor {self.factor} are both given; each is a rule of its own, "
                "leave one out"
            )
        for owner, name in _OWNERS.items():
            given = getattr(self, name) is not None
            if given and self.chosen != owner:
                raise UsageError(f"{name} belongs to strategy '{owner}', but the strategy is {self.chosen!r}")
            if self.chosen == owner and not given:
                raise UsageError(f"strategy {self.chosen!r} needs {name}")
        if self.carry and self.chosen != "threshold":
            raise UsageError(f"carry belongs to strategy 'threshold', but the strategy is {self.chosen!r}")
        if self.chosen == "self_speculative":
            if self.cache != "none" or self.temperature > 0 or self.alg == "origin" or self.alg_temp:
                raise UsageError(
                    "self_speculative is exact for greedy one-token steps alone; use cache 'none', temperature 0, "
                    "no alg_temp, and alg entropy, maskgit_plus or topk_margin"
                )
            if self.steps is not None:
                raise UsageError(f"self_speculative reveals one token after the other; leave steps ({self.steps}) out")
        elif self.alg == "origin" and self.chosen not in ("topk", "remdm"):
            raise UsageError(
                f"strategy {self.chosen!r} ranks positions, which alg 'origin' does not; use entropy, maskgit_plus or "
                "topk_margin"
            )
        if self.chosen == "remdm":
            if self.cache != "none":
                raise UsageError(f"remdm takes tokens back, which cache {self.cache!r} cannot; use cache 'none'")
            if self.block_length is not None or self.stop_ids:
                raise UsageError("remdm takes tokens back, so it knows neither blocks nor an early end; leave out "
                                 "block_length and stop_ids")  # fmt: skip
        if self.window and self.cache not in ("delayed", "block_delayed"):
            raise UsageError(
                f"window is {self.window}, but cache {self.cache!r} has none; use delayed or block_delayed"
            )
        for owner, names in _IGNORED.items():
            kind, _, choice = owner.partition(" ")
            used = self.chosen if kind == "strategy" else getattr(self, kind)
            for name in names.split():
                if used != choice and getattr(self, name) != self.__dataclass_fields__[name].default:
                    raise UsageError(
                        f"{name} is {getattr(self, name)}, but {kind} is {used!r}, which has none; leave {name} out, "
                        f"or set {kind} to {choice!r}"
                    )
        if self.cache == "none" and self.refresh:
            raise UsageError(f"refresh is {self.refresh}, but cache 'none' keeps nothing; leave refresh out")
        if self.alg_temp and (self.chosen != "topk" or self.alg == "origin"):
            rule = f"alg {self.alg!r}" if self.chosen == "topk" else f"strategy {self.chosen!r}"
            raise UsageError(f"alg_temp is {self.alg_temp}, but {rule} draws no ranks; leave alg_temp out")
        if self.first_token == "reference" and self.cache not in ("prefix", "dual"):
            raise UsageError("first_token 'reference' is a rule of the prefix and the dual cache; choose one of them")

    def with_changes(self, **changes: Any) -> "GenerationOptions":
        """The same with some fields changed; UsageError with a suggestion for one that does not exist."""
        for name in changes:
            if name not in self.__dataclass_fields__:
                raise UsageError(f"generation has no option {name!r}{suggest(name, self.__dataclass_fields__)}")
        return replace(self, **changes)


REFERENCE: dict[str, Any] = {"schedule": "reference", "quota": "batch", "suppress_mask": False}
"""The options under which the published sampler's tokens come out one by one."""
