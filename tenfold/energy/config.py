"""What a user can set about denoisers and energies. Imports no PyTorch."""

import math
from typing import Literal

from tenfold.errors import UsageError
from tenfold.settings.checks import at_least, settings


@settings
class BackboneConfig:
    """The network N(y, c) inside of a denoiser or an energy.

    Attributes:
        kind: "mlp" (residual layers over vectors), "unet" (images), "transformer" (patches of images), "perceptron"
            (linear layers over the vector, its noise level and an inverse temperature, as PITA publishes them),
            "egnn" (particles in coordinates without their centre, equivariantly) or "diffusers" (a ``UNet2DModel`` of
            the package diffusers).
        width: of the hidden vectors; of the channels at full resolution, of a unet.
        layers: residual blocks of an mlp, of every resolution of a unet, of a transformer; linear maps of a perceptron.
        activation: smooth ones alone, since energies are differentiated twice.
        frequencies: pairs of sines and cosines that tell the noise level.
        patch: side of a transformer's patches, in pixels.
        head_size: of the heads of attention; must divide the width where there is attention.
        resolutions: how often a unet works at half of the size before, plus one; the lowest has attention.
        inverse_temperature: the number that a perceptron is told besides.
        space: dimensions of the space that an egnn's particles move in.
        definition: the configuration of a diffusers network, as JSON.
        prediction: what a diffusers network predicts.
    """

    kind: Literal["mlp", "unet", "transformer", "perceptron", "egnn", "diffusers"] = "mlp"
    width: int = 160
    layers: int = 3
    activation: Literal["silu", "gelu", "softplus"] = "silu"
    frequencies: int = 16
    patch: int = 2
    head_size: int = 32
    resolutions: int = 2
    inverse_temperature: float = 1.0
    space: int = 3
    definition: str = ""
    prediction: Literal["epsilon", "v", "x0"] = "epsilon"

    def __post_init__(self) -> None:
        at_least(
            self, "model.network", width=1, layers=1, frequencies=1, patch=1, head_size=1, resolutions=1,
            space=1,
        )  # fmt: skip
        if self.kind == "transformer" and self.width % self.head_size:
            raise UsageError(
                f"model.network.width {self.width} is no multiple of model.network.head_size {self.head_size}; "
                "change one of them"
            )
        if self.kind == "unet" and (
            self.width % 8 or (self.width * 2 ** min(1, self.resolutions - 1)) % self.head_size
        ):
            raise UsageError(
                f"model.network.width is {self.width}; a unet needs a multiple of 8 whose double "
                f"model.network.head_size ({self.head_size}) divides"
            )
        if not 0 < self.inverse_temperature < math.inf:
            raise UsageError(f"model.network.inverse_temperature is {self.inverse_temperature}; give a positive number")
        if (self.kind == "diffusers") != bool(self.definition):
            raise UsageError(
                "model.network.definition is the configuration of a diffusers network, and only of that; such "
                "networks are read from their folders, not described by hand"
            )


@settings
class DenoisingConfig:
    """A denoiser D(x, σ) in the convention of EDM (arXiv 2206.00364): c_skip x + c_out N(c_in x, c_noise).

    Attributes:
        shape: of a sample, (dimensions,) or (channels, height, width).
        network: N.
        data_scale: σ_d, the standard deviation of the data.
        noise_input: how N is told the noise level σ: "quarter_log" (¼ ln σ), or "steps", an index among the noise
            levels that ``steps`` holds (networks of diffusers).
        steps: rising noise levels, of "steps".
        output: what N is at little noise: "noise" (σ ∇log p, EDM's: for data on a surface, as images are), or "score"
            (σ_d ∇log p: for data with a density, as particles have; an energy then errs by what N errs, and not by
            σ_d/σ times as much).
        sigma_min: the least noise level that is trained.
        sigma_max: the largest.
        classes: of labels; 0 for none. Label −1 is "no class".
        class_names: what people call them on the command line; empty for their numbers.
    """

    shape: tuple[int, ...] = (2,)
    network: BackboneConfig = BackboneConfig()
    data_scale: float = 0.5
    noise_input: Literal["quarter_log", "steps"] = "quarter_log"
    steps: tuple[float, ...] = ()
    output: Literal["noise", "score"] = "noise"
    sigma_min: float = 0.002
    sigma_max: float = 80.0
    classes: int = 0
    class_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.shape) not in (1, 3) or min(self.shape) < 1:
            raise UsageError(
                f"model.shape is {self.shape}; give (dimensions,) or (channels, height, width), all positive"
            )
        if not 0 < self.data_scale < math.inf:
            raise UsageError(f"model.data_scale is {self.data_scale}; give the data's standard deviation, positive")
        if not 0 < self.sigma_min < self.sigma_max < math.inf:
            raise UsageError(
                f"model.sigma_min and model.sigma_max are {self.sigma_min} and {self.sigma_max}; give 0 < min < max"
            )
        at_least(self, "model", classes=0)
        if self.class_names and len(self.class_names) != self.classes:
            raise UsageError(
                f"model.class_names has {len(self.class_names)} names, but model.classes is {self.classes}"
            )
        if self.network.kind == "diffusers" and (self.noise_input != "steps" or self.data_scale != 1.0):
            raise UsageError("a diffusers network reads the index of its noise level, and its data_scale is 1")
        if self.network.kind == "diffusers" and self.output != "noise":
            raise UsageError("a diffusers network predicts noise; leave model.output at noise")
        if (self.noise_input == "steps") != bool(self.steps):
            raise UsageError("model.steps are the noise levels of model.noise_input 'steps'; give both or neither")
        rising = all(a < b for a, b in zip(self.steps, self.steps[1:], strict=False))
        if self.steps and not (rising and self.steps[0] > 0 and math.isfinite(self.steps[-1])):
            raise UsageError("model.steps must be positive and rise strictly")
        if self.network.kind in ("unet", "transformer", "diffusers") and len(self.shape) != 3:
            raise UsageError(
                f"model.shape is {self.shape}, but a {self.network.kind} reads images; set --model.network.kind mlp"
            )
        smallest = self.network.patch if self.network.kind == "transformer" else 2 ** (self.network.resolutions - 1)
        if self.network.kind in ("unet", "transformer") and any(side % smallest for side in self.shape[1:]):
            raise UsageError(
                f"images of {self.shape[1]}x{self.shape[2]} cannot be divided by {smallest}; change "
                "model.network.patch or model.network.resolutions"
            )
        if self.network.kind == "egnn" and (len(self.shape) != 1 or self.shape[0] % self.network.space):
            raise UsageError(
                f"model.shape is {self.shape}; an egnn of particles in {self.network.space} dimensions reads "
                f"({self.network.space} times their number less one,)"
            )
        if self.network.kind == "perceptron" and (len(self.shape) != 1 or self.classes):
            raise UsageError("a perceptron reads vectors without classes; set --model.network.kind mlp")

    @property
    def dimensions(self) -> int:
        """d, numbers in a sample."""
        return math.prod(self.shape)


@settings
class EnergyConfig(DenoisingConfig):
    """An energy E(x, σ) whose gradient is a denoiser in the convention of EDM (``model.EnergyModel``).

    Attributes:
        head: how the network gives the number U(y): "dot", "norm", "sqnorm", "path" or "scalar" (``heads``).
        scale: κ, of "dot": ½, or 1 as PITA has it.
        nodes: Q, of Gauss and Legendre, of "path".
        temper: whether the whole energy is multiplied by the network's inverse temperature, as PITA's may be.
        gauge: whether a function of σ alone is learned beside U, so that log Z can be the same at all noise levels:
            what ``objective.evolution`` asks for.
    """

    head: Literal["dot", "norm", "sqnorm", "path", "scalar"] = "dot"
    scale: float = 0.5
    nodes: int = 4
    temper: bool = False
    gauge: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.scale < math.inf:
            raise UsageError(f"model.scale is {self.scale}; κ is a positive number, ½ or 1")
        if not 1 <= self.nodes <= 64:
            raise UsageError(f"model.nodes is {self.nodes}; give between 1 and 64 nodes of quadrature")
        if self.temper and self.network.kind != "perceptron":
            raise UsageError("model.temper needs a network that is told an inverse temperature, a perceptron")
