"""Numbers held in 16 bits."""

import torch
from jaxtyping import Float
from torch import Tensor


def is_half(x: Tensor) -> bool:
    """Whether x is held in 16 bits."""
    return x.dtype in (torch.bfloat16, torch.float16)


def at_least_single(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """x, in single precision where it is held in half."""
    return x.float() if is_half(x) else x
