"""How well a masked language model predicts held-out text: Monte-Carlo bounds with standard errors."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, SupportsIndex, get_args

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from tenfold import progress
from tenfold.discrete.masking import times
from tenfold.errors import UsageError, suggest
from tenfold.masked_lm.decoding.proposals import row_keys
from tenfold.masked_lm.loss import Noised, bound, causal_attention, mask_at_times, mask_counts, with_padding
from tenfold.masked_lm.model import MaskedLM, as_tensor, require_finite_logits, token_ids
from tenfold.nn.memory import require
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
    tokens: object,
    n_samples: SupportsIndex = 8,
    estimator: str = "count",
    *,
    maskable: object = None,
    real: object = None,
    seed: SupportsIndex = 0,
    samples: Sequence[int] | None = None,
    batch: SupportsIndex = 32,
    epsilon: float = 1e-3,
) -> Likelihood:
    """The masked-diffusion bound on −log p(x) of each row, in nats, summed over its maskable tokens.

    Args:
        model: any masked language model.
        tokens: x_0 (b, n), of any integer type.
        n_samples: draws of masks a row, at times (numbers of masks) that are stratified over the draws.
        estimator: "count" draws the number of masks, "time" a time t, with weight 1/t; "count" varies less.
        maskable: (b, n) bool, tokens that are scored; None for all, but the first under
            the shift and padding.
        real: (b, n) bool, False at padding, which nobody looks at; None for no padding.
        seed: keys the draws of a row, with its tokens and its number among ``samples``: they do not depend on the
            other rows.
        samples: (b,) number of each row among those of the same tokens; by default they are counted.
        batch: rows computed together; it changes rounding only.
        epsilon: the least time, of "time".

    Raises:
        UsageError: no draw asked for, or nothing to score.
    """
    draws, key = read(int, n_samples, "n_samples"), read(int, seed, "seed")
    if draws < 1:
        raise UsageError(f"n_samples is {draws}; a bound needs at least one draw")
    if not 0 < epsilon < 1:
        raise UsageError(f"epsilon is {epsilon}; the least time lies between 0 and 1")
    if estimator not in (known := get_args(Estimator)):
        raise UsageError(f"estimator is {estimator!r}{suggest(str(estimator), known)}")
    x, free, whole, size = _completed(model, tokens, maskable, real, batch)
    values = torch.zeros(draws, len(x), dtype=torch.float64)
    keys, first = row_keys(x, whole, samples), (whole.cumsum(dim=1) - 1).clamp(min=0)
    offset = Draws(key, 0).uniform("places", keys, (), torch.float64)
    with progress.task("bound", draws * len(x), "rows") as step:
        for k in range(draws):
            places = ((offset + k / draws) % 1.0).float()
            for rows in torch.arange(len(x)).split(size):
                here = rows.to(x.device)
                uniforms = Draws(key, k).uniform("masks", keys[here], (x.shape[1],)).gather(1, first[here])
                noised = _noised(model, x[here], free[here], places[here], uniforms, estimator, epsilon)
                values[k, rows] = _bound_of(model, x[here], noised, whole[here]).cpu()
                step(len(rows))
    values = _finite(values)
    error = values.std(0) / math.sqrt(draws) if draws > 1 else torch.full_like(values[0], math.nan)
    return Likelihood(values.mean(0), error, draws)


def _noised(
    model: MaskedLM, x: Tensor, maskable: Tensor, places: Tensor, uniforms: Tensor, by: str, epsilon: float = 1e-3
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
    tokens: object,
    *,
    maskable: object = None,
    real: object = None,
    batch: SupportsIndex = 32,
) -> Likelihood:
    """−log p(x) of each row under the same network read causally, from left to right, in nats; exact.

    Raises UsageError for a network without the shift: its outputs are no next tokens."""
    if not model.logit_shift:
        raise UsageError(
            "the model has no logit shift, so it predicts no next tokens and has no autoregressive likelihood"
        )
    x, free, whole, size = _completed(model, tokens, maskable, real, batch)
    causal = causal_attention(x.shape[1], x.device)
    parts = []
    for rows in progress.track(torch.arange(len(x)).split(size), "left to right", "batches"):
        pattern = with_padding(causal, whole[rows])
        parts.append(model(x[rows], x[rows], free[rows], pattern).double().sum(1).cpu())
    nats = _finite(torch.cat(parts))
    return Likelihood(nats, torch.zeros_like(nats), 1)


def _completed(
    model: MaskedLM, given: object, maskable: object, real: object, batch: object
) -> tuple[Tensor, Tensor, Tensor, int]:
    """Tokens, which may be masked and which are real, on the model's device, and the rows of a batch: what every
    likelihood checks first."""
    if (size := read(int, batch, "batch")) < 1:
        raise UsageError(f"batch is {size}; give at least 1")
    tokens = token_ids(given, model.vocab_size).to(model.device)
    if not tokens.numel():
        raise UsageError(f"the rows have shape {tuple(tokens.shape)}, so there is nothing to score")
    here, config = min(size, len(tokens)), model.network.config
    # A layer's states, and the weights of attention where a pattern is given.
    wide = 6 * config.hidden_size + 3 * config.intermediate_size + config.num_attention_heads * tokens.shape[1]
    what = f"scoring {here} rows of {tokens.shape[1]} tokens at once"
    require(here * tokens.shape[1] * wide * model.network.dtype.itemsize, model.device, what, "lower --batch")
    whole = torch.ones_like(tokens, dtype=torch.bool) if real is None else _marks(real, "real", tokens)
    # Under the shift nothing predicts the first token of a row.
    usable = whole & (whole.cumsum(dim=1) > 1) if model.logit_shift else whole
    free = usable if maskable is None else _marks(maskable, "maskable", tokens)
    if bool((free & ~usable).any()):
        row = int((free & ~usable).any(dim=1).nonzero()[0])
        raise UsageError(
            f"maskable has padding, or the first token under the shift, in row {row}; set it to False there"
        )
    if not bool(free.any()):
        raise UsageError("no token of the rows may be masked, so there is nothing to score")
    return tokens, free, whole, size


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
