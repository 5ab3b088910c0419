"""All sites move at once: discrete Langevin proposals with an exact acceptance (arXiv 2206.09914, 2301.12112)."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tenfold.discrete_samplers.classical.kernels import ChainDraws, ChainKernel, Moved, drawn, metropolis
from tenfold.discrete_samplers.targets.protocol import DiscreteTarget, log_difference
from tenfold.errors import UsageError
from tenfold.settings.checks import settings


def langevin_log_proposal(ratios: Float[Tensor, "b d s"], x: Int[Tensor, "b d"], step: float) -> Float[Tensor, "b d s"]:
    """log P(y_i = τ) ∝ ½ log-ratio − [τ ≠ x_i]/(2 α), each site by itself; α is the step."""
    stays = torch.zeros_like(ratios, dtype=torch.bool).scatter(-1, x[..., None], True)
    return _finite_rows(torch.where(stays, 0.0, ratios / 2 - 1 / (2 * step)))


def jump_log_proposal(ratios: Float[Tensor, "b d s"], x: Int[Tensor, "b d"], time: float) -> Float[Tensor, "b d s"]:
    """Of the locally balanced Markov chain with rates √ratio, each site by itself for a time: log of the probabilities
    to stay, exp(−time Σ rates), and to have jumped once, to τ in proportion to its rate."""
    rates = (ratios / 2).clamp(max=40).exp().scatter(-1, x[..., None], 0.0)
    total = rates.sum(-1, keepdim=True)
    leave = -torch.expm1(-time * total)
    jump = leave * rates / total.clamp(min=torch.finfo(rates.dtype).tiny)
    return jump.scatter(-1, x[..., None], torch.exp(-time * total)).log()


def _finite_rows(logs: Float[Tensor, "b d s"]) -> Float[Tensor, "b d s"]:
    escape = logs == torch.inf
    return torch.where(escape.any(-1, keepdim=True), torch.where(escape, 0.0, -torch.inf), logs).log_softmax(-1)


def _move(
    target: DiscreteTarget,
    x: Int[Tensor, "b d"],
    draws: ChainDraws,
    forward: Float[Tensor, "b d s"],
    y: Int[Tensor, "b d"],
    backward: Float[Tensor, "b d s"],
) -> Moved:
    gain = log_difference(target.log_prob(y), target.log_prob(x))
    there = forward.gather(-1, y[..., None])[..., 0].sum(1)
    back = backward.gather(-1, x[..., None])[..., 0].sum(1)
    return metropolis(gain + back - there, draws.uniform("accept"), y, x)


@settings
class Langevin:
    """DMALA with exact ratios; ``step`` is α. A call proposes once for all sites."""

    step: float = 0.2

    def __post_init__(self) -> None:
        if not self.step > 0:
            raise UsageError(f"step is {self.step}; give a positive one")

    def __call__(self, target: DiscreteTarget, x: Int[Tensor, "b d"], draws: ChainDraws) -> Moved:
        """One proposal."""
        forward = langevin_log_proposal(target.neighbour_log_ratio(x), x, self.step)
        y = drawn(forward.exp(), draws.uniform("langevin", target.sites))
        backward = langevin_log_proposal(target.neighbour_log_ratio(y), y, self.step)
        return _move(target, x, draws, forward, y, backward)


@settings
class Jumps:
    """DLMC: every site jumps as the locally balanced chain would in ``time``. A call proposes once for all sites."""

    time: float = 0.2

    def __post_init__(self) -> None:
        if not self.time > 0:
            raise UsageError(f"time is {self.time}; give a positive one")

    def __call__(self, target: DiscreteTarget, x: Int[Tensor, "b d"], draws: ChainDraws) -> Moved:
        """One proposal."""
        forward = jump_log_proposal(target.neighbour_log_ratio(x), x, self.time)
        y = drawn(forward.exp(), draws.uniform("jumps", target.sites))
        backward = jump_log_proposal(target.neighbour_log_ratio(y), y, self.time)
        return _move(target, x, draws, forward, y, backward)


def tuned(
    kernel: Langevin | Jumps,
    target: DiscreteTarget,
    x: Int[Tensor, "b d"],
    draws: ChainDraws,
    rounds: int = 100,
    goal: float = 0.574,
) -> tuple[Langevin | Jumps, Int[Tensor, "b d"]]:
    """The kernel with the step at which about ``goal`` of the proposals are accepted (the best of Langevin proposals,
    Roberts and Rosenthal 1998), by Robbins and Monro's averages over ``rounds`` moves of a warm-up; and the chains
    after it. Keep the step fixed from then on: a step that follows the chain leaves no law invariant."""
    size = kernel.step if isinstance(kernel, Langevin) else kernel.time
    made: ChainKernel = kernel
    for round in range(rounds):
        moved = made(target, x, draws.at(draws.turn + round))
        x = moved.x
        size *= float(torch.exp((moved.accepted.mean() - goal) * 2 / (1 + round) ** 0.5))
        size = min(max(size, 1e-3), 1e3)
        kernel = Langevin(size) if isinstance(kernel, Langevin) else Jumps(size)
        made = kernel
    return kernel, x
