"""What a student is matched to, one protocol for all: the ratio p(x with y at site i) / p(x) of clean sequences.

Normalising constants cancel in it, so that energies, rewards and teachers without a likelihood of their own serve
alike. Noise enters by one factor, the likelihood of x_t^i: ``site_target`` (arXiv 2504.16431, the target concrete
score).
"""

from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tenfold.discrete.masking import mask_exactly
from tenfold.discrete.objectives import distribution_form, ratio_divergence
from tenfold.discrete.paths import Source
from tenfold.errors import UsageError


@runtime_checkable
class Target(Protocol):
    """A density p of clean sequences, as ratios of neighbours."""

    def site_log_ratio(self, clean: Tensor, noisy: Tensor, sites: Tensor, candidates: Tensor) -> Tensor:
        """log p(clean with candidate k at site j) − log p(clean), (b, m, k), for ``clean`` and ``noisy`` (b, n),
        ``sites`` (b, m) and ``candidates`` (b, m, k), int64."""


class Data:
    """The data itself, of which one sequence is known: its token for certain. Matched by KL it is the cross entropy,
    whose expectation over data has the true conditionals as its optimum."""

    def site_log_ratio(self, clean: Tensor, noisy: Tensor, sites: Tensor, candidates: Tensor) -> Tensor:
        """0 at the token of ``clean``, −∞ elsewhere."""
        here = candidates == clean.gather(1, sites)[..., None]
        return torch.where(here, 0.0, -torch.inf)


def restricted(
    log_probs: Float[Tensor, "b n v"], sites: Int[Tensor, "b m"], candidates: Int[Tensor, "b m k"]
) -> Float[Tensor, "b m k"]:
    """Log-probabilities at sites, of the candidates, not normalised again."""
    rows = torch.arange(len(sites), device=sites.device)[:, None]
    return log_probs[rows, sites].gather(-1, candidates)


def site_ratios(
    values: Float[Tensor, "b n v"],
    clean: Int[Tensor, "b n"],
    sites: Int[Tensor, "b m"],
    candidates: Int[Tensor, "b m k"],
) -> Float[Tensor, "b m k"]:
    """What ``values`` have at the candidates of sites, less what they have at the token itself."""
    return restricted(values, sites, candidates) - restricted(values, sites, clean.gather(1, sites)[..., None])


def site_target(
    target: Target,
    clean: Int[Tensor, "b n"],
    noisy: Int[Tensor, "b n"],
    alpha: Float[Tensor, " b"],
    sites: Int[Tensor, "b m"],
    candidates: Int[Tensor, "b m k"],
    source: Source,
    temperature: float = 1.0,
) -> Float[Tensor, "b m k"]:
    """log p(x_0^i = y | x_0 elsewhere, x_t) among the candidates: softmax of the log-ratios (over the temperature)
    and log p(x_t^i | x_0^i = y). Candidates that repeat an earlier one get −∞.

    Raises UsageError for ratios that are NaN or +∞."""
    ratios = target.site_log_ratio(clean, noisy, sites, candidates)
    if bool((ratios.isnan() | (ratios == torch.inf)).any()):
        raise UsageError("a target's log-ratio is NaN or infinite; check the density, the reward and its scale")
    likelihood = source.likelihood(noisy, alpha.to(ratios.dtype))
    at_site = restricted(likelihood, sites, candidates).log()
    logits = (ratios / temperature + at_site).masked_fill(repeated(candidates), -torch.inf)
    return logits.log_softmax(-1)


def repeated(candidates: Int[Tensor, "b m k"]) -> Bool[Tensor, "b m k"]:
    """Which candidates an earlier one equals."""
    same = candidates[..., :, None] == candidates[..., None, :]
    return same.tril(-1).any(-1)


def all_candidates(sites: Int[Tensor, "b m"], vocabulary: int) -> Int[Tensor, "b m v"]:
    """Every token at every site."""
    return torch.arange(vocabulary, device=sites.device).expand(*sites.shape, vocabulary)


def top_candidates(
    log_probs: Float[Tensor, "b n v"], clean: Int[Tensor, "b n"], sites: Int[Tensor, "b m"], count: int
) -> Int[Tensor, "b m k"]:
    """The current token, and the ``count`` most probable ones at the site (ties to the lower number); k = count + 1.

    Raises UsageError for more candidates than tokens."""
    size = log_probs.shape[-1]
    if not 1 <= count <= size:
        raise UsageError(f"{count} candidates of a vocabulary of {size} are asked for; give 1 to {size}")
    rows = torch.arange(len(sites), device=sites.device)[:, None]
    best = log_probs[rows, sites].sort(dim=-1, descending=True, stable=True).indices[..., :count]
    return torch.cat([clean.gather(1, sites)[..., None], best], -1)


def choose_sites(
    active: Bool[Tensor, "b n"], count: int, uniforms: Float[Tensor, "b n"]
) -> tuple[Int[Tensor, "b m"], Bool[Tensor, "b m"], Float[Tensor, " b"]]:
    """``count`` active sites a row, every set equally likely; where there are fewer, all of them. Returns the sites
    in order, which of them are real, and (active sites) / (chosen sites), which makes sums over the chosen unbiased."""
    total = active.sum(1)
    chosen = mask_exactly(active, total.clamp(max=count), uniforms)
    places = chosen.to(torch.uint8).sort(dim=1, descending=True, stable=True).indices[:, :count]
    real = chosen.gather(1, places)
    return places, real, total / real.sum(1).clamp(min=1)


def shared_sites(
    active: Bool[Tensor, "b n"], count: int, uniforms: Float[Tensor, " n"]
) -> tuple[Int[Tensor, "b m"], Bool[Tensor, "b m"], Float[Tensor, " b"]]:
    """The same ``count`` places in all rows, every set equally likely, as ``choose_sites`` returns them: a teacher
    that reads suffixes then reads all rows of a place at once. Which are real differs by row; the share is n over the
    count."""
    n = active.shape[1]
    places = uniforms.argsort()[: min(count, n)].sort().values.expand(len(active), -1)
    share = torch.full((len(active),), n / places.shape[1], device=active.device)
    return places, active.gather(1, places), share


def edited(
    clean: Int[Tensor, "b n"], sites: Int[Tensor, "b m"], candidates: Int[Tensor, "b m k"]
) -> Int[Tensor, "b m k n"]:
    """``clean`` with each candidate at its site."""
    m, k = candidates.shape[1:]
    copies = clean[:, None, None].expand(-1, m, k, -1).clone()
    return copies.scatter_(-1, sites[:, :, None, None].expand(-1, -1, k, 1), candidates[..., None])


def matching_loss(
    log_posterior: Float[Tensor, "b n v"],
    log_target: Float[Tensor, "b m k"],
    clean: Int[Tensor, "b n"],
    sites: Int[Tensor, "b m"],
    candidates: Int[Tensor, "b m k"],
    real: Bool[Tensor, "b m"],
    share: Float[Tensor, " b"],
    form: Literal["kl", "generalised_kl"] = "kl",
) -> Float[Tensor, " b"]:
    """Σ over the chosen sites × (active / chosen) of D(target ‖ student), nats a row.

    "kl": of the distributions over the candidates, the student's normalised on them. "generalised_kl": of the ratios to
    the current token, which must be the first candidate.

    Raises UsageError for ratios whose first candidate is another token."""
    student = restricted(log_posterior, sites, candidates)
    absent = log_target == -torch.inf
    if form == "generalised_kl":
        if bool((candidates[..., 0] != clean.gather(1, sites)).any()):
            raise UsageError("ratios are taken to the current token; put it first among the candidates")
        terms = ratio_divergence(log_target - log_target[..., :1], student - student[..., :1])
        value = torch.where(absent, 0.0, terms).sum(-1)
    else:
        value = distribution_form(log_target, student.masked_fill(absent, -torch.inf).log_softmax(-1), "kl")
    return share * torch.where(real, value, 0.0).sum(1)
