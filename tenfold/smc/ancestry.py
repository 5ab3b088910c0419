"""Who descends from whom: lines of ancestors, how many of the first generation are left, and what that says about the
error of one population's evidence."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tenfold.smc.weights import normalised_weights


def genealogies(ancestors: Int[Tensor, "t m n"]) -> Int[Tensor, "t1 m n"]:
    """The line of every particle of the last generation: entry s is the number that its ancestor had before
    resampling s, and the last entry its own.

    >>> genealogies(torch.tensor([[[0, 0, 1]], [[2, 2, 0]]]))[:, 0].tolist()
    [[1, 1, 0], [2, 2, 0], [0, 1, 2]]
    """
    line = torch.arange(ancestors.shape[-1], device=ancestors.device).expand(ancestors.shape[1:])
    lines = [line]
    for generation in ancestors.flip(0):
        line = generation.gather(-1, line)
        lines.append(line)
    return torch.stack(lines[::-1])


def unique_ancestors(roots: Int[Tensor, "*m n"]) -> Int[Tensor, "*m"]:
    """How many different numbers stand in each row: of the first generation's particles, those with descendants.

    >>> unique_ancestors(torch.tensor([[3, 3, 1], [2, 2, 2]])).tolist()
    [2, 1]
    """
    ordered = roots.sort(-1).values
    return (ordered[..., 1:] != ordered[..., :-1]).sum(-1) + 1


def relative_variance(
    log_weights: Float[Tensor, "*m n"], roots: Int[Tensor, "*m n"], resamplings: Int[Tensor, "*m"]
) -> Float[Tensor, "*m"]:
    """Var(Ẑ)/Z² from the lines of one run, V = 1 − (n/(n−1))^{r+1} Σ_{roots differ} W_i W_j (Lee and Whiteley 2018).

    Consistent for multinomial resampling, cautious for the others, which are less noisy. Where all particles have one
    root it says 1, whatever the truth: nothing is left to tell.

    Args:
        log_weights: of the last generation.
        roots: numbers of their ancestors in the first one, in [0, n).
        resamplings: r, how often each population was resampled.
    """
    n = log_weights.shape[-1]
    weights = normalised_weights(log_weights)
    families = torch.zeros_like(weights).scatter_add_(-1, roots, weights)
    inflation = (n / max(n - 1, 1)) ** (resamplings.double() + 1)
    return (1 - inflation * (1 - families.square().sum(-1))).clamp(min=0)
