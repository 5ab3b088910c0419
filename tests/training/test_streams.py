"""Keyed randomness: published known answers, moments, and independence of how samples are batched."""

import pytest
import torch

from tenfold.training.streams import Draws, key_of, numpy_generator, philox


# Random123's kat_vectors for philox4x32-10.
@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ],
)
def test_philox_known_answers(counter: str, key: str, expected: str) -> None:
    c0, c1, c2, c3 = (torch.tensor([int(word, 16)]) for word in counter.split())
    k0, k1 = (int(word, 16) for word in key.split())
    words = philox((c0, c1, c2, c3), (k0, k1))
    assert [f"{int(word):08x}" for word in words] == expected.split()


def test_keys() -> None:
    assert numpy_generator("a", 1).random() == numpy_generator("a", 1).random()
    assert numpy_generator("a", 1).random() != numpy_generator("a", 2).random()
    assert key_of("ab", "c") != key_of("a", "bc")


def test_uniform_moments() -> None:
    u = Draws(1, 2).uniform("u", torch.arange(4000), (25,))
    assert u.shape == (4000, 25)
    assert u.dtype == torch.float32
    assert float(u.min()) >= 0.0
    assert float(u.max()) < 1.0
    n = u.numel()
    assert abs(float(u.mean()) - 0.5) < 5 * (1 / 12 / n) ** 0.5
    assert abs(float(u.var()) - 1 / 12) < 5 * (1 / 180 / n) ** 0.5
    # Neighbouring samples and neighbouring numbers of a sample are uncorrelated.
    for a, b in ((u[:-1], u[1:]), (u[:, :-1], u[:, 1:])):
        r = torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1]
        assert abs(float(r)) < 5 / n**0.5


def test_double_uniform_has_more_than_single_precision() -> None:
    u = Draws(1, 2).uniform("u", torch.arange(1000), (4,), torch.float64)
    assert u.dtype == torch.float64
    assert u.float().double().ne(u).float().mean() > 0.9
    assert abs(float(u.mean()) - 0.5) < 5 * (1 / 12 / 4000) ** 0.5


def test_normal_moments() -> None:
    z = Draws(3, 0).normal("z", torch.arange(20000), (5,), torch.float64)
    n = z.numel()
    for power, expected, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert abs(float((z**power).mean()) - expected) < 5 * (variance / n) ** 0.5, power
    assert torch.isfinite(z).all()


def test_integers_are_uniform() -> None:
    k = Draws(3, 0).integers("k", torch.arange(30000), 7)
    counts = torch.bincount(k, minlength=7).double()
    chi2 = float(((counts - 30000 / 7) ** 2 / (30000 / 7)).sum())
    assert len(counts) == 7
    assert chi2 < 30.0


def test_a_row_depends_on_its_own_index_alone() -> None:
    draws = Draws(5, 9)
    index = torch.tensor([7, 2**33 + 1, 0, 7])
    together = draws.normal("x", index, (3, 2))
    for row, i in enumerate(index.tolist()):
        assert torch.equal(draws.normal("x", torch.tensor([i]), (3, 2))[0], together[row])
    assert torch.equal(together[0], together[3])
    assert not torch.equal(together[0], together[1])


@pytest.mark.parametrize(
    "other", [(6, 9, "x", 7), (5, 10, "x", 7), (5, 9, "y", 7), (5, 9, "x", 8), (5, 9, "x", 2**32 + 7)]
)
def test_every_part_of_the_key_counts(other: tuple[int, int, str, int]) -> None:
    def draw(seed: int, step: int, purpose: str, index: int) -> torch.Tensor:
        return Draws(seed, step).uniform(purpose, torch.tensor([index]), (8,))

    assert not torch.equal(draw(5, 9, "x", 7), draw(*other))


def test_step_generator() -> None:
    a, b, c = (Draws(1, step).generator("g") for step in (4, 4, 5))
    first = torch.rand(5, generator=a)
    assert torch.equal(first, torch.rand(5, generator=b))
    assert not torch.equal(first, torch.rand(5, generator=c))
