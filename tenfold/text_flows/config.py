"""What a user can set about TarFlowLM's model. Imports no PyTorch."""

from typing import Literal

from tenfold.errors import UsageError
from tenfold.nn.config import LayerConfig
from tenfold.settings.checks import at_least, settings

Kind = Literal["affine", "mix-1", "mix-d"]


@settings
class TextFlowConfig:
    """Tokens, latents and the couplings of a flow of text; the defaults are one Mix-d coupling of 27 letters.

    Attributes:
        vocabulary: V, tokens.
        dim: d, numbers of a token's latent vector.
        patch: P, tokens that are produced together; a position of the flow has P · d channels.
        couplings: the flow from latents to noise, each "affine", "mix-1" or "mix-d"; they read the text from left to
            right and from right to left in turn.
        layers: transformer layers of each coupling.
        components: K of each coupling, the Gaussians of its mixture; 1 for "affine".
        tied: whether the codebook of a first "mix-d" is that of the tokens, with K = V.
        decoder: "tied" (the posterior of the tokens' own Gaussians) or "untied" (a linear classifier).
        mix_channels: whether each coupling but the first takes the even channels of the one before it first.
        width: of the transformers' vectors.
        heads: attention heads; must divide ``width``.
        local_mixing: reach, odd, of a convolution over positions already read, at the start of each layer; 0 for none.
        hidden: D_m, width of the masked network over the channels of a position.
        length: the longest text, in tokens; with patches, a multiple of P.
        log_scale: log σ of fresh token Gaussians.
        alphabet: the characters of tokens 0, 1, ... where the tokens are characters; "" where they are not.
    """

    vocabulary: int = 27
    dim: int = 5
    patch: int = 1
    couplings: tuple[Kind, ...] = ("mix-d",)
    layers: tuple[int, ...] = (2,)
    components: tuple[int, ...] = (27,)
    tied: bool = True
    decoder: Literal["tied", "untied"] = "tied"
    mix_channels: bool = False
    width: int = 128
    heads: int = 4
    local_mixing: int = 0
    hidden: int = 128
    length: int = 64
    log_scale: float = -1.0
    alphabet: str = ""

    def __post_init__(self) -> None:
        at_least(self, "model", vocabulary=2, dim=1, patch=1, width=1, heads=1, local_mixing=0, hidden=2, length=1)
        count = len(self.couplings)
        if not count or len(self.layers) != count or len(self.components) != count:
            raise UsageError(
                f"model.couplings, model.layers and model.components have {count}, {len(self.layers)} and "
                f"{len(self.components)} entries; give one of each for every coupling"
            )
        if min(self.layers) < 1 or min(self.components) < 1:
            raise UsageError(
                f"model.layers are {self.layers} and model.components {self.components}; each is at least 1"
            )
        for place, (kind, size) in enumerate(zip(self.couplings, self.components, strict=True)):
            if kind == "affine" and size != 1:
                raise UsageError(f"an affine coupling has 1 component, not {size}; set model.couplings to mix-1")
            if self.ties(place) and size != self.vocabulary:
                raise UsageError(
                    f"a tied mix-d coupling has a component for each of the {self.vocabulary} tokens, but "
                    f"model.components begins with {size}; set it to {self.vocabulary}, or --model.tied false"
                )
        if self.width % self.heads or (self.width // self.heads) % 2:
            raise UsageError(
                f"model.width {self.width} over {self.heads} heads is no even whole number; change width or heads"
            )
        if self.local_mixing and (self.local_mixing % 2 == 0 or self.width % 8):
            raise UsageError(
                f"model.local_mixing is {self.local_mixing} and model.width {self.width}; give an odd reach and a "
                "width that is a multiple of 8, or 0 for no mixing"
            )
        if self.length % self.patch:
            raise UsageError(
                f"model.length {self.length} is no multiple of model.patch {self.patch}; change one of them"
            )
        if self.mix_channels and self.channels % 2:
            raise UsageError(
                f"channels are mixed by halves, but patch · dim is {self.channels}; make it even, or set "
                "--model.mix_channels false"
            )
        if not -7 <= self.log_scale <= 2:
            raise UsageError(f"model.log_scale is {self.log_scale}; the log of a standard deviation lies in [-7, 2]")
        if self.alphabet and len(self.alphabet) != self.vocabulary:
            raise UsageError(
                f"model.alphabet has {len(self.alphabet)} characters, but model.vocabulary is {self.vocabulary}"
            )

    @property
    def channels(self) -> int:
        """c = P · d, numbers of a position."""
        return self.patch * self.dim

    def ties(self, place: int) -> bool:
        """Whether the coupling at ``place`` has the tokens' codebook."""
        return place == 0 and self.tied and self.couplings[0] == "mix-d"

    @property
    def attention(self) -> LayerConfig:
        """The attention of a transformer layer."""
        return LayerConfig(width=self.width, head_size=self.width // self.heads, bias=False, rotary="half")

    @property
    def perceptron(self) -> LayerConfig:
        """Its feed-forward part."""
        return LayerConfig(width=self.width, head_size=self.width // self.heads)
