"""Sequences of several texts and images in the deep block: editing (arXiv 2506.06276, section on image editing).

An edit is one sequence, [caption, source, instruction, target]: shallow blocks act on each image apart, the deep block
is causal over everything, so that one set of weights generates (a caption alone before the image) and edits. The
training loss is log p(source | caption) + log p(target | caption, source, instruction); when an edit is sampled, the
source enters the key-value cache once.

Places on the third axis of the rotary positions, which the paper does not give: image k lies at k, and the text before
it spreads over [k, k + 1), in units of the grid's extent. The first caption and image have the places of generation.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from tenfold.errors import UsageError
from tenfold.flows.block import Context, scale_of
from tenfold.starflow.block import StarFlowBlock
from tenfold.starflow.model import StarFlow


@dataclass(frozen=True)
class Text:
    """A text encoder's vectors."""

    vectors: Float[Tensor, "b tokens dim"]


@dataclass(frozen=True)
class Image:
    """Latents of any height and width."""

    latents: Float[Tensor, "b c h w"]


Segment = Text | Image


@dataclass(frozen=True)
class _Placed:
    """A segment in the deep block's sequence: what the layers read, its turns, and for an image the deep block of its
    shape, the tokens that enter it, in its order, and the log-determinant of the shallow blocks, (b,) in nats."""

    vectors: Float[Tensor, "b n width"]
    rotary: Float[Tensor, "2 n half"]
    block: StarFlowBlock | None = None
    tokens: Float[Tensor, "b t d"] | None = None
    shallow: Float[Tensor, "b"] | None = None


def context_of(flow: StarFlow, segments: Sequence[Segment]) -> Context:
    """The context for one more image after ``segments``: give it to ``flow.sample`` and ``flow.log_prob`` as their
    condition.

    For guidance, ``unconditional`` is the context of the same images with null texts. Raises UsageError for a flow
    without text, or whose shallow blocks read the text, and for texts or images that do not fit."""
    placed = _placed(flow, segments)
    if not placed:
        raise UsageError("the sequence is empty; give at least a text")
    vectors = torch.cat([part.vectors for part in placed], dim=1)
    rotary = torch.cat([part.rotary for part in placed], dim=1)
    return Context(vectors, rotary, sum(isinstance(segment, Image) for segment in segments))


def log_probs_of(flow: StarFlow, segments: Sequence[Segment]) -> list[Float[Tensor, "b"]]:
    """log p(image | all segments before it) in nats, for each image of the sequence, by one pass of the deep block
    over everything. The negative of their sum is the loss of editing."""
    placed = _placed(flow, segments)
    if not any(part.block for part in placed):
        raise UsageError("the sequence has no image; add one to score")
    h = torch.cat([part.vectors for part in placed], dim=1)
    rotary = torch.cat([part.rotary for part in placed], dim=1)
    for layer in flow.blocks[-1].layers:
        h = layer(h, None, 1.0, rotary)
    found, first = [], 0
    for part in placed:
        if part.block is not None and part.tokens is not None and part.shallow is not None:
            found.append(part.shallow + _deep_log_prob(part.block, part.tokens, h[:, first:]))
        first += part.vectors.shape[1]
    return found


def _deep_log_prob(
    block: StarFlowBlock, u: Float[Tensor, "b t d"], h: Float[Tensor, "b n width"]
) -> Float[Tensor, "b"]:
    """log of the deep block's density of its tokens u, given the layers' output from the image's first slot on."""
    first = block.first_output
    log_scale, shift = block.head(h[:, : block.steps])
    untouched = u.new_zeros(u.shape[0], first, u.shape[2])
    log_scale, shift = (torch.cat([untouched.to(part.dtype), part], dim=1) for part in (log_scale, shift))
    v = (u - shift) * scale_of(-log_scale)
    return -(0.5 * v.square() + log_scale + 0.5 * math.log(2.0 * math.pi)).sum(dim=(1, 2))


def _placed(flow: StarFlow, segments: Sequence[Segment]) -> list[_Placed]:
    if not flow.config.text_tokens:
        raise UsageError("this flow has no text; sequences of texts and images need one that was trained with it")
    if flow.config.condition != "top":
        raise UsageError("the shallow blocks of this flow read the text; editing needs a flow with condition 'top'")
    placed, images = [], 0
    for segment in segments:
        if isinstance(segment, Text):
            block = flow.blocks[-1]
            assert isinstance(block, StarFlowBlock)
            text = flow.condition_weights(segment.vectors, len(segment.vectors))
            assert isinstance(text, Tensor)
            placed.append(_Placed(block.embed_text(text), block.text_rotary(text.shape[1], images)))
        else:
            placed.append(_image(*flow.taken(segment.latents), images))
            images += 1
    return placed


def _image(flow: StarFlow, latents: Float[Tensor, "b c h w"], images: int) -> _Placed:
    """An image as the deep block reads it: [start, u_0, …, u_{T−1}], one slot more than its own tokens need."""
    tokens = flow.patchify(latents)
    logdet = tokens.new_zeros(tokens.shape[0])
    *shallow, deep = flow.blocks
    for block in shallow:
        tokens, log_scale = block(tokens, None)
        assert log_scale is not None
        logdet = logdet - log_scale.sum(dim=(1, 2))
    assert isinstance(deep, StarFlowBlock)
    u = deep.order(tokens)
    chain = deep.chain(u)
    vectors = deep.embed(chain.to(deep.proj_in.weight.dtype), 0, None)
    return _Placed(vectors, deep.rotary(0, chain.shape[1], images), deep, u, logdet)
