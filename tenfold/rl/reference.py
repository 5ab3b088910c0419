"""A tuned model beside the one before: that this stays, how far the other has gone from it, and what it learns of
preferences between two texts from the rise of a bound on their likelihoods over the reference's."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from tenfold.discrete.objectives import distribution_form
from tenfold.errors import UsageError
from tenfold.nn.border import floats, visible, whole
from tenfold.nn.tensors import read_tensors, within
from tenfold.rl.rewards import Pool
from tenfold.settings.arguments import read_arguments


@read_tensors(infinite=("log_posterior", "log_reference"))
def drift(
    log_posterior: Float[Tensor, "b n v"],
    log_reference: Float[Tensor, "b n v"],
    active: Bool[Tensor, "b n"],
    weight: Float[Tensor, " b"],
) -> Float[Tensor, " b"]:
    """w_t Σ_{active} KL(p_θ ‖ p_ref) at one noise: an upper bound, in expectation over noised samples of the student,
    on the divergence of its law from the reference's; what a KL budget is held to."""
    value = distribution_form(log_posterior, log_reference, "kl")
    return weight * torch.where(active, value, 0.0).sum(1)


def check_frozen(reference: nn.Module, student: nn.Module) -> None:
    """Raises UsageError for a reference that would be trained, or that shares weights with the student: it would
    follow it, and every divergence from it would stay 0."""
    if any(p.requires_grad for p in reference.parameters()):
        raise UsageError("the reference's weights require gradients; freeze them with reference.requires_grad_(False)")
    own = {p.untyped_storage().data_ptr() for p in student.parameters()}
    if any(p.untyped_storage().data_ptr() in own for p in reference.parameters()):
        raise UsageError("the reference shares weights with the student; take copy.deepcopy of it before training")


class Pairs(NamedTuple):
    """Texts of which the first is preferred."""

    winner: Int[Tensor, "b n"]
    loser: Int[Tensor, "b n"]


@read_tensors()
def paired(pool: Pool, uniforms: Float[Tensor, " h"]) -> Pairs:
    """The two halves of a pool as pairs, who wins drawn from σ(R_1 − R_2) (Bradley-Terry) by U[0, 1) numbers.

    Raises UsageError for a pool of fewer than twice as many texts as there are numbers, and rewards that are not
    finite."""
    if not isinstance(pool, Pool):
        raise UsageError(f"the pool is {type(pool).__name__}; give tokens and rewards as a Pool")
    half = len(uniforms)
    within(uniforms, "uniforms", 0.0, 1.0)
    tokens, rewards = whole(pool.tokens, "the pool's tokens"), floats(pool.rewards, "the pool's rewards")
    if tokens.ndim != 2 or rewards.shape != (len(tokens),) or len(tokens) < 2 * half:
        raise UsageError(
            f"a pool has tokens of shape {tuple(tokens.shape)} and rewards of shape {tuple(rewards.shape)}; for {half} "
            f"pairs give ({2 * half} or more, n), and a reward of each"
        )
    first = uniforms < (rewards[:half] - rewards[half : 2 * half]).sigmoid()
    one, two = tokens[:half], tokens[half : 2 * half]
    return Pairs(torch.where(first[:, None], one, two), torch.where(first[:, None], two, one))


@read_tensors(infinite=("log_model", "log_reference"))
def gain(
    log_model: Float[Tensor, "*b n v"],
    log_reference: Float[Tensor, "*b n v"],
    clean: Int[Tensor, "*b n"],
    active: Bool[Tensor, "*b n"],
    weight: Float[Tensor, "*b"],
) -> Float[Tensor, "*b"]:
    """Δ = w_t Σ_{active} (log p_θ − log p_ref)(x_0^i | x_t): how much the bound of a text rose, estimated at one
    noise.

    Raises UsageError for tokens outside the v, and where a token that counts has no probability under either."""
    within(clean, "clean", 0, log_model.shape[-1])
    # At tokens that stand this may be −∞ less −∞, which is left out.
    rise = (log_model - log_reference).gather(-1, clean[..., None])[..., 0]
    kept = torch.where(active, rise, 0.0)
    if visible(kept) and not bool(kept.isfinite().all()):
        raise UsageError("a token of a text has no probability under the model or the reference; floor both")
    return weight * kept.sum(-1)


@read_arguments
@read_tensors()
def preference_loss(
    winner: Float[Tensor, "b m"], loser: Float[Tensor, "b m"], beta: float
) -> tuple[Float[Tensor, " b"], dict[str, Tensor]]:
    """−log σ(β [Δ_w − Δ_l]), each Δ the mean of m noises, which are the same for both texts and both models
    (arXiv 2305.18290, with the bound in place of the likelihood). Its optimum under Bradley-Terry rewards is
    p_ref e^{R/β}/Z. Metrics: the margin, and how often it is positive.

    Raises UsageError unless β is positive, and without a noise."""
    if not beta > 0:
        raise UsageError(f"beta is {beta}; it must be positive")
    if not winner.shape[1]:
        raise UsageError("the gains are of no noise; give at least one a text")
    margin = beta * (winner.mean(1) - loser.mean(1))
    metrics = {"margin": margin.detach().mean(), "accuracy": (margin.detach() > 0).float().mean()}
    return -F.logsigmoid(margin), metrics
