"""Density-ratio post-training: p_θ(x_0 | x_t) ∝ p_ref(x_0 | x_t) r_θ, with r = p(x_0 | x_t)/p_ref(x_0 | x_t) the
optimum of every Bregman loss E_ref[F'(r) r − F(r)] − E_data[F'(r)] (arXiv 2504.16431); its loss and its task."""

import math
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tenfold.discrete.masking import categorical
from tenfold.discrete.objectives import BREGMAN
from tenfold.discrete_diffusion.corpus import no_pictures
from tenfold.discrete_diffusion.evaluation import averaged, some_rows
from tenfold.discrete_diffusion.likelihood import chain_bound
from tenfold.discrete_diffusion.networks.model import DiscreteDiffusion
from tenfold.discrete_diffusion.networks.stacked import LogRatio
from tenfold.discrete_diffusion.options import DiffusionSampling
from tenfold.discrete_diffusion.sampling import Steering, write_samples
from tenfold.discrete_diffusion.steering.recipes import RatioSampling
from tenfold.discrete_diffusion.steering.tuned import SteeringTask
from tenfold.discrete_diffusion.task import seeded
from tenfold.errors import UsageError, suggest
from tenfold.runs.measurement import Measurement
from tenfold.training.streams import Draws
from tenfold.training.task import Batch, Update, device_of

RatioLoss = Literal["lsif", "bce", "generalised_kl"]
# Name: F, and the constant that is added.
RATIOS: dict[str, tuple[str, float]] = {
    "lsif": ("half_squared", 0.5),
    "bce": ("logistic", 0.0),
    "generalised_kl": ("generalised_kl", 0.0),
}


# The slopes of the reference's and of the data's term over log r.
_SLOPES: dict[str, tuple[Callable[[float], float], Callable[[float], float]]] = {
    "lsif": (lambda c: math.exp(2 * c), math.exp),
    "bce": (lambda c: 1 / (1 + math.exp(-c)), lambda c: 1 / (1 + math.exp(c))),
    "generalised_kl": (math.exp, lambda c: 1.0),
}


def ratio_loss(
    log_ratio_data: Float[Tensor, " b"],
    log_ratio_reference: Float[Tensor, "b k"],
    loss: RatioLoss = "bce",
    cap: float | None = None,
) -> Float[Tensor, " b"]:
    """The loss of each row, its data term from one draw and its reference term from the mean of k draws given the same
    x_t. "lsif": ½ r² − r + ½; "bce": log(1 + r) − log(r/(1 + r)); "generalised_kl": r − log r. Where log r exceeds the
    ``cap``, each term goes on as its tangent over log r: the optimum is where it was as long as its log r is below,
    and gradients stay bounded.

    Raises UsageError for an unknown name."""
    if loss not in RATIOS:
        raise UsageError(f"there is no ratio loss {loss!r}{suggest(loss, RATIOS)}")
    name, constant = RATIOS[loss]
    _, slope, conjugate = BREGMAN[name]
    if cap is None:
        return conjugate(log_ratio_reference).mean(1) - slope(log_ratio_data) + constant
    of_reference, of_data = (slope_at(cap) for slope_at in _SLOPES[loss])
    above, more = (torch.where(f > cap, f - cap, 0.0) for f in (log_ratio_reference, log_ratio_data))
    reference = conjugate(log_ratio_reference.clamp(max=cap)) + of_reference * above
    return reference.mean(1) - slope(log_ratio_data.clamp(max=cap)) - of_data * more + constant


class RatioTask(SteeringTask):
    """log r(x_0, x_t) between the data and the reference's own draws, given the same x_t."""

    network = LogRatio

    @cached_property
    def reference(self) -> DiscreteDiffusion:
        """The model as it was, with weights of its own that are not trained."""
        return self.start().requires_grad_(False)

    @cached_property
    def model(self) -> LogRatio:
        """The ratio network: the reference's weights, or what ``load`` read."""
        with seeded(self.recipe.train.seed):
            return self.placed(LogRatio.from_model(self.reference))

    def rehearse(self) -> list[nn.Module]:
        """The ratio network and the reference."""
        self.reference = DiscreteDiffusion(self.recipe.model).requires_grad_(False)
        self.model = LogRatio(self.recipe.model)
        return [self.reference]

    def step(self, modules: Mapping[str, nn.Module], batch: Batch, draws: Draws) -> Iterator[Update]:
        """One update on the ratio loss."""
        values, right = self._losses(modules["model"], batch["tokens"], batch["index"], draws, "noise")
        yield Update("model", values.mean(), {"accuracy": right}, {"losses": values.detach()})

    def validate(self, modules: Mapping[str, nn.Module], batch: Batch, draws: Draws) -> dict[str, Tensor]:
        """Per row: "loss", the ratio loss."""
        values, _ = self._losses(modules["model"], batch["tokens"], batch["index"], draws, "validation")
        return {"loss": values}

    def _losses(
        self, network: nn.Module, clean: Int[Tensor, "b n"], index: Int[Tensor, " b"], draws: Draws, purpose: str
    ) -> tuple[Float[Tensor, " b"], Float[Tensor, ""]]:
        """The loss of each row, and how often data and draws are told apart."""
        settings = self.recipe.objective
        noisy, hidden, _ = self.masks(clean, index, draws, purpose)
        log_p = self.masks.frozen(self.reference, noisy, hidden)
        numbers = draws.uniform(f"{purpose}-draws", index, (settings.draws, clean.shape[1]), torch.float64)
        drawn = categorical(log_p.exp()[:, None].expand(-1, settings.draws, -1, -1), numbers)
        both = torch.cat([clean[:, None], drawn], 1)
        repeated = noisy[:, None].expand_as(both)
        log_ratio = network(both.flatten(0, 1), repeated.flatten(0, 1)).view(both.shape[:2])
        data, reference = log_ratio[:, 0], log_ratio[:, 1:]
        right = ((data > 0).float().mean() + (reference < 0).float().mean()) / 2
        return ratio_loss(data, reference, settings.loss, settings.cap), right.detach()

    def evaluate(self) -> list[Measurement]:
        """The bound of chains of few steps, of the reference and corrected by the ratio, on the same noise."""
        options, rows = self.recipe.evaluation, []
        test = some_rows(self.corpus.splits.test, options.rows).to(device_of(self.model))
        reference = self.reference.to(test.device)
        for steps in options.chain:
            plain = chain_bound(reference, test, steps, batch=options.batch)
            rows.append(self._row(f"bits_per_char_{steps}_steps", plain, "reference", "factorised"))
            for count in options.candidates:
                better = chain_bound(reference, test, steps, self.model, count, batch=options.batch)
                label, note = f"{self.name}, {count} candidates", f"one of {count} candidates by the ratio"
                rows.append(self._row(f"bits_per_char_{steps}_steps", better, label, note))
                rows.append(self._row(f"gain_{steps}_steps", plain - better, label, ""))
        return rows

    def _row(self, name: str, nats: Float[Tensor, " b"], model: str, note: str) -> Measurement:
        mean, error = averaged(nats / self.recipe.data.length / math.log(2))
        return Measurement(name, mean, "bits/char", "test", model, error, None, note)

    def figures(self, directory: Path) -> list[Path]:
        """None besides the curves of training."""
        return no_pictures(directory)

    def sample(self, options: DiffusionSampling, folder: Path) -> list[Path]:
        """Text by the reference's chain, each step towards one of k candidates that the ratio chooses."""
        assert isinstance(options, RatioSampling)
        if options.reward:
            raise UsageError("a chain is guided by a density ratio or by a reward, not both; leave --reward out")
        steering = (
            Steering() if options.candidates == 1 else Steering(lambda clean, noisy, time: self.model(clean, noisy))
        )
        return write_samples(self.reference, options, folder, self.name, steering)
