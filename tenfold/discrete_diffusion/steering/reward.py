"""Tuning towards a reward as the training loop and the verbs see it."""

import warnings
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tenfold.data.text.token_rows import TokenRows
from tenfold.discrete.objectives import cross_entropy
from tenfold.discrete_diffusion.corpus import rows_of
from tenfold.discrete_diffusion.noising import Masked
from tenfold.discrete_diffusion.steering.recipes import RewardRecipe
from tenfold.discrete_diffusion.steering.tuned import TuningTask
from tenfold.discrete_diffusion.targets.densities import Reference, RewardTilt
from tenfold.discrete_diffusion.targets.protocol import all_candidates, choose_sites, matching_loss, site_target
from tenfold.rl.reference import drift
from tenfold.rl.rewards import Tilt, next_penalty, resampled, tilt_within
from tenfold.runs.measurement import Measurement
from tenfold.training.streams import Draws
from tenfold.training.task import Batch, Update, mean_count


class RewardTask(TuningTask):
    """Tuning towards p_ref e^{R/β} on reference samples drawn by their weights, with a penalty that keeps the
    divergence within its budget.

    At "sites" the reward says of every token what it would change: little noise, and exact where the reference's tokens
    are independent given x_t. The cross entropy of the samples ("weights") has the tilted law's conditionals as its
    optimum, and learns from whole sequences only."""

    def __init__(self, recipe: RewardRecipe, name: str = "") -> None:
        super().__init__(recipe, name)
        self.penalty, self.drift = recipe.objective.penalty, 0.0

    @cached_property
    def tilt(self) -> Tilt:
        """The weights of the pool; a warning where few samples carry them."""
        found = tilt_within(self.pool[1], self.recipe.objective.budget)
        if found.size < 2:
            warnings.warn(
                f"the effective sample size of the pool is {found.size:.1f}; raise objective.pool or lower the budget",
                stacklevel=2,
            )
        return found

    def rehearse(self) -> list[nn.Module]:
        """As of all tuned models, with a pool of one."""
        self.tilt = Tilt(torch.ones(1), 1.0, 0.0, 2.0)
        return super().rehearse()

    def train_source(self) -> TokenRows:
        """The pool, drawn again by its weights: as many rows."""
        return rows_of(self.pool[0][resampled(self.tilt.weights)])

    def counts(self, batch: Batch, draws: Draws) -> dict[str, Tensor]:
        """The masks of a batch."""
        return {"masks": self.masks(batch["tokens"], batch["index"], draws).hidden.sum()}

    def step(self, modules: Mapping[str, nn.Module], batch: Batch, draws: Draws) -> Iterator[Update]:
        """One update."""
        settings, clean = self.recipe.objective, batch["tokens"]
        masked = self.masks(clean, batch["index"], draws)
        mine = self.masks.predict(modules["model"], masked.noisy, masked.hidden)
        theirs = self.masks.frozen(self.reference, masked.noisy, masked.hidden)
        # Made before the loss of its own: gradients are added in this order, and old runs resume to the bit.
        away = drift(mine, theirs, masked.hidden, masked.weight)
        if settings.form == "sites":
            own = self._at_sites(mine, theirs, clean, masked, batch["index"], draws)
        else:
            own = cross_entropy(mine, clean)[masked.hidden].sum()
        own = own / mean_count(batch, "masks", masked.hidden.sum())
        value = float(away.detach().mean())
        self.drift = value if draws.step == 0 else 0.95 * self.drift + 0.05 * value
        self.penalty = next_penalty(self.penalty, self.drift, settings.budget, settings.penalty)
        metrics = {
            "own": own.detach(),
            "kl": torch.tensor(self.drift),
            "penalty": torch.tensor(self.penalty),
            "effective_samples": torch.tensor(self.tilt.size),
        }
        loss = own + self.penalty * away.mean() / clean.shape[1]
        yield Update("model", loss, metrics, {"log_probs": mine.detach().exp().sum(-1)})

    def _at_sites(
        self,
        mine: Float[Tensor, "b n v"],
        theirs: Float[Tensor, "b n v"],
        clean: Int[Tensor, "b n"],
        masked: Masked,
        index: Int[Tensor, " b"],
        draws: Draws,
    ) -> Float[Tensor, ""]:
        """KL from p_ref(x_0^i = y | x_t) e^{R(x_0 with y at i)/β} at some masks, all tokens as candidates: an estimate
        of its sum over all masks."""
        source, hidden = self.masks.source, masked.hidden
        uniforms = draws.uniform("sites", index, (clean.shape[1],))
        sites, real, share = choose_sites(hidden, self.recipe.objective.sites, uniforms)
        target = RewardTilt(Reference(lambda noisy: theirs), self.reward, self.tilt.beta)
        candidates = all_candidates(sites, source.vocabulary)
        wanted = site_target(target, clean, masked.noisy, masked.alpha, sites, candidates, source).to(mine.dtype)
        return matching_loss(mine, wanted, clean, sites, candidates, real, share).sum()

    def state_dict(self) -> dict[str, Any]:
        """The multiplier, and the running divergence."""
        return {"penalty": self.penalty, "drift": self.drift}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore them."""
        self.penalty, self.drift = float(state["penalty"]), float(state["drift"])

    def evaluate(self) -> list[Measurement]:
        """As of all tuned models, and what the weights promised."""
        rows, rewards, tilt = super().evaluate(), self.pool[1].double(), self.tilt
        note = f"weights e^(R/β), β = {tilt.beta:.3g}, KL {tilt.kl:.2f} nats, effective sample size {tilt.size:.0f}"
        mean, count = float(tilt.weights @ rewards), len(rewards)
        return [*rows, Measurement("mean_reward", mean, "", "pool", "tilted reference", None, count, note)]
