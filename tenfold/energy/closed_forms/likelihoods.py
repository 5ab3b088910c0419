"""Observations y = H x_0 + ρ n of a Gaussian mixture: the exact twist p(y | x_σ), the evidence and the posterior."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from tenfold.energy.closed_forms.gaussian_mixtures import GaussianMixture
from tenfold.errors import UsageError


class LinearLikelihood:
    """r_σ(x) = log p(y | x_σ = x), in closed form: a reward path under which p_σ e^{r_σ} is the diffused posterior at
    every level, so that its weights tend to a constant, and log Z = log p(y).

    Args:
        prior: of x_0.
        operator: H (k, d).
        observation: y (k,).
        noise_std: ρ > 0.

    Raises:
        UsageError: shapes that do not fit, or a ρ that is not positive.
    """

    looks_ahead = False

    def __init__(
        self,
        prior: GaussianMixture,
        operator: Float[Tensor, "k d"],
        observation: Float[Tensor, " k"],
        noise_std: float,
    ) -> None:
        if operator.shape[1:] != prior.shape or not 0 < noise_std < math.inf:
            raise UsageError(
                f"an observation of samples {tuple(operator.shape[1:])} with noise {noise_std} does not fit a mixture "
                f"of samples {prior.shape}; the noise must be positive"
            )
        self.prior, self.operator, self.observation = prior, operator.double(), observation.double()
        self.noise_std = noise_std

    def log_twist(self, x: Float[Tensor, "n d"], sigma: Float[Tensor, ""]) -> Float[Tensor, " n"]:
        """log p(y | x_σ = x): in component k, x_0 is N(m_k + G (x − m_k), C_k − G C_k) with G = C_k (C_k + σ² I)⁻¹."""
        prior, d = self.prior, self.prior.shape[0]
        means, covariances, h = prior.means.to(x), prior.covariances.to(x), self.operator.to(x)
        noisy = covariances + sigma.to(x).square() * torch.eye(d).to(x)
        gain = torch.linalg.solve(noisy, covariances).mT
        at = means + torch.einsum("kij,nkj->nki", gain, x[:, None] - means)
        left = h @ (covariances - gain @ covariances) @ h.mT
        spread = left + self.noise_std**2 * torch.eye(len(h)).to(x)
        off = self.observation.to(x) - torch.einsum("ij,nkj->nki", h, at)
        logs = prior._components(x, sigma.to(x))[0].log_softmax(1)
        return (logs + _log_gaussian(off, spread)).logsumexp(1)

    def at_level(
        self,
        x: Float[Tensor, "n *shape"],
        sigma: Float[Tensor, ""],
        denoised: Float[Tensor, "n *shape"] | None,
        data_scale: float,
        last: bool,
    ) -> tuple[Float[Tensor, " n"], Float[Tensor, "n *shape"]]:
        """The twist and its gradient, as a reward path is asked."""
        with torch.enable_grad():
            inner = x.detach().requires_grad_()
            value = self.log_twist(inner, sigma)
            (gradient,) = torch.autograd.grad(value.sum(), inner)
        return value.detach(), gradient

    @property
    def log_evidence(self) -> Float[Tensor, ""]:
        """log p(y)."""
        return self._by_component().logsumexp(0)

    @property
    def posterior(self) -> GaussianMixture:
        """p(x_0 | y)."""
        prior, h = self.prior, self.operator
        spread = h @ prior.covariances @ h.mT + self.noise_std**2 * torch.eye(len(h), dtype=torch.float64)
        gain = torch.linalg.solve(spread, h @ prior.covariances).mT
        means = prior.means + torch.einsum("kij,kj->ki", gain, self.observation - prior.means @ h.mT)
        return GaussianMixture(self._by_component().softmax(0), means, prior.covariances - gain @ h @ prior.covariances)

    def _by_component(self) -> Float[Tensor, " k"]:
        h, prior = self.operator, self.prior
        spread = h @ prior.covariances @ h.mT + self.noise_std**2 * torch.eye(len(h), dtype=torch.float64)
        off = (self.observation - prior.means @ h.mT)[None]
        return prior.weights.log() + _log_gaussian(off, spread)[0]


def _log_gaussian(off: Float[Tensor, "n k i"], spread: Float[Tensor, "k i i"]) -> Float[Tensor, "n k"]:
    factor = torch.linalg.cholesky(spread)
    white = torch.linalg.solve_triangular(factor, off.mT.movedim(0, -1).movedim(1, 0), upper=False)
    size = white.square().sum(1).mT
    log_det = factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    return -size / 2 - log_det - off.shape[-1] * math.log(2 * math.pi) / 2
