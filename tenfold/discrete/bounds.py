"""Bounds on −log p(x_0) of discrete diffusion, per site and unit of time: MDLM, SEDD, UDLM, flow matching, D3PM.

Each function gives (b, n) in nats, to be integrated over t and summed over active sites; α (b,) is that of the noisy
tokens and ``rate`` (b,) is −dα/dt. Coefficients are computed in α's own dtype: near α = 1 give it in float64.

The bound of the masked process (``masked``: MDLM, MD4, SEDD with a mask) is the entropy of the data at the true
posterior, whatever the schedule; that of the uniform process (``uniform``: UDLM, SEDD) is so at the true leave-one-out
conditionals. ``generalised_kl`` (flow matching) is the same for a mask, but with a uniform source it is looser even at
the true posterior, so that its values compare with no others.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from tenfold.discrete.objectives import cross_entropy
from tenfold.discrete.paths import MaskSource, Source, UniformSource, View, check_classes
from tenfold.errors import UsageError

NAMES = {
    "masked": "NELBO of the masked process",
    "uniform": "NELBO of the uniform process",
    "generalised_kl": "generalised KL bound of flow matching",
}


def masked(
    log_posterior: Float[Tensor, "b n v"],
    clean: Int[Tensor, "b n"],
    noisy: Int[Tensor, "b n"],
    alpha: Float[Tensor, " b"],
    rate: Float[Tensor, " b"],
    source: MaskSource,
) -> Float[Tensor, "b n"]:
    """−α'/(1 − α) · −log p(x_0^i | x_t) at masks (Sahoo et al., arXiv 2406.07524, equation 10; MD4, RADD)."""
    check_classes(log_posterior, source)
    check_noisy_level(alpha, source)
    weight = (rate / (1 - alpha)).to(log_posterior)[:, None]
    return torch.where(source.active(noisy), weight * cross_entropy(log_posterior, clean), 0.0)


def uniform(
    log_leave_one_out: Float[Tensor, "b n v"],
    clean: Int[Tensor, "b n"],
    noisy: Int[Tensor, "b n"],
    alpha: Float[Tensor, " b"],
    rate: Float[Tensor, " b"],
    view: View = "leave_one_out",
) -> Float[Tensor, "b n"]:
    """The bound of UDLM (Schiff et al., arXiv 2412.10193) from leave-one-out log-probabilities Q.

    With x̄ = Vα [x_0] + 1 − α, constant off x_0, and x̄θ = Vα Q + 1 − α the sum over the vocabulary is Σ_j log x̄θ_j
    and two lookups: no array of one-hot tokens is made.

    Raises UsageError for the posterior view, at which this is no bound of the model (arXiv 2504.16431's posterior
    plugged in has a wrong optimum), and at α = 0 or 1."""
    if view != "leave_one_out":
        raise UsageError(
            "this bound is exact for the leave-one-out view, not for the posterior; convert it with "
            "leave_one_out_from_posterior"
        )
    size = log_leave_one_out.shape[-1]
    check_noisy_level(alpha, UniformSource(size))
    a, b = size * alpha[:, None], 1 - alpha[:, None]
    # log x̄θ = log(1 − α) + log(1 + Vα/(1 − α) Q): one pass over the vocabulary, and one lookup of both tokens.
    odds, log_b = (x.to(log_leave_one_out) for x in (a.log() - b.log(), b.log()))
    every = size * log_b + F.softplus(log_leave_one_out + odds[..., None], threshold=40.0).sum(-1)
    both = log_leave_one_out.gather(-1, torch.stack([noisy, clean], dim=-1)) + odds[..., None]
    at_noisy, at_clean = (log_b[..., None] + F.softplus(both, threshold=40.0)).unbind(-1)
    here = torch.where(noisy == clean, a + b, b)  # x̄ at the noisy token
    known = (a + b) * (a + b).log() + (size - 1) * b * b.log() - size * here.log() - size
    weight = rate[:, None] / (alpha[:, None] * size)
    known, here, weight, a, b = (x.to(log_leave_one_out) for x in (known, here, weight, a, b))
    total = (known + size * at_noisy - b * every - a * at_clean) / here
    return weight * (total + size * torch.exp(-at_noisy))


def generalised_kl(
    log_posterior: Float[Tensor, "b n k"],
    clean: Int[Tensor, "b n"],
    noisy: Int[Tensor, "b n"],
    alpha: Float[Tensor, " b"],
    rate: Float[Tensor, " b"],
    source: Source,
) -> Float[Tensor, "b n"]:
    """−α'/(1 − α) {[x_t = x_0] − p(x_t^i) − [x_t ≠ x_0] log p(x_0^i)}, the bound of discrete flow matching from the
    posterior (Shaul et al., arXiv 2412.03487). The predictions have V classes, or one for the mask as well."""
    check_noisy_level(alpha, source)
    nll = cross_entropy(log_posterior, clean)
    classes = log_posterior.shape[-1]
    here = log_posterior.gather(-1, noisy.clamp(max=classes - 1)[..., None])[..., 0].exp()
    here = torch.where(noisy < classes, here, 0.0)
    weight = (rate / (1 - alpha)).to(log_posterior)[:, None]
    return weight * torch.where(noisy == clean, 1 - here, nll - here)


def score_entropy(
    log_ratios: Float[Tensor, "b n s"],
    clean: Int[Tensor, "b n"],
    noisy: Int[Tensor, "b n"],
    alpha: Float[Tensor, " b"],
    rate: Float[Tensor, " b"],
    source: Source,
) -> Float[Tensor, "b n"]:
    """The generalised KL divergence of the model's noisy ratios s_y from r_y = p(y | x_0)/p(x_t | x_0), at the rate of
    forward jumps y → x_t (SEDD: Lou et al., arXiv 2310.16834); 0 at tokens that a mask source left alone."""
    check_noisy_level(alpha, source)
    weight = (rate / alpha).to(log_ratios)[:, None]
    a, b = alpha[:, None], 1 - alpha[:, None]
    at_clean = log_ratios.gather(-1, clean[..., None])[..., 0]
    others = log_ratios.exp().sum(-1) - log_ratios.gather(-1, noisy[..., None])[..., 0].exp()
    if isinstance(source, MaskSource):
        ratio = (a / b).to(log_ratios)
        value = others - ratio * at_clean + ratio * (ratio.log() - 1)
        return torch.where(source.active(noisy), weight * value, 0.0)
    logs = log_ratios.sum(-1) - log_ratios.gather(-1, noisy[..., None])[..., 0]
    size = source.vocabulary
    b = b / size
    down, up = ((b / (a + b)).to(log_ratios), ((a + b) / b).to(log_ratios))
    same = others - down * logs + (size - 1) * down * (down.log() - 1)
    moved = others - (logs - at_clean) - up * at_clean - (size - 2) + up * (up.log() - 1)
    return weight / size * torch.where(noisy == clean, same, moved)


def finite_steps(
    log_probs: Float[Tensor, "b n k"],
    clean: Int[Tensor, "b n"],
    noisy: Int[Tensor, "b n"],
    alpha_s: Float[Tensor, " b"],
    alpha_t: Float[Tensor, " b"],
    steps: int,
    source: Source,
) -> Float[Tensor, "b n"]:
    """T KL(q(x_s | x_t, x_0) ‖ p_θ(x_s | x_t)) of a chain of T steps, s before t (Austin et al., arXiv 2107.03006).

    For a mask source ``log_probs`` is the posterior over V tokens, or over V + 1 with a mass of its own for the mask;
    for a uniform one the leave-one-out view."""
    a_s, a_t = alpha_s[:, None], alpha_t[:, None]
    if isinstance(source, MaskSource):
        reveal = (a_s - a_t) / (1 - a_t)
        if log_probs.shape[-1] > source.mask:
            left = log_probs[..., source.mask].exp()
            before, now = (torch.log1p((a / (1 - a)).to(left) * left) for a in (a_s, a_t))
        else:
            before = now = torch.zeros_like(log_probs[..., 0])
        reveal = reveal.to(log_probs)
        value = reveal * (now + cross_entropy(log_probs, clean)) + (1 - reveal) * (now - before)
        return torch.where(source.active(noisy), steps * value, 0.0)
    arrival = source.likelihood(noisy, alpha_t / alpha_s).to(log_probs)  # p(x_t | x_s)
    truth = (arrival * source.likelihood(clean, alpha_s).to(log_probs)).log()
    model = (
        arrival * (a_s[..., None] * log_probs.exp() + (1 - a_s[..., None]) / source.vocabulary).to(log_probs)
    ).log()
    truth, model = truth.log_softmax(-1), model.log_softmax(-1)
    return steps * (truth.exp() * (truth - model)).sum(-1)


def check_noisy_level(alpha: Tensor, source: Source) -> None:
    """Raises UsageError at α = 1, where the weights are infinite, for a uniform source at α = 0 also."""
    if not bool((alpha < 1).all()):
        raise UsageError("alpha is 1: without noise the weight of the bound is infinite; draw times above 0")
    if isinstance(source, UniformSource) and not bool((alpha > 0).all()):
        raise UsageError("alpha is 0: the ratios of a uniform source are then 0/0; give a schedule with epsilon > 0")
