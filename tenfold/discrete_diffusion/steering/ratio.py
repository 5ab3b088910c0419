"""A density ratio as the training loop sees it."""

import math
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tenfold import discrete
from tenfold.discrete_diffusion.commands import DiffusionSampling, RatioSampling
from tenfold.discrete_diffusion.networks.ratio import LogRatio
from tenfold.discrete_diffusion.samplers.few_steps import chain_bound
from tenfold.discrete_diffusion.steering.ratios import ratio_loss
from tenfold.discrete_diffusion.steering.tasks import PostTraining, SteeringRecipe
from tenfold.errors import UsageError
from tenfold.runs.measurement import Measurement
from tenfold.training.task import Update


class RatioTask(PostTraining):
    """log r(x_0, x_t) between the data and the reference's own draws, given the same x_t."""

    def __init__(self, recipe: SteeringRecipe, name: str = "discrete-ratio") -> None:
        super().__init__(recipe, name)

    @cached_property
    def model(self) -> LogRatio:  # type: ignore[override]
        """The ratio network: the reference's weights, or what ``load`` read."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.recipe.train.seed)
            return LogRatio.from_model(self.reference)

    def load(self, folder: Path | str) -> None:
        """Take the network of a folder."""
        self.model = LogRatio.from_pretrained(folder)

    def step(self, modules: Mapping[str, nn.Module], batch: Mapping[str, Tensor], draws: Any) -> Iterator[Update]:
        """One update on the ratio loss."""
        values, right = self._losses(modules["model"], batch["tokens"], batch["index"], draws, "noise")
        yield Update("model", values.mean(), {"accuracy": right}, {"losses": values.detach()})

    def validate(self, modules: Mapping[str, nn.Module], batch: Mapping[str, Tensor], draws: Any) -> dict[str, Tensor]:
        """Per row: "loss", the ratio loss."""
        values, _ = self._losses(modules["model"], batch["tokens"], batch["index"], draws, "validation")
        return {"loss": values}

    def _losses(
        self, module: nn.Module, clean: Tensor, index: Tensor, draws: Any, purpose: str
    ) -> tuple[Tensor, Tensor]:
        """The loss of each row, and how often data and draws are told apart."""
        settings = self.recipe.objective
        noisy, _, weight = self._masked(clean, index, draws, purpose)
        with torch.no_grad():
            log_p = self._at(self.reference, clean.device)(noisy, self._time(weight))
        numbers = draws.uniform(f"{purpose}-draws", index, (settings.draws, clean.shape[1]), torch.float64)
        drawn = discrete.categorical(log_p.exp()[:, None].expand(-1, settings.draws, -1, -1), numbers)
        both = torch.cat([clean[:, None], drawn], 1)
        repeated = noisy[:, None].expand_as(both)
        log_ratio = module(both.flatten(0, 1), repeated.flatten(0, 1)).view(both.shape[:2])
        data, reference = log_ratio[:, 0], log_ratio[:, 1:]
        right = ((data > 0).float().mean() + (reference < 0).float().mean()) / 2
        return ratio_loss(data, reference, settings.loss, settings.cap), right.detach()

    def evaluate(self, seconds: float = 0.0) -> list[Measurement]:
        """The bound of chains of few steps, of the reference and corrected by the ratio, on the same noise."""
        options, n = self.recipe.evaluation, self.recipe.data.length
        some = self.data.test.some(options.rows)
        device = next(self.model.parameters()).device
        test = some.batch(np.arange(len(some)))["tokens"].to(device)
        reference, rows = self.reference.to(device), []
        for steps in options.chain:
            plain = chain_bound(reference, test, steps, batch=options.batch)
            rows.append(_row(plain, n, steps, "reference", "factorised"))
            for count in options.candidates:
                better = chain_bound(reference, test, steps, self.model, count, batch=options.batch)
                note = f"one of {count} candidates by the ratio"
                rows.append(_row(better, n, steps, f"{self.name}, {count} candidates", note))
                gain = (plain - better) / n / math.log(2)
                error = float(gain.std()) / math.sqrt(len(gain))
                name = f"gain_{steps}_steps"
                rows.append(
                    Measurement(
                        name, float(gain.mean()), "bits/char", "test", f"{self.name}, {count} candidates", error
                    )
                )
        return rows

    def figures(self, directory: Path) -> list[Path]:
        """None besides the curves of training."""
        directory.mkdir(parents=True, exist_ok=True)
        return []

    def sample(self, options: DiffusionSampling, folder: Path) -> list[Path]:
        """Text by the reference's chain, each step towards one of k candidates that the ratio chooses."""
        from tenfold.discrete_diffusion.samplers.writing import write_samples

        assert isinstance(options, RatioSampling)
        if options.reward:
            raise UsageError("a chain is guided by a density ratio or by a reward, not both; leave --reward out")
        ratio = None if options.candidates == 1 else self._chosen
        return write_samples(self.reference, options, folder, self.name, ratio)

    def _chosen(self, clean: Tensor, noisy: Tensor, time: Tensor) -> Tensor:
        found: Tensor = self.model(clean, noisy)
        return found


def _row(nats: Tensor, length: int, steps: int, model: str, note: str) -> Measurement:
    bits = nats / length / math.log(2)
    error = float(bits.std()) / math.sqrt(len(bits))
    return Measurement(
        f"bits_per_char_{steps}_steps", float(bits.mean()), "bits/char", "test", model, error, None, note
    )
