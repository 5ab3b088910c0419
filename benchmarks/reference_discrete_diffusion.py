"""The published forms of losses of discrete diffusion, written anew: arrays over the vocabulary, no rearranging."""

import torch
from torch import Tensor
from torch.nn import functional as F


def udlm_loss(log_probs: Tensor, clean: Tensor, noisy: Tensor, alpha: Tensor, rate: Tensor) -> Tensor:
    """UDLM's integrand (b, n) as its formula stands: one-hot clean tokens, every ratio over the vocabulary."""
    size = log_probs.shape[-1]
    a = alpha[:, None, None]
    x_bar = size * a * F.one_hot(clean, size).to(log_probs) + 1 - a
    x_bar_theta = size * a * log_probs.exp() + 1 - a
    x_bar_z, x_bar_theta_z = (x.gather(-1, noisy[..., None]) for x in (x_bar, x_bar_theta))
    logs = x_bar_theta_z.log() - x_bar_theta.log() + x_bar.log() - x_bar_z.log()
    inner = (x_bar / x_bar_z * logs).sum(-1) - (size / x_bar_z - size / x_bar_theta_z)[..., 0]
    return rate[:, None] / (size * alpha[:, None]) * inner


def masked_loss(hidden: Tensor, head: torch.nn.Linear, clean: Tensor, masked: Tensor, weight: Tensor) -> Tensor:
    """MDLM's loss (b, n) with the head on every token: log-probabilities of all, then those of masked tokens."""
    log_probs = head(hidden).log_softmax(-1)
    nll = -log_probs.gather(-1, clean[..., None])[..., 0]
    return weight[:, None] * nll * masked
