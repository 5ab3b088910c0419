"""What a user can set about training, measuring and sampling a flow of text. Imports no PyTorch."""

from typing import Literal

from tenfold.errors import UsageError
from tenfold.settings.checks import at_least, settings


@settings
class TextFlowObjective:
    """What is trained, and from where.

    Attributes:
        start: model folder that the weights of its couplings and its codebook are taken from; "" for fresh ones. A
            "discrete-autoregressive" folder becomes the flow that it is the limit of.
        freeze: couplings (and with them the codebook) that stay as they are; 0 for none.
        log_scale: log σ of the tokens' Gaussians when a discrete model is the start.
    """

    start: str = ""
    freeze: int = 0
    log_scale: float = -7.0

    def __post_init__(self) -> None:
        at_least(self, "objective", freeze=0)
        if self.freeze and not self.start:
            raise UsageError("objective.freeze keeps couplings that were trained; name their model: --objective.start")
        if not -7 <= self.log_scale <= 2:
            raise UsageError(f"objective.log_scale is {self.log_scale}; it lies in [-7, 2]")


@settings
class TextFlowEvaluation:
    """What is measured on the test split after training.

    Attributes:
        draws: of latents a row, S of the importance-weighted bound.
        rows: most rows that are scored, evenly spread; 0 for all.
        batch: rows computed together.
        baselines: whether models that count are measured beside.
    """

    draws: int = 8
    rows: int = 0
    batch: int = 64
    baselines: bool = True

    def __post_init__(self) -> None:
        at_least(self, "evaluation", draws=2, rows=0, batch=1)


@settings
class TextFlowSampling:
    """Options of ``tenfold sample``.

    Attributes:
        num: texts.
        length: tokens of each; 0 for the length that the model was trained on.
        solver: how a coupling is inverted: "sequential" (one position after the other, with key-value caches) or
            "jacobi" (all positions of a block at once, until none changes).
        block: positions of a block of "jacobi" (Gauss-Seidel-Jacobi); 0 for all.
        tolerance: of "jacobi": the largest |f(h) − u| that is left.
        passes: whether the text of every state, from noise to latents, is shown.
        edit: a text whose noise is changed in part, and decoded again.
        strength: s of its new noise √(1 − s²) u + s ε.
        prompt: a text that samples go on with, for flows of one coupling: those read it before they write.
        suffix: a text that samples end in; what is between it and ``prompt`` is written with both in view.
        candidates: continuations of ``prompt`` of which each sample is drawn by how well ``suffix`` goes on with them.
        decode: the likeliest token, or one drawn from p(x | z).
        batch: texts drawn together.
        seed: of the draws.
    """

    num: int = 8
    length: int = 0
    solver: Literal["sequential", "jacobi"] = "sequential"
    block: int = 0
    tolerance: float = 1e-4
    passes: bool = False
    edit: str = ""
    strength: float = 0.3
    prompt: str = ""
    suffix: str = ""
    candidates: int = 64
    decode: Literal["argmax", "sample"] = "argmax"
    batch: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        at_least(self, "", num=1, length=0, block=0, batch=1, candidates=1)
        if not 0 < self.tolerance < 1:
            raise UsageError(f"tolerance is {self.tolerance}; give a number between 0 and 1, such as 1e-4")
        if not 0 <= self.strength <= 1:
            raise UsageError(f"strength is {self.strength}; the share of new noise lies in [0, 1]")
        if self.edit and self.length:
            raise UsageError("the text that is edited has its own length; leave length out")
        if self.edit and self.prompt:
            raise UsageError("a text is edited or gone on with, not both; leave edit or prompt out")
        if self.suffix and (self.edit or self.passes or self.solver != "sequential" or self.decode != "argmax"):
            raise UsageError(
                "between two sides texts are drawn one position after the other, token by token, as they are in the "
                "end; leave edit, passes, solver and decode out"
            )
        if self.block and self.solver != "jacobi":
            raise UsageError("blocks are of the solver 'jacobi'; set --solver jacobi, or leave block out")


@settings
class TextFlowAnalysis:
    """Options of ``tenfold analyse``: the states of test text, and how good samples are, state by state.

    Attributes:
        judge: run or model folder of a discrete autoregressive model of the same characters, whose perplexity of the
            samples is reported beside that of held-out text; "" for none.
        num: test rows, and samples.
        batch: texts computed together.
        seed: of the draws.
    """

    judge: str = ""
    num: int = 128
    batch: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        at_least(self, "", num=2, batch=1)
