"""Enumerable worlds: few tokens, so that every sum is a sum, and a model is a table.

Sequences of n tokens are numbered in row-major order, the first token the most significant.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from tenfold.discrete.paths import MaskSource, Source, View, carried_over
from tenfold.errors import UsageError

_MOST = 10_000_000


class TabularModel(nn.Module):
    """A factorised model with a logit for every noisy sequence, site and token; it does not look at the time.

    >>> model = TabularModel(MaskSource(4), length=2)
    >>> model(torch.tensor([[4, 1]])).exp()[0, 1]
    tensor([0., 1., 0., 0.], grad_fn=<SelectBackward0>)

    Attributes:
        table: (S^n, n, V), zeros at first.
    """

    time_conditioned = False

    def __init__(self, source: Source, length: int, view: View = "posterior") -> None:
        super().__init__()
        size = source.states**length
        if size * length * source.vocabulary > _MOST:
            raise UsageError(f"{source.states} states at {length} sites are {size} sequences; a table needs fewer")
        self.source, self.length, self.view = source, length, view
        self.table = nn.Parameter(torch.zeros(size, length, source.vocabulary))

    def forward(
        self,
        noisy: Int[Tensor, "b n"],
        time: Float[Tensor, " b"] | None = None,
        rows: Bool[Tensor, "b n"] | None = None,
    ) -> Tensor:
        """Log-probabilities of the view, (b, n, V), or (k, V) of the k chosen ``rows``."""
        log_probs = self.table[number_of(noisy, self.source.states)].log_softmax(-1)
        if isinstance(self.source, MaskSource) and self.view == "posterior":
            log_probs = carried_over(log_probs, noisy, self.source)
        return log_probs if rows is None else log_probs[rows]


def sequences(states: int, length: int) -> Int[Tensor, "s n"]:
    """All sequences in order.

    >>> sequences(2, 2).tolist()
    [[0, 0], [0, 1], [1, 0], [1, 1]]
    """
    grid = torch.meshgrid(*[torch.arange(states)] * length, indexing="ij")
    return torch.stack([axis.reshape(-1) for axis in grid], dim=1)


def number_of(tokens: Int[Tensor, "b n"], states: int) -> Int[Tensor, " b"]:
    """The numbers of sequences in that order."""
    places = states ** torch.arange(tokens.shape[1] - 1, -1, -1, device=tokens.device)
    return (tokens * places).sum(1)


def joint_likelihood(
    noisy: Int[Tensor, "t n"], clean: Int[Tensor, "c n"], alpha: Float[Tensor, " t"], source: Source
) -> Float[Tensor, "t c"]:
    """p(x_t | x_0) of every pair of a noisy and a clean sequence."""
    each = source.likelihood(noisy, alpha)
    return torch.stack([each[:, i].index_select(1, clean[:, i]) for i in range(noisy.shape[1])]).prod(0)


def joint_posterior(
    law: Float[Tensor, " c"], noisy: Int[Tensor, "t n"], alpha: Float[Tensor, " t"], source: Source
) -> Float[Tensor, "t c"]:
    """log p(x_0 | x_t) over all clean sequences, of a ``law`` of them."""
    clean = sequences(source.vocabulary, noisy.shape[1])
    return (joint_likelihood(noisy, clean, alpha, source) * law).log().log_softmax(1)


def marginals(log_joint: Float[Tensor, "t c"], vocabulary: int) -> Float[Tensor, "t n v"]:
    """log p(x_0^i = y | x_t) of a joint table."""
    cube, length = _cube(log_joint, vocabulary)
    sites = []
    for i in range(length):
        others = [axis for axis in range(1, length + 1) if axis != i + 1]
        sites.append(cube.logsumexp(others) if others else cube)
    return torch.stack(sites, 1)


def site_conditionals(log_joint: Float[Tensor, "t c"], vocabulary: int) -> Float[Tensor, "t c n v"]:
    """log p(x_0^i = y | the other clean tokens, x_t), at every clean sequence; NaN where those have no mass."""
    cube, length = _cube(log_joint, vocabulary)
    count = log_joint.shape[1]
    sites = []
    for i in range(length):
        last = cube.log_softmax(i + 1).movedim(i + 1, -1).unsqueeze(i + 1)
        shape = [*cube.shape[: i + 1], vocabulary, *cube.shape[i + 2 :], vocabulary]
        sites.append(last.expand(shape).reshape(-1, count, vocabulary))
    return torch.stack(sites, 2)


def _cube(log_joint: Tensor, vocabulary: int) -> tuple[Tensor, int]:
    length = round(torch.tensor(float(log_joint.shape[1])).log().item() / torch.tensor(float(vocabulary)).log().item())
    if vocabulary**length != log_joint.shape[1]:
        raise UsageError(f"{log_joint.shape[1]} columns are no power of the vocabulary, {vocabulary}")
    return log_joint.reshape(-1, *[vocabulary] * length), length


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
