"""What a model is known to give texts at the least: bounds on −log p, and their bits a token."""

import math
from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class LikelihoodBound:
    """An upper bound on −log p of texts, in nats, or its exact value.

    Attributes:
        nats: of each text, the mean over ``draws``; float64.
        standard_error: of that mean over the noise: 0 where exact, NaN for one draw. For an importance-weighted bound
            it is that of the logarithm of a mean, by the delta method.
        tokens: that are counted in each text.
        draws: of the noise, a text.
        name: which bound it is.
    """

    nats: Float[Tensor, " b"]
    standard_error: Float[Tensor, " b"]
    tokens: Int[Tensor, " b"]
    draws: int
    name: str

    def bits_per_token(self) -> tuple[float, float]:
        """Bits a token over all texts, and its standard error: the texts' differences and the noise are both in it."""
        total = self.tokens.sum().item()
        ratio = self.nats.sum().item() / total
        rest = self.nats - ratio * self.tokens
        spread = rest.std().item() * math.sqrt(len(rest)) / total if len(rest) > 1 else math.nan
        return ratio / math.log(2), spread / math.log(2)
