"""TarFlow as a density: log-likelihood, score, denoising, likelihood bounds, per-token maps."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64, Integer
from torch import Tensor

from tenfold import progress
from tenfold.errors import UsageError
from tenfold.flows.block import Condition
from tenfold.flows.loss import dequantise, discrete_log_prob
from tenfold.flows.network import FlowNetwork, FlowOutput

Density = Callable[[FlowNetwork, Tensor, Condition | None], Tensor]
HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)


@dataclass(frozen=True)
class Denoising:
    """Removal of Gaussian noise by one step along the score, as ``denoise`` takes it.

    Attributes:
        sigma: standard deviation of the noise that the flow was trained with.
        rate: multiplier of the step.
    """

    sigma: float
    rate: float = 1.0

    def __post_init__(self) -> None:
        if not self.sigma >= 0:
            raise UsageError(f"denoise_sigma is {self.sigma}; the noise that the flow was trained with is at least 0")


def log_prob_of(flow: FlowNetwork, output: FlowOutput) -> Float[Tensor, "b"]:
    """log p(x) in nats, summed over dimensions, from a forward pass of ``flow`` on x."""
    z, logdet = output.z, output.logdet
    prior = 0.5 * (z.square() / flow.var + flow.var.log()).sum(dim=(1, 2))
    return z[0].numel() * (logdet - HALF_LOG_2PI) - prior


def log_prob(flow: FlowNetwork, x: Float[Tensor, "b *shape"], condition: Condition | None = None) -> Float[Tensor, "b"]:
    """log p(x | condition) in nats, **summed** over dimensions; x in the flow's own scale, [−1, 1].

    A Gaussian-noise model's value is a density of noisy data: it is no bits per dimension."""
    return log_prob_of(flow, flow(x, condition))


def unit_prior_log_prob(
    flow: FlowNetwork, x: Float[Tensor, "b *shape"], condition: Condition | None = None
) -> Float[Tensor, "b"]:
    """``log_prob`` under a standard normal prior: what the training loss is about, and what the reference
    denoises with. It differs from ``log_prob`` for volume-preserving flows only, whose prior is learned."""
    z, logdet, *_ = flow(x, condition)
    return z[0].numel() * (logdet - HALF_LOG_2PI) - 0.5 * z.square().sum(dim=(1, 2))


def log_prob_mixture(
    flow: FlowNetwork, x: Float[Tensor, "b *shape"], chunk: int = 512
) -> tuple[Float[Tensor, "b"], Float[Tensor, "b classes"]]:
    """log p(x) = log (1/N) Σ_y p(x|y) of a class-conditional flow, and log p(x|y) for every class, in nats.

    The N·b evaluations run in chunks of ``chunk`` rows. Raises UsageError for a flow without classes."""
    classes = flow.config.classes
    if not classes:
        raise UsageError("this flow has no classes; use log_prob")
    batch = x.shape[0]
    rows = torch.arange(batch * classes, device=x.device)
    chunks = progress.track(rows.split(chunk), "classes", "chunks")
    parts = [log_prob(flow, x[r // classes], r % classes) for r in chunks]
    by_class = torch.cat(parts).view(batch, classes)
    return by_class.logsumexp(dim=1) - math.log(classes), by_class


@torch.no_grad()
def log_probs(
    flow: FlowNetwork,
    x: Float[Tensor, "b *shape"],
    condition: Condition | None = None,
    mixture: bool = False,
    chunk: int = 512,
) -> Float[Tensor, "b"]:
    """``log_prob`` of many inputs without gradients, in chunks of ``chunk`` rows; ``mixture`` averages p over the
    classes of a class-conditional flow, without ``condition``."""
    if mixture:
        return log_prob_mixture(flow, x, chunk)[0]
    chunks = progress.track(torch.arange(x.shape[0], device=x.device).split(chunk), "log p", "chunks")
    return torch.cat([log_prob(flow, x[rows], rows_of(condition, rows)) for rows in chunks])


def token_nll(
    flow: FlowNetwork, x: Float[Tensor, "b *shape"], condition: Condition | None = None
) -> Float[Tensor, "b t"]:
    """−log p(x) split over the tokens of the image, in nats: row sums equal −log_prob.

    Token t gets ½ z_t² + Σ_k a_t of block k: each block's map is triangular, so its log-determinant is a sum
    over tokens in image order."""
    flow = flow.like(x)
    tokens = flow.patchify(x)
    weights = flow.condition_weights(condition, tokens.shape[0])
    total = tokens.new_zeros(tokens.shape[:2])
    for block in flow.blocks:
        tokens, log_scale = block(tokens, weights)
        if log_scale is not None:
            total = total + log_scale.sum(dim=2)
    prior = 0.5 * (tokens.square() / flow.var + flow.var.log()).sum(dim=2)
    return total + prior + flow.config.token_dim * HALF_LOG_2PI


def score(
    flow: FlowNetwork,
    x: Float[Tensor, "b *shape"],
    condition: Condition | None = None,
    chunk: int = 256,
    density: Density = log_prob,
) -> Float[Tensor, "b *shape"]:
    """∇_x log p(x | condition), by one backward pass per ``chunk`` rows (a pass holds all activations)."""
    parts = []
    with torch.enable_grad():
        for rows in progress.track(torch.arange(x.shape[0], device=x.device).split(chunk), "score", "chunks"):
            part = x[rows].detach().requires_grad_(True)
            (gradient,) = torch.autograd.grad(density(flow, part, rows_of(condition, rows)).sum(), part)
            parts.append(gradient)
    return torch.cat(parts)


def rows_of(condition: Condition | None, rows: Int64[Tensor, "r"]) -> Condition | None:
    """A condition of the samples ``rows``."""
    return None if condition is None else condition[rows]


def denoise(
    flow: FlowNetwork,
    x: Float[Tensor, "b *shape"],
    sigma: float,
    condition: Condition | None = None,
    rate: float = 1.0,
    chunk: int = 256,
    density: Density = log_prob,
) -> Float[Tensor, "b *shape"]:
    """Tweedie's estimate x + rate·σ² ∇_x log p(x) of the clean image (arXiv 2412.06329, equation 8), for a
    flow trained on data with Gaussian noise of standard deviation σ. Not clipped. ``density`` is
    ``log_prob``, or ``unit_prior_log_prob`` to follow the reference for volume-preserving flows.

    Raises UsageError for a negative σ."""
    if sigma < 0:
        raise UsageError(f"sigma is {sigma}; the noise that the flow was trained with cannot be negative")
    return x + rate * sigma**2 * score(flow, x, condition, chunk, density)


def discrete_log_probs(
    flow: FlowNetwork,
    pixels: Integer[Tensor, "b *shape"],
    levels: int,
    uniform: Callable[[int], Tensor],
    draws: int = 16,
    condition: Condition | None = None,
    mixture: bool = False,
) -> Float[Tensor, "draws b"]:
    """log p(v + u_k) − the change of scale, in nats summed over dimensions, one row per dequantisation draw; without
    gradients.

    ``uniform(k)`` gives the k-th noise (b, *shape) in [0, 1). ``mixture`` averages p over the classes. Each
    row is an unbiased sample of the K = 1 bound; ``importance_bound`` combines them into tighter ones."""
    rows = []
    for k in progress.track(range(draws), "dequantisation", "draws"):
        x = dequantise(pixels, levels, uniform(k))
        value = log_probs(flow, x, condition, mixture)
        rows.append(discrete_log_prob(value, flow.config.dimensions, levels))
    return torch.stack(rows)


def importance_bound(log_probs: Float[Tensor, "draws b"], samples: int) -> Float[Tensor, "groups b"]:
    """log mean_k p(v + u_k) over groups of ``samples`` draws: a bound of log P(v) that tightens with
    ``samples`` (K in the tables). Draws beyond the last full group are left out.

    Raises UsageError when there are fewer draws than ``samples``."""
    draws, batch = log_probs.shape
    if samples < 1 or samples > draws:
        raise UsageError(f"a bound with K = {samples} needs at least {samples} draws, but there are {draws}")
    groups = draws // samples
    grouped = log_probs[: groups * samples].view(groups, samples, batch)
    return grouped.logsumexp(dim=1) - math.log(samples)
