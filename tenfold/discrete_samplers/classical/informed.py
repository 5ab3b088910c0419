"""Locally informed moves (Zanella 2020): a neighbour is proposed in proportion to √(ρ(y)/ρ(x)), or r/(1+r)."""

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tenfold.discrete_samplers.classical.kernels import ChainDraws, Moved, drawn, metropolis
from tenfold.discrete_samplers.targets.protocol import DiscreteTarget, exchanged
from tenfold.settings.checks import at_least, settings

Balance = Literal["sqrt", "barker"]


def balanced(ratios: Float[Tensor, "b d s"], x: Int[Tensor, "b d"], balance: Balance) -> Float[Tensor, "b d s"]:
    """log g(ρ(y)/ρ(x)) of all neighbours, −∞ at the token that stands; g(r) = r g(1/r): √r, or r/(1+r)."""
    logs = ratios / 2 if balance == "sqrt" else nn.functional.logsigmoid(ratios)
    return logs.scatter(-1, x[..., None], -torch.inf)


def informed_proposal(
    ratios: Float[Tensor, "b d s"], x: Int[Tensor, "b d"], balance: Balance = "sqrt"
) -> Float[Tensor, "b ds"]:
    """log q(y | x) over all (site, token), flattened; what is allowed before anything that is forbidden."""
    logs = balanced(ratios, x, balance).flatten(1)
    escape = logs == torch.inf
    return torch.where(escape.any(1, keepdim=True), torch.where(escape, 0.0, -torch.inf), logs).log_softmax(1)


@settings
class Informed:
    """Gibbs with gradients where ``length`` is 1 (arXiv 2102.04509, with exact ratios), the path auxiliary sampler
    above (Sun et al. 2022): ``length`` informed changes in a row without refusing any, and one acceptance of the whole
    path against its reverse. A call makes as many proposals as change about d/2 sites.

    Attributes:
        length: changes a proposal.
        balance: g.
        proposals: how many a call; 0 for max(1, d / (2 length)).
    """

    length: int = 1
    balance: Balance = "sqrt"
    proposals: int = 0

    def __post_init__(self) -> None:
        at_least(self, "informed", length=1, proposals=0)

    def __call__(self, target: DiscreteTarget, x: Int[Tensor, "b d"], draws: ChainDraws) -> Moved:
        """Proposals one after another; ratios of an accepted state are those that its proposal needed."""
        count = self.proposals or max(1, target.sites // (2 * self.length))
        uniforms = draws.uniform("informed", count, self.length + 1)
        ratios, accepted = target.neighbour_log_ratio(x), torch.zeros(len(x), device=x.device)
        for k in range(count):
            y, there, log_ratio = x, ratios, torch.zeros_like(ratios[:, 0, 0])
            for step in range(self.length):
                proposal = informed_proposal(there, y, self.balance)
                chosen = drawn(proposal.exp(), uniforms[:, k, step])
                site, token = chosen // target.states, chosen % target.states
                old = y.gather(1, site[:, None])[:, 0]
                gain = there.flatten(1).gather(1, chosen[:, None])[:, 0]
                forward = proposal.gather(1, chosen[:, None])[:, 0]
                y = exchanged(y, site, token)
                there = target.neighbour_log_ratio(y)
                back = informed_proposal(there, y, self.balance)
                log_ratio = log_ratio + gain - forward + back.gather(1, (site * target.states + old)[:, None])[:, 0]
            moved = metropolis(log_ratio, uniforms[:, k, -1], y, x)
            ratios = torch.where((moved.accepted > 0)[:, None, None], there, ratios)
            x, accepted = moved.x, accepted + moved.accepted
        return Moved(x, accepted / count)
