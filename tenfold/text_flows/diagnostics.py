"""What the states of a flow look like on the way from latents to noise, and what a flow costs (arXiv:2507.00425: its
diagnostics, and the appendix on costs)."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from tenfold.errors import UsageError
from tenfold.text_flows.config import TextFlowConfig

_EPS = 1e-9


class StateNumbers(NamedTuple):
    """Of each text (b,): the mean length of its vectors, the mean cosine of two of them, and the participation ratio
    (Σλ)² / Σλ² of their covariance, which counts the directions that are used."""

    length: Tensor
    cosine: Tensor
    participation: Tensor


def state_numbers(h: Float[Tensor, "b n d"]) -> StateNumbers:
    """The numbers of a state. Raises UsageError for texts of one vector, which have neither cosine nor covariance."""
    count = h.shape[1]
    if count < 2:
        raise UsageError(f"states of {count} vectors have no covariance; give texts of two tokens at least")
    norms = h.norm(dim=-1)
    pairs = torch.triu_indices(count, count, 1, device=h.device)
    first, second = h[:, pairs[0]], h[:, pairs[1]]
    cosine = (first * second).sum(-1) / (norms[:, pairs[0]] * norms[:, pairs[1]] + _EPS)
    centred = h - h.mean(1, keepdim=True)
    covariance = centred.transpose(1, 2) @ centred / (count - 1)
    # The trace, and the sum of squares, are those of the eigenvalues.
    total = covariance.diagonal(dim1=1, dim2=2).sum(-1)
    ratio = total.square() / (covariance.square().sum((1, 2)) + _EPS)
    return StateNumbers(norms.mean(1), cosine.mean(1), ratio)


def centroid_moves(states: Sequence[Float[Tensor, "b n d"]]) -> Float[Tensor, "moves b"]:
    """How far the mean vector of each text moves from one state to the next."""
    centres = torch.stack([h.mean(1) for h in states])
    return (centres[1:] - centres[:-1]).norm(dim=-1)


class Flops(NamedTuple):
    """Floating-point operations of a forward pass over a sequence, 2 a multiply-add; ``mixing`` is attention times
    values, which the paper's count leaves out."""

    body: int
    head: int
    mixing: int

    @property
    def published(self) -> int:
        """As the paper counts."""
        return self.body + self.head


def body_flops(positions: int, width: int, layers: int) -> int:
    """S [4w + L (24w² + 2wS)] of a causal transformer with embeddings."""
    return positions * (4 * width + layers * (24 * width**2 + 2 * width * positions))


def discrete_flops(length: int, width: int, layers: int, vocabulary: int) -> Flops:
    """Of a discrete autoregressive model: its head is 2wVS."""
    return Flops(body_flops(length, width, layers), 2 * width * vocabulary * length, 2 * layers * width * length**2)


def channel_flops(channels: int, width: int, hidden: int, components: int) -> int:
    """6E(c − 1)² + D c [w + E (c − 1)] + 3 K D c² of the masked network over the channels of a position (``E`` as in
    ``MaskedChannels``)."""
    earlier = channels - 1
    size = min(max(1, int(hidden * 9 / 16 / earlier)), 96) if earlier else 0
    return 6 * size * earlier**2 + hidden * channels * (width + size * earlier) + 3 * components * hidden * channels**2


def flow_flops(config: TextFlowConfig) -> Flops:
    """Of a flow over texts of its length, all couplings with their heads; mixture densities are left out."""
    positions, width = config.length // config.patch, config.width
    body = head = mixing = 0
    for kind, layers, components in zip(config.couplings, config.layers, config.components, strict=True):
        body += body_flops(positions, width, layers)
        mixing += 2 * layers * width * positions**2
        if kind == "mix-d":
            head += 2 * width * config.patch * components * positions
        else:
            head += positions * channel_flops(config.channels, width, config.hidden, components)
    return Flops(body, head, mixing)
