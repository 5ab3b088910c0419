"""A chain corrected by a density ratio: every step goes towards one of several clean sequences, which it chooses."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tenfold.discrete_diffusion.samplers.prediction import Predictor
from tenfold.discrete_diffusion.samplers.random import Random
from tenfold.discrete_diffusion.samplers.steps import Span, ancestral

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
