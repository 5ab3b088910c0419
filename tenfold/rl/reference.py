"""The model as it was before it was tuned: that it stays, and how far the tuned one has gone from it."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from tenfold.discrete.objectives import distribution_form
from tenfold.errors import UsageError


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
