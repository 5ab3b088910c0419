"""What a user can set about TarFlow. Imports no PyTorch."""

import math
from typing import Literal

from tenfold.errors import UsageError
from tenfold.flows.options import FlowConfig, GuidedSampling
from tenfold.nn.config import LayerConfig
from tenfold.settings.checks import at_least, settings


@settings
class TarFlowConfig(FlowConfig):
    """Geometry of a TarFlow (arXiv 2412.06329).

    Attributes:
        shape: (channels, height, width) of an image, or (tokens, dims) of a sequence of vectors.
        patch: side of the square patches that become tokens (images only).
        layout: order inside an image token: "channel_first" (channel, row, column), TarFlow's, or
            "channel_last" (row, column, channel), STARFlow's.
        width: transformer width, a multiple of ``head_size``.
        blocks: number of flow blocks; odd ones read the tokens in reverse.
        layers: transformer layers of each block.
        head_size: width of an attention head.
        expansion: hidden width of the feed-forward part, in multiples of ``width``.
        volume_preserving: shift only (a = 0), with a learned diagonal prior.
        classes: number of class labels; 0 for none.
        context: width of a continuous condition vector; 0 for none.
        dropout: dropout rate inside the transformer layers while training.
    """

    shape: tuple[int, ...] = (1, 8, 8)
    patch: int = 2
    layout: Literal["channel_first", "channel_last"] = "channel_first"
    width: int = 64
    blocks: int = 4
    layers: int = 2
    head_size: int = 64
    expansion: int = 4
    volume_preserving: bool = False
    classes: int = 0
    context: int = 0
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if len(self.shape) not in (2, 3) or min(self.shape) < 1:
            raise UsageError(
                f"shape is {self.shape}; give (channels, height, width) for images or (tokens, dims) for vectors"
            )
        at_least(self, "", patch=1, blocks=1, layers=1, expansion=1, classes=0, context=0)
        if self.is_image and (self.shape[1] % self.patch or self.shape[2] % self.patch):
            raise UsageError(
                f"an image of {self.shape[1]}x{self.shape[2]} cannot be cut into {self.patch}x{self.patch} "
                "patches; choose a patch that divides both sides"
            )
        if self.classes and self.context:
            raise UsageError("set classes or context, not both: a flow takes one kind of condition")
        _ = self.layer  # its own checks: width, head_size, dropout

    @property
    def layer(self) -> LayerConfig:
        """The shape of every transformer layer."""
        return LayerConfig(
            width=self.width, head_size=self.head_size, expansion=float(self.expansion), dropout=self.dropout
        )


@settings
class FlowObjective:
    """What a flow on images is trained on.

    Attributes:
        noise: "uniform" dequantises integer levels (exact likelihood, bits per dimension); "gaussian" adds
            noise of standard deviation ``sigma`` to images in [−1, 1] (generation, score denoising).
        sigma: standard deviation of the Gaussian noise, on the [−1, 1] scale.
        label_dropout: share of training labels replaced by "none" (−1).
        flip: mirror images at random, left to right.
        shift: largest random translation in pixels (0 to none), filled with the darkest level.
    """

    noise: Literal["uniform", "gaussian"] = "uniform"
    sigma: float = 0.0
    label_dropout: float = 0.1
    flip: bool = False
    shift: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.sigma < math.inf:
            raise UsageError(f"sigma is {self.sigma}; a standard deviation cannot be negative")
        if self.noise == "gaussian" and self.sigma == 0:
            raise UsageError("Gaussian noise needs a sigma above 0; set --objective.sigma, 0.1 say")
        if self.noise == "uniform" and self.sigma:
            raise UsageError(f"uniform dequantisation takes no sigma, but sigma is {self.sigma}; set noise to gaussian")
        if not 0.0 <= self.label_dropout < 1.0:
            raise UsageError(f"label_dropout is {self.label_dropout}; it must lie in [0, 1)")
        at_least(self, "", shift=0)


@settings
class FlowEvaluation:
    """How a trained flow is measured.

    Attributes:
        draws: dequantisation draws behind a bits-per-dimension value.
        importance: K of the tighter importance-sampled bound (labelled apart); 1 leaves it out.
        samples: generated images behind FID, KID, precision and recall; 0 leaves them out.
        guidance: guidance weights at which samples are drawn.
        calibrate: images behind the calibration of the "auto" sampler that is saved with the weights; 0 saves none.
        baselines: compare with per-pixel histogram, Gaussian mixture and a neural spline flow.
        baseline_seconds: training time of the spline flow by the clock, which depends on the machine and on what else
            runs there; 0 trains it on as many images as the flow instead.
    """

    draws: int = 16
    importance: int = 16
    samples: int = 0
    guidance: tuple[float, ...] = (0.0, 1.5)
    calibrate: int = 64
    baselines: bool = True
    baseline_seconds: float = 0.0

    def __post_init__(self) -> None:
        at_least(self, "evaluation", draws=1, importance=1, samples=0, calibrate=0, baseline_seconds=0)
        if not all(0 <= weight < math.inf for weight in self.guidance):
            raise UsageError(f"evaluation.guidance is {', '.join(map(str, self.guidance))}; give weights of at least 0")


@settings
class FlowSampling(GuidedSampling):
    """Options of ``tenfold sample`` for a flow.

    Attributes:
        rule: how conditional and unconditional predictions combine.
        denoise: apply the score step with the noise the flow was trained with.
        denoise_rate: multiplier of the score step.
    """

    rule: Literal["tarflow", "starflow"] = "tarflow"
    denoise: bool = False
    denoise_rate: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.denoise_rate != 1.0 and not self.denoise:
            raise UsageError("denoise_rate belongs to denoise; set both or none")


@settings
class FlowScoring:
    """Options of ``tenfold score`` for a flow.

    Attributes:
        classes: class label y of log p(x|y); without one, p is averaged over the classes where there are any.
        bits_per_dim: refuse inputs that have no bits per dimension; it is shown wherever it is defined, for integer
            pixels and a flow trained with uniform noise.
        force: with bits_per_dim, print the density of noisy data in bits, labelled as that.
        draws: noise draws for each integer image, of the noise that the flow was trained with.
        resize: scale and crop image files to the model's size, as training does.
        key: which array of an .npz file.
        seed: of the noise.
    """

    classes: int | None = None
    bits_per_dim: bool = False
    force: bool = False
    draws: int = 16
    resize: bool = False
    key: str = ""
    seed: int = 0

    def __post_init__(self) -> None:
        at_least(self, "", draws=1)
        if self.force and not self.bits_per_dim:
            raise UsageError("force belongs to bits_per_dim; set both or none")
