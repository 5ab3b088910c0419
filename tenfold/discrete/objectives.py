"""Objectives of discrete diffusion: target concrete score matching and the methods that are cases of it.

All is written on the conditional q_i(·) of a clean token at site i: given the noisy sequence (a factorised model), or
given the other clean tokens as well (a joint one). The objective of Zhang et al., arXiv 2504.16431, is

    E_t E_{x_t} E_{x_0 ~ h(·|x_t)} Σ_{i active} ℓ_i,

where ℓ_i compares the target's conditional with the model's, by a Bregman divergence of the ratios q_i(y)/q_i(x_0^i)
(score form) or by a divergence of the distributions (distribution form). With h the data's posterior, the target may be
replaced by draws: ``score_form_from_data`` and ``cross_entropy``. Every function here gives a loss per site, (b, n), in
nats; the caller weighs it by −α'/(1 − α) (``likelihood_weight``) and sums over ``source.active(noisy)``.
``tenfold.discrete.bounds`` has the bounds on the likelihood that are cases of it.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from tenfold.errors import UsageError, suggest

Score = Literal["generalised_kl", "swapped_kl", "half_squared", "itakura_saito", "logistic"]
Distribution = Literal["kl", "reverse_kl", "jensen_shannon", "total_variation"]


class Bregman(NamedTuple):
    """A convex F of ratios r > 0, as functions of log r: F(r), F'(r) and F'(r) r − F(r).

    D(u, v) = F(u) − F(v) − F'(v)(u − v) is F(u) + conjugate(v) − u F'(v)."""

    potential: Callable[[Tensor], Tensor]
    slope: Callable[[Tensor], Tensor]
    conjugate: Callable[[Tensor], Tensor]


BREGMAN: dict[str, Bregman] = {
    # F = r log r − r
    "generalised_kl": Bregman(lambda r: _times_log(r) - r.exp(), lambda r: r, torch.exp),
    # F = r²/2
    "half_squared": Bregman(lambda r: (2 * r).exp() / 2, torch.exp, lambda r: (2 * r).exp() / 2),
    # F = −log r
    "itakura_saito": Bregman(lambda r: -r, lambda r: -(-r).exp(), lambda r: r - 1),
    # F = r log r − (1 + r) log(1 + r)
    "logistic": Bregman(
        lambda r: _times_log(r) - (1 + r.exp()) * F.softplus(r), lambda r: -F.softplus(-r), lambda r: F.softplus(r)
    ),
}


def _times_log(log_ratio: Tensor) -> Tensor:
    """r log r, 0 at r = 0."""
    return torch.where(log_ratio == -torch.inf, 0.0, log_ratio.exp() * log_ratio.clamp(min=-1e30))


def ratio_divergence(log_u: Tensor, log_v: Tensor, divergence: Score = "generalised_kl") -> Tensor:
    """D(u, v) of ratios by their logarithms, elementwise; u is the target. "swapped_kl" is the generalised KL
    divergence with its arguments exchanged. A target of 0 is allowed.

    >>> ratio_divergence(torch.tensor(0.0), torch.tensor(1.0))
    tensor(0.7183)
    """
    if divergence == "swapped_kl":
        return ratio_divergence(log_v, log_u, "generalised_kl")
    if divergence not in BREGMAN:
        raise UsageError(
            f"there is no divergence of ratios {divergence!r}{suggest(divergence, (*BREGMAN, 'swapped_kl'))}"
        )
    potential, slope, conjugate = BREGMAN[divergence]
    none = log_u == -torch.inf
    product = log_u.exp() * slope(torch.where(none, 0.0, log_v))
    return potential(log_u) + conjugate(log_v) - torch.where(none, 0.0, product)


def score_form(
    log_target: Float[Tensor, "b n v"],
    log_model: Float[Tensor, "b n v"],
    clean: Int[Tensor, "b n"],
    divergence: Score = "generalised_kl",
) -> Float[Tensor, "b n"]:
    """Σ_y D(u_y, v_y), u_y = target_i(y)/target_i(x_0^i) and v_y the model's ratio: constants of either cancel."""
    u, v = (p - p.gather(-1, clean[..., None]) for p in (log_target, log_model))
    return ratio_divergence(u, v, divergence).sum(-1)


def distribution_form(
    log_target: Float[Tensor, "b n v"], log_model: Float[Tensor, "b n v"], divergence: Distribution = "kl"
) -> Float[Tensor, "b n"]:
    """A divergence of the target's conditional from the model's, both normalised; "total_variation" is half the sum
    of differences."""
    if divergence == "kl":
        return _kl(log_target, log_model)
    if divergence == "reverse_kl":
        return _kl(log_model, log_target)
    if divergence == "jensen_shannon":
        middle = (log_target.double().exp() / 2 + log_model.double().exp() / 2).log().to(log_model)
        return (_kl(log_target, middle) + _kl(log_model, middle)) / 2
    if divergence == "total_variation":
        return (log_target.exp() - log_model.exp()).abs().sum(-1) / 2
    raise UsageError(
        f"there is no divergence of distributions {divergence!r}{suggest(divergence, get_args(Distribution))}"
    )


def _kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    none = log_p == -torch.inf
    return torch.where(none, 0.0, log_p.exp() * (log_p.masked_fill(none, 0) - log_q.masked_fill(none, 0))).sum(-1)


# --- from data alone: h is the posterior ------------------------------------------------------------------------


def cross_entropy(log_model: Float[Tensor, "b n v"], clean: Int[Tensor, "b n"]) -> Float[Tensor, "b n"]:
    """−log q_i(x_0^i): the distribution form with KL, up to the entropy of the target."""
    return -log_model.gather(-1, clean[..., None])[..., 0]


def pseudo_likelihood(
    log_model: Float[Tensor, "b n v"], clean: Int[Tensor, "b n"], cap: float | None = None
) -> Float[Tensor, "b n"]:
    """−log q_i(x_0^i) + 1/(V q_i(x_0^i)), the first term of the score form from data. 1/q is astronomical where a
    model is sure and wrong: ``cap`` is the largest −log q that is inverted; beyond it the term grows linearly."""
    nll = cross_entropy(log_model, clean)
    return nll + _inverse(nll, cap) / log_model.shape[-1]


def entropy_term(log_model: Float[Tensor, "b n v"], cap: float | None = None) -> Float[Tensor, "b n"]:
    """Σ_y log q_i(y) / V, the second term; with a ``cap`` no log q counts as less than −cap. Without one it has no
    least value where a token cannot occur: its probability is pushed down for ever."""
    return (log_model if cap is None else log_model.clamp(min=-cap)).mean(-1)


def sampled_entropy_term(
    log_model: Float[Tensor, "b n v"], uniforms: Float[Tensor, "b n m"], cap: float | None = None
) -> Float[Tensor, "b n"]:
    """The same without bias from m tokens y, uniformly drawn by U[0, 1) numbers: for large vocabularies."""
    size = log_model.shape[-1]
    return entropy_term(log_model.gather(-1, (uniforms * size).long().clamp(max=size - 1)), cap)


def score_form_from_data(
    log_model: Float[Tensor, "b n v"],
    clean: Int[Tensor, "b n"],
    divergence: Score = "generalised_kl",
    cap: float | None = None,
) -> Float[Tensor, "b n"]:
    """The score form up to a constant of the target, E Σ_y F(u_y), without knowing the target: x_0 is data.

    For any F, exchanging x_0^i and y in Σ_y u_y F'(v_y) gives Σ_x [F'(r_x) r_x − F(r_x)] − Σ_x F'(1/r_x) with
    r_x = q_i(x)/q_i(x_0^i). For the generalised KL divergence it is V (pseudo-likelihood + entropy term). The exchange
    holds where every token may occur. ``cap`` bounds the logarithms of probabilities and ratios (1/q goes on as its
    tangent); None for none.

    Raises UsageError for "swapped_kl", which is no Bregman divergence in the target."""
    if divergence == "generalised_kl":
        return log_model.shape[-1] * (pseudo_likelihood(log_model, clean, cap) + entropy_term(log_model, cap))
    if divergence not in BREGMAN:
        raise UsageError(f"divergence {divergence!r} needs the target; from data alone there are {', '.join(BREGMAN)}")
    _, slope, conjugate = BREGMAN[divergence]
    ratio = log_model - log_model.gather(-1, clean[..., None])
    if cap is not None:
        ratio = ratio.clamp(-cap, cap)
    return (conjugate(ratio) - slope(-ratio)).sum(-1)


def _inverse(nll: Tensor, cap: float | None) -> Tensor:
    """1/q = exp(nll), its tangent beyond ``cap``."""
    if cap is None:
        return nll.exp()
    below = nll.clamp(max=cap)
    return below.exp() * (1 + nll - below)
