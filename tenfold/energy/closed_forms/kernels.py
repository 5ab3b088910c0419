"""Kernel densities of data: p_σ(x) = (1/N) Σ_i N(x; x_i, (σ² + h²) I), an exact energy with an exact denoiser in any
number of dimensions."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tenfold.energy.composition.algebra import Composable
from tenfold.errors import UsageError
from tenfold.settings.arguments import read_arguments
from tenfold.training.streams import Draws


class KernelDensity(Composable):
    """The empirical distribution of data under noise.

    Args:
        data: (N, ...) samples.
        bandwidth: h, noise that is there before any other.

    Attributes:
        shape: of one sample.
        data_scale: σ_d, the standard deviation of the data per dimension.

    Raises:
        UsageError: no data, data that are not finite, or a negative bandwidth.
    """

    normalised = True

    @read_arguments
    def __init__(self, data: Float[Tensor, "n *shape"], bandwidth: float = 0.0) -> None:
        if not len(data) or not bool(data.isfinite().all()):
            raise UsageError("a kernel density needs at least one sample, and finite ones")
        if not bandwidth >= 0:
            raise UsageError(f"bandwidth is {bandwidth}; it must be at least 0")
        self.data, self.bandwidth = data.double().flatten(1), bandwidth
        self.shape = tuple(data.shape[1:])
        spread = (self.data - self.data.mean(0)).square().mean() + bandwidth**2
        self.data_scale = float(spread.sqrt()) or 1.0

    def log_density(self, x: Float[Tensor, "n *shape"], sigma: Float[Tensor, "*n"]) -> Float[Tensor, " n"]:
        """log p_σ(x)."""
        return self._logs(x, sigma).logsumexp(1).to(x.dtype)

    def score(self, x: Float[Tensor, "n *shape"], sigma: Float[Tensor, "*n"]) -> Float[Tensor, "n *shape"]:
        """∇ log p_σ(x)."""
        return self.log_density_and_score(x, sigma)[1]

    def log_density_and_score(
        self, x: Float[Tensor, "n *shape"], sigma: Float[Tensor, "*n"]
    ) -> tuple[Float[Tensor, " n"], Float[Tensor, "n *shape"]]:
        """Both: the score is (Σ_i r_i x_i − x)/(σ² + h²) with responsibilities r."""
        logs = self._logs(x, sigma)
        centre = logs.softmax(1) @ self.data.to(x.device)
        score = (centre - x.double().flatten(1)) / self._variance(x, sigma)
        return logs.logsumexp(1).to(x.dtype), score.view(x.shape).to(x.dtype)

    def denoiser(self, x: Float[Tensor, "n *shape"], sigma: Float[Tensor, "*n"]) -> Float[Tensor, "n *shape"]:
        """E[x_0 | x_σ = x] = x + σ² ∇ log p_σ(x)."""
        return x + sigma.reshape(-1, *(1,) * len(self.shape)).square() * self.score(x, sigma)

    @read_arguments
    def sample(self, n: int, sigma: float = 0.0, seed: int = 0, start: int = 0) -> Float[Tensor, "n *shape"]:
        """n draws of p_σ, float64; draw i depends on the seed and on start + i alone."""
        draws, index = Draws(seed, 0), torch.arange(start, start + n)
        chosen = draws.integers("row", index, len(self.data))
        noise = draws.normal("noise", index, self.data.shape[1:], torch.float64)
        return (self.data[chosen] + math.sqrt(sigma**2 + self.bandwidth**2) * noise).view(n, *self.shape)

    def _variance(self, x: Tensor, sigma: Tensor) -> Tensor:
        return sigma.to(x.device).double().reshape(-1, 1).square() + self.bandwidth**2

    def _logs(self, x: Tensor, sigma: Tensor) -> Tensor:
        """log (1/N) N(x; x_i, (σ² + h²) I), (n, N) in float64: squared distances are differences of large numbers."""
        data, rows, variance = self.data.to(x.device), x.double().flatten(1), self._variance(x, sigma)
        squares = rows.square().sum(1, keepdim=True) + data.square().sum(1) - 2 * rows @ data.mT
        size = math.log(len(data)) + data.shape[1] * (math.log(2 * math.pi) + variance.log()) / 2
        return -squares.clamp(min=0) / (2 * variance) - size


def kernel_densities(
    data: Float[Tensor, "n *shape"], labels: Int[Tensor, " m"], bandwidth: float = 0.0
) -> dict[int, KernelDensity]:
    """One of each class, by its label.

    Raises UsageError where data and labels differ in number.
    """
    if len(data) != len(labels):
        raise UsageError(f"{len(data)} samples have {len(labels)} labels; give one each")
    return {int(label): KernelDensity(data[labels == label], bandwidth) for label in labels.unique()}
