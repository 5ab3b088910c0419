"""The terms of an autoencoder's objective, as pure functions."""

from typing import Literal

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from tenfold.nn.precision import at_least_single


def pixel_distance(
    rebuilt: Float[Tensor, "b *shape"], images: Float[Tensor, "b *shape"], kind: Literal["l1", "l2"]
) -> Float[Tensor, "b"]:
    """Mean absolute ("l1") or square ("l2") difference of pixels, per image, in float32 at least."""
    difference = at_least_single((rebuilt - images).flatten(1))
    return difference.abs().mean(dim=1) if kind == "l1" else difference.square().mean(dim=1)


def kl_divergence(mean: Float[Tensor, "b *shape"], log_variance: Float[Tensor, "b *shape"]) -> Float[Tensor, "b"]:
    """KL(N(mean, exp log variance) | N(0, 1)) per image, in nats, summed over latent numbers:

    ½ Σ (mean² + variance − 1 − log variance) (Kingma and Welling, arXiv 1312.6114, appendix B).

    >>> import torch
    >>> kl_divergence(torch.ones(1, 4), torch.zeros(1, 4))
    tensor([2.])
    """
    mean, log_variance = mean.flatten(1).float(), log_variance.flatten(1).float()
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=1)


def discriminator_hinge(real: Float[Tensor, "*n"], fake: Float[Tensor, "*m"]) -> Float[Tensor, ""]:
    """½ (mean max(0, 1 − real) + mean max(0, 1 + fake)): scores of real images above 1, of made ones below −1."""
    return 0.5 * (F.relu(1 - real.float()).mean() + F.relu(1 + fake.float()).mean())


def generator_hinge(fake: Float[Tensor, "*n"]) -> Float[Tensor, ""]:
    """− mean of the scores of made images."""
    return -fake.float().mean()
