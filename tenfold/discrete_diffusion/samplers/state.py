"""One run of a chain: what is noisy now, and the moves that all samplers share."""

from collections.abc import Iterator
from itertools import pairwise

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tenfold import progress
from tenfold.discrete.paths import MaskSource
from tenfold.discrete_diffusion.samplers.candidates import Candidates
from tenfold.discrete_diffusion.samplers.guidance import Guide
from tenfold.discrete_diffusion.samplers.prediction import Predictor
from tenfold.discrete_diffusion.samplers.random import Random
from tenfold.discrete_diffusion.samplers.steps import grid


class Chain:
    """The state of one run.

    Attributes:
        noisy: (b, n), what a sampler moves.
        prompt: sites whose token stays.
        guide, candidates: what steers the chain, where something does.
    """

    def __init__(
        self,
        predict: Predictor,
        noisy: Int[Tensor, "b n"],
        prompt: Bool[Tensor, "b n"],
        random: Random,
        guide: Guide | None = None,
        candidates: Candidates | None = None,
    ) -> None:
        self.predict, self.noisy, self.prompt, self.random = predict, noisy, prompt, random
        self.guide, self.candidates = guide, candidates
        self.options, self.source, self.schedule = predict.options, predict.source, predict.schedule
        self.size, self.device = len(noisy), noisy.device

    @property
    def masks(self) -> Bool[Tensor, "b n"]:
        """Where masks are; nowhere under uniform noise."""
        if isinstance(self.source, MaskSource):
            return self.noisy == self.source.mask
        return torch.zeros_like(self.prompt)

    def uniforms(self, *shape: int) -> Tensor:
        """Fresh U[0, 1) numbers in float64."""
        return self.random(*shape, device=self.device)

    def times(self, t: float) -> Float[Tensor, " b"]:
        """One time for all rows."""
        return torch.full((self.size,), t, dtype=torch.float64, device=self.device)

    def grid(self) -> Iterator[tuple[float, float]]:
        """The steps of the grid, from t down to s."""
        return iter(progress.track(list(pairwise(grid(self.options.steps, self.options.power))), "steps"))

    def move(self, transition: Float[Tensor, "b n s"]) -> None:
        """Draw every token anew from its distribution, but the prompt."""
        drawn = self.random.tokens(transition)
        self.noisy = torch.where(self.prompt, self.noisy, drawn)

    def reveal(self, going: Bool[Tensor, "b n"], t: Float[Tensor, " b"]) -> None:
        """Draw the masks ``going`` from the prediction; rows without any are not asked for."""
        which = going.any(1).nonzero()[:, 0]
        if len(which):
            site, fresh = going[which], self.noisy[which]
            log_probs = self.predict.at_masks(fresh, t[which], site, which)
            if self.guide is not None:
                log_probs = self.guide.at_site(log_probs, fresh, site, t[which])
            fresh[site] = self.random.tokens(log_probs.exp())
            self.noisy = self.noisy.index_copy(0, which, fresh)

    def finish(self, t: float) -> Int[Tensor, "b n"]:
        """The tokens; masks that a solver left at the end are drawn from the prediction."""
        if bool(self.masks.any()):
            drawn = self.random.tokens(self.predict(self.noisy, self.times(t)).exp())
            self.noisy = torch.where(self.masks, drawn, self.noisy)
        return self.noisy
