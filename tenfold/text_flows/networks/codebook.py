"""Tokens as small Gaussians in R^d, and back: the autoencoder of arXiv:2507.00425 (section 3.1).

q(z | x) = N(z; μ_x, σ_x² I),     p(x = k | z) = N_k(z) / Σ_j N_j(z)  (tied, with a uniform prior over tokens).
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tenfold.nn.precision import at_least_single
from tenfold.text_flows.bijectors.normal import LOG_SQRT_TWO_PI

LEAST_LOG_SCALE = -7.0
"""σ never gets smaller than e^−7: the limit of σ → 0 is the discrete model."""


class Codebook(nn.Module):
    """K Gaussians N(m_k, s_k² I) in R^d."""

    def __init__(self, count: int, dim: int, log_scale: float) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.randn(count, dim))
        self.log_scale = nn.Parameter(torch.full((count,), float(log_scale)))

    def gaussians(self) -> tuple[Float[Tensor, "k d"], Float[Tensor, " k"]]:
        """Means and standard deviations, in single precision at least."""
        return at_least_single(self.mean), at_least_single(self.log_scale).clamp_min(LEAST_LOG_SCALE).exp()


class TokenAutoencoder(Codebook):
    """The codebook of the tokens, and a decoder: tied to it, or a linear classifier of its own ("untied")."""

    def __init__(self, vocabulary: int, dim: int, log_scale: float, tied: bool) -> None:
        super().__init__(vocabulary, dim, log_scale)
        self.classifier = None if tied else nn.Linear(dim, vocabulary)

    def encode(self, tokens: Int[Tensor, "b n"], noise: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        """z = μ_x + σ_x ε."""
        mean, scale = self.gaussians()
        return mean[tokens] + scale[tokens][..., None] * noise

    def log_posterior(self, z: Float[Tensor, "b n d"], tokens: Int[Tensor, "b n"]) -> Float[Tensor, "b n"]:
        """log q(z | x), nats."""
        mean, scale = self.gaussians()
        return gaussian(z, mean[tokens], scale[tokens])

    def log_probs(self, z: Float[Tensor, "*b d"]) -> Float[Tensor, "*b v"]:
        """log p(x = · | z)."""
        if self.classifier is not None:
            return self.classifier(z.to(self.classifier.weight.dtype)).log_softmax(-1)
        mean, scale = self.gaussians()
        return gaussian(z[..., None, :], mean, scale).log_softmax(-1)


def gaussian(
    z: Float[Tensor, "*a d"], mean: Float[Tensor, "*b d"], scale: Float[Tensor, "*c"]
) -> Float[Tensor, "*shape"]:
    """log N(z; m, s² I) of points (..., d), nats, broadcast over what comes before the last axis."""
    squares = ((z - mean) / scale[..., None]).square().sum(-1)
    return -0.5 * squares - z.shape[-1] * (scale.log() + LOG_SQRT_TWO_PI)
