"""Couplings: causal maps of latents (b, n, c) whose parameters come from the positions before, in reading order.

``MixOne`` maps channel by channel through one-dimensional mixtures (arXiv:2507.00425, section 3.2; affine with K = 1),
``MixMany`` token by token through mixtures of isotropic Gaussians with a codebook that all positions share.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from tenfold.nn.precision import at_least_single
from tenfold.text_flows.bijectors.inverse import invert
from tenfold.text_flows.bijectors.rosenblatt import MixtureRosenblatt, mapped_in_chunks
from tenfold.text_flows.bijectors.scalar import log_density, log_tails, to_base
from tenfold.text_flows.config import TextFlowConfig
from tenfold.text_flows.networks.body import CausalBody
from tenfold.text_flows.networks.channels import MaskedChannels
from tenfold.text_flows.networks.codebook import LEAST_LOG_SCALE, Codebook, gaussian

_MOST_LOG_SCALE = 7.0


class Passed(NamedTuple):
    """u (b, n, c), and log|du/dh| of each position (b, n)."""

    u: Tensor
    logdet: Tensor


class MixOne(nn.Module):
    """Each channel through its own mixture of K Gaussians on the line, given the channels before it (Mix-1)."""

    def __init__(self, config: TextFlowConfig, place: int) -> None:
        super().__init__()
        self.body = CausalBody(config, config.layers[place])
        self.head = MaskedChannels(config.channels, config.width, config.hidden, config.components[place], place > 0)

    def mixtures(
        self, h: Float[Tensor, "*b c"], features: Float[Tensor, "*b w"]
    ) -> tuple[Float[Tensor, "*b c k"], Float[Tensor, "*b c k"], Float[Tensor, "*b c k"]]:
        """Log weights, means, scales."""
        logits, mean, log_scale = at_least_single(self.head(features, h)).to(h.dtype).chunk(3, -1)
        return logits.log_softmax(-1), mean, log_scale.clamp(LEAST_LOG_SCALE, _MOST_LOG_SCALE).exp()

    def log_density(
        self, h: Float[Tensor, "b n c"], features: Float[Tensor, "b n w"], tokens: Codebook
    ) -> Float[Tensor, "b n"]:
        """log p(h_t | h_<t) = Σ_i log p(h_ti | h_<t, h_t,<i), nats."""
        return log_density(h, *self.mixtures(h, features)).sum(-1)

    def passed(self, h: Float[Tensor, "b n c"], features: Float[Tensor, "b n w"], tokens: Codebook) -> Passed:
        """u = Φ⁻¹(F(h)), channel by channel."""
        mixtures = self.mixtures(h, features)
        u, logdet = to_base(log_density(h, *mixtures), *log_tails(h, *mixtures))
        return Passed(u, logdet.sum(-1))

    def inverse(
        self, u: Float[Tensor, "*b c"], features: Float[Tensor, "*b w"], tokens: Codebook, tolerance: float
    ) -> Float[Tensor, "*b c"]:
        """h of u, one channel after the other. Raises TenfoldError where ``tolerance`` is not reached."""
        h = torch.zeros_like(u)
        for i in range(u.shape[-1]):
            weights, mean, scale = (x[..., i, :] for x in self.mixtures(h, features))
            found = invert(u[..., i], weights, mean, scale, tolerance)
            h = torch.cat([h[..., :i], found[..., None], h[..., i + 1 :]], -1)
        return h


class MixMany(nn.Module):
    """Each token through a mixture of K Gaussians in R^d, whose weights alone depend on what was before (Mix-d).

    The tokens of a patch are independent given the patches before. With ``tied`` the codebook is the tokens' own."""

    def __init__(self, config: TextFlowConfig, place: int) -> None:
        super().__init__()
        count = config.components[place]
        self.shape = (config.patch, config.dim)
        self.body = CausalBody(config, config.layers[place])
        self.head = nn.Linear(config.width, config.patch * count)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.codebook = None if config.ties(place) else Codebook(count, config.dim, 0.0)
        if self.codebook is not None and place:
            # Behind other couplings the points are nearly normal: begin nearly as the identity.
            with torch.no_grad():
                self.codebook.mean.mul_(0.5)
                self.codebook.log_scale.fill_(0.5 * math.log(0.75))

    def log_weights(self, features: Float[Tensor, "*b w"]) -> Float[Tensor, "*b p k"]:
        """log π of each token of the positions."""
        return at_least_single(self.head(features)).unflatten(-1, (self.shape[0], -1)).log_softmax(-1)

    def log_density(
        self, h: Float[Tensor, "b n c"], features: Float[Tensor, "b n w"], tokens: Codebook
    ) -> Float[Tensor, "b n"]:
        """log p(h_t | h_<t) = Σ over the patch of log Σ_k π_k N(h; m_k, s_k² I), nats."""
        points = h.unflatten(-1, self.shape)
        return _log_mixture(points, self.log_weights(features), *self._gaussians(tokens)).sum(-1)

    def passed(self, h: Float[Tensor, "b n c"], features: Float[Tensor, "b n w"], tokens: Codebook) -> Passed:
        """Rosenblatt's transformation of every token."""
        u, logdet = self._map(features, tokens, h).forward(h.unflatten(-1, self.shape))
        return Passed(u.flatten(-2), logdet.sum(-1))

    def inverse(
        self, u: Float[Tensor, "*b c"], features: Float[Tensor, "*b w"], tokens: Codebook, tolerance: float
    ) -> Float[Tensor, "*b c"]:
        """h of u, one dimension after the other. Raises TenfoldError where ``tolerance`` is not reached."""
        return self._map(features, tokens, u).inverse(u.unflatten(-1, self.shape), tolerance).flatten(-2)

    def _gaussians(self, tokens: Codebook) -> tuple[Tensor, Tensor]:
        return (tokens if self.codebook is None else self.codebook).gaussians()

    def _map(self, features: Tensor, tokens: Codebook, like: Tensor) -> MixtureRosenblatt:
        mean, scale = self._gaussians(tokens)
        return MixtureRosenblatt(self.log_weights(features).to(like.dtype), mean.to(like.dtype), scale.to(like.dtype))


Coupling = MixOne | MixMany
"""What the flow, its bounds and its inversion use; ``features`` (b, n, w) are those of its ``body``."""


def _log_mixture(
    z: Float[Tensor, "b n p d"], log_weights: Float[Tensor, "b n p k"], mean: Float[Tensor, "k d"],
    scale: Float[Tensor, " k"],
) -> Float[Tensor, "b n p"]:  # fmt: skip
    """log Σ_k π_k N(z; m_k, s_k² I), some rows at a time where all are too many to keep."""

    def work(points: Tensor, weights: Tensor) -> Tensor:
        return (weights + gaussian(points[:, None], mean, scale)).logsumexp(-1)

    rows, logs = z.flatten(0, 2), log_weights.flatten(0, 2).to(z.dtype)
    return torch.cat(mapped_in_chunks(work, rows, logs, mean.numel())).unflatten(0, z.shape[:3])


def log_normal(u: Float[Tensor, "b n c"]) -> Float[Tensor, "b n"]:
    """log N(u_t; 0, I) of each position, nats."""
    return -F.gaussian_nll_loss(torch.zeros_like(u), u, torch.ones_like(u), full=True, reduction="none").sum(-1)
