"""Gibbs sampling of the Ising lattice with 64 chains in a word (multi-spin coding; Jacobs and Rebbi 1981).

A word holds one site of 64 chains. The checkerboard's two colours are arrays (height, width/2, words); the number of up
neighbours comes from a carry-save adder, and all 64 chains compare one random number each, bit by bit, with the five
heat-bath probabilities.
"""

import math

import numpy as np
import torch
from jaxtyping import Int, UInt64
from torch import Tensor

from tenfold import progress
from tenfold.discrete_samplers.result import Counts, SamplerResult, one_mode
from tenfold.discrete_samplers.targets.binary import Ising
from tenfold.errors import UsageError
from tenfold.settings.arguments import read_arguments
from tenfold.training.streams import key_of

_WORD = 64
_WORDS = 32  # of a block, which has a generator of its own
_BITS = 24  # of a random number, as float32 ones have: probabilities are rounded to 2^-24
Words = UInt64[np.ndarray, "h w n"]


@read_arguments
def packed_gibbs(
    target: Ising, chains: int = 2048, sweeps: int = 256, seed: int = 0, device: str | torch.device = "cpu"
) -> SamplerResult:
    """Chains of checkerboard heat-bath sweeps, from random spins, where they end.

    Words are computed on the CPU, by NumPy; samples lie on ``device``. Chains go in blocks of 2048 with random numbers
    of their own: the first n chains are the same however many are asked for.

    Raises:
        UsageError: a lattice with an odd side, or one of 2 (whose bonds are double), no ``Ising``, fewer than 2 chains.

    >>> packed_gibbs(Ising(4, 4, 0.2), chains=5, sweeps=2).samples.shape
    torch.Size([5, 16])
    """
    if not isinstance(target, Ising) or target.height % 2 or target.width % 2 or min(target.height, target.width) < 4:
        raise UsageError("packed sampling is for Ising lattices with even sides of at least 4; use Gibbs otherwise")
    if chains < 2 or sweeps < 1:
        raise UsageError(f"chains and sweeps are {chains} and {sweeps}; give at least 2 and 1")
    block = _WORD * _WORDS
    blocks = range(math.ceil(chains / block))
    with progress.task("packed Gibbs", sweeps * len(blocks), "sweeps") as step:
        parts = [_block(target, sweeps, np.random.SFC64(key_of(seed, "packed gibbs", k)), step) for k in blocks]
    samples = torch.cat(parts)[:chains].to(device)
    note = one_mode(samples, 2)
    zeros = torch.zeros(chains, dtype=torch.float64, device=samples.device)
    counts = Counts(ratios=float(chains * sweeps))
    return SamplerResult(samples, zeros, counts, notes=(note,) if note else ())


def _block(target: Ising, sweeps: int, generator: np.random.BitGenerator, step: progress.Meter) -> Int[Tensor, "c d"]:
    height, half = target.height, target.width // 2
    shape = (height, half, _WORDS)
    thresholds = [_digits(_up(target, 2 * n - 4)) for n in range(5)]
    # Without a field p_{4−n} = 1 − p_n, and a site compares with one of them: the complement of the mask serves.
    compared = thresholds[:3] if target.field == 0 else thresholds
    colours = [_random(shape, generator) for _ in range(2)]
    work = _BitPlanes(shape)
    for _ in range(sweeps):
        for parity in (0, 1):
            _compare(work.masks, compared, _random((_BITS, *shape), generator))
            _half_sweep(colours[parity], colours[1 - parity], parity, len(compared), work)
        step()
    return _unpacked(*colours)


class _BitPlanes:
    """Arrays that are written over and over: nothing is allocated in a sweep but its random words."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.masks = [np.empty(shape, np.uint64) for _ in range(5)]
        self.beside, self.above, self.below, self.x, self.y, self.low, self.two, self.four, self.more = (
            np.empty(shape, np.uint64) for _ in range(9)
        )


def _up(target: Ising, neighbours: int) -> float:
    """p(s = +1 | sum of the neighbours' spins)."""
    return 1 / (1 + math.exp(-2 * (target.beta * neighbours + target.field)))


def _digits(probability: float) -> list[bool] | bool:
    """Binary digits of a probability, the least first; a truth value where it rounds to 0 or 1."""
    number = round(probability * 2**_BITS)
    if number in (0, 2**_BITS):
        return number > 0
    digits = [bool(number >> k & 1) for k in range(_BITS)]
    return digits[digits.index(True) :]  # zeros at the end change nothing


def _random(shape: tuple[int, ...], generator: np.random.BitGenerator) -> UInt64[np.ndarray, "*s"]:
    return generator.random_raw(math.prod(shape)).reshape(shape)


def _compare(masks: list[Words], thresholds: list[list[bool] | bool], words: UInt64[np.ndarray, "k h w n"]) -> None:
    """masks[c] gets bits that are 1 with probability p_c: with random words r, from the last binary digit of p to the
    first, m ← r | m where the digit is 1 and r & m where it is 0."""
    for mask, digits in zip(masks, thresholds, strict=False):
        mask.fill(0xFFFFFFFFFFFFFFFF if digits is True else 0)
        if isinstance(digits, bool):
            continue
        for word, digit in zip(words[_BITS - len(digits) :], digits, strict=True):
            (np.bitwise_or if digit else np.bitwise_and)(mask, word, out=mask)


def _half_sweep(mine: Words, others: Words, parity: int, compared: int, work: _BitPlanes) -> None:
    """One colour drawn anew, in place. Site (i, j) of a colour lies in column 2j + (i + parity) mod 2: beside it in its
    row are the others' (i, j), and (i, j − 1) in rows where it is first, (i, j + 1) where it is second."""
    beside, above, below = work.beside, work.above, work.below
    first, second = slice(parity, None, 2), slice(1 - parity, None, 2)
    beside[first, 1:], beside[first, 0] = others[first, :-1], others[first, -1]
    beside[second, :-1], beside[second, -1] = others[second, 1:], others[second, 0]
    above[1:], above[0] = others[:-1], others[-1]
    below[:-1], below[-1] = others[1:], others[0]
    x, y, low, two, four, more = work.x, work.y, work.low, work.two, work.four, work.more
    # The number of neighbours that are up, in binary: low + 2 two + 4 four; x, y and more hold carries in turn.
    np.bitwise_xor(others, beside, out=x)
    np.bitwise_xor(above, below, out=y)
    np.bitwise_xor(x, y, out=low)
    np.bitwise_and(x, y, out=more)
    np.bitwise_and(others, beside, out=x)
    np.bitwise_and(above, below, out=y)
    np.bitwise_xor(x, y, out=two)
    np.bitwise_and(x, y, out=four)
    np.bitwise_and(more, two, out=x)
    np.bitwise_or(four, x, out=four)
    np.bitwise_xor(two, more, out=two)
    masks = work.masks
    if compared < len(masks):
        for n in range(compared, len(masks)):
            np.bitwise_not(masks[len(masks) - 1 - n], out=masks[n])
    # Each site takes the mask of its number: 3 = low & two, 2, 1, 4, 0.
    _choose(masks[1], masks[3], two, x)
    _choose(masks[0], masks[2], two, y)
    _choose(y, x, low, y)
    _choose(y, masks[4], four, mine)


def _choose(zero: Words, one: Words, where: Words, out: Words) -> None:
    """Bits of ``one`` where ``where`` has 1, of ``zero`` elsewhere; ``out`` may be ``zero``."""
    change = zero ^ one
    change &= where
    np.bitwise_xor(zero, change, out=out)


def _unpacked(even: Words, odd: Words) -> Int[Tensor, "c d"]:
    height, half, words = even.shape
    lattice = np.empty((height, 2 * half, words), np.uint64)
    for parity, colour in ((0, even), (1, odd)):
        lattice[0::2, parity::2] = colour[0::2]
        lattice[1::2, 1 - parity :: 2] = colour[1::2]
    bits = lattice[..., None] >> np.arange(_WORD, dtype=np.uint64) & np.uint64(1)
    return torch.from_numpy(bits.reshape(height * 2 * half, -1).T.astype(np.int64))
