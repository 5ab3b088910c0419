"""What a move of chains is, and what it draws with: numbers keyed by (seed, purpose, turn, chain)."""

import math
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tenfold.discrete_samplers.targets.protocol import DiscreteTarget
from tenfold.errors import UsageError
from tenfold.nn.border import as_tensor, floats
from tenfold.training.streams import key_of

_GOLDEN = 0x9E3779B97F4A7C15 - 2**64  # as int64, whose products wrap as those of unsigned numbers do
_FIRST, _SECOND = 0xBF58476D1CE4E5B9 - 2**64, 0x94D049BB133111EB - 2**64


def mixed(z: Int[Tensor, "*b"]) -> Int[Tensor, "*b"]:
    """The finaliser of SplitMix64: 64 bits, each of which depends on every bit of z. ``z`` is written over.

    An arithmetic shift and a mask are a logical shift."""
    for shift, factor in ((30, _FIRST), (27, _SECOND)):
        z = z.bitwise_xor_((z >> shift) & (2 ** (64 - shift) - 1)).mul_(factor)
    return z.bitwise_xor_((z >> 31) & (2**33 - 1))


@dataclass(frozen=True)
class ChainDraws:
    """U[0, 1) numbers of chains. Those of a chain depend on the seed, the purpose, the turn and its own number alone,
    not on which chains are computed with it.

    Attributes:
        seed: of all numbers.
        index: (b,) int64 numbers of the chains.
        turn: which step it is.
    """

    seed: int
    index: Int[Tensor, " b"]
    turn: int = 0

    def uniform(self, purpose: str, *shape: int, dtype: torch.dtype = torch.float32) -> Float[Tensor, "b *shape"]:
        """Numbers (b, *shape) for a purpose of this turn, with 24 random bits (53 for float64).

        Row b is the SplitMix64 sequence (Steele, Lea, Flood 2014) from a state that is a hash of seed, purpose, turn
        and the chain's number: a quarter of the arithmetic of Philox, which a sweep would otherwise consist of."""
        count, key = math.prod(shape), key_of(self.seed, purpose, self.turn)
        state = mixed(mixed(self.index * _GOLDEN + (key - 2**64 if key >= 2**63 else key)) + _GOLDEN)
        whole = dtype == torch.float64
        lanes = torch.arange(1, (count if whole else (count + 1) // 2) + 1, device=self.index.device) * _GOLDEN
        words = mixed(state[:, None] + lanes)
        if whole:
            values = ((words >> 11) & (2**53 - 1)).to(dtype) * 2.0**-53
        else:
            halves = words.view(torch.int32)[:, :count]
            values = (((halves >> 8) & (2**24 - 1)).to(torch.float32) * 2.0**-24).to(dtype)
        return values.reshape(-1, *shape)

    def at(self, turn: int) -> "ChainDraws":
        """Of another turn."""
        return ChainDraws(self.seed, self.index, turn)


class Moved(NamedTuple):
    """Chains after a move, and the share of proposals that each accepted."""

    x: Int[Tensor, "b d"]
    accepted: Float[Tensor, " b"]


@runtime_checkable
class ChainKernel(Protocol):
    """A move that leaves a target's law invariant."""

    def __call__(self, target: DiscreteTarget, x: Tensor, draws: ChainDraws) -> Moved:
        """Chains (b, d) one move on; a move is a sweep, about one update a site, where the kernel says no other."""


def check_kernel(kernel: object) -> None:
    """Raise UsageError for what is no move."""
    if isinstance(kernel, type) or not callable(kernel):
        told = f"the class {kernel.__name__}" if isinstance(kernel, type) else repr(kernel)[:60]
        raise UsageError(f"kernel is {told}; give a move that was made, Gibbs() say")


def check_watched(values: object, rows: int) -> Float[Tensor, " b"]:
    """One finite number a row. Raises UsageError for anything else that a ``watched`` function gives."""
    found = floats(as_tensor(values, "watched").to(torch.float64), "what watched gives")  # type: ignore[arg-type]
    if found.shape != (rows,):
        raise UsageError(f"watched gave shape {tuple(found.shape)} for {rows} rows of tokens; it gives a number a row")
    return found


def drawn(probabilities: Float[Tensor, "*b s"], uniforms: Float[Tensor, "*b"]) -> Int[Tensor, "*b"]:
    """Outcomes by inverting the distribution function, without waiting for the device; probabilities need not sum to
    1, and an outcome of probability 0 is never drawn."""
    levels = probabilities.cumsum(-1)
    point = uniforms.to(levels.dtype)[..., None] * levels[..., -1:]
    return (levels <= point).sum(-1).clamp(max=levels.shape[-1] - 1)


def metropolis(
    log_ratio: Float[Tensor, " b"],
    uniforms: Float[Tensor, " b"],
    proposed: Int[Tensor, "b d"],
    x: Int[Tensor, "b d"],
) -> Moved:
    """Accept with probability min(1, e^{log_ratio}); a ratio that is NaN (from one forbidden state to another) is
    refused."""
    accepted = uniforms.log() < torch.where(log_ratio.isnan(), -torch.inf, log_ratio)
    return Moved(torch.where(accepted[:, None], proposed, x), accepted.to(log_ratio.dtype))
