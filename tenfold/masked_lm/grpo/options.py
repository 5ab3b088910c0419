"""What a user can set about learning from rewards. Imports no PyTorch."""

from typing import ClassVar, Literal

from tenfold.errors import UsageError
from tenfold.masked_lm.decoding.options import Alg, GenerationOptions
from tenfold.settings.checks import at_least, settings

EstimatorName = Literal["coupled", "decoupled", "full", "d1", "spg"]
Baseline = Literal["mean", "leave_one_out"]


@settings
class PromptConfig:
    """What is completed, and how a completion is rewarded.

    Attributes:
        source: "brackets" (strings of brackets to go on from; the reward is the share of a completion's brackets that
            match), "stdlib" (functions of the standard library whose docstrings have examples, which are the tests), or
            "jsonl" (a file; each line an object with "prompt", "tests", and perhaps "functions" and
            "context"; the reward is the weighted sum of tests passed in the sandbox and of the form).
        path: the JSON lines.
        count: bracket prompts.
        tokens: new tokens of a completion.
        most_tokens: longer prompts are left out.
        form: what a completion of a line is: "fenced" (a text that ends in its only block of Python, as published), or
            "continued" (prompt and completion together are the program; its form is right where it parses).
        tests_weight: of the share of tests that pass.
        form_weight: of the form.
        seconds: for each test.
        validation: share of the prompts that is held out to choose the best checkpoint.
        test: share that is measured on at the end.
        split_seed: seed of the split.
    """

    source: Literal["brackets", "stdlib", "jsonl"] = "brackets"
    path: str = ""
    count: int = 2000
    tokens: int = 10
    most_tokens: int = 200
    form: Literal["fenced", "continued"] = "fenced"
    tests_weight: float = 2.0
    form_weight: float = 0.5
    seconds: float = 5.0
    validation: float = 0.05
    test: float = 0.1
    split_seed: int = 0

    def __post_init__(self) -> None:
        at_least(self, "data", count=10, tokens=1, most_tokens=1, tests_weight=0, form_weight=0)
        if bool(self.path) != (self.source == "jsonl"):
            raise UsageError(
                f"data.source is {self.source!r} and data.path {self.path!r}; a path belongs to source 'jsonl', which "
                "needs one"
            )
        if not self.seconds > 0:
            raise UsageError(f"data.seconds is {self.seconds}; give a positive time")
        if self.source == "stdlib" and self.form != "continued":
            raise UsageError("data.form is 'fenced', but stubs of the library are gone on with; set it to 'continued'")
        for name in ("validation", "test"):
            if not 0 < getattr(self, name) < 0.5:
                raise UsageError(f"data.{name} is {getattr(self, name)}; give a share between 0 and 0.5")

    @property
    def length(self) -> int:
        """Tokens of a row at the most."""
        return self.most_tokens + self.tokens


@settings
class GrpoObjective:
    """Coupled-GRPO (arXiv 2506.20639, section 4): groups of completions, compared by their rewards.

    Attributes:
        start: run or model folder of the masked model that is tuned.
        group: G, completions of a prompt; at least 2.
        estimator: of per-token log-probabilities: "coupled" (complementary masks), "decoupled" (independent ones),
            "full" (everything masked), "d1" (everything, and 15 % of the prompt), "spg" (a lower bound for better
            completions, mixed with an upper one for worse).
        pairs: λ, pairs of masks of an estimate; "spg" takes 2λ + 1 views, as many passes.
        least_time: times of masks lie between this and 1 − this.
        stratified: masks with neither more nor fewer tokens than their time says.
        mixture: the upper bound's share for worse completions, of "spg".
        power: β of the upper bound, of "spg".
        normalised: weights that add to 1 in expectation, instead of the published (2λ + 1)/(λ + 1).
        inner: μ, updates on the completions of a round, each with masks of its own.
        baseline: what rewards are compared with: the other completions of the group, or its mean.
        scaled: divide advantages by the group's standard deviation.
        clip_low: ε below.
        clip_high: ε above.
        beta: β of the penalty that keeps to the reference; 0 for none.
        sync: rounds after which the reference becomes the policy as it is; 0 for never.
        temperature: of the completions that are drawn.
        top_p: of the same.
        steps: passes of a completion; none for one a token.
        alg: what ranks the masked positions.
        rollout_batch: completions drawn together; a matter of memory alone.
        lora_rank: rank of low-rank updates of the linear layers, which alone are trained; 0 trains all weights.
        lora_alpha: their scale is lora_alpha / lora_rank.
        lora_dropout: on what enters them; 0, because policies are compared.
    """

    kind: ClassVar[str] = "masked"
    start: str = ""
    group: int = 10
    estimator: EstimatorName = "coupled"
    pairs: int = 1
    least_time: float = 0.2
    stratified: bool = False
    mixture: float = 0.5
    power: float = 1.5
    normalised: bool = False
    inner: int = 2
    baseline: Baseline = "leave_one_out"
    scaled: bool = False
    clip_low: float = 0.5
    clip_high: float = 0.5
    beta: float = 0.01
    sync: int = 64
    temperature: float = 1.0
    top_p: float | None = 0.95
    steps: int | None = None
    alg: Alg = "entropy"
    rollout_batch: int = 64
    lora_rank: int = 0
    lora_alpha: int = 32
    lora_dropout: float = 0.0

    def __post_init__(self) -> None:
        at_least(self, "objective", group=2, pairs=1, inner=1, beta=0, sync=0, rollout_batch=1, lora_rank=0)
        if not 0 < self.least_time < 0.5:
            raise UsageError(f"objective.least_time is {self.least_time}; give a time between 0 and 0.5")
        if not 0 < self.clip_low < 1 or not self.clip_high > 0:
            raise UsageError(
                f"objective.clip_low is {self.clip_low} and clip_high {self.clip_high}; the ratio is kept between "
                "1 − clip_low, which is above 0, and 1 + clip_high"
            )
        if not self.temperature > 0:
            raise UsageError(f"objective.temperature is {self.temperature}; completions of a group have to differ")
        if self.lora_dropout:
            raise UsageError(
                f"objective.lora_dropout is {self.lora_dropout}, but estimates of policies are compared, which dropout "
                "would blur; set it to 0"
            )
        if not 0 <= self.mixture <= 1 or not 1 <= self.power < float("inf"):
            raise UsageError(
                f"objective.mixture is {self.mixture} and power {self.power}; give a share of the upper bound in "
                "[0, 1], and a power of at least 1"
            )
        if self.pairs > 1 and self.estimator in ("full", "d1"):
            raise UsageError(f"objective.pairs is {self.pairs}, but estimator {self.estimator!r} has no pairs; set 1")
        owners = {"coupled": ("stratified", "normalised"), "decoupled": ("stratified", "normalised"),
                  "spg": ("mixture", "power")}  # fmt: skip
        for name in ("stratified", "normalised", "mixture", "power"):
            usual, given = getattr(type(self), name), getattr(self, name)
            if given != usual and name not in owners.get(self.estimator, ()):
                users = " and ".join(kind for kind, names in owners.items() if name in names)
                raise UsageError(
                    f"objective.{name} is {given}, which estimator {self.estimator!r} does not use ({users} does); "
                    "leave it out, or change objective.estimator"
                )
        self.generation(1)

    def generation(self, tokens: int) -> GenerationOptions:
        """How completions of so many tokens are drawn."""
        return GenerationOptions(
            max_new_tokens=tokens, temperature=self.temperature, top_p=self.top_p, steps=self.steps, alg=self.alg
        )


@settings
class GrpoEvaluation:
    """What is measured on the test prompts after training, of the tuned model and of the one before.

    Attributes:
        prompts: most of them; 0 for all.
        samples: completions of each.
        temperature: of these.
        steps: passes of each; none for one a token.
        batch: completed together.
    """

    prompts: int = 64
    samples: int = 8
    temperature: float = 1.0
    steps: int | None = None
    batch: int = 64

    def __post_init__(self) -> None:
        at_least(self, "evaluation", prompts=0, samples=1, batch=1, temperature=0)
        self.generation(1)

    def generation(self, tokens: int) -> GenerationOptions:
        """How completions of so many tokens are drawn."""
        return GenerationOptions(max_new_tokens=tokens, temperature=self.temperature, steps=self.steps, alg="entropy")


@settings
class EstimatorAnalysis:
    """Options of ``tenfold analyse`` for a model tuned by rewards: how noisy the estimates of log p are.

    Attributes:
        prompts: test prompts that are completed, one completion each.
        repeats: estimates of each completion by each estimator.
        pairs: λ; an estimate takes 2λ + 1 passes.
        least_time: times of masks lie between this and 1 − this.
        temperature: of the completions.
        batch: estimated together; a matter of memory alone.
        seed: of the draws.
    """

    prompts: int = 64
    repeats: int = 128
    pairs: int = 1
    least_time: float = 0.2
    temperature: float = 1.0
    batch: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        at_least(self, "", prompts=2, repeats=2, pairs=1, batch=1, temperature=0)
        if not 0 < self.least_time < 0.5:
            raise UsageError(f"least_time is {self.least_time}; give a time between 0 and 0.5")
