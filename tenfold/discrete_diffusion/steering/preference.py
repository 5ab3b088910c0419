"""Tuning on preferences as the training loop and the verbs see it."""

from collections.abc import Iterator, Mapping
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tenfold.data.text.token_rows import TokenRows
from tenfold.discrete_diffusion.corpus import rows_of
from tenfold.discrete_diffusion.steering.tuned import TuningTask
from tenfold.rl.reference import Pairs, gain, paired, preference_loss
from tenfold.runs.measurement import Measurement
from tenfold.training.streams import Draws
from tenfold.training.task import Batch, Update


class PreferenceTask(TuningTask):
    """Tuning on pairs: −log σ(β [Δ_w − Δ_l]), Δ the rise of the bound over the reference's at the same masks."""

    row_texts = 2

    @cached_property
    def pairs(self) -> Pairs:
        """Neighbours in the pool, who wins drawn by Bradley-Terry."""
        generator = torch.Generator().manual_seed(self.recipe.train.seed)
        uniforms = torch.rand(len(self.pool.tokens) // 2, generator=generator)
        return paired(self.pool, uniforms.to(self.pool.tokens.device))

    def train_source(self) -> TokenRows:
        """Three quarters of the pairs, winner and loser end to end in a row."""
        return rows_of(torch.cat(self.pairs, 1)[: 3 * len(self.pairs.winner) // 4])

    def step(self, modules: Mapping[str, nn.Module], batch: Batch, draws: Draws) -> Iterator[Update]:
        """One update."""
        winner, loser = batch["tokens"].chunk(2, 1)
        noises = self.recipe.objective.noises
        value, metrics, outputs = self._loss(modules["model"], Pairs(winner, loser), batch["index"], draws, noises)
        yield Update("model", value.mean(), metrics, {"log_probs": outputs})

    def _loss(
        self, network: nn.Module, pairs: Pairs, index: Int[Tensor, " b"], draws: Draws, noises: int
    ) -> tuple[Float[Tensor, " b"], dict[str, Tensor], Tensor]:
        """The loss of each pair, what to watch, and sums of probabilities for the guard; both texts and both models
        have the same masks."""
        places = [self.masks.places(index, pairs.winner.shape[1], draws, f"noise-{k}") for k in range(noises)]
        hidden, weight = (torch.stack(part, 1).flatten(0, 1) for part in zip(*places, strict=True))
        clean = torch.cat([text.repeat_interleave(noises, 0) for text in pairs])
        hidden, weight = hidden.repeat(2, 1), weight.repeat(2)
        noisy = self.masks.put(clean, hidden)
        mine, theirs = self.masks.predict(network, noisy, hidden), self.masks.frozen(self.reference, noisy, hidden)
        rise = gain(mine, theirs, clean, hidden, weight).view(2, len(index), noises)
        value, metrics = preference_loss(rise[0], rise[1], self.recipe.objective.beta)
        return value, metrics, mine.detach().exp().sum(-1)

    def evaluate(self) -> list[Measurement]:
        """As of all tuned models, and how often the held-out winner rose more."""
        held_out = Pairs(*(text[3 * len(text) // 4 :] for text in self.pairs))
        index = torch.arange(len(held_out.winner)).to(held_out.winner.device)
        with torch.no_grad():
            _, metrics, _ = self._loss(self.model, held_out, index, Draws(self.recipe.train.seed, 0), 16)
        share, count = float(metrics["accuracy"]), len(index)
        error = (share * (1 - share) / count) ** 0.5
        row = Measurement(
            "preference_accuracy", share, "", "held-out pairs", self.name, error, count, "16 noises a pair"
        )
        return [*super().evaluate(), row]
