"""Gibbs sampling of the Ising lattice with 64 chains in a word (multi-spin coding; Jacobs and Rebbi 1981).

A word holds one site of 64 chains. The checkerboard's two colours are arrays (height, width/2, words); the number of up
neighbours comes from a carry-save adder, and all 64 chains compare one random number each, bit by bit, with the five
heat-bath probabilities.
"""

import math

import torch
from jaxtyping import Int
from torch import Tensor

from tenfold import progress
from tenfold.discrete_samplers.result import Counts, SamplerResult, one_mode
from tenfold.discrete_samplers.targets.binary import Ising
from tenfold.errors import UsageError
from tenfold.settings.arguments import read_arguments
from tenfold.training.streams import Draws

_WORD = 64
_WORDS = 32  # of a block, which has a generator of its own
_BITS = 24  # of a random number, as float32 ones have: probabilities are rounded to 2^-24


@read_arguments
def packed_gibbs(
    target: Ising, chains: int = 2048, sweeps: int = 256, seed: int = 0, device: str | torch.device = "cpu"
) -> SamplerResult:
    """Chains of checkerboard heat-bath sweeps, from random spins, where they end.

    Chains go in blocks of 2048 with random numbers of their own: the first n chains are the same however many are
    asked for.

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
        parts = [_block(target, sweeps, Draws(seed, k).generator("packed gibbs", device), step) for k in blocks]
    samples = torch.cat(parts)[:chains]
    note = one_mode(samples, 2)
    zeros = torch.zeros(chains, dtype=torch.float64, device=samples.device)
    counts = Counts(ratios=float(chains * sweeps))
    return SamplerResult(samples, zeros, counts, notes=(note,) if note else ())


def _block(target: Ising, sweeps: int, generator: torch.Generator, step: progress.Meter) -> Int[Tensor, "c d"]:
    height, half = target.height, target.width // 2
    shape = (height, half, _WORDS)
    thresholds = [_digits(_up(target, 2 * n - 4)) for n in range(5)]
    even, odd = _random(shape, generator), _random(shape, generator)
    masks = [torch.empty_like(even) for _ in thresholds]
    words = even.new_empty(_BITS, *shape)
    # Without a field p_{4−n} = 1 − p_n, and a site compares with one of them: the complement of the mask serves.
    compared = thresholds[:3] if target.field == 0 else thresholds
    for _ in range(sweeps):
        even = _half_sweep(even, odd, 0, compared, masks, words, generator)
        odd = _half_sweep(odd, even, 1, compared, masks, words, generator)
        step()
    return _unpacked(even, odd)


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


def _random(shape: tuple[int, ...], generator: torch.Generator) -> Int[Tensor, "h w n"]:
    return torch.empty(shape, dtype=torch.int64, device=generator.device).random_(-(2**63), None, generator=generator)


def _half_sweep(
    mine: Int[Tensor, "h w n"],
    others: Int[Tensor, "h w n"],
    parity: int,
    thresholds: list[list[bool] | bool],
    masks: list[Tensor],
    words: Int[Tensor, "k h w n"],
    generator: torch.Generator,
) -> Int[Tensor, "h w n"]:
    """One colour drawn anew. Site (i, j) of a colour lies in column 2j + (i + parity) mod 2: beside it in its row are
    the others' (i, j), and (i, j − 1) in rows where it is first, (i, j + 1) where it is second."""
    beside = torch.empty_like(others)
    first, second = slice(parity, None, 2), slice(1 - parity, None, 2)
    beside[first] = others[first].roll(1, 1)
    beside[second] = others[second].roll(-1, 1)
    a, b, c, d = others, beside, others.roll(1, 0), others.roll(-1, 0)
    x, y = a ^ b, c ^ d
    low, carries = x ^ y, (a & b, c & d, x & y)
    two = carries[0] ^ carries[1] ^ carries[2]
    four = (carries[0] & carries[1]) | (carries[2] & (carries[0] ^ carries[1]))
    none = ~(low | two | four)
    where = (none, low & ~two, two & ~low, low & two, four)
    _compare(masks, thresholds, words, generator)
    for n in range(len(thresholds), len(masks)):
        torch.bitwise_not(masks[len(masks) - 1 - n], out=masks[n])
    new = where[0] & masks[0]
    for place, mask in zip(where[1:], masks[1:], strict=True):
        new |= place & mask
    return new


def _compare(
    masks: list[Tensor], thresholds: list[list[bool] | bool], words: Int[Tensor, "k h w n"], generator: torch.Generator
) -> None:
    """masks[c] gets bits that are 1 with probability p_c: with random words r, from the last binary digit of p to the
    first, m ← r | m where the digit is 1 and r & m where it is 0."""
    for mask, digits in zip(masks, thresholds, strict=False):
        mask.fill_(-1 if digits is True else 0)
    words.random_(-(2**63), None, generator=generator)
    for mask, digits in zip(masks, thresholds, strict=False):
        if isinstance(digits, bool):
            continue
        for word, digit in zip(words[_BITS - len(digits) :], digits, strict=True):
            if digit:
                mask |= word
            else:
                mask &= word


def _unpacked(even: Int[Tensor, "h w n"], odd: Int[Tensor, "h w n"]) -> Int[Tensor, "c d"]:
    height, half, words = even.shape
    lattice = torch.empty(height, 2 * half, words, dtype=torch.int64, device=even.device)
    for parity, colour in ((0, even), (1, odd)):
        lattice[0::2, parity::2] = colour[0::2]
        lattice[1::2, 1 - parity :: 2] = colour[1::2]
    bits = lattice[..., None] >> torch.arange(_WORD, device=even.device) & 1
    return bits.flatten(0, 1).flatten(1).T.contiguous()
