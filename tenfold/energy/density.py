"""What a composition is made of: the score of a noised density, and, where there is an energy, its logarithm.

Variance-exploding convention throughout: x_σ = x_0 + σ n with n ~ N(0, I), and σ falls while sampling. ``sigma`` is one
number for all samples, shape (), or one each, shape (n,); it has the dtype and device of ``x``.
"""

from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor


@runtime_checkable
class Score(Protocol):
    """The score of every noised density p_σ; closed forms and trained networks satisfy it.

    Attributes:
        shape: of one sample, without the batch.
        data_scale: σ_d, the standard deviation of the data.
    """

    shape: tuple[int, ...]
    data_scale: float

    def score(self, x: Float[Tensor, "n *shape"], sigma: Float[Tensor, "*n"]) -> Float[Tensor, "n *shape"]:
        """∇ log p_σ(x)."""
        ...


@runtime_checkable
class Density(Score, Protocol):
    """A score that is the gradient of a known function: log p_σ(x) = −E(x, σ) − log Z(σ), where log Z may be unknown.

    Attributes:
        normalised: whether ``log_density`` is log p_σ itself, and not only up to a constant c(σ).
    """

    normalised: bool

    def log_density(self, x: Float[Tensor, "n *shape"], sigma: Float[Tensor, "*n"]) -> Float[Tensor, " n"]:
        """log p_σ(x) in nats, up to a constant at every σ unless ``normalised``; no gradient is needed for it."""
        ...

    def log_density_and_score(
        self, x: Float[Tensor, "n *shape"], sigma: Float[Tensor, "*n"]
    ) -> tuple[Float[Tensor, " n"], Float[Tensor, "n *shape"]]:
        """Both, for about the cost of the score."""
        ...
