"""What a user can set about a network of discrete diffusion. Imports no PyTorch."""

from typing import Literal

from tenfold.errors import UsageError
from tenfold.settings.checks import at_least, settings


@settings
class NetworkConfig:
    """Sizes of a network of tokens.

    Attributes:
        vocabulary: V, clean tokens.
        width: of the token vectors.
        layers: number of layers; of each of the two streams, in a hollow network.
        heads: attention heads; must divide ``width``.
        intermediate: width of the feed-forward layers; 0 for four times ``width``.
        length: the longest sequence.
        positions: "rotary", or "learned" vectors.
        position_std: standard deviation of fresh learned vectors (an embedding's numbers have 0.02 √(width / 2)).
        local_mixing: reach, odd, of a convolution over neighbours (from left to right, over the tokens to the left) at
            the start of each layer; 0 for none.
        dropout: in training.
        alphabet: the characters of tokens 0, 1, ... where the tokens are characters; "" where they are not.
    """

    vocabulary: int = 27
    width: int = 128
    layers: int = 2
    heads: int = 4
    intermediate: int = 0
    length: int = 64
    positions: Literal["rotary", "learned"] = "rotary"
    position_std: float = 0.02
    local_mixing: int = 0
    dropout: float = 0.0
    alphabet: str = ""

    def __post_init__(self) -> None:
        at_least(self, "model", vocabulary=2, width=1, layers=1, heads=1, length=1, intermediate=0, local_mixing=0)
        if self.width % self.heads or (self.width // self.heads) % 2:
            raise UsageError(
                f"model.width {self.width} over {self.heads} heads is no even whole number; change width or heads"
            )
        if self.local_mixing and self.local_mixing % 2 == 0:
            raise UsageError(f"model.local_mixing is {self.local_mixing}; give an odd reach, or 0 for none")
        if self.local_mixing and self.width % 8:
            raise UsageError(f"model.width is {self.width}; local mixing needs a multiple of 8")
        if not self.position_std > 0:
            raise UsageError(f"model.position_std is {self.position_std}; give a positive number")
        if not 0 <= self.dropout < 1:
            raise UsageError(f"model.dropout is {self.dropout}; give a share in [0, 1)")
        if self.alphabet and len(self.alphabet) != self.vocabulary:
            raise UsageError(
                f"model.alphabet has {len(self.alphabet)} characters, but model.vocabulary is {self.vocabulary}"
            )


@settings
class AutoregressiveConfig(NetworkConfig):
    """The network, read from left to right."""


@settings
class DiffusionConfig(NetworkConfig):
    """Tokens, noise and network; the defaults are a small masked model of 27 letters.

    Attributes:
        source: of noise: "mask" or "uniform".
        mask: number of the mask; −1 for V, one more than the tokens.
        view: what the network predicts of a token: "posterior" (given all noisy tokens) or "leave_one_out" (given
            the others: what the bound of a uniform source needs). At a mask both are the same. Under uniform noise
            take the second: objectives of the posterior convert it, and a network's own posterior has no finite bound.
        output: "probabilities" of clean tokens, or "scores": ratios of noisy probabilities that are not normalised
            (SEDD).
        network: "transformer", "dit" (the published networks of MDLM and SEDD) or "hollow" (no output sees its own
            token: the leave-one-out view by construction).
        time: whether the network is told the noise level.
        condition_width: of the vector that tells a "dit" the level.
        schedule: of the noise: "linear", "cosine", "cosine_squared", "polynomial", "geometric" or "linear_sigma".
        epsilon: least share of tokens kept at t = 1, of the first three.
    """

    source: Literal["mask", "uniform"] = "mask"
    mask: int = -1
    view: Literal["posterior", "leave_one_out"] = "posterior"
    output: Literal["probabilities", "scores"] = "probabilities"
    network: Literal["transformer", "dit", "hollow"] = "transformer"
    time: bool = False
    condition_width: int = 128
    schedule: Literal["linear", "cosine", "cosine_squared", "polynomial", "geometric", "linear_sigma"] = "linear"
    epsilon: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not -1 <= self.mask <= self.vocabulary:
            raise UsageError(f"model.mask is {self.mask}; give a token, the vocabulary's size, or -1 for that")
        if self.mask != -1 and self.source == "uniform":
            raise UsageError(f"model.mask is {self.mask}, but a uniform source has no mask; leave it out")
        if not 0 <= self.epsilon < 1:
            raise UsageError(f"model.epsilon is {self.epsilon}; give a share in [0, 1)")
        if self.network == "hollow" and self.view == "posterior" and self.source == "uniform":
            raise UsageError(
                "no output of a hollow network sees its own token; set --model.view leave_one_out, or another network"
            )
        if self.network == "hollow" and self.time:
            raise UsageError("a hollow network is not told the noise level; set --model.time false")
        if self.network == "dit" and (self.local_mixing or self.positions != "rotary"):
            raise UsageError("the published network has rotary positions and no local mixing; leave both out")
        view = "posterior" if self.source == "mask" else "leave_one_out"
        if self.output == "scores" and (self.network == "hollow" or self.view != view):
            raise UsageError(
                f"scores of a {self.source} source give its {view} view; set --model.view {view} and no hollow network"
            )
