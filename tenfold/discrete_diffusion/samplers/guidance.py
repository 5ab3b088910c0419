"""What steers a chain without training: a reward by the value of where every step leads, or a density ratio that
chooses which of several clean sequences a step goes towards.

The noisy law of the process tilted to p e^{R/β} is p_t e^{A_t}/Z with A_t(x_t) = log E_{p(x_0 | x_t)} e^{R/β} and one
Z for all t, so that its scores are those of p times exp(A_t(y) − A_t(x)). A_t is the log of a mean over K draws of
clean tokens from the network's prediction: biased low by O(1/K), and exact for K → ∞ where clean tokens are independent
given x_t.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tenfold.discrete.masking import categorical
from tenfold.discrete_diffusion.samplers.prediction import Predictor, Random
from tenfold.discrete_diffusion.samplers.steps import Span, ancestral
from tenfold.discrete_diffusion.targets.densities import guided_ratios, value_of
from tenfold.discrete_diffusion.targets.protocol import all_candidates, edited
from tenfold.rl.rewards import Reward

_NUMBERS_AT_ONCE = 2**23


class Guide:
    """Predictions of the tilted process from those of a network; ``predict.options`` have K and β."""

    def __init__(self, predict: Predictor, reward: Reward, random: Random) -> None:
        self.predict, self.reward, self.random = predict, reward, random

    def at_site(
        self,
        log_probs: Float[Tensor, "b v"],
        noisy: Int[Tensor, "b n"],
        site: Bool[Tensor, "b n"],
        t: Float[Tensor, " b"],
    ) -> Float[Tensor, "b v"]:
        """log p^R(x_0^i | x_t) ∝ p(x_0^i = y | x_t) e^{A_t(x_t with y at i)} at one mask i of each row: V sequences a
        row are evaluated."""
        tokens = torch.arange(log_probs.shape[-1], device=noisy.device)
        after = torch.where(site[:, None], tokens[:, None], noisy[:, None])
        return (log_probs.double() + self.values(after, t)).log_softmax(-1)

    def ratios(
        self, ratios: Float[Tensor, "b n s"], noisy: Int[Tensor, "b n"], t: Float[Tensor, " b"]
    ) -> Float[Tensor, "b n s"]:
        """Noisy ratios of the tilted process: all n S sequences one token away are evaluated."""
        sites = torch.arange(noisy.shape[1], device=noisy.device).expand(len(noisy), -1)
        others = edited(noisy, sites, all_candidates(sites, ratios.shape[-1])).flatten(1, 2)
        values = self.values(torch.cat([noisy[:, None], others], 1), t)
        return guided_ratios(ratios, values[:, 0], values[:, 1:].view(ratios.shape))

    def values(self, noisy: Int[Tensor, "b m n"], t: Float[Tensor, " b"]) -> Float[Tensor, "b m"]:
        """A_t of the m sequences of each row, with the same random numbers for all of a row: what is wanted are
        differences."""
        options, vocabulary = self.predict.options, self.predict.source.vocabulary
        (b, m, n), k = noisy.shape, options.values
        numbers = self.random(b, 1, k, n, device=noisy.device).expand(-1, m, -1, -1).flatten(0, 1)
        sequences, times = noisy.flatten(0, 1), t.repeat_interleave(m)
        found = []
        for part in torch.arange(b * m, device=noisy.device).split(max(1, _NUMBERS_AT_ONCE // (k * n * vocabulary))):
            probs = self.predict(sequences[part], times[part], "posterior").exp()
            drawn = categorical(probs[:, None].expand(-1, k, -1, -1), numbers[part])
            found.append(value_of(drawn, self.reward, options.beta).double())
        return torch.cat(found).view(b, m)


LogRatioOf = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(clean (b, n), noisy (b, n), t (b,)) ↦ log r (b,): which candidates are kept."""


@dataclass(frozen=True)
class Candidates:
    """``count`` clean sequences k are drawn from the prediction at each step, of which one is taken by softmax(log r).

    Attributes:
        log_ratio: log r.
        count: k.
        window: share of the steps, from the beginning, in which it is done.
    """

    log_ratio: LogRatioOf
    count: int
    window: float = 1.0

    def serve(self, number: int, steps: int) -> bool:
        """Whether this step is one of those."""
        return number < self.window * steps

    def transition(
        self, predict: Predictor, random: Random, noisy: Int[Tensor, "b n"], t: Float[Tensor, " b"], step: Span
    ) -> Float[Tensor, "b n s"]:
        """The ancestral step towards the chosen sequence."""
        k, source = self.count, predict.source
        posterior = predict(noisy, t, "posterior")
        drawn = random.tokens(posterior.exp().repeat_interleave(k, 0))
        log_ratio = self.log_ratio(drawn, noisy.repeat_interleave(k, 0), t.repeat_interleave(k, 0))
        chosen = random.tokens(log_ratio.view(-1, k).double().softmax(-1))
        clean = drawn.view(len(noisy), k, -1)[torch.arange(len(noisy), device=noisy.device), chosen]
        certain = torch.nn.functional.one_hot(clean, source.vocabulary).double().log()
        return ancestral(certain, noisy, step, source)
