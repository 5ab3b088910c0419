"""Densities that can be evaluated, up to their normaliser, as targets: by all edits, by one gradient, from a
bidirectional model (all site conditionals in one pass, or one mask a pass), tilted by a reward, or by noising.

Rewards: p^R ∝ p exp(R/β). Noising does not change, so p^R(x_0 | x_t) ∝ p(x_0 | x_t) exp(R(x_0)/β).

Noisy scores of a density that cannot be sampled, p̄ = Z p, come from noising the noisy sequences. The uniform kernel is
symmetric, p(x_t | x_0) = p(x_0 | x_t) as functions, so p_t(y)/p_t(x) = E_{x_0 ~ K(·|y)} p̄(x_0) / E_{x_0 ~ K(·|x)}
p̄(x_0). With masks, p(x_0^i = y | x_t) is proportional to the mean of p̄ over completions of x_t with y at i, the other
masks filled uniformly. Hopeless at much noise over many sites: watch the effective sample size.
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from tenfold.discrete.paths import MaskSource, Source, UniformSource
from tenfold.discrete_diffusion.targets.protocol import Target, all_candidates, edited, site_ratios
from tenfold.errors import UsageError
from tenfold.rl.rewards import Reward, check_beta

LogDensity = Callable[[Tensor], Tensor]
"""Clean sequences (b, n) ↦ log p + constant, (b,)."""


class Energy:
    """Exact ratios: every edit is evaluated, equal sequences once.

    ``calls`` counts the sequences evaluated."""

    def __init__(self, log_density: LogDensity, batch: int = 4096) -> None:
        self.log_density, self.batch, self.calls = log_density, batch, 0

    @torch.no_grad()
    def site_log_ratio(self, clean: Tensor, noisy: Tensor, sites: Tensor, candidates: Tensor) -> Tensor:
        """See ``Target``."""
        values = self.values(torch.cat([clean, edited(clean, sites, candidates).flatten(0, 2)]))
        return values[len(clean) :].view(candidates.shape) - values[: len(clean), None, None]

    def values(self, sequences: Int[Tensor, "r n"]) -> Float[Tensor, " r"]:
        """Log-densities of sequences.

        Raises UsageError where one is NaN or +∞."""
        distinct, place = sequences.unique(dim=0, return_inverse=True)
        self.calls += len(distinct)
        found = torch.cat([self.log_density(part) for part in distinct.split(self.batch)])
        if bool((found.isnan() | (found == torch.inf)).any()):
            wrong = distinct[(found.isnan() | (found == torch.inf)).nonzero()[0, 0]]
            raise UsageError(f"the density, or the reward, of {wrong.tolist()} is NaN or infinite; it must be finite")
        return found[place]


class FirstOrder:
    """One forward and one backward pass: the log-ratio as the difference of gradients with respect to the one-hot
    tokens, G[i, y] − G[i, x^i]. Exact for log-densities that are linear in each token.

    ``soft`` takes one-hot rows (b, n, V) to log p (b,), differentiable; ``calls`` counts sequences."""

    def __init__(self, soft: Callable[[Tensor], Tensor], vocabulary: int, dtype: torch.dtype = torch.float32) -> None:
        self.soft, self.vocabulary, self.dtype, self.calls = soft, vocabulary, dtype, 0

    def site_log_ratio(self, clean: Tensor, noisy: Tensor, sites: Tensor, candidates: Tensor) -> Tensor:
        """See ``Target``."""
        self.calls += len(clean)
        with torch.enable_grad():
            tokens = F.one_hot(clean, self.vocabulary).to(self.dtype).requires_grad_()
            (slope,) = torch.autograd.grad(self.soft(tokens).sum(), tokens)
        return site_ratios(slope, clean, sites, candidates)


class Surrogate:
    """``conditionals`` takes clean sequences (b, n) and sites (b, m) to log p(x^i = y | all other tokens),
    (b, m, V)."""

    def __init__(self, conditionals: Callable[[Tensor, Tensor], Tensor]) -> None:
        self.conditionals = conditionals

    @torch.no_grad()
    def site_log_ratio(self, clean: Tensor, noisy: Tensor, sites: Tensor, candidates: Tensor) -> Tensor:
        """See ``Target``."""
        log_p = self.conditionals(clean, sites)
        return log_p.gather(-1, candidates) - log_p.gather(-1, clean.gather(1, sites)[..., None])


def leave_one_out(network: nn.Module) -> Callable[[Tensor, Tensor], Tensor]:
    """Site conditionals of a network that never lets a site see itself (a hollow transformer): one pass."""
    if network.view != "leave_one_out" or network.time_conditioned:
        raise UsageError(
            "a surrogate in one pass needs a network of view 'leave_one_out' that is not told the time; mask the sites "
            "one by one instead (one_mask_each)"
        )

    def conditionals(clean: Int[Tensor, "b n"], sites: Int[Tensor, "b m"]) -> Float[Tensor, "b m v"]:
        found: Tensor = network(clean, None, None)
        return found[torch.arange(len(clean), device=clean.device)[:, None], sites]

    return conditionals


def one_mask_each(network: nn.Module) -> Callable[[Tensor, Tensor], Tensor]:
    """Site conditionals of a masked model: m rows a sequence, one mask in each."""
    source = network.source
    if not isinstance(source, MaskSource):
        raise UsageError("masks are put one by one into a model with a mask source; this one has a uniform source")

    def conditionals(clean: Int[Tensor, "b n"], sites: Int[Tensor, "b m"]) -> Float[Tensor, "b m v"]:
        b, m = sites.shape
        rows = clean[:, None].expand(b, m, -1).scatter(-1, sites[..., None], source.mask).flatten(0, 1)
        time = (
            rows.new_full((len(rows),), 1 / clean.shape[1], dtype=torch.float32) if network.time_conditioned else None
        )
        found: Tensor = network(rows, time, rows == source.mask)
        return found.view(b, m, -1)

    return conditionals


class RewardTilt:
    """A base target with the reward R/β of every edit added to its log-ratios; the number of sequences rewarded is
    ``reward.calls``.

    Raises UsageError unless β is positive, and on use for a reward that is not finite."""

    def __init__(self, base: Target, reward: Reward, beta: float, batch: int = 4096) -> None:
        check_beta(beta)
        self.base, self.reward, self.beta = base, Energy(reward, batch), beta

    def site_log_ratio(self, clean: Tensor, noisy: Tensor, sites: Tensor, candidates: Tensor) -> Tensor:
        """See ``Target``."""
        gain = self.reward.site_log_ratio(clean, noisy, sites, candidates)
        return self.base.site_log_ratio(clean, noisy, sites, candidates) + gain / self.beta


class Reference:
    """The frozen reference's own conditionals: log p_ref(x_0^i = y | x_t) of a factorised prediction, which already
    contains the likelihood of x_t. ``predict`` takes noisy sequences to leave-one-out log-probabilities (b, n, V), so
    that ``site_target`` adds it once."""

    def __init__(self, predict: Callable[[Tensor], Tensor]) -> None:
        self.predict = predict

    @torch.no_grad()
    def site_log_ratio(self, clean: Tensor, noisy: Tensor, sites: Tensor, candidates: Tensor) -> Tensor:
        """See ``Target``."""
        return site_ratios(self.predict(noisy), clean, sites, candidates)


def value_of(clean: Int[Tensor, "b k n"], reward: Reward, beta: float) -> Float[Tensor, " b"]:
    """A_t(x_t) = log E_{p_ref(x_0 | x_t)} exp(R/β), as the log of the mean over k draws x_0 of each row (biased low).

    The noisy law of the tilted process is p_t e^{A_t}/Z with one Z for all t, so its scores are the reference's times
    exp(A_t(y) − A_t(x)): guidance without training, and the twist of a particle sampler.

    Raises UsageError unless β is positive and rewards are finite."""
    check_beta(beta)
    values = Energy(reward).values(clean.flatten(0, 1)).view(clean.shape[:2]) / beta
    return log_mean(values)


def log_mean(values: Float[Tensor, "*b k"]) -> Float[Tensor, "*b"]:
    """log of the mean of exp(values)."""
    return values.logsumexp(-1) - math.log(values.shape[-1])


def effective_sample_size(log_weights: Float[Tensor, "*b k"]) -> Float[Tensor, "*b"]:
    """(Σ w)²/Σ w², between 1 and k."""
    return (2 * log_weights.logsumexp(-1) - (2 * log_weights).logsumexp(-1)).exp()


def uniform_log_ratio(
    log_density: LogDensity,
    noisy: Int[Tensor, "b n"],
    sites: Int[Tensor, "b m"],
    candidates: Int[Tensor, "b m c"],
    alpha: Float[Tensor, " b"],
    source: Source,
    whether: Float[Tensor, "b k n"],
    which: Float[Tensor, "b k n"],
) -> tuple[Float[Tensor, "b m c"], Float[Tensor, " b"]]:
    """log p_t(x with y at i)/p_t(x) by K noised copies of each, the same random numbers for both, and the effective
    sample size of the denominator. Bias O(1/K).

    Raises UsageError for a mask source, whose kernel is not symmetric."""
    if not isinstance(source, UniformSource):
        raise UsageError(
            "the ratio by noising needs the symmetric kernel of a uniform source; with masks use completions"
        )
    k = whether.shape[1]
    neighbours = edited(noisy, sites, candidates)

    def values(sequences: Tensor) -> Tensor:
        copies = sequences[..., None, :].expand(*sequences.shape[:-1], k, sequences.shape[-1])
        around = [slice(None)] + [None] * (sequences.ndim - 2)
        u, w = (numbers[tuple(around)].expand(copies.shape) for numbers in (whether, which))
        a = alpha.view(-1, *[1] * (copies.ndim - 2)).expand(copies.shape[:-1])
        flat = source.noise(copies.flatten(0, -2), a.flatten(), u.flatten(0, -2), w.flatten(0, -2))
        return log_density(flat).view(copies.shape[:-1])

    here = values(noisy)
    return log_mean(values(neighbours)) - log_mean(here)[:, None, None], effective_sample_size(here)


def mask_log_posterior(
    log_density: LogDensity,
    noisy: Int[Tensor, "b n"],
    sites: Int[Tensor, "b m"],
    source: Source,
    which: Float[Tensor, "b k n"],
) -> tuple[Float[Tensor, "b m v"], Float[Tensor, "b m"]]:
    """log p(x_0^i = y | x_t) at masked sites by K completions, the same for every y, and the least effective sample
    size over y. Self-normalised: bias O(1/K).

    Raises UsageError for a uniform source."""
    if not isinstance(source, MaskSource):
        raise UsageError("completions fill masks, of which a uniform source has none; use uniform_log_ratio")
    k, size = which.shape[1], source.vocabulary
    fill = (which * size).long().clamp(max=size - 1)
    complete = torch.where((noisy == source.mask)[:, None], fill, noisy[:, None])
    b, m = sites.shape
    repeated_sites = sites[:, None].expand(b, k, m).flatten(0, 1)
    tokens = all_candidates(repeated_sites, size)
    values = log_density(edited(complete.flatten(0, 1), repeated_sites, tokens).flatten(0, 2))
    values = values.view(b, k, m, size).permute(0, 2, 3, 1)
    return log_mean(values).log_softmax(-1), effective_sample_size(values).amin(-1)
