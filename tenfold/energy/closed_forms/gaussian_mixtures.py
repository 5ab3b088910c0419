"""Gaussian mixtures under noise: p_σ = Σ_k w_k N(m_k, C_k + σ² I), and everything about it in closed form."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from tenfold.energy.composition.algebra import Composable
from tenfold.errors import UsageError
from tenfold.settings.arguments import read_arguments
from tenfold.training.streams import Draws


class GaussianMixture(Composable):
    """A mixture of K Gaussians in d dimensions, as a density at every level of noise.

    Args:
        weights: (K,), positive; they are made to sum to 1.
        means: (K, d).
        covariances: (K, d, d), positive semi-definite.

    Attributes:
        weights, means, covariances: float64.
        shape: (d,).
        data_scale: σ_d, √(tr Cov / d).

    Raises:
        UsageError: shapes that do not fit, weights that are not positive, a matrix that is no covariance, NaN.

    >>> one = GaussianMixture(torch.ones(1), torch.zeros(1, 2), torch.eye(2)[None])
    >>> one.score(torch.ones(1, 2), torch.tensor(1.0)).tolist()
    [[-0.5, -0.5]]
    """

    normalised = True

    def __init__(
        self, weights: Float[Tensor, " k"], means: Float[Tensor, "k d"], covariances: Float[Tensor, "k d d"]
    ) -> None:
        w, self.means, self.covariances = weights.double(), means.double(), covariances.double()
        if not bool(((w > 0) & (w < torch.inf)).all()):
            raise UsageError("weights of a mixture must be positive and finite")
        spectrum, self._axes = torch.linalg.eigh((self.covariances + self.covariances.mT) / 2)
        if not bool(self.means.isfinite().all()) or not bool((spectrum >= -1e-9 * spectrum.amax().abs()).all()):
            raise UsageError("means of a mixture must be finite, and its covariances positive semi-definite")
        self._spectrum = spectrum.clamp(min=0)
        self.weights = w / w.sum()
        self.shape = (self.means.shape[1],)
        mean = self.mean
        total = self._spectrum.sum(1) + (self.means - mean).square().sum(1)
        self.data_scale = float((self.weights @ total / self.shape[0]).sqrt())

    @property
    def mean(self) -> Float[Tensor, " d"]:
        """E[x]."""
        return self.weights @ self.means

    @property
    def covariance(self) -> Float[Tensor, "d d"]:
        """Cov[x]."""
        off = self.means - self.mean
        return torch.einsum("k,kij->ij", self.weights, self.covariances + off[:, :, None] * off[:, None])

    def log_density(self, x: Float[Tensor, "n d"], sigma: Float[Tensor, "*n"]) -> Float[Tensor, " n"]:
        """log p_σ(x) = logsumexp_k [log w_k + log N(x; m_k, C_k + σ² I)]."""
        return self._components(x, sigma)[0].logsumexp(1)

    def score(self, x: Float[Tensor, "n d"], sigma: Float[Tensor, "*n"]) -> Float[Tensor, "n d"]:
        """∇ log p_σ(x)."""
        return self.log_density_and_score(x, sigma)[1]

    def log_density_and_score(
        self, x: Float[Tensor, "n d"], sigma: Float[Tensor, "*n"]
    ) -> tuple[Float[Tensor, " n"], Float[Tensor, "n d"]]:
        """Both."""
        logs, slopes, _ = self._components(x, sigma)
        return logs.logsumexp(1), torch.einsum("nk,nkd->nd", logs.softmax(1), slopes)

    def denoiser(self, x: Float[Tensor, "n d"], sigma: Float[Tensor, "*n"]) -> Float[Tensor, "n d"]:
        """E[x_0 | x_σ = x] = x + σ² ∇ log p_σ(x)."""
        return x + sigma.reshape(-1, 1).square() * self.score(x, sigma)

    def laplacian(self, x: Float[Tensor, "n d"], sigma: Float[Tensor, "*n"]) -> Float[Tensor, " n"]:
        """Δ log p_σ(x)."""
        curvature, score = self._curvature(x, sigma)
        return curvature - score.square().sum(1)

    def sigma_derivative(self, x: Float[Tensor, "n d"], sigma: Float[Tensor, "*n"]) -> Float[Tensor, " n"]:
        """∂ log p_σ(x)/∂σ, by derivatives of the Gaussians; σ (Δ log p + ‖∇ log p‖²) is the same."""
        return sigma * self._curvature(x, sigma)[0]

    @read_arguments
    def sample(self, n: int, sigma: float = 0.0, seed: int = 0, start: int = 0) -> Float[Tensor, "n d"]:
        """n draws of p_σ, float64; draw i depends on the seed and on start + i alone."""
        draws, index = Draws(seed, 0), torch.arange(start, start + n)
        levels = self.weights.cumsum(0)
        chosen = torch.searchsorted(levels, draws.uniform("component", index, (), torch.float64) * levels[-1])
        chosen = chosen.clamp(max=len(levels) - 1)
        z = draws.normal("noise", index, self.shape, torch.float64)
        scale = (self._spectrum + sigma**2).sqrt()[chosen]
        return self.means[chosen] + torch.einsum("nij,nj->ni", self._axes[chosen], scale * z)

    def noised(self, sigma: float) -> "GaussianMixture":
        """p_σ as a mixture of its own."""
        return GaussianMixture(
            self.weights, self.means, self.covariances + sigma**2 * torch.eye(self.shape[0], dtype=torch.float64)
        )

    def _components(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """log w_k + log N(x; m_k, C_k + σ² I) (n, K), its gradient (n, K, d), and tr (C_k + σ² I)^{-1} (n or 1, K)."""
        axes, spectrum, means, weights = (
            value.to(x) for value in (self._axes, self._spectrum, self.means, self.weights)
        )
        precision = 1 / (spectrum + sigma.reshape(-1, 1, 1).square())
        along = torch.einsum("nkd,kde->nke", x[:, None] - means, axes)
        scaled = along * precision
        logs = (
            weights.log() + (precision.log().sum(2) - (along * scaled).sum(2) - math.log(2 * math.pi) * x.shape[1]) / 2
        )
        return logs, -torch.einsum("nke,kde->nkd", scaled, axes), precision.sum(2)

    def _curvature(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """(Δ p_σ)/p_σ, and the score."""
        logs, slopes, traces = self._components(x, sigma)
        share = logs.softmax(1)
        return (share * (slopes.square().sum(2) - traces)).sum(1), torch.einsum("nk,nkd->nd", share, slopes)


def product_at(one: GaussianMixture, other: GaussianMixture, sigma: float) -> tuple[Float[Tensor, ""], GaussianMixture]:
    """log ∫ p_σ q_σ, and p_σ q_σ normalised: a mixture over pairs of components.

    With A = C_i + σ² I and B = C'_j + σ² I a pair has the weight w_i w'_j N(m_i − m'_j; 0, A + B), the covariance
    P = (A⁻¹ + B⁻¹)⁻¹ and the mean P (A⁻¹ m_i + B⁻¹ m'_j). Powers with whole numbers are repeated products of ``noised``
    mixtures at level 0.

    Raises UsageError for mixtures of different dimensions.
    """
    if one.shape != other.shape:
        raise UsageError(f"mixtures of samples {one.shape} and {other.shape} have no product")
    d = one.shape[0]
    noise = sigma**2 * torch.eye(d, dtype=torch.float64)
    a, b = (one.covariances + noise)[:, None], (other.covariances + noise)[None]
    gap = one.means[:, None] - other.means[None]
    factor = torch.linalg.cholesky(a + b)
    white = torch.linalg.solve_triangular(factor, gap[..., None], upper=False)[..., 0]
    logs = one.weights.log()[:, None] + other.weights.log()[None] - white.square().sum(-1) / 2
    logs = logs - factor.diagonal(dim1=-2, dim2=-1).log().sum(-1) - d * math.log(2 * math.pi) / 2
    inverse_a, inverse_b = torch.linalg.inv(a), torch.linalg.inv(b)
    covariances = torch.linalg.inv(inverse_a + inverse_b)
    pulls = inverse_a @ one.means[:, None, :, None] + inverse_b @ other.means[None, :, :, None]
    means = (covariances @ pulls)[..., 0]
    total = logs.flatten().logsumexp(0)
    return total, GaussianMixture((logs - total).flatten().exp(), means.flatten(0, 1), covariances.flatten(0, 1))
