"""An enumerable world for the examples: a law of short sequences, tables that are trained, and exact distances."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tenfold.discrete.masking import mask_exactly
from tenfold.discrete.paths import MaskSource
from tenfold.discrete_diffusion.networks.tabular import TabularModel, joint_posterior, marginals, number_of, sequences
from tenfold.discrete_diffusion.targets.protocol import all_candidates, edited


@dataclass(frozen=True)
class TinyWorld:
    """A law of all sequences of ``length`` tokens out of ``vocabulary``, and a reward of them; noise is masks."""

    law: Float[Tensor, " c"]
    reward: Float[Tensor, " c"]
    vocabulary: int
    length: int

    @classmethod
    def random(cls, vocabulary: int = 4, length: int = 3, seed: int = 0) -> "TinyWorld":
        """Log-probabilities and rewards are normal."""
        generator = torch.Generator().manual_seed(seed)
        numbers = torch.randn(2, vocabulary**length, generator=generator)
        return cls((1.5 * numbers[0]).softmax(0), numbers[1], vocabulary, length)

    @property
    def source(self) -> MaskSource:
        """Masks."""
        return MaskSource(self.vocabulary)

    @cached_property
    def clean(self) -> Int[Tensor, "c n"]:
        """All sequences."""
        return sequences(self.vocabulary, self.length)

    @cached_property
    def noisy(self) -> Int[Tensor, "t n"]:
        """All sequences with masks."""
        return sequences(self.vocabulary + 1, self.length)

    def tilted(self, beta: float) -> Float[Tensor, " c"]:
        """p e^{R/β}/Z."""
        return (self.law.log() + self.reward / beta).softmax(0)

    def posterior(self, law: Float[Tensor, " c"]) -> Float[Tensor, "t c"]:
        """log p(x_0 | x_t) under a law; with masks it does not depend on the time."""
        half = torch.full((len(self.noisy),), 0.5)
        return joint_posterior(law, self.noisy, half, self.source)

    def model(self, law: Float[Tensor, " c"] | None = None) -> TabularModel:
        """A factorised table: of a law's exact marginals, or uniform."""
        model = TabularModel(self.source, self.length)
        if law is not None:
            with torch.no_grad():
                exact = marginals(self.posterior(law), self.vocabulary)
                # Noisy sequences that no clean one leads to have no posterior (NaN): any row will do.
                model.table.copy_(exact.nan_to_num(0.0).clamp(min=-30))
        return model

    def draw(self, law: Float[Tensor, " c"], count: int, generator: torch.Generator) -> Int[Tensor, "b n"]:
        """Sequences."""
        return self.clean[torch.multinomial(law, count, replacement=True, generator=generator)]

    def masked(self, clean: Int[Tensor, "b n"], generator: torch.Generator) -> tuple[Int[Tensor, "b n"], Tensor]:
        """x_t with l of L masks, l uniform, and the weight L/l of the bound."""
        whole = torch.ones_like(clean, dtype=torch.bool)
        count = torch.randint(1, self.length + 1, (len(clean),), generator=generator)
        where = mask_exactly(whole, count, torch.rand(clean.shape, generator=generator))
        return torch.where(where, self.vocabulary, clean), self.length / count

    def any_order_law(self, model: TabularModel) -> Float[Tensor, " c"]:
        """The exact law of unmasking one site after the other in a random order (first hitting)."""
        with torch.no_grad():
            probs = model(self.noisy).exp().double()
        masked = self.noisy == self.vocabulary
        mass = torch.zeros(len(self.noisy), dtype=torch.float64)
        mass[-1] = 1.0
        share = 1 / masked.sum(1).clamp(min=1).double()
        sites = torch.arange(self.length).expand(len(self.noisy), -1)
        target = number_of(
            edited(self.noisy, sites, all_candidates(sites, self.vocabulary)).flatten(0, 2), self.vocabulary + 1
        )
        moves = (masked[..., None] * probs * share[:, None, None]).flatten()
        for _ in range(self.length):
            flow = mass.repeat_interleave(self.length * self.vocabulary) * moves
            mass = torch.zeros_like(mass).index_add_(0, target, flow)
        return mass[number_of(self.clean, self.vocabulary + 1)]


class JointTable(nn.Module):
    """log p_θ(x_0 | x_t) as a table, (noisy, clean): what the site conditionals of a joint model come from."""

    def __init__(self, world: TinyWorld) -> None:
        super().__init__()
        self.world = world
        self.table = nn.Parameter(torch.zeros(len(world.noisy), len(world.clean)))

    def forward(
        self, clean: Int[Tensor, "b n"], noisy: Int[Tensor, "b n"], sites: Int[Tensor, "b m"]
    ) -> Float[Tensor, "b m v"]:
        """log p_θ(x_0^i = y | x_0 elsewhere, x_t), i in ``sites``."""
        world = self.world
        around = edited(clean, sites, all_candidates(sites, world.vocabulary))
        numbers = number_of(around.flatten(0, 2), world.vocabulary).view(around.shape[:-1])
        rows = self.table[number_of(noisy, world.vocabulary + 1)]
        return rows.gather(1, numbers.flatten(1)).view(numbers.shape).log_softmax(-1)

    def law(self) -> Float[Tensor, " c"]:
        """What it draws from pure noise in one step."""
        return self.table[-1].detach().double().softmax(0)


def total_variation(a: Tensor, b: Tensor) -> float:
    """½ Σ |a − b|."""
    return float((a.double() - b.double()).abs().sum() / 2)


def kl(a: Tensor, b: Tensor) -> float:
    """Σ a log(a/b), nats."""
    return float((a.double() * (a.double().log() - b.double().clamp(min=1e-300).log())).sum())


def fit(
    module: nn.Module,
    loss: Callable[[], Tensor],
    distance: Callable[[], float],
    steps: int,
    rate: float,
    points: int = 12,
) -> tuple[list[int], list[float]]:
    """Adam with a rate that falls to zero; the distance before, at some steps, and after."""
    optimiser = torch.optim.Adam(module.parameters(), rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    at, found = [0], [distance()]
    for step in range(1, steps + 1):
        optimiser.zero_grad()
        loss().backward()
        optimiser.step()
        schedule.step()
        if step % max(1, steps // points) == 0 or step == steps:
            at.append(step)
            found.append(distance())
    return at, found
