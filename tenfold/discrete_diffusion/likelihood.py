"""How well a model predicts held-out text: bounds on −log p by Monte Carlo, each with its name and standard error."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tenfold import progress
from tenfold.discrete import bounds
from tenfold.discrete.masking import mask_exactly
from tenfold.discrete.paths import MaskSource, Source, in_view
from tenfold.discrete.schedules import Linear, time_of
from tenfold.discrete_diffusion.networks.autoregressive import Autoregressive
from tenfold.discrete_diffusion.networks.protocol import Denoiser
from tenfold.errors import UsageError
from tenfold.runs.sampled_loss import SampledLoss

Name = Literal["masked", "uniform", "generalised_kl"]


@dataclass(frozen=True)
class LikelihoodBound:
    """An upper bound on −log p of rows, in nats, or its exact value.

    ``nats`` (b,) float64 is each row's mean over ``draws``, ``standard_error`` (b,) of that mean over the noise (0
    where exact, NaN for one draw); ``tokens`` (b,) are the tokens that are counted, and ``name`` says which bound."""

    nats: Float[Tensor, " b"]
    standard_error: Float[Tensor, " b"]
    tokens: Int[Tensor, " b"]
    draws: int
    name: str

    def bits_per_token(self) -> tuple[float, float]:
        """Bits per token over all rows, and the standard error: the rows' differences and the noise are both in it."""
        total = self.tokens.sum().item()
        ratio = self.nats.sum().item() / total
        rest = self.nats - ratio * self.tokens
        spread = rest.std().item() * math.sqrt(len(rest)) / total if len(rest) > 1 else math.nan
        return ratio / math.log(2), spread / math.log(2)


def default_bound(source: Source) -> Name:
    """The bound that is tight at the true conditionals."""
    return "masked" if isinstance(source, MaskSource) else "uniform"


@torch.no_grad()
def bound(
    model: Denoiser,
    clean: Int[Tensor, "b n"],
    draws: int = 4,
    name: Name | None = None,
    *,
    counted: Bool[Tensor, "b n"] | None = None,
    seed: int = 0,
    batch: int = 64,
) -> LikelihoodBound:
    """A bound on −log p(x_0) of each row, summed over its tokens: an integral over α, drawn with low discrepancy.

    The schedule has no say in it, but for the level that a network is told. With masks and a network that is not told,
    the number of masks is drawn instead of α. Otherwise α stays 1e-6 away from 0 and 1: the bound of a network whose
    own posterior under uniform noise does not become the token itself diverges there, and is cut off.

    Args:
        model: any denoiser.
        clean: x_0.
        draws: of noise a row.
        name: which bound; None for that of the model's source, which is tight at the true conditionals.
            "generalised_kl" of a uniform source is not.
        counted: tokens that are scored and noised, the others being given (a prompt, padding); None for all.
        seed: keys the draws.
        batch: rows computed together; it changes rounding only.

    Raises:
        UsageError: no draw asked for, nothing to score, tokens outside the vocabulary, or another source's bound.
    """
    source = model.source
    name = name or default_bound(source)
    if draws < 1:
        raise UsageError(f"draws is {draws}; a bound needs at least one")
    if (name == "masked") != isinstance(source, MaskSource) and name != "generalised_kl":
        raise UsageError(f"the bound {name!r} is not one of {source}; leave its name out")
    source.check_clean(clean)
    counted = torch.ones_like(clean, dtype=torch.bool) if counted is None else counted
    if not bool(counted.any()):
        raise UsageError("no token of the rows is counted, so there is nothing to score")
    generator = torch.Generator().manual_seed(seed)
    offset = torch.rand(len(clean), generator=generator, dtype=torch.float64)
    values = torch.zeros(draws, len(clean), dtype=torch.float64)
    with progress.task("bound", draws * len(clean), "rows") as step:
        for k in range(draws):
            places = (offset + k / draws) % 1.0
            uniforms = torch.rand(2, *clean.shape, generator=generator)
            for rows in torch.arange(len(clean)).split(batch):
                here = rows.to(clean.device)
                place, whether, which = (x[rows].to(clean.device) for x in (places, *uniforms))
                values[k, rows] = one_draw(model, clean[here], counted[here], place, whether, which, name).cpu()
                step(len(rows))
    error = values.std(0) / math.sqrt(draws) if draws > 1 else torch.full_like(values[0], math.nan)
    return LikelihoodBound(values.mean(0), error, counted.sum(1).cpu(), draws, bounds.NAMES[name])


def one_draw(
    model: Denoiser,
    clean: Int[Tensor, "b n"],
    counted: Bool[Tensor, "b n"],
    places: Float[Tensor, " b"],
    whether: Float[Tensor, "b n"],
    which: Float[Tensor, "b n"],
    name: Name | None = None,
) -> Float[Tensor, " b"]:
    """One draw of a bound of each row, in nats, float64, from given U[0, 1) numbers: ``places`` of α (or of the number
    of masks), and of the noise. α is uniform, so that the rate is 1."""
    source = model.source
    name = name or default_bound(source)
    if isinstance(source, MaskSource) and not model.time_conditioned:
        total = counted.sum(1)
        count = (1 + (places * total).long()).clamp(max=total)
        hidden = mask_exactly(counted, count, whether)
        noisy = torch.where(hidden, source.mask, clean)
        nll = -model(noisy)[hidden].double().gather(-1, clean[hidden][:, None])[:, 0]
        each = torch.zeros(clean.shape, dtype=torch.float64, device=clean.device).masked_scatter(hidden, nll)
        return each.sum(1) * total / count.clamp(min=1)
    alpha = (1 - places.double()).clamp(1e-6, 1 - 1e-6)
    noisy = torch.where(counted, source.noise(clean, alpha.float(), whether, which), clean)
    schedule = getattr(model, "schedule", Linear())
    log_probs = model(noisy, time_of(schedule, alpha).float()).double()
    if isinstance(source, MaskSource):
        values = bounds.masked(log_probs, clean, noisy, alpha, torch.ones_like(alpha), source)
    elif name == "uniform":
        log_probs = in_view(log_probs, noisy, alpha, source, model.view, "leave_one_out")
        values = bounds.uniform(log_probs, clean, noisy, alpha, torch.ones_like(alpha))
    else:
        log_probs = in_view(log_probs, noisy, alpha, source, model.view, "posterior")
        values = bounds.generalised_kl(log_probs, clean, noisy, alpha, torch.ones_like(alpha), source)
    return torch.where(counted, values, 0.0).sum(1)


@torch.no_grad()
def autoregressive(model: Autoregressive, tokens: Int[Tensor, "b n"], batch: int = 64) -> LikelihoodBound:
    """−log p(x) of each row, exactly."""
    parts = [
        -model.log_prob(tokens[rows]).double().cpu()
        for rows in progress.track(torch.arange(len(tokens)).split(batch), "left to right", "batches")
    ]
    nats = torch.cat(parts)
    counts = torch.full((len(tokens),), tokens.shape[1])
    return LikelihoodBound(nats, torch.zeros_like(nats), counts, 1, "exact, from left to right")


def sampled_losses(model: Denoiser, rows: Int[Tensor, "b n"], name: str, seed: int = 0) -> list[SampledLoss]:
    """The tight bound of one of the ``rows``, drawn with its noise, independently, in nats per token: as a function of
    the number of masks, of a masked model that is not told the time, else of α."""
    generator = torch.Generator().manual_seed(seed)

    @torch.no_grad()
    def loss(points: np.ndarray) -> np.ndarray:
        clean = rows[torch.randint(len(rows), (len(points),), generator=generator)]
        numbers = torch.rand(2, *clean.shape, generator=generator)
        places, whether, which = (x.to(rows.device) for x in (torch.from_numpy(np.asarray(points)[:, 0]), *numbers))
        every = torch.ones_like(clean, dtype=torch.bool)
        found: np.ndarray = (one_draw(model, clean, every, places, whether, which) / clean.shape[1]).cpu().numpy()
        return found

    return [SampledLoss(f"{name}, noise level", 1, loss, 16, 4, 100)]
