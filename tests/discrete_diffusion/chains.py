"""Exact laws of chains on the enumerated worlds, and what draws are tested with."""

from collections.abc import Callable

import torch
from scipy.stats import chi2
from torch import Tensor, nn

from tenfold.discrete import posterior_from_leave_one_out
from tenfold.discrete_diffusion import TabularModel
from tenfold.discrete_diffusion import number_of as number
from tests.discrete_diffusion.world import L, V, World


class SineSchedule:
    """α = 1 − sin(π t/2): the "cosine" of the fixtures, κ = 1 − cos(π κ-time/2)."""

    def alpha(self, t: Tensor) -> Tensor:
        return 1 - torch.sin(torch.pi / 2 * t)

    def alpha_prime(self, t: Tensor) -> Tensor:
        return -torch.pi / 2 * torch.cos(torch.pi / 2 * t)


class Table(TabularModel):
    """A factorised model with the fixture's logits, leave-one-out."""

    def __init__(self, world: World, logits: Tensor | None = None) -> None:
        super().__init__(world.source, L, "leave_one_out")
        self.table = nn.Parameter(world["logits_factorised"] if logits is None else logits)


def posterior(world: World, alpha: Tensor) -> Tensor:
    """The fixture model's log p(x_0^i | x_t) of every noisy sequence."""
    return posterior_from_leave_one_out(world["logits_factorised"], world.noisy, alpha, world.source)


def law(world: World, transitions: Callable[[int], Tensor], steps: int) -> Tensor:
    """The distribution over noisy sequences after ``steps`` transition tensors (all noisy sequences, n, S)."""
    states = world.source.states
    mass = torch.ones(1, dtype=torch.float64)
    site = torch.full((V + 1,), 0.0, dtype=torch.float64) if world.kind == "mask" else torch.full((V,), 1 / V).double()
    if world.kind == "mask":
        site[V] = 1.0
    for _ in range(L):
        mass = (mass[:, None] * site).reshape(-1)
    for k in range(steps):
        t = transitions(k)
        assert torch.allclose(t.sum(-1), torch.ones_like(t[..., 0]), atol=1e-12)
        whole = t[:, 0, :, None, None] * t[:, 1, None, :, None] * t[:, 2, None, None, :]
        mass = mass @ whole.reshape(len(mass), states**L)
    return mass


def of_clean(world: World, mass: Tensor) -> Tensor:
    """The part of a law on sequences without a mask."""
    return mass[number(world.clean, world.source.states)]


def p_value(tokens: Tensor, law: Tensor) -> float:
    """Chi-square of draws (count, 3) against a law of clean sequences; those expected less than 5 times together."""
    seen = torch.bincount(number(tokens, V), minlength=V**L).double()
    expected = law * len(tokens)
    rare = expected < 5
    if rare.any():
        seen = torch.cat([seen[~rare], seen[rare].sum()[None]])
        expected = torch.cat([expected[~rare], expected[rare].sum()[None]])
    kept = expected > 0
    assert seen[~kept].sum() == 0
    statistic = ((seen - expected)[kept] ** 2 / expected[kept]).sum()
    return float(chi2.sf(float(statistic), int(kept.sum()) - 1))
