"""The negative phase: particles that follow a law while it is learned."""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tenfold.discrete_samplers.classical.gibbs import Gibbs, HiddenGibbs
from tenfold.discrete_samplers.classical.kernels import ChainDraws
from tenfold.discrete_samplers.learning.config import LikelihoodObjective
from tenfold.discrete_samplers.targets.annealed import uniform
from tenfold.discrete_samplers.targets.machines import BoltzmannMachine
from tenfold.discrete_samplers.targets.protocol import DiscreteTarget
from tenfold.smc.adaptive import gather_particles, resample_where
from tenfold.smc.weights import log_mean_weight, normalised_weights
from tenfold.training.streams import Draws


class NegativePhase:
    """Particles x and log weights A with E[e^A f(x)] ∝ E_θ f: when the parameters change, A += log ρ_new − log ρ_old,
    then x moves by a kernel that leaves ρ_new invariant (Jarzynski 1997; Carbone et al. 2023, arXiv 2305.19414). It
    begins with uniform bits, so that the mean weight is Z/Z of the first law. Without weights these are the particles
    of persistent contrastive divergence (Tieleman 2008)."""

    def __init__(self, settings: LikelihoodObjective, sites: int, seed: int) -> None:
        self.settings, self.seed, n = settings, seed, settings.particles
        self.draws = ChainDraws(seed, torch.arange(n))
        self.x = uniform(sites, 2).draw(self.draws.uniform("particles", sites))
        self.log_weights = torch.zeros(n, dtype=torch.float64)
        self.log_prob = torch.full((n,), -sites * 0.6931471805599453, dtype=torch.float64)  # of the uniform law
        self.log_z = torch.zeros((), dtype=torch.float64)

    @torch.no_grad()
    def follow(self, target: DiscreteTarget, step: int) -> None:
        """From the law before to this one."""
        if self.settings.negative == "weighted":
            self.log_weights = self.log_weights + target.log_prob(self.x).double() - self.log_prob
            uniforms = Draws(self.seed, step).uniform("resample", torch.zeros(1, dtype=torch.int64).to(self.x), (1,))
            made = resample_where(self.log_weights[None], uniforms, self.settings.threshold)
            self.x = gather_particles(self.x[None], made.ancestors)[0]
            self.log_weights, self.log_z = made.log_weights[0], self.log_z + made.log_mean[0]
        moves = self.settings.moves
        for draws in (self.draws.at(1 + step * moves + move) for move in range(moves)):
            machine = isinstance(target, BoltzmannMachine)
            self.x = HiddenGibbs()(target, self.x, draws).x if machine else Gibbs()(target, self.x, draws).x
        self.log_prob = target.log_prob(self.x).double()

    def weights(self) -> Float[Tensor, " n"]:
        """W, which sum to 1."""
        return normalised_weights(self.log_weights)

    def estimate(self) -> Float[Tensor, ""]:
        """log Z of the law that they follow."""
        return self.log_z + log_mean_weight(self.log_weights)

    def to(self, device: torch.device | str) -> None:
        """Move."""
        self.draws = ChainDraws(self.seed, self.draws.index.to(device))
        self.x, self.log_weights = self.x.to(device), self.log_weights.to(device)
        self.log_prob, self.log_z = self.log_prob.to(device), self.log_z.to(device)

    def state_dict(self) -> dict[str, Any]:
        """All of it."""
        kept = {"log_weights": self.log_weights, "log_prob": self.log_prob, "log_z": self.log_z}
        return {"x": self.x.to(torch.uint8), **kept}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore it."""
        self.x = state["x"].to(torch.int64)
        self.log_weights, self.log_prob = state["log_weights"].clone(), state["log_prob"].clone()
        self.log_z = state["log_z"].clone()


def likelihood_loss(
    data: Float[Tensor, " b"], particles: Float[Tensor, " n"], weights: Float[Tensor, " n"]
) -> Float[Tensor, ""]:
    """Σ W log ρ(x) − mean log ρ(data): its gradient is that of the negative log-likelihood, its value is not."""
    return (weights.to(particles) * particles).sum() - data.mean()


def hamming_mmd(
    x: Int[Tensor, "n d"],
    y: Int[Tensor, "m d"],
    bandwidth: float = 0.1,
    *,
    log_weights: Float[Tensor, " n"] | None = None,
) -> Float[Tensor, ""]:
    """The squared maximum mean discrepancy with the kernel exp(−(share of bits that differ)/bandwidth); x may be
    weighted. A bit vector is not compared with itself, so that the estimate is unbiased for equal weights, and nearly
    so for others; resampled rows in the place of weights would count their copies."""

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        agree = a.double() @ b.double().T + (1.0 - a) @ (1.0 - b).T
        return torch.exp(-(1 - agree / a.shape[1]) / bandwidth)

    m = len(y)
    w = (torch.zeros(len(x), device=x.device) if log_weights is None else log_weights).double().softmax(0)
    own = w.square().sum()
    within = (w @ kernel(x, x) @ w - own) / (1 - own) + (kernel(y, y).sum() - m) / (m * (m - 1))
    return within - 2 * (w @ kernel(x, y)).mean()
