"""Flows as densities: log-likelihood, score, denoising, likelihood bounds, per-token maps.

``log_prob`` is what training computes: it heeds dropout in training mode. All else is evaluation, in whatever mode the
flow is."""

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from tenfold import progress
from tenfold.errors import TenfoldError, UsageError
from tenfold.flows.block import Condition, Context
from tenfold.flows.loss import dequantise, discrete_log_prob
from tenfold.flows.network import FlowNetwork, FlowOutput, GivenCondition, evaluating
from tenfold.nn.attention import first_derivatives
from tenfold.nn.attention import second_derivatives as second_derivatives  # users find it beside log_prob
from tenfold.nn.border import Values, as_tensor, floats, visible
from tenfold.nn.precision import at_least_single

Density = Callable[[FlowNetwork, Tensor, GivenCondition | None], Tensor]
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
        if not 0 <= self.sigma < math.inf:
            raise UsageError(f"denoise_sigma is {self.sigma}; the noise that the flow was trained with is at least 0")
        if not math.isfinite(self.rate):
            raise UsageError(f"denoise_rate is {self.rate}; give a finite multiplier of the step")


def log_prob_of(flow: FlowNetwork, output: FlowOutput) -> Float[Tensor, "b"]:
    """log p(x) in nats, summed over dimensions, from a forward pass of ``flow`` on x."""
    z, logdet = output.z, output.logdet
    prior = 0.5 * (z.square() / flow.var + flow.var.log()).sum(dim=(1, 2))
    return z.shape[1:].numel() * (logdet - HALF_LOG_2PI) - prior


def raw_log_prob(flow: FlowNetwork, x: Tensor, condition: GivenCondition | None = None) -> Float[Tensor, "b"]:
    """``log_prob`` as it comes, NaN where the flow overflows: for chains that refuse such a proposal."""
    return log_prob_of(flow, flow(x, condition))


def log_prob(flow: FlowNetwork, x: Values, condition: GivenCondition | None = None) -> Float[Tensor, "b"]:
    """log p(x | condition) in nats, **summed** over dimensions; x (b, *shape) in the flow's own scale, [−1, 1].

    It can be differentiated twice in x, and in the weights inside ``with flows.second_derivatives():``.

    A Gaussian-noise model's value is a density of noisy data: it is no bits per dimension. Raises UsageError for NaN,
    infinite values, values far out of the flow's scale and what else the network refuses, TenfoldError where the flow
    overflows."""
    flow, x = flow.taken(x)
    return sound(raw_log_prob(flow, x, condition), hint=flow.scale_hint(x))


def sound(values: Float[Tensor, "b *shape"], what: str = "log p", hint: str = "") -> Float[Tensor, "b *shape"]:
    """The values themselves; raises TenfoldError, naming the first bad row, where they are NaN or infinite."""
    if visible(values) and not bool((finite := torch.isfinite(values)).all()):
        row = int((~finite).flatten(1).any(dim=1).int().argmax()) if values.ndim > 1 else int((~finite).int().argmax())
        value = float(values[row][~finite[row]].flatten()[0])
        raise TenfoldError(
            "; ".join([f"{what} of row {row} is {value}: the flow overflows there", *filter(None, [hint])])
        )
    return values


def unit_prior_log_prob(flow: FlowNetwork, x: Values, condition: GivenCondition | None = None) -> Float[Tensor, "b"]:
    """``log_prob`` under a standard normal prior: what the training loss is about, and what the reference
    denoises with. It differs from ``log_prob`` for volume-preserving flows only, whose prior is learned."""
    flow, x = flow.taken(x)
    z, logdet, *_ = flow(x, condition)
    return sound(flow.config.dimensions * (logdet - HALF_LOG_2PI) - 0.5 * z.square().sum(dim=(1, 2)))


def log_prob_mixture(
    flow: FlowNetwork, x: Values, chunk: int = 512
) -> tuple[Float[Tensor, "b"], Float[Tensor, "b classes"]]:
    """log p(x) = log (1/N) Σ_y p(x|y) of a class-conditional flow, and log p(x|y) for every class, in nats.

    The N·b evaluations run in chunks of ``chunk`` rows. Raises UsageError for a flow without classes."""
    classes = flow.config.classes
    if not classes:
        raise UsageError("this flow has no classes; use log_prob")
    by_class = sound(_by_class(*flow.taken(x), chunk))
    return by_class.logsumexp(dim=1) - math.log(classes), by_class


@torch.no_grad()
def log_probs(
    flow: FlowNetwork,
    x: Values,
    condition: GivenCondition | None = None,
    mixture: bool = False,
    chunk: int = 512,
) -> Float[Tensor, "b"]:
    """``log_prob`` of many inputs without gradients, in chunks of ``chunk`` rows; ``mixture`` averages p over the
    classes of a class-conditional flow, without ``condition``."""
    return sound(raw_log_probs(flow, x, condition, mixture, chunk))


@torch.no_grad()
def raw_log_probs(
    flow: FlowNetwork, x: Values, condition: GivenCondition | None = None, mixture: bool = False, chunk: int = 512
) -> Float[Tensor, "b"]:
    """``log_probs`` as they come, NaN where the flow overflows: for callers that say of what."""
    flow, x = flow.taken(x)
    if mixture:
        return _by_class(flow, x, chunk).logsumexp(dim=1) - math.log(flow.config.classes)
    given = given_rows(condition, len(x))
    chunks = progress.track(torch.arange(x.shape[0], device=x.device).split(fitting(flow, chunk)), "log p", "chunks")
    with evaluating(flow):
        return torch.cat([raw_log_prob(flow, x[rows], rows_of(given, rows)) for rows in chunks])


def _by_class(flow: FlowNetwork, x: Float[Tensor, "b *shape"], chunk: int) -> Float[Tensor, "b classes"]:
    classes = flow.config.classes
    rows = torch.arange(x.shape[0] * classes, device=x.device)
    chunks = progress.track(rows.split(fitting(flow, chunk)), "classes", "chunks")
    with evaluating(flow):
        return torch.cat([raw_log_prob(flow, x[r // classes], r % classes) for r in chunks]).view(-1, classes)


def token_nll(flow: FlowNetwork, x: Values, condition: GivenCondition | None = None) -> Float[Tensor, "b t"]:
    """−log p(x) split over the tokens of the image, in nats: row sums equal −log_prob.

    Token t gets ½ z_t² + Σ_k a_t of block k: each block's map is triangular, so its log-determinant is a sum
    over tokens in image order."""
    flow, x = flow.taken(x)
    tokens = flow.patchify(x)
    weights = flow.condition_weights(condition, tokens.shape[0])
    total = tokens.new_zeros(tokens.shape[:2])
    with evaluating(flow):
        for block in flow.blocks:
            tokens, log_scale = block(tokens, weights)
            if log_scale is not None:
                total = total + at_least_single(log_scale).sum(dim=2)
    prior = 0.5 * (tokens.square() / flow.var + flow.var.log()).sum(dim=2)
    return sound(total + prior + flow.config.token_dim * HALF_LOG_2PI, "the token map")


def score(
    flow: FlowNetwork,
    x: Values,
    condition: GivenCondition | None = None,
    chunk: int = 256,
    density: Density = log_prob,
) -> Float[Tensor, "b *shape"]:
    """∇_x log p(x | condition), by one backward pass per ``chunk`` rows (a pass holds all activations)."""
    flow, x = flow.taken(x)
    given, parts = given_rows(condition, len(x)), []
    with torch.enable_grad(), first_derivatives(), evaluating(flow):
        for rows in progress.track(
            torch.arange(x.shape[0], device=x.device).split(fitting(flow, chunk, True)), "score", "chunks"
        ):
            part = x[rows].detach().requires_grad_(True)
            (gradient,) = torch.autograd.grad(density(flow, part, rows_of(given, rows)).sum(), part)
            parts.append(gradient)
    return sound(torch.cat(parts), "the score")


def fitting(flow: FlowNetwork, chunk: int, kept: bool = False) -> int:
    """So many rows at once, ``chunk`` at most, that a pass holds some 2²⁶ hidden numbers of a layer, or 2²⁷ of all
    layers where they are kept for a backward pass: for small flows all of ``chunk``, for large ones few."""
    if chunk < 1:
        raise UsageError(f"chunk is {chunk}; give at least 1")
    each = [block.tokens * block.layer.hidden for block in flow.blocks]
    layers = [len(block.layers) for block in flow.blocks]
    numbers = sum(map(operator.mul, each, layers)) if kept else max(each)
    return max(1, min(chunk, (1 << (27 if kept else 26)) // numbers))


def given_rows(condition: GivenCondition | None, batch: int) -> Condition | None:
    """A condition of which rows can be taken (``rows_of``). Raises UsageError for another number of rows."""
    if condition is None or isinstance(condition, Context):
        rows = batch if condition is None else len(condition.vectors)
    else:
        condition = as_tensor(condition, "the condition")
        rows = len(condition) if condition.ndim else 0
    if rows != batch:
        raise UsageError(f"the condition has {rows} rows for a batch of {batch}")
    return condition


def rows_of(condition: Condition | None, rows: Int64[Tensor, "r"]) -> Condition | None:
    """A condition of the samples ``rows``."""
    return None if condition is None else condition[rows]


def denoise(
    flow: FlowNetwork,
    x: Values,
    sigma: float,
    condition: GivenCondition | None = None,
    rate: float = 1.0,
    chunk: int = 256,
    density: Density = log_prob,
) -> Float[Tensor, "b *shape"]:
    """Tweedie's estimate x + rate·σ² ∇_x log p(x) of the clean image (arXiv 2412.06329, equation 8), for a
    flow trained on data with Gaussian noise of standard deviation σ. Not clipped. ``density`` is
    ``log_prob``, or ``unit_prior_log_prob`` to follow the reference for volume-preserving flows.

    Raises UsageError for a negative or infinite σ."""
    if not 0 <= sigma < math.inf:
        raise UsageError(f"sigma is {sigma}; the noise that the flow was trained with cannot be negative")
    flow, x = flow.taken(x)
    return x + rate * sigma**2 * score(flow, x, condition, chunk, density)


def discrete_log_probs(
    flow: FlowNetwork,
    pixels: Values,
    levels: int,
    uniform: Callable[[int], Tensor],
    draws: int = 16,
    condition: GivenCondition | None = None,
    mixture: bool = False,
) -> Float[Tensor, "draws b"]:
    """log p(v + u_k) − the change of scale, in nats summed over dimensions, one row per dequantisation draw; without
    gradients.

    ``uniform(k)`` gives the k-th noise (b, *shape) in [0, 1). ``mixture`` averages p over the classes. Each
    row is an unbiased sample of the K = 1 bound; ``importance_bound`` combines them into tighter ones."""
    rows, pixels = [], as_tensor(pixels, "the images")
    for k in progress.track(range(draws), "dequantisation", "draws"):
        x = dequantise(pixels, levels, uniform(k))
        value = log_probs(flow, x, condition, mixture)
        rows.append(discrete_log_prob(value, flow.config.dimensions, levels))
    return torch.stack(rows)


def importance_bound(log_probs: Float[Tensor, "draws b"], samples: int) -> Float[Tensor, "groups b"]:
    """log mean_k p(v + u_k) over groups of ``samples`` draws: a bound of log P(v) that tightens with
    ``samples`` (K in the tables). Draws beyond the last full group are left out.

    Raises UsageError when there are fewer draws than ``samples``."""
    draws, batch = floats(log_probs, "log_probs").shape
    if samples < 1 or samples > draws:
        raise UsageError(f"a bound with K = {samples} needs at least {samples} draws, but there are {draws}")
    groups = draws // samples
    grouped = log_probs[: groups * samples].view(groups, samples, batch)
    return grouped.logsumexp(dim=1) - math.log(samples)
