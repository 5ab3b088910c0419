"""Restricted Boltzmann machines."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tenfold.discrete_samplers.targets.protocol import of_flips, reads_tokens
from tenfold.errors import UsageError
from tenfold.nn.border import floats


@reads_tokens
class BoltzmannMachine(nn.Module):
    """ρ(x) = Σ_h exp(b·x + c·h + h'Wx) = exp(b·x + Σ_k softplus(c_k + (Wx)_k)) of bits x, with bits h summed out.

    Args:
        weights: (k, d) W.
        visible: (d,) b.
        hidden: (k,) c.
    """

    states = 2

    def __init__(self, weights: Tensor, visible: Tensor, hidden: Tensor) -> None:
        super().__init__()
        weights, visible, hidden = floats(weights, "weights"), floats(visible, "visible"), floats(hidden, "hidden")
        if weights.ndim != 2 or visible.shape != weights.shape[1:] or hidden.shape != weights.shape[:1]:
            raise UsageError(
                f"weights, visible and hidden have shapes {tuple(weights.shape)}, {tuple(visible.shape)}, "
                f"{tuple(hidden.shape)}; give (hidden, visible), (visible,), (hidden,)"
            )
        self.sites = weights.shape[1]
        self.weights = nn.Parameter(weights.clone())
        self.visible = nn.Parameter(visible.to(weights.dtype).clone())
        self.hidden = nn.Parameter(hidden.to(weights.dtype).clone())

    def log_prob(self, x: Int[Tensor, "b d"]) -> Float[Tensor, " b"]:
        """log ρ(x)."""
        v = x.to(self.weights.dtype)
        return v @ self.visible + nn.functional.softplus(v @ self.weights.T + self.hidden).sum(1)

    def flip_log_ratio(self, x: Int[Tensor, "b d"]) -> Float[Tensor, "b d"]:
        """Of every site, log ρ(x with the other token) − log ρ(x): the pre-activations change by ±W_ki."""
        v = x.to(self.weights.dtype)
        activation = (v @ self.weights.T + self.hidden)[:, None]
        step = (1 - 2 * v)[..., None]
        changed = nn.functional.softplus(activation + step * self.weights.T)
        return step[..., 0] * self.visible + (changed - nn.functional.softplus(activation)).sum(-1)

    def neighbour_log_ratio(self, x: Int[Tensor, "b d"]) -> Float[Tensor, "b d 2"]:
        """As the protocol says."""
        return of_flips(self.flip_log_ratio(x), x)

    def site_odds(self, x: Int[Tensor, "b d"], chosen: Int[Tensor, " m"]) -> Float[Tensor, "b m"]:
        """Log-odds of token 1 at some sites, from the activations without them."""
        v, weights = x.to(self.weights.dtype), self.weights.T[chosen]
        without = (v @ self.weights.T + self.hidden)[:, None] - v[:, chosen, None] * weights
        softplus = nn.functional.softplus
        return self.visible[chosen] + (softplus(without + weights) - softplus(without)).sum(-1)

    def hidden_probabilities(self, x: Int[Tensor, "b d"]) -> Float[Tensor, "b k"]:
        """p(h_k = 1 | x)."""
        return torch.sigmoid(x.to(self.weights.dtype) @ self.weights.T + self.hidden)

    def visible_probabilities(self, hidden: Float[Tensor, "b k"]) -> Float[Tensor, "b d"]:
        """p(x_i = 1 | h)."""
        h = floats(hidden, "hidden", self.weights.dtype)
        if h.ndim != 2 or h.shape[1] != len(self.weights):
            raise UsageError(f"hidden has shape {tuple(h.shape)}; give (batch, {len(self.weights)})")
        return torch.sigmoid(h.to(self.weights.dtype) @ self.weights + self.visible)
