"""An autoregressive table of an enumerable world, as a teacher."""

import torch
from jaxtyping import Float
from torch import Tensor

from tenfold.discrete_diffusion.networks.tabular import number_of


class TabularAutoregressive:
    """p(x^i | x^{<i}) from a table for each place: ``tables[i]`` (V^i, V), logits by the number of the prefix."""

    def __init__(self, tables: list[Tensor]) -> None:
        self.tables = [table.log_softmax(-1) for table in tables]
        self.vocabulary = tables[0].shape[1]

    @classmethod
    def of_law(cls, law: Float[Tensor, " c"], vocabulary: int, length: int) -> "TabularAutoregressive":
        """The factors of a law of all sequences."""
        sums = [law.view(vocabulary**i, vocabulary, -1).sum(-1) for i in range(length)]
        return cls([s.log() for s in sums])

    def to(self, device: torch.device, dtype: torch.dtype | None = None) -> "TabularAutoregressive":
        """Move the tables."""
        self.tables = [table.to(device=device, dtype=dtype or table.dtype) for table in self.tables]
        return self

    def read(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """See ``LeftToRight``."""
        places = [self.tables[i][number_of(tokens[:, :i], self.vocabulary)] for i in range(tokens.shape[1])]
        return torch.stack(places, 1), tokens

    def continued(self, state: Tensor, rows: Tensor, start: int, tokens: Tensor) -> Tensor:
        """See ``LeftToRight``."""
        whole = torch.cat([state[rows, :start], tokens], 1)
        each = self.read(whole)[0].gather(-1, whole[..., None])[..., 0]
        return each[:, start + 1 :].sum(1)

    def soft(self, one_hot: Tensor) -> Tensor:
        """See ``LeftToRight``: between tokens the probabilities are mixed."""
        places = []
        prefix = one_hot.new_ones(len(one_hot), 1)
        for i, table in enumerate(self.tables):
            places.append((prefix @ table.exp().to(one_hot.dtype)).log())
            prefix = (prefix[:, :, None] * one_hot[:, i, None]).flatten(1)
        return torch.stack(places, 1)

    def log_prob(self, tokens: Tensor) -> Tensor:
        """log p of sequences, (b,)."""
        return self.read(tokens)[0].gather(-1, tokens[..., None])[..., 0].sum(1)

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Draws (count, n)."""
        tokens = torch.zeros(count, 0, dtype=torch.long)
        for table in self.tables:
            weights = (
                table[number_of(tokens, self.vocabulary)].exp() if tokens.shape[1] else table.exp().expand(count, -1)
            )
            tokens = torch.cat([tokens, torch.multinomial(weights, 1, generator=generator)], 1)
        return tokens
