"""The algebra: identities, flattening, the text form, rewards and constraints."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tenfold.energy.closed_forms import GaussianMixture
from tenfold.energy.composition import (
    Composition,
    InBox,
    InHalfSpace,
    RewardPath,
    composed,
    guidance,
    mixture,
    parse_target,
    reward,
)
from tenfold.energy.density import Density
from tenfold.errors import UsageError
from tests.energy.forms import close, number, pair, recorded

X, SIGMA = 2 * torch.randn(9, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)), number(0.7)


class ScoreOnly:
    """A score without an energy."""

    def __init__(self, inner: GaussianMixture) -> None:
        self.inner, self.shape, self.data_scale = inner, inner.shape, inner.data_scale

    def score(self, x: Tensor, sigma: Tensor) -> Tensor:
        return self.inner.score(x, sigma)


def both(target) -> Tensor:
    log, score = target.log_density_and_score(X, SIGMA)
    return torch.cat([log[:, None], score], 1)


def test_identities() -> None:
    a, b = pair()
    close(both(a & a), both(2 * a))
    close(both(1 * a), both(a))
    close(both(a & b), both(b & a))
    close(both(a + b), both(a & b))
    close(both(guidance(a, b, 1.0)), both(b))
    close(both(guidance(a, b, 0.0)), both(a))
    close(both(guidance(a, b, 2.5)), both(2.5 * b - 1.5 * a))
    close(both(0.5 * (a & b) & 0.5 * a), both(1.0 * a + 0.5 * b))
    close(both(a | a), both(a))
    close(both((a | b) | a), both(mixture([a, b, a])))
    assert len((a & a).terms) == 1
    assert len((1.5 * a - 0.5 * a).terms) == 1
    assert (2 * a).order(SIGMA) == 2.0
    assert isinstance(a & b, Density)
    assert not (a & b).normalised
    assert composed(a).normalised
    assert (a | b).normalised


def test_recorded_mixture() -> None:
    ref, (a, b) = recorded("composition"), pair("composition")
    whole = mixture([a, b], ref["mixture_weights"].tolist())
    for i, sigma in enumerate(ref["sigma"]):
        close(whole.log_density(ref["x"][i], sigma), ref["mixture_logp"][i])
        x = ref["x"][i].clone().requires_grad_()
        (gradient,) = torch.autograd.grad(whole.log_density(x, sigma).sum(), x)
        close(whole.score(ref["x"][i], sigma), gradient)
    # A mixture of diffused densities is the diffused mixture.
    as_one = GaussianMixture(
        torch.cat([0.3 * a.weights, 0.7 * b.weights]), torch.cat([a.means, b.means]),
        torch.cat([a.covariances, b.covariances]),
    )  # fmt: skip
    close(both(whole), both(as_one))


def test_powers_that_change_with_sigma() -> None:
    a, b = pair()
    annealed = (lambda sigma: 1 + 1 / (1 + sigma)) * a & b
    close(both(annealed), both((1 + 1 / 1.7) * a & b))
    assert annealed.order(number(1.0)) == 2.5
    close(both(2 * annealed), both((2 + 2 / 1.7) * a & 2 * b))


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("a", lambda a, b: composed(a)),
        ("0.8 * (a & b)", lambda a, b: 0.8 * (a & b)),
        ("1.3*a - 0.3*b", lambda a, b: 1.3 * a - 0.3 * b),
        ("-0.3*b + 1.3*a", lambda a, b: 1.3 * a - 0.3 * b),
        ("a | b", lambda a, b: a | b),
        ("a & b | b", lambda a, b: mixture([a, b]) if False else None),
        ("guidance(a, b, 1 + 0.5)", lambda a, b: guidance(a, b, 1.5)),
        ("(a + b) / 2", lambda a, b: 0.5 * (a & b)),
        (" 2 * 3 * a ", lambda a, b: 6 * a),
    ],
)
def test_text_is_the_same_target(text: str, made) -> None:
    a, b = pair()
    wanted = made(a, b)
    if wanted is None:
        with pytest.raises(UsageError, match="not normalised"):
            parse_target(text, {"a": a, "b": b})
        return
    close(both(parse_target(text, {"a": a, "b": b})), both(wanted))


def test_text_with_rewards_and_boxes() -> None:
    a, b = pair()
    bright = reward(lambda x: x.sum(1))
    found = parse_target("(a & b).within(-1, 2) + bright", {"a": a, "b": b, "bright": bright})
    assert found.rewards == (InBox(-1.0, 2.0), bright)
    assert len(parse_target("a - 2 * bright", {"a": a, "bright": bright}).rewards) == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("eight & b", "did you mean 'eights'"),
        ("a &", "is no expression"),
        ("", "is no expression"),
        ("1.0", "names no model"),
        ("bright", "names no model"),
        ("a * b", "is no target"),
        ("a + 1", "is no target"),
        ("a ** 2", "is no target"),
        ("a / 0", "is no target"),
        ("f(a)", "is no target"),
        ("a.__class__", "is no target"),
        ("a.within", "is no target"),
        ("a.within(b, 1)", "is no target"),
        ("a.within(low=0, high=1)", "is no target"),
        ("(lambda: a)()", "is no target"),
        ("__import__('os').system('x')", "is no target"),
        ("[a for a in a]", "is no target"),
        ("a if True else b", "is no target"),
        ("True * a", "is no target"),
        ("'a'", "is no target"),
        ("a.within(1, 0)", "is empty"),
        ("0 * a", "all powers"),
        ("a - a", "all powers"),
        ("a" + " + a" * 800, "too long"),
        ("-" * 300 + "a", "too deep|no expression"),
        ("9" * 400 + " * a", "too large|no expression"),
        ("1e999 * a", "a power is inf"),
        ("a\x00", "is no expression"),
    ],
)
def test_text_that_is_no_target(text: str, words: str) -> None:
    a, b = pair()
    with pytest.raises(UsageError, match=words):
        parse_target(text, {"a": a, "b": b, "eights": a, "bright": reward(lambda x: x.sum(1))})


@given(st.text(alphabet="ab01.+-*/&|() ,guidancewithin_", max_size=40))
@settings(max_examples=300, deadline=None)
def test_any_text_is_a_target_or_a_sentence(text: str) -> None:
    a, b = pair()
    try:
        found = parse_target(text, {"a": a, "b": b})
    except UsageError:
        return
    assert isinstance(found, Composition)


class Scaled(nn.Module):
    """A network that was trained on data of another scale."""

    normalised = False

    def __init__(self, data_scale: float) -> None:
        super().__init__()
        self.shape, self.data_scale = (2,), data_scale

    def score(self, x: Tensor, sigma: Tensor) -> Tensor:
        return -x

    def log_density(self, x: Tensor, sigma: Tensor) -> Tensor:
        return x

    def log_density_and_score(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        return x, -x


def test_what_is_refused() -> None:
    a, b = pair()
    other = GaussianMixture(torch.ones(1), torch.zeros(1, 3), torch.eye(3)[None])
    for make, words in (
        (lambda: a & other, r"samples \(2,\) and \(3,\)"),
        (lambda: a | other, "all must be of one data space"),
        (lambda: Scaled(0.5) and (composed(Scaled(0.5)) & Scaled(1.0)), "sigma_data 0.5 and 1"),
        (lambda: (2 * a) | b, r"component\(s\) 1 of a mixture are not normalised"),
        (lambda: mixture([a, ScoreOnly(b)]), "ScoreOnly is a score without an energy"),
        (lambda: mixture([a, b], [1.0, -1.0]), "give 2 positive numbers"),
        (lambda: (a.within(0, 1)) | b, "add rewards and constraints to the whole"),
        (lambda: 2 * a.within(0, 1), "add rewards and constraints last"),
        (lambda: a & "b", "str cannot be composed"),
        (lambda: math.nan * a, "a power is nan"),
        (lambda: a * b, "multiplied by a & b"),
        (lambda: a.within(1, 1), "is empty"),
        (lambda: a.within(math.nan, 1), "is empty"),
        (lambda: a.above(torch.zeros(2), 1.0), "has length 0"),
        (lambda: a.within(0, 1).log_density(X, SIGMA), "no density of its own"),
        (lambda: reward(lambda x: x, path="sideways"), "choose 'look-ahead' or 'annealed'"),
        (lambda: (a + reward(lambda x: x)).evaluate(X, SIGMA), "must return one number each"),
        (lambda: composed(Scaled(1.0)).evaluate(X, SIGMA), "an energy is one number a sample"),
    ):
        with pytest.raises(UsageError, match=words):
            make()


@pytest.mark.parametrize("sigma", [0.05, 0.5, 5.0])
def test_rewards_and_their_ascents(sigma: float) -> None:
    """Values against direct formulas; the ascent of a path that looks ahead is its gradient for Gaussian data."""
    one = GaussianMixture(torch.ones(1), torch.zeros(1, 2), torch.eye(2)[None])
    level = number(sigma)
    x = X.clone().requires_grad_()
    ahead = one.denoiser(x, level)
    tau = sigma / math.sqrt(sigma**2 + 1)
    phi = torch.special.ndtr
    square = lambda y: -(y - 1).square().sum(1)  # noqa: E731
    normal = torch.tensor([1.0, -2.0], dtype=torch.float64)
    cases: list[tuple[RewardPath, Tensor]] = [
        (reward(square), square(ahead)),
        (2 * reward(square), 2 * square(ahead)),
        (reward(square, "annealed", scale=2.0), 4 / (sigma**2 + 4) * square(x)),
        (InBox(-0.5, 1.0), (phi((1 - ahead) / tau) - phi((-0.5 - ahead) / tau)).log().sum(1)),
        (InBox(-0.5, math.inf), phi((ahead + 0.5) / tau).log().sum(1)),
        (InHalfSpace(normal, 0.3), phi((ahead @ normal - 0.3) / tau / normal.norm()).log()),
    ]
    for path, value in cases:
        assert isinstance(path, RewardPath)
        (gradient,) = torch.autograd.grad(value.sum(), x, retain_graph=True)
        found, ascent = path.at_level(x.detach(), level, ahead.detach(), 1.0, False)
        real = value.detach() > -20  # beyond, the formula loses digits that ours keeps
        close(found[real], value.detach()[real], 1e-8)
        close(ascent[real], gradient[real], 1e-6)
        assert bool(ascent.isfinite().all())


def test_far_outside_a_box_there_is_a_way_back() -> None:
    far = torch.tensor([[-50.0], [50.0]], dtype=torch.float64)
    value, ascent = InBox(-1.0, 1.0).at_level(far, number(0.5), far, 1.0, False)
    assert bool(value.isfinite().all())
    assert ascent[0] > 0 > ascent[1]
    hard, _ = InBox(-1.0, 1.0).at_level(far / 100, number(0.5), None, 1.0, True)
    assert hard.tolist() == [0.0, 0.0]
    hard, _ = InBox(-1.0, 1.0).at_level(far, number(0.5), None, 1.0, True)
    assert hard.tolist() == [-math.inf, -math.inf]
