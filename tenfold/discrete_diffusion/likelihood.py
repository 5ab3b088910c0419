"""How well a model predicts held-out text: bounds on −log p by Monte Carlo, each with its name and standard error; and
the likelihood of a masked chain of few steps, with and without a density ratio.

N steps reveal equally many random tokens each. The chain's bound is −Σ_k log p(x_{S_k} | x revealed before), in
expectation over the order: N = n is the bound of continuous time, and with fewer steps a factorised model pays for what
it takes as independent. A corrected chain draws k candidates of x_0 from p_ref, takes one by softmax(log r), and
reveals its tokens at S. With d_1 … d_k drawn from p_ref and c_j = d_j with x_S put in,

    p(x_S | x_t) = p_ref(x_S | x_t) E mean_j [ k r(c_j) / (r(c_j) + Σ_{i ≠ j} r(d_i)) ],

so that the log of one such mean is, in expectation, below log p: an upper bound on the negative log-likelihood of the
sampler that is used, whatever the ratio network says and without a normaliser.

(The joint −log p(x_0 | x_t) under the weight of the continuous bound is no bound: at the true joint posterior it falls
below the entropy of the data, as it counts one token's information for all that are still masked.)
"""

import math
from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tenfold import progress
from tenfold.discrete import bounds
from tenfold.discrete.masking import categorical, mask_exactly
from tenfold.discrete.paths import MaskSource, Source, in_view
from tenfold.discrete.schedules import Linear, time_of
from tenfold.discrete_diffusion.networks.model import Denoiser, DiscreteDiffusion, require_rows
from tenfold.discrete_diffusion.networks.stacked import Autoregressive
from tenfold.errors import UsageError
from tenfold.runs.sampled_loss import SampledLoss
from tenfold.text.bounds import LikelihoodBound
from tenfold.training.streams import Draws

Name = Literal["masked", "uniform", "generalised_kl"]


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
    index: Int[Tensor, " b"] | None = None,
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
        seed: keys the draws, with the row's number.
        batch: rows computed together; it changes rounding only.
        index: the numbers of the rows in a larger whole; 0, 1, ... by default.

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
    if isinstance(model, DiscreteDiffusion):
        require_rows(model, model.config, min(batch, len(clean)), clean.shape[1], "scoring")
    counted = torch.ones_like(clean, dtype=torch.bool) if counted is None else counted
    if not bool(counted.any()):
        raise UsageError("no token of the rows is counted, so there is nothing to score")
    index = torch.arange(len(clean)) if index is None else index.cpu()
    offset = Draws(seed, 0).uniform("place", index, dtype=torch.float64)
    values = torch.zeros(draws, len(clean), dtype=torch.float64)
    with progress.task("bound", draws * len(clean), "rows") as step:
        for k in range(draws):
            places = (offset + k / draws) % 1.0
            for rows in torch.arange(len(clean)).split(batch):
                here, place = rows.to(clean.device), places[rows].to(clean.device)
                numbers = Draws(seed, k).uniform("noise", index[rows].to(clean.device), (2, clean.shape[1]))
                whether, which = numbers.unbind(1)
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
    require_rows(model, model.config, min(batch, len(tokens)), tokens.shape[1], "scoring")
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


def one_step(
    clean: Int[Tensor, "b n"], steps: int, which: Int[Tensor, " b"], uniforms: Float[Tensor, "b n"], mask: int
) -> tuple[Int[Tensor, "b n"], Bool[Tensor, "b n"]]:
    """x_t before step ``which`` of N, in a random order of the tokens, and S, what the step reveals."""
    n = clean.shape[1]
    if not 1 <= steps <= n:
        raise UsageError(f"{steps} steps for rows of {n} tokens; give 1 to {n}")
    rank = uniforms.argsort(1).argsort(1)
    first, last = which * n // steps, (which + 1) * n // steps
    hidden = rank >= first[:, None]
    return torch.where(hidden, mask, clean), hidden & (rank < last[:, None])


def chosen_gain(given: Float[Tensor, "b k"], free: Float[Tensor, "b k"]) -> Float[Tensor, " b"]:
    """log mean_j [k r(c_j) / (r(c_j) + Σ_{i ≠ j} r(d_i))] from log r of the c_j (``given``) and d_i (``free``); 0 for
    one candidate."""
    k = given.shape[1]
    others = free[:, None, :].expand(-1, k, -1)
    itself = torch.eye(k, dtype=torch.bool, device=given.device)
    pool = torch.where(itself, given[:, :, None], others)
    return (given - pool.logsumexp(-1)).logsumexp(1)


@torch.no_grad()
def chain_bound(
    model: Denoiser,
    clean: Int[Tensor, "b n"],
    steps: int,
    log_ratio: Callable[[Tensor, Tensor], Tensor] | None = None,
    candidates: int = 16,
    seed: int = 0,
    batch: int = 16,
) -> Float[Tensor, " b"]:
    """An estimate of the bound of each row, nats, float64: one of the N steps, times N; the steps are spread over the
    rows. ``log_ratio`` takes (clean, noisy) rows to log r.

    Raises UsageError for a uniform source, a network that is told the time, and more steps than tokens."""
    source = model.source
    if not isinstance(source, MaskSource) or model.time_conditioned:
        raise UsageError("the bound of few steps is for masked models that are not told the time")
    if isinstance(model, DiscreteDiffusion):
        together = min(batch, len(clean)) * (1 if log_ratio is None else candidates)
        require_rows(model, model.config, together, clean.shape[1], "scoring")
    generator = torch.Generator().manual_seed(seed)
    which = torch.randperm(len(clean), generator=generator) % steps
    uniforms = torch.rand(clean.shape, generator=generator)
    found = []
    for rows in torch.arange(len(clean)).split(batch):
        x = clean[rows.to(clean.device)]
        step, numbers = (values[rows].to(clean.device) for values in (which, uniforms))
        noisy, revealed = one_step(x, steps, step, numbers, source.mask)
        log_p = model(noisy).double()
        own = log_p.gather(-1, x[..., None])[..., 0]
        value = torch.where(revealed, own, 0.0).sum(1)
        if log_ratio is not None:
            draws = torch.rand(len(x), candidates, x.shape[1], generator=generator, dtype=torch.float64).to(x.device)
            weights = log_p.exp()[:, None].expand(-1, candidates, -1, -1)
            drawn = categorical(weights, draws)
            fixed = torch.where(revealed[:, None], x[:, None], drawn)
            copies = noisy.repeat_interleave(candidates, 0)
            given, free = (
                log_ratio(kind.flatten(0, 1), copies).double().view(len(x), candidates) for kind in (fixed, drawn)
            )
            value = value + chosen_gain(given, free)
        found.append(-steps * value)
    return torch.cat(found)
