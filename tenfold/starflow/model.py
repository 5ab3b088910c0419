"""STARFlow: the density of an autoencoder's noisy latents."""

import copy
from dataclasses import replace
from typing import ClassVar, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from tenfold.errors import UsageError
from tenfold.flows.block import Condition, Context
from tenfold.flows.flow import Flow
from tenfold.flows.network import BlockList, GivenCondition, check_floating, class_weights
from tenfold.nn.border import as_tensor, finite
from tenfold.starflow.block import StarFlowBlock
from tenfold.starflow.config import StarFlowConfig

AnyStarFlow = TypeVar("AnyStarFlow", bound="StarFlow")


class StarFlow(Flow):
    """A deep-shallow autoregressive flow on latents (Gu et al., arXiv 2506.06276).

    A likelihood is one of the (noisy) latent: the autoencoder's part is not counted.

    Conditions: for classes, labels (b,) where −1 means none or mixtures (b, classes); for text, a text encoder's
    vectors (b, tokens, text_dim), with zeros behind the last token; None for no condition, which for text needs the
    encoding of the empty text (``set_null_text``). A ``Context`` is used as it is.

    Any height and width that ``patch`` divides work on the same weights: ``at(height, width)`` is the flow for that
    shape, and methods that are given latents choose it themselves.

    >>> flow = StarFlow(StarFlowConfig(shape=(4, 4, 4), layers=(1, 2), classes=10))
    >>> flow.log_prob(torch.zeros(2, 4, 4, 4), torch.tensor([3, -1])).shape
    torch.Size([2])
    >>> flow.at(2, 6).sample(3, 7).shape
    torch.Size([3, 4, 2, 6])
    """

    model_type: ClassVar[str] = "starflow"
    config_class: ClassVar[type] = StarFlowConfig

    config: StarFlowConfig
    null_text: Tensor

    def __init__(self, config: StarFlowConfig) -> None:
        super().__init__(config, (StarFlowBlock(config, k) for k in range(config.blocks)))
        self.default_rule = "starflow" if config.scale == "softplus" else "tarflow"
        self.register_buffer("var", torch.ones(1, 1), persistent=False)
        if config.text_tokens:
            # NaN until it is set: a text nobody encoded is no text.
            self.register_buffer("null_text", torch.full((config.text_tokens, config.text_dim), torch.nan))

    reach = 256.0
    scale_words = "scaled latents have about unit variance (Autoencoder.encode makes them of images on [-1, 1])"

    def set_null_text(self, text: Tensor) -> None:
        """Take the encoding (tokens, text_dim) of the empty text, which stands for "no text".

        Raises UsageError for another width, more tokens than the flow takes, or values that are not finite."""
        if not self.config.text_tokens:
            raise UsageError("this flow takes no text, so it needs no null text")
        if not bool(torch.isfinite(text).all()):
            raise UsageError("the null text holds NaN or infinite values; encode the empty text anew")
        self.null_text.copy_(self._fitted(text.unsqueeze(0))[0])

    @property
    def has_null_text(self) -> bool:
        """Whether the null text was set, or is not needed."""
        return not self.config.text_tokens or bool(torch.isfinite(self.null_text[0, 0]))

    def condition_weights(self, condition: GivenCondition | None, batch: int) -> Condition | None:
        """The condition as prefix vectors (b, tokens, dim); None if unconditional.

        Raises UsageError for labels or texts that do not fit, a condition on an unconditional flow, and no condition
        where the null text is missing."""
        config = self.config
        if isinstance(condition, Context):
            if condition.vectors.shape[0] != batch:
                raise UsageError(f"the context has {condition.vectors.shape[0]} rows for a batch of {batch}")
            finite(condition.vectors, "the context")
            return condition
        if not config.prefix:
            if condition is not None:
                raise UsageError("this flow is unconditional; call it without labels or text")
            return None
        if config.classes:
            none = self.var.new_zeros(config.classes + 1)
            none[-1] = 1.0
            return class_weights(condition, batch, config.classes, none).unsqueeze(1)
        if condition is None:
            if not self.has_null_text:
                raise UsageError(
                    "the null text is missing: encode the empty text with the flow's text encoder and give it to "
                    "set_null_text, or give a text for every sample and no guidance"
                )
            return self.null_text.expand(batch, -1, -1)
        text = as_tensor(condition, "the text", self.precision)
        if not text.ndim or text.shape[0] != batch:
            raise UsageError(f"the text has {text.shape[0] if text.ndim else 0} rows for a batch of {batch}")
        return self._fitted(text if self.training else finite(text, "the text"))

    def _fitted(self, text: Tensor) -> Float[Tensor, "b tokens dim"]:
        """Text vectors with zeros up to the flow's number of tokens."""
        config = self.config
        if text.ndim != 3 or text.shape[2] != config.text_dim or not text.is_floating_point():
            raise UsageError(
                f"the text has shape {tuple(text.shape)} and dtype {text.dtype}; this flow expects a text encoder's "
                f"vectors (batch, tokens, {config.text_dim})"
            )
        if text.shape[1] > config.text_tokens:
            raise UsageError(
                f"the text has {text.shape[1]} tokens, but this flow takes {config.text_tokens} at most; shorten it"
            )
        text = text.to(torch.promote_types(text.dtype, torch.float32)) if text.itemsize > 1 else text.float()
        return torch.nn.functional.pad(text, (0, 0, 0, config.text_tokens - text.shape[1]))

    def at(self: AnyStarFlow, height: int, width: int) -> AnyStarFlow:
        """The flow for latents of another height and width, on the same weights."""
        if (height, width) == self.config.shape[1:]:
            return self
        config = replace(self.config, shape=(self.config.shape[0], height, width), side=self.config.extent)
        view = copy.copy(self)
        view.config = config
        # Shallow copies share their parameters and layers; only what depends on the grid is their own.
        view._modules = dict(self._modules)
        view.blocks = BlockList(_block_at(block, config) for block in self.blocks)
        return view

    def like(self: AnyStarFlow, x: Tensor) -> AnyStarFlow:
        """The flow for latents of the shape of x (b, channels, height, width).

        Raises UsageError for other channels, sides that the patch does not divide, or integers."""
        channels, patch = self.config.shape[0], self.config.patch
        if x.ndim != 4 or x.shape[1] != channels:
            raise UsageError(
                f"the latents have shape {tuple(x.shape)}, but this flow expects (batch, {channels}, height, width); "
                "are they of another autoencoder?"
            )
        if x.shape[2] % patch or x.shape[3] % patch:
            raise UsageError(f"latents of {x.shape[2]}x{x.shape[3]} cannot be cut into {patch}x{patch} patches")
        check_floating(x)
        return self.at(x.shape[2], x.shape[3])


def _block_at(block: torch.nn.Module, config: StarFlowConfig) -> StarFlowBlock:
    assert isinstance(block, StarFlowBlock)
    view = copy.copy(block)
    view.config, view.tokens = config, config.tokens
    return view
