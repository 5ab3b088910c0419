"""How well a flow of text predicts it: bounds on −log p(x) by Monte Carlo over the latents, with standard errors.

    −log p(x) ≤ E_q[ −log w ],   w = p(x | z) p(z) / q(z | x),         (the ELBO)
    −log p(x) ≤ E_q[ −log (1/S) Σ_s w_s ],                             (importance weighted; Burda et al., 1509.00519)

the second of which never gets larger, in expectation, as S grows. With the tied decoder the integrand of a tied Mix-d
coupling is, draw by draw, log Σ_k π_k p(x = k | z): log p(x | z) − log q(z | x) = −log Σ_k N_k(z) leaves the latents'
densities out. ``collapsed`` computes it so, without large terms that cancel.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tenfold import progress
from tenfold.errors import UsageError
from tenfold.nn.border import Values, whole
from tenfold.nn.memory import require
from tenfold.settings.arguments import read_arguments
from tenfold.text.bounds import LikelihoodBound
from tenfold.text_flows.networks.couplings import MixMany
from tenfold.text_flows.networks.model import TextFlow
from tenfold.training.streams import Draws


@read_arguments
@torch.no_grad()
def log_weights(
    model: TextFlow,
    tokens: Values,
    draws: int = 1,
    *,
    seed: int = 0,
    batch: int = 64,
    index: Values | None = None,
) -> Float[Tensor, "draws b"]:
    """log w of each text for ``draws`` latents, nats, float64: log p(x, z) − log q(z | x).

    Args:
        seed: keys the draws, with the text's number.
        batch: texts computed together; it changes rounding only.
        index: the texts' numbers (b,) in a larger whole; 0, 1, … by default.

    Raises:
        UsageError: no draw asked for, what is no text of the model, and numbers that are not one a text.
    """
    if draws < 1 or batch < 1:
        raise UsageError(f"draws is {draws} and batch {batch}; give at least 1")
    tokens = model.rows(tokens)
    model.padded(tokens)
    if not len(tokens):
        return torch.zeros(draws, 0, dtype=torch.float64)
    size = model.padded_length(tokens.shape[1])
    config = model.config
    # Features of the layers, and the components of all positions.
    each = 16 * config.width + 4 * max(config.components) * config.channels
    require(4.0 * min(batch, len(tokens)) * size * each, tokens.device, f"scoring {batch} texts", "lower --batch")
    numbers = sample_numbers(index, len(tokens))
    found = torch.zeros(draws, len(tokens), dtype=torch.float64)
    with progress.task("bound", draws * len(tokens), "texts") as step:
        for k in range(draws):
            for rows in torch.arange(len(tokens)).split(batch):
                here = rows.to(tokens.device)
                noise = Draws(seed, k).normal("latents", numbers[rows].to(tokens.device), (size, config.dim))
                found[k, rows] = one_draw(model, tokens[here], noise).cpu()
                step(len(rows))
    return found


def one_draw(model: TextFlow, tokens: Int[Tensor, "b n"], noise: Float[Tensor, "b m d"]) -> Float[Tensor, " b"]:
    """log w of each text at z = μ_x + σ_x ε, float64."""
    first = model.chain[0]
    if len(model.chain) == 1 and isinstance(first, MixMany) and first.codebook is None and _tied(model):
        return collapsed(model, tokens, noise)
    terms = model(tokens, noise)
    return terms.reconstruction.double().sum(1) + terms.prior.double().sum(1) - terms.posterior.double().sum(1)


def collapsed(model: TextFlow, tokens: Values, noise: Values) -> Float[Tensor, " b"]:
    """log w of a single tied Mix-d coupling with the tied decoder: Σ_t log Σ_k π_tk p(x = k | z_t), float64. Padding is
    left out: given what was before, its own factor is integrated exactly. Shapes are those of ``TextFlow.forward``.

    Raises UsageError for another model, what is no text of it and noise of another shape."""
    tokens = model.rows(tokens)
    padded = model.padded(tokens)
    z = model.tokens.encode(padded, model.noise_of(padded, noise))
    return collapsed_terms(model, z)[:, : tokens.shape[1]].sum(1)


def collapsed_terms(model: TextFlow, z: Float[Tensor, "b n d"]) -> Float[Tensor, "b n"]:
    """log Σ_k π_tk p(x = k | z_t) of each position, float64. Over z_t ~ q(z | x_t) its exponential has mean
    p(x_t | z_<t).

    Raises UsageError for another model than one tied Mix-d coupling with the tied decoder."""
    first = model.chain[0]
    if len(model.chain) != 1 or not isinstance(first, MixMany) or first.codebook is not None or not _tied(model):
        raise UsageError("the collapsed estimator is of one tied mix-d coupling with the tied decoder; use one_draw")
    weights = first.log_weights(first.body(model.positions(z))).flatten(1, 2)
    return (weights + model.tokens.log_probs(z)).double().logsumexp(-1)


@read_arguments
def elbo(model: TextFlow, tokens: Values, draws: int = 4, **how: object) -> LikelihoodBound:
    """The evidence lower bound as an upper bound on −log p(x); keywords are those of ``log_weights``."""
    tokens = model.rows(tokens)
    values = -log_weights(model, tokens, draws, **how)  # type: ignore[arg-type]
    error = values.std(0) / math.sqrt(draws) if draws > 1 else torch.full_like(values[0], math.nan)
    return LikelihoodBound(values.mean(0), error, _counts(tokens), draws, "ELBO")


@read_arguments
def importance_bound(model: TextFlow, tokens: Values, draws: int = 16, **how: object) -> LikelihoodBound:
    """The importance-weighted bound on −log p(x) with S = ``draws``; keywords are those of ``log_weights``."""
    tokens = model.rows(tokens)
    return weighted(log_weights(model, tokens, draws, **how), tokens)  # type: ignore[arg-type]


def sample_numbers(index: Values | None, count: int) -> Int[Tensor, " b"]:
    """The numbers of texts in a larger whole, on the CPU; 0, 1, … for None.

    Raises UsageError for what is not one whole number of at least 0 a text."""
    if index is None:
        return torch.arange(count)
    numbers = whole(index, "the texts' numbers").cpu()
    if numbers.shape != (count,) or bool((numbers < 0).any()):
        raise UsageError(f"the texts' numbers have shape {tuple(numbers.shape)}; give {count}, each at least 0")
    return numbers


def weighted(values: Float[Tensor, "draws b"], tokens: Int[Tensor, "b n"]) -> LikelihoodBound:
    """The importance-weighted bound from log w."""
    draws = len(values)
    mean = values.logsumexp(0) - math.log(draws)
    ratio = (values - mean).exp()
    error = ratio.std(0) / math.sqrt(draws) if draws > 1 else torch.full_like(mean, math.nan)
    return LikelihoodBound(-mean, error, _counts(tokens), draws, "importance-weighted ELBO")


def gain(values: Float[Tensor, "draws b"], counts: tuple[int, ...]) -> list[float]:
    """The importance-weighted bound's mean in nats a text for each S of ``counts``: disjoint groups of S draws, as many
    as there are."""
    found = []
    for count in counts:
        groups = values[: len(values) // count * count].reshape(-1, count, values.shape[1])
        found.append(-float((groups.logsumexp(1) - math.log(count)).mean()))
    return found


def _tied(model: TextFlow) -> bool:
    return model.tokens.classifier is None


def _counts(tokens: Tensor) -> Tensor:
    return torch.full((len(tokens),), tokens.shape[1])
