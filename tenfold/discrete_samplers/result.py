"""What every sampler of the room returns: samples and their weights, the evidence with its error, what it cost, and
what is suspicious about it."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tenfold.discrete_samplers.targets.protocol import (
    DiscreteTarget,
    bare,
    check_function,
    check_law,
    colour_classes,
    site_log_ratio,
    site_odds,
)
from tenfold.errors import UsageError
from tenfold.smc.evidence import evidence_of
from tenfold.smc.weights import effective_sample_size, log_mean_weight, normalised_weights

_LEAST_SHARE = 0.05
_LARGEST_GAP = 1.0


@dataclass
class Counts:
    """What was asked for, in rows: log-probabilities, ratios to all neighbours (some sites count as their share) and
    forward passes of a network."""

    log_probs: float = 0.0
    ratios: float = 0.0
    network: float = 0.0


class CountedTarget:
    """A target that writes down what it is asked for."""

    def __init__(self, target: DiscreteTarget) -> None:
        self.target, self.counts = check_law(target), Counts()
        self.sites, self.states = target.sites, target.states

    @property
    def colours(self) -> list[Tensor]:
        """Those of the target, or single sites."""
        return colour_classes(self.target)

    def log_prob(self, x: Int[Tensor, "b d"]) -> Float[Tensor, " b"]:
        """Counted."""
        self.counts.log_probs += len(x)
        return bare(self.target, "log_prob")(x)

    def neighbour_log_ratio(self, x: Int[Tensor, "b d"]) -> Float[Tensor, "b d s"]:
        """Counted."""
        self.counts.ratios += len(x)
        return bare(self.target, "neighbour_log_ratio")(x)

    def site_log_ratio(self, x: Int[Tensor, "b d"], chosen: Int[Tensor, " m"]) -> Float[Tensor, "b m s"]:
        """Counted by the share of the sites, where the target has a short way; as a whole where it has none."""
        self._count(x, chosen)
        return site_log_ratio(self.target, x, chosen)

    def site_odds(self, x: Int[Tensor, "b d"], chosen: Int[Tensor, " m"]) -> Float[Tensor, "b m"]:
        """Counted as ``site_log_ratio`` is."""
        self._count(x, chosen)
        return site_odds(self.target, x, chosen)

    def _count(self, x: Tensor, chosen: Tensor) -> None:
        short = hasattr(self.target, "site_log_ratio") or hasattr(self.target, "site_odds")
        self.counts.ratios += len(x) * (len(chosen) / self.sites if short else 1)


@dataclass(frozen=True)
class SamplerResult:
    """Samples of a discrete law.

    Attributes:
        samples: (n, d) int64.
        log_weights: (n,) float64; all 0 where samples count alike.
        counts: what it cost.
        log_z: estimate of log Z, None where the sampler has none; ``log_z_standard_error`` in nats.
        elbo: the mean log weight, a lower bound of log Z in expectation; where it is far below ``log_z``, few
            samples carry the estimate.
        diagnostics: numbers by name.
        notes: what is suspicious, a sentence each.
        chain_means: (n,) float64, of chains that were watched: the mean of what was watched over each, burn-in apart.
    """

    samples: Int[Tensor, "n d"]
    log_weights: Float[Tensor, " n"]
    counts: Counts
    log_z: float | None = None
    log_z_standard_error: float | None = None
    elbo: float | None = None
    diagnostics: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    chain_means: Float[Tensor, " n"] | None = None

    @property
    def effective_size(self) -> float:
        """(Σ w)²/Σ w²."""
        return float(effective_sample_size(self.log_weights))

    @property
    def ess(self) -> float:
        """The effective size over the number of samples, in [0, 1]."""
        return self.effective_size / len(self.samples)

    def _values(self, function: Callable[[Tensor], Tensor]) -> Float[Tensor, "n *c"]:
        check_function(function, "function")
        values = function(self.samples)
        if not isinstance(values, Tensor) or values.shape[:1] != self.samples.shape[:1] or bool(values.isnan().any()):
            raise UsageError(f"the function gives no number for each of {len(self.samples)} samples, or gives NaN")
        return values.double()

    def mean(self, function: Callable[[Tensor], Tensor]) -> Float[Tensor, "*c"]:
        """Σ W f(x), float64, of a function of tokens (n, d) to (n, ...)."""
        return torch.einsum("n,n...->...", normalised_weights(self.log_weights), self._values(function))

    def standard_error(self, function: Callable[[Tensor], Tensor]) -> Float[Tensor, "*c"]:
        """Of ``mean``, for independent samples: (Σ W² (f − mean)²)^½."""
        weights, values = normalised_weights(self.log_weights), self._values(function)
        away = values - torch.einsum("n,n...->...", weights, values)
        return torch.einsum("n,n...->...", weights.square(), away.square()).sqrt()


def weighted_result(
    samples: Int[Tensor, "m n d"],
    log_weights: Float[Tensor, "m n"],
    counts: Counts,
    log_z: Float[Tensor, " m"] | None = None,
    elbo: float | None = None,
    diagnostics: Mapping[str, float] | None = None,
    notes: tuple[str, ...] = (),
) -> SamplerResult:
    """The result of m populations of n weighted samples.

    Without ``log_z`` the weights are exact importance weights, and Ẑ their mean, with the standard error of the log by
    the delta method. With it, each population brings its own unbiased estimate (it was resampled), and those are
    averaged: of one population there is no standard error then.

    Raises UsageError for weights that are NaN or +∞ (they are never repaired), and where all are 0.
    """
    weights = log_weights.double()
    if bool((weights.isnan() | (weights == math.inf)).any()):
        raise UsageError("log weights are NaN or +infinity; the network diverged, or a target gives no numbers")
    if log_z is None:
        flat = weights.flatten()
        value, n = float(log_mean_weight(flat)), flat.numel()
        if value == -math.inf:
            raise UsageError("every sample has weight 0: none is where the target allows; use more samples or steps")
        size = float(effective_sample_size(flat))
        error = math.sqrt(max(0.0, n / size - 1) / max(1, n - 1)) if n > 1 else None
        lower = float(flat.mean())
    else:
        found = evidence_of(log_z)
        value, error = found.log_z, found.standard_error
        share = weights.logsumexp(1, keepdim=True)
        weights = weights - share + log_z.double()[:, None] + math.log(weights.shape[1])
        lower = float(log_z.double().mean()) if elbo is None else elbo
    result = SamplerResult(
        samples.flatten(0, 1), weights.flatten(), counts, value, error, lower, dict(diagnostics or {}), notes
    )
    return SamplerResult(**{**vars(result), "notes": notes + suspicions(result)})


def suspicions(result: SamplerResult) -> tuple[str, ...]:
    """What the weights say against themselves."""
    found = []
    if result.ess < _LEAST_SHARE:
        found.append(
            f"the effective sample size is {result.effective_size:.0f} of {len(result.samples)}: means and log Z rest "
            "on few samples"
        )
    if result.log_z is not None and result.elbo is not None and result.log_z - result.elbo > _LARGEST_GAP:
        found.append(
            f"log Z is {result.log_z - result.elbo:.2f} nats above its lower bound: its standard error may be too small"
        )
    return tuple(found)


def one_mode(samples: Int[Tensor, "n d"], states: int) -> str | None:
    """A sentence where all samples lie at one token's side of a law that may have others: every sample has one token on
    more than half of its sites, and it is the same one in all."""
    if len(samples) < 2:
        return None
    counts = torch.stack([(samples == token).sum(1) for token in range(states)], 1)
    most = counts.amax(1) > 0.5 * samples.shape[1]
    leading = counts.argmax(1)
    if bool(most.all()) and bool((leading == leading[0]).all()):
        return f"token {int(leading[0])} leads in every sample; if the law has several modes, the chains are in one"
    return None
