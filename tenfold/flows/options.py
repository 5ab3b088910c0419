"""What a user can set about any flow. Imports no PyTorch."""

import math
from typing import Literal

from tenfold.errors import UsageError
from tenfold.runs.recipe import Recipe
from tenfold.settings.checks import at_least, settings
from tenfold.training.config import TrainingConfig

# What the published recipes of TarFlow (arXiv 2412.06329) and STARFlow (arXiv 2506.06276) share.
PUBLISHED_TRAINING = TrainingConfig(
    learning_rate=1e-4,
    initial_fraction=0.01,
    final_fraction=0.01,
    weight_decay=1e-4,
    clip=None,
    ema=None,
    activation_checkpointing=True,
    log_every=100,
    validate_every=5000,
    checkpoint_every=5000,
)


class FlowConfig:
    """What every flow's configuration says of its geometry.

    ``shape`` is an input's. Where it ``is_image``, square patches of side ``patch`` become tokens in the order
    ``layout``. ``classes`` are the labels."""

    shape: tuple[int, ...]
    patch: int
    layout: str
    classes: int

    @property
    def is_image(self) -> bool:
        """Whether inputs are images (else sequences of vectors)."""
        return len(self.shape) == 3

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of tokens; of vectors, one column."""
        return (self.shape[1] // self.patch, self.shape[2] // self.patch) if self.is_image else (self.shape[0], 1)

    @property
    def tokens(self) -> int:
        """T, the number of tokens."""
        return math.prod(self.grid)

    @property
    def token_dim(self) -> int:
        """D, the dimensions of a token."""
        return self.shape[0] * self.patch**2 if self.is_image else self.shape[1]

    @property
    def dimensions(self) -> int:
        """T·D, the dimensions of an input."""
        return math.prod(self.shape)


class FlowRecipe(Recipe):
    """What the recipes of flows have, besides what is their system's."""

    model: FlowConfig
    train: TrainingConfig


@settings
class GuidedSampling:
    """The options of ``tenfold sample`` that flows share.

    Attributes:
        num: how many images.
        classes: class label, or None for no label.
        guidance: guidance weight w ≥ 0.
        rule: how the two branches combine; None for the rule of the flow's family.
        what: which of log-scale (a) and shift (b) rule "tarflow" extrapolates.
        schedule: constant weight, or linear over the tokens.
        blocks: "all", "top", a number n (the first n sampled blocks), or comma-separated indices.
        attention_temperature: of the second branch, for guiding without a condition.
        solver: how the inverse is computed.
        tolerance: residual at which a parallel solver stops; its own default if not given.
        seed: of the noise; an image is a function of the seed and its number, whatever is drawn beside it.
        batch: images drawn at once, which memory limits.
    """

    num: int = 64
    classes: int | None = None
    guidance: float = 0.0
    rule: Literal["tarflow", "starflow"] | None = None
    what: Literal["ab", "a", "b"] = "ab"
    schedule: Literal["const", "linear"] = "const"
    blocks: str = "all"
    attention_temperature: float = 1.0
    solver: Literal["sequential", "jacobi", "gs", "selective", "frontier", "auto"] = "auto"
    tolerance: float | None = None
    seed: int = 0
    batch: int = 64

    def __post_init__(self) -> None:
        at_least(self, "", batch=1)
        if self.tolerance is not None and self.solver == "sequential":
            raise UsageError("tolerance belongs to the parallel solvers; leave it out, or choose another solver")
