"""A denoiser that knows the truth: exact conditionals of a small Markov chain, by enumeration.

With it, what a sampler adds to a model's own errors can be measured: one token a pass is exact, several are not.
"""

import itertools

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tenfold.masked_lm.config import SpecialIds
from tenfold.masked_lm.model import MaskedLM


class Oracle(MaskedLM):
    """p(x_i | what is revealed) under a Markov chain of ``length`` tokens; the mask is one more id than the states.

    Attributes:
        sequences: (S, length) every sequence, in lexical order.
        probabilities: (S,) float64.
    """

    sequences: Tensor
    probabilities: Tensor

    def __init__(self, first: Float[Tensor, " k"], transition: Float[Tensor, "k k"], length: int) -> None:
        nn.Module.__init__(self)
        states = len(first)
        self.states, self.length, self.logit_shift, self.tokenizer = states, length, False, None
        self.special = SpecialIds(mask=states)
        sequences = torch.tensor(list(itertools.product(range(states), repeat=length)))
        first, transition = first.double() / first.double().sum(), transition.double()
        transition = transition / transition.sum(dim=1, keepdim=True)
        steps = transition[sequences[:, :-1], sequences[:, 1:]]
        self.register_buffer("sequences", sequences)
        self.register_buffer("probabilities", first[sequences[:, 0]] * steps.prod(dim=1))

    @property
    def device(self) -> torch.device:
        """Where the sequences are."""
        return self.sequences.device

    @property
    def vocab_size(self) -> int:
        """The states and the mask."""
        return self.states + 1

    @property
    def max_positions(self) -> int:
        """The chain's length."""
        return self.length

    def hidden(
        self,
        tokens: Int[Tensor, "b n"],
        attention_mask: Tensor | None = None,
        position_ids: Int[Tensor, "b n"] | None = None,
        cache: object | None = None,
    ) -> Float[Tensor, "b n k"]:
        """Logarithms of the conditionals; −inf for the mask."""
        fits = ((tokens[:, None] == self.special.mask) | (tokens[:, None] == self.sequences)).all(dim=-1)
        weights = fits * self.probabilities
        ids = torch.nn.functional.one_hot(self.sequences, self.vocab_size).double()
        marginals = torch.einsum("bs,snk->bnk", weights / weights.sum(dim=1, keepdim=True), ids)
        return marginals.log()

    def logits(self, hidden_rows: Float[Tensor, "*rows k"]) -> Float[Tensor, "*rows k"]:
        """The same."""
        return hidden_rows

    def counts(self, drawn: Int[Tensor, "b n"]) -> Int[Tensor, " s"]:
        """How often each sequence was drawn."""
        places = self.states ** torch.arange(self.length - 1, -1, -1, device=drawn.device)
        return torch.bincount((drawn * places).sum(dim=1), minlength=len(self.sequences))

    def distance(self, drawn: Int[Tensor, "b n"]) -> float:
        """Total variation between the drawn sequences and the chain; some of it is the noise of counting."""
        counts = self.counts(drawn)
        return float((counts / counts.sum() - self.probabilities).abs().sum() / 2)


def example_chain(length: int = 5) -> Oracle:
    """Three states, each likely to go on to the next one: strongly dependent neighbours."""
    transition = torch.tensor([[0.1, 0.8, 0.1], [0.05, 0.15, 0.8], [0.75, 0.15, 0.1]])
    return Oracle(torch.tensor([0.5, 0.3, 0.2]), transition, length)
