"""What ``tenfold analyse`` does for a model tuned by rewards: how noisy the estimates of log p are at equal passes.

The model completes test prompts; each estimator is drawn many times on the same completions. Weights are normalised, so
that estimates are on the scale of a log-probability; coupled and decoupled ones then have one mean."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from tenfold import progress
from tenfold.masked_lm.analysis.order import mean_and_error
from tenfold.masked_lm.decoding.options import GenerationOptions
from tenfold.masked_lm.grpo.estimators import draw_views, estimate
from tenfold.masked_lm.grpo.options import EstimatorAnalysis, EstimatorName
from tenfold.masked_lm.grpo.prompts import PromptRows
from tenfold.masked_lm.grpo.rollouts import Completed, complete
from tenfold.masked_lm.model import MaskedLM
from tenfold.runs.measurement import Measurement
from tenfold.runs.outcome import Outcome
from tenfold.training.streams import Draws

# Label: estimator, stratified.
_KINDS: dict[str, tuple[EstimatorName, bool]] = {
    "coupled": ("coupled", False),
    "decoupled": ("decoupled", False),
    "coupled, stratified": ("coupled", True),
    "decoupled, stratified": ("decoupled", True),
    "lower bound": ("spg", False),
}
_UNIT = "nats²"


def study_estimators(model: MaskedLM, rows: PromptRows, tokens: int, options: EstimatorAnalysis) -> Outcome:
    """Variance of each estimator for a token (mean over tokens) and for their sum (errors are over completions), the
    ratio of the decoupled to the coupled one, and whether their means agree: the root mean square of differences of
    means in their standard errors, which is 1 where they do."""
    number = min(options.prompts, len(rows))
    batch = rows.batch(torch.arange(number).numpy())
    sampling = GenerationOptions(max_new_tokens=tokens, temperature=options.temperature)
    given = batch["prompts"].to(model.device), batch["real"].to(model.device), 1, sampling, options.seed
    drawn = complete(model, *given, range(number), options.batch)
    found, passes = {}, 2 * options.pairs + 1
    for label, (kind, stratified) in progress.track(_KINDS.items(), "estimators"):
        found[label] = repeated(model, drawn, kind, stratified, options)
    note = f"{passes} passes, {options.repeats} repetitions"
    result: list[Measurement] = []
    for label, values in found.items():
        by_token, by_sum = variances(values, drawn.valid)
        for name, each in (("variance_by_token", by_token), ("variance_by_sequence", by_sum)):
            mean, error = mean_and_error(each.tolist())
            result.append(Measurement(name, mean, _UNIT, "test", label, error, number, note))
        mean, error = mean_and_error(_per_token(values.mean(0), drawn.valid).tolist())
        result.append(Measurement("mean_estimate", mean, "nats/token", "test", label, error, number, note))
    one, other = found["coupled"], found["decoupled"]
    for name, ours, theirs in zip(
        ("token", "sequence"), variances(one, drawn.valid), variances(other, drawn.valid), strict=True
    ):
        value, error = ratio_and_error(theirs.tolist(), ours.tolist())
        pair = "decoupled / coupled"
        result.append(Measurement(f"variance_ratio_by_{name}", value, "", "test", pair, error, number, note))
    for name, scores in zip(("token", "sequence"), disagreement(one, other, drawn.valid), strict=True):
        mean, error = mean_and_error(scores.tolist())
        value, error = math.sqrt(mean), error / (2 * math.sqrt(mean))
        pair = "coupled − decoupled"
        result.append(Measurement(f"disagreement_by_{name}", value, "", "test", pair, error, number, note))
    return Outcome(result, {}, {"analysis": vars(options)}, {"completion_tokens": drawn.valid.sum(1).tolist()})


@torch.no_grad()
def repeated(
    model: MaskedLM, drawn: Completed, kind: EstimatorName, stratified: bool, options: EstimatorAnalysis
) -> Float[Tensor, "r b l"]:
    """Estimates of the same completions, drawn again and again; float64. Draws are keyed by repetition and row."""
    count, draws = len(drawn.completions), Draws(options.seed, 0)
    parts = []
    for rows in torch.arange(options.repeats * count, device=drawn.completions.device).split(options.batch):
        which = rows % count
        prompts, completions = drawn.prompts[which], drawn.completions[which]
        views = draw_views(
            kind,
            prompts,
            completions,
            lambda purpose, shape, rows=rows: draws.uniform(purpose, rows, shape),  # type: ignore[misc]
            options.pairs,
            options.least_time,
            stratified,
            True,
        )
        parts.append(estimate(model, prompts, completions, views, model.special.mask, drawn.real[which]).log_p.double())
    return torch.cat(parts).unflatten(0, (options.repeats, count))


def variances(
    values: Float[Tensor, "r b l"], valid: Bool[Tensor, "b l"]
) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
    """Variance over r repetitions (unbiased), of each completion: the mean over its valid tokens, and of their sum."""
    return _per_token(values.var(0), valid), torch.where(valid, values, 0.0).sum(2).var(0)


def disagreement(
    one: Float[Tensor, "r b l"], other: Float[Tensor, "r b l"], valid: Bool[Tensor, "b l"]
) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
    """Squared mean difference over its variance (a repetition of both may share draws), of each completion: the mean
    over its valid tokens, and of their sum. About 1 where the expectations are the same."""

    def score(difference: Tensor) -> Tensor:
        return difference.mean(0).square() / (difference.var(0) / len(difference)).clamp(min=1e-30)

    return _per_token(score(one - other), valid), score(torch.where(valid, one - other, 0.0).sum(2))


def ratio_and_error(above: Sequence[float], below: Sequence[float]) -> tuple[float, float]:
    """Ratio of two paired means, and its standard error to first order.

    >>> ratio_and_error([2.0, 4.0], [1.0, 2.0])
    (2.0, 0.0)
    """
    one, other = torch.tensor([above, below], dtype=torch.float64)
    ratio = one.mean() / other.mean()
    error = (one - ratio * other).std() / math.sqrt(len(one)) / other.mean()
    return ratio.item(), error.item()


def _per_token(values: Float[Tensor, "b l"], valid: Bool[Tensor, "b l"]) -> Float[Tensor, " b"]:
    """Mean over the valid tokens of each completion."""
    return torch.where(valid, values, 0.0).sum(1) / valid.sum(1)
