"""How well a masked language model predicts held-out text: Monte-Carlo bounds with standard errors."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tenfold import progress
from tenfold.discrete.masking import times
from tenfold.errors import UsageError, suggest
from tenfold.masked_lm.decoding.proposals import row_keys
from tenfold.masked_lm.loss import Noised, bound, causal_attention, mask_at_times, mask_counts, with_padding
from tenfold.masked_lm.model import MaskedLM, as_tensor, require_finite_logits, token_ids
from tenfold.runs.sampled_loss import SampledLoss
from tenfold.settings.values import read
from tenfold.training.streams import Draws

Estimator = Literal["count", "time"]


@dataclass(frozen=True)
class Likelihood:
    """−log p of rows, or its upper bound, in nats.

    ``nats`` (b,) float64 is each row's mean over ``draws``, ``standard_error`` (b,) of that mean over masks and times
    (0 for an exact value, NaN for one draw)."""

    nats: Float[Tensor, " b"]
    standard_error: Float[Tensor, " b"]
    draws: int

    def bits_per_byte(self, sizes: Int[Tensor, " b"]) -> tuple[float, float]:
        """Bits per byte over all rows, of ``sizes`` bytes each, and the standard error of the ratio: both the rows'
        differences and the draws of masks are in it.

        Raises UsageError where there is no byte."""
        total = sizes.sum().item()
        if not total:
            raise UsageError("the rows have no byte to be scored; give rows with text")
        ratio = _finite(self.nats).sum().item() / total
        rest = self.nats - ratio * sizes.to(self.nats)
        spread = rest.std().item() * math.sqrt(len(rest)) / total if len(rest) > 1 else math.nan
        return ratio / math.log(2), spread / math.log(2)


@torch.no_grad()
def mdm_nll(
    model: MaskedLM,
    tokens: Int[Tensor, "b n"],
    n_samples: int = 8,
    estimator: Estimator = "count",
    *,
    maskable: Bool[Tensor, "b n"] | None = None,
    real: Bool[Tensor, "b n"] | None = None,
    seed: int = 0,
    samples: Sequence[int] | None = None,
    batch: int = 32,
    epsilon: float = 1e-3,
) -> Likelihood:
    """The masked-diffusion bound on −log p(x) of each row, in nats, summed over its maskable tokens.

    Args:
        model: any masked language model.
        tokens: x_0.
        n_samples: draws of masks a row, at times (numbers of masks) that are stratified over the draws.
        estimator: "count" draws the number of masks, "time" a time t, with weight 1/t; "count" varies less.
        maskable: tokens that are scored; None for all, without the first under the shift and without padding.
        real: False at padding, which nobody looks at; None for no padding.
        seed: keys the draws of a row, with its tokens and its number among ``samples``: they do not depend on the
            other rows.
        samples: (b,) number of each row among those of the same tokens; by default they are counted.
        batch: rows computed together; it changes rounding only.
        epsilon: the least time, of "time".

    Raises:
        UsageError: no draw asked for, or nothing to score.
    """
    n_samples, batch = (read(int, value, name) for name, value in (("n_samples", n_samples), ("batch", batch)))
    if n_samples < 1:
        raise UsageError(f"n_samples is {n_samples}; a bound needs at least one draw")
    if not 0 < epsilon < 1:
        raise UsageError(f"epsilon is {epsilon}; the least time lies between 0 and 1")
    if estimator not in (known := get_args(Estimator)):
        raise UsageError(f"estimator is {estimator!r}{suggest(str(estimator), known)}")
    tokens, maskable, real = _completed(model, tokens, maskable, real, batch)
    values = torch.zeros(n_samples, len(tokens), dtype=torch.float64)
    keys, first = row_keys(tokens, real, samples), (real.cumsum(dim=1) - 1).clamp(min=0)
    offset = Draws(seed, 0).uniform("places", keys, (), torch.float64)
    with progress.task("bound", n_samples * len(tokens), "rows") as step:
        for k in range(n_samples):
            places = ((offset + k / n_samples) % 1.0).float().to(tokens.device)
            for rows in torch.arange(len(tokens)).split(batch):
                here = rows.to(tokens.device)
                uniforms = Draws(seed, k).uniform("masks", keys[here], (tokens.shape[1],)).gather(1, first[here])
                drawn = tokens[here], maskable[here], places[here], uniforms
                noised = _noised(model, *drawn, estimator, epsilon)
                values[k, rows] = _bound_of(model, tokens[here], noised, real[here]).cpu()
                step(len(rows))
    values = _finite(values)
    error = values.std(0) / math.sqrt(n_samples) if n_samples > 1 else torch.full_like(values[0], math.nan)
    return Likelihood(values.mean(0), error, n_samples)


def _noised(
    model: MaskedLM, x: Tensor, maskable: Tensor, places: Tensor, uniforms: Tensor, by: Estimator, epsilon: float = 1e-3
) -> Noised:
    if by == "count":
        return mask_counts(x, maskable, places, uniforms, model.special.mask)
    return mask_at_times(x, maskable, times(places, epsilon), uniforms, model.special.mask)


def _bound_of(model: MaskedLM, tokens: Tensor, noised: Noised, real: Tensor) -> Tensor:
    nll = model(noised.tokens, tokens, noised.masked, None if bool(real.all()) else real)
    return bound(nll.double(), noised)


@torch.no_grad()
def autoregressive_nll(
    model: MaskedLM,
    tokens: Int[Tensor, "b n"],
    *,
    maskable: Bool[Tensor, "b n"] | None = None,
    real: Bool[Tensor, "b n"] | None = None,
    batch: int = 32,
) -> Likelihood:
    """−log p(x) of each row under the same network read causally, from left to right, in nats; exact.

    Raises UsageError for a network without the shift: its outputs are no next tokens."""
    if not model.logit_shift:
        raise UsageError(
            "the model has no logit shift, so it predicts no next tokens and has no autoregressive likelihood"
        )
    tokens, maskable, real = _completed(model, tokens, maskable, real, batch)
    causal = causal_attention(tokens.shape[1], tokens.device)
    parts = []
    for rows in progress.track(torch.arange(len(tokens)).split(batch), "left to right", "batches"):
        pattern = with_padding(causal, real[rows])
        parts.append(model(tokens[rows], tokens[rows], maskable[rows], pattern).double().sum(1).cpu())
    nats = _finite(torch.cat(parts))
    return Likelihood(nats, torch.zeros_like(nats), 1)


def _completed(
    model: MaskedLM, given: object, maskable: object, real: object, batch: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Tokens, and which may be masked and are real, on the model's device: what every likelihood checks first."""
    if batch < 1:
        raise UsageError(f"batch is {batch}; give at least 1")
    tokens = token_ids(given, model.vocab_size).to(model.device)
    if not tokens.numel():
        raise UsageError(f"the rows have shape {tuple(tokens.shape)}, so there is nothing to score")
    real = torch.ones_like(tokens, dtype=torch.bool) if real is None else _marks(real, "real", tokens)
    # Under the shift nothing predicts the first token of a row.
    usable = real & (real.cumsum(dim=1) > 1) if model.logit_shift else real
    maskable = usable if maskable is None else _marks(maskable, "maskable", tokens)
    if bool((maskable & ~usable).any()):
        row = int((maskable & ~usable).any(dim=1).nonzero()[0])
        raise UsageError(
            f"maskable has padding, or the first token under the shift, in row {row}; set it to False there"
        )
    if not bool(maskable.any()):
        raise UsageError("no token of the rows may be masked, so there is nothing to score")
    return tokens, maskable, real


def _finite(nats: Tensor) -> Tensor:
    require_finite_logits(nats)
    return nats


def _marks(given: object, name: str, tokens: Tensor) -> Tensor:
    marks = as_tensor(given, name).to(tokens.device)
    if marks.shape != tokens.shape or marks.dtype != torch.bool:
        raise UsageError(
            f"{name} is {marks.dtype} of shape {tuple(marks.shape)}; give bools like {tuple(tokens.shape)}"
        )
    return marks


def sampled_losses(model: MaskedLM, rows: dict[str, Tensor], seed: int = 0) -> list[SampledLoss]:
    """The bound of one of the ``rows`` (drawn with its masks, independently), in nats per maskable token, as a function
    of the time and as one of the number of masks."""
    forms: dict[Estimator, str] = {"time": "masked LM, time", "count": "masked LM, number of masks"}
    return [SampledLoss(name, 1, _sampled_loss(model, rows, form, seed), 16, 2, 60) for form, name in forms.items()]


def _sampled_loss(
    model: MaskedLM, rows: dict[str, Tensor], form: Estimator, seed: int
) -> Callable[[np.ndarray], np.ndarray]:
    generator = torch.Generator().manual_seed(seed)
    parts = [rows[name].to(model.device) for name in ("tokens", "maskable", "real")]

    @torch.no_grad()
    def loss(points: np.ndarray) -> np.ndarray:
        chosen = torch.randint(len(parts[0]), (len(points),), generator=generator).to(model.device)
        clean, maskable, real = (part[chosen] for part in parts)
        places = torch.from_numpy(np.asarray(points)[:, 0]).float().to(model.device)
        uniforms = torch.rand(clean.shape, generator=generator).to(model.device)
        noised = _noised(model, clean, maskable, places, uniforms, form)
        return (_bound_of(model, clean, noised, real) / maskable.sum(1).clamp(min=1)).cpu().numpy()

    return loss
