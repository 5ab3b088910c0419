"""The maps of mixtures: recorded values of 60 digits, invariants, gradients, both tails."""

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import kstest
from torch.autograd import gradcheck, gradgradcheck
from torch.distributions import Categorical, MixtureSameFamily, Normal

from tenfold.errors import TenfoldError, UsageError
from tenfold.text_flows.bijectors import normal, rosenblatt
from tenfold.text_flows.bijectors.mixture import MixtureCDF
from tenfold.text_flows.bijectors.rosenblatt import MixtureRosenblatt

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture(scope="module")
def recorded() -> dict[str, torch.Tensor]:
    path = Path(__file__).parents[1] / "fixtures" / "text_flows" / "closed_form.npz"
    return {name: torch.from_numpy(value) for name, value in np.load(path).items() if value.dtype.kind == "f"}


def mixture(count: int, shape: tuple[int, ...] = (), spread: float = 2.0) -> tuple[torch.Tensor, ...]:
    """Logits, means, scales, float64."""
    g = torch.Generator().manual_seed(count)
    logits, mean, log_scale = (torch.randn(*shape, count, generator=g, dtype=torch.float64) for _ in range(3))
    return logits, spread * mean, (0.7 * log_scale).exp()


def close(found: torch.Tensor, expected: torch.Tensor, u: torch.Tensor, factor: float = 1.0) -> None:
    """To 1e-9, or 1e-7 far out."""
    tolerance = torch.where(u.abs() > 8, 1e-7, 1e-9) * factor
    assert bool(((found - expected).abs() <= tolerance * expected.abs().clamp_min(1.0)).all())


class TestRecorded:
    def test_on_the_line(self, recorded: dict[str, torch.Tensor]) -> None:
        made = MixtureCDF(recorded["mix1.logits"], recorded["mix1.mean"], recorded["mix1.scale"])
        u, logdet = made.forward(recorded["mix1.z"])
        close(u, recorded["mix1.u"], recorded["mix1.u"])
        close(logdet, recorded["mix1.logdet"], recorded["mix1.u"])
        close(made.log_prob(recorded["mix1.z"]), recorded["mix1.logp"], recorded["mix1.u"])
        close(made.inverse(recorded["mix1.u"]), recorded["mix1.z"], recorded["mix1.u"])

    def test_in_four_dimensions(self, recorded: dict[str, torch.Tensor]) -> None:
        made = MixtureRosenblatt(recorded["ros.logits"], recorded["ros.mean"], recorded["ros.scale"])
        u, logdet = made.forward(recorded["ros.z"])
        close(u, recorded["ros.u"], recorded["ros.u"])
        furthest = recorded["ros.u"].abs().amax(-1)
        close(logdet, recorded["ros.logdet"], furthest)
        close(made.log_prob(recorded["ros.z"]), recorded["ros.logp"], furthest)
        assert (made.inverse(recorded["ros.u"]) - recorded["ros.z"]).abs().amax() < 1e-6

    def test_in_single_precision(self, recorded: dict[str, torch.Tensor]) -> None:
        made = MixtureCDF(*(recorded[f"mix1.{name}"].float() for name in ("logits", "mean", "scale")))
        u, logdet = made.forward(recorded["mix1.z"].float())
        for found, expected in ((u, recorded["mix1.u"]), (logdet, recorded["mix1.logdet"])):
            assert ((found - expected).abs() <= 1e-4 * expected.abs().clamp_min(1.0)).all()


def test_quantiles_of_logarithms() -> None:
    scipy = pytest.importorskip("scipy.special")
    logs = torch.cat([-torch.logspace(-0.15, 6, 400, dtype=torch.float64), torch.tensor([-5.0, -5.0000001])])
    assert torch.allclose(normal.quantile(logs), torch.from_numpy(scipy.ndtri_exp(logs.numpy())), rtol=1e-12)
    assert normal.quantile(torch.tensor(-math.inf)) == -math.inf


@pytest.mark.parametrize("outer", ["probit", "logit"])
@pytest.mark.parametrize("count", [1, 2, 27, 64])
def test_there_and_back(count: int, outer: str) -> None:
    made = MixtureCDF(*mixture(count, (50, 1), spread=6.0), outer=outer)
    z = torch.cat([torch.linspace(-40, 40, 41, dtype=torch.float64), torch.tensor([-300.0, 300.0])]).expand(50, -1)
    u, _ = made.forward(z)
    again, _ = made.forward(made.inverse(u))
    # Where the density is tiny between components the map is flat, and z is only as certain as u.
    assert ((again - u).abs() <= 2e-10 * u.abs().clamp_min(1.0)).all()


def test_one_component_is_the_affine_map() -> None:
    z = torch.linspace(-9, 9, 19, dtype=torch.float64)
    u, logdet = MixtureCDF([[0.3]], [[1.5]], [[0.25]]).forward(z)
    assert torch.allclose(u, (z - 1.5) / 0.25, rtol=1e-9)
    assert torch.allclose(logdet, torch.full_like(z, -math.log(0.25)), atol=1e-9)


def test_both_bases_have_the_same_density() -> None:
    parameters, z = mixture(5, (7, 1)), torch.linspace(-60, 60, 25, dtype=torch.float64)
    probit, logit = (MixtureCDF(*parameters, outer=outer) for outer in ("probit", "logit"))
    (u, first), (w, second) = probit.forward(z), logit.forward(z)
    logistic = -torch.nn.functional.softplus(w) - torch.nn.functional.softplus(-w)
    assert torch.allclose(normal.log_pdf(u) + first, logistic + second, atol=1e-10)
    assert torch.allclose(normal.log_pdf(u) + first, probit.log_prob(z), atol=1e-10)


def test_density_is_torchs_and_integrates_to_one() -> None:
    logits, mean, scale = mixture(4)
    z = torch.linspace(-40, 40, 20001, dtype=torch.float64)
    found = MixtureCDF(logits, mean, scale).log_prob(z)
    assert torch.allclose(found, MixtureSameFamily(Categorical(logits=logits), Normal(mean, scale)).log_prob(z))
    assert float(torch.trapezoid(found.exp(), z)) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("outer", ["probit", "logit"])
def test_determinants_are_those_of_the_jacobian(outer: str) -> None:
    logits, mean, scale = mixture(5)
    made = MixtureRosenblatt(logits, torch.stack([mean, -mean.flip(0), 0.5 * mean], -1), scale, outer=outer)
    z = torch.randn(4, 3, dtype=torch.float64)
    for row, logdet in zip(z, made.forward(z).logdet, strict=True):
        jacobian = torch.autograd.functional.jacobian(lambda x: made.forward(x).u, row)
        assert torch.equal(jacobian, jacobian.tril())
        assert float(torch.linalg.slogdet(jacobian)[1]) == pytest.approx(float(logdet), abs=1e-10)


def test_orders_of_components_and_dimensions() -> None:
    logits, mean, scale = mixture(6)
    centres, z = torch.stack([mean, mean.flip(0), mean.square()], -1), torch.randn(20, 3, dtype=torch.float64)
    made = MixtureRosenblatt(logits, centres, scale)
    order = torch.randperm(6)
    shuffled = MixtureRosenblatt(logits[order], centres[order], scale[order])
    assert torch.allclose(made.forward(z).u, shuffled.forward(z).u, atol=1e-10)
    turned = MixtureRosenblatt(logits, centres.flip(1), scale)
    assert torch.allclose(made.log_prob(z), turned.log_prob(z.flip(1)))
    assert not torch.allclose(made.forward(z).u, turned.forward(z.flip(1)).u.flip(1), atol=1e-2)
    base = normal.log_pdf(made.forward(z).u).sum(-1)
    assert torch.allclose(made.log_prob(z), base + made.forward(z).logdet, atol=1e-10)


class TestGradients:
    """Against finite differences, to second order, the inverse's too."""

    def test_on_the_line(self) -> None:
        logits, mean, scale = (x.requires_grad_() for x in mixture(3))
        z = torch.tensor([-6.0, 0.3, 7.0], dtype=torch.float64, requires_grad=True)

        def there(z: torch.Tensor, *parameters: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return tuple(MixtureCDF(*parameters).forward(z))

        def back(u: torch.Tensor, *parameters: torch.Tensor) -> torch.Tensor:
            return MixtureCDF(*parameters).inverse(u, tolerance=1e-13)

        assert gradcheck(there, (z, logits, mean, scale))
        assert gradgradcheck(there, (z, logits, mean, scale))
        assert gradcheck(back, (z, logits, mean, scale))
        assert gradgradcheck(back, (z, logits, mean, scale), atol=1e-4)

    def test_in_two_dimensions(self) -> None:
        logits, mean, scale = mixture(3)
        inputs = [x.clone().requires_grad_() for x in (logits, torch.stack([mean, mean.flip(0)], -1), scale)]
        z = torch.randn(2, 2, dtype=torch.float64, requires_grad=True)
        assert gradcheck(lambda x, *rest: tuple(MixtureRosenblatt(*rest).forward(x)), (z, *inputs))
        assert gradcheck(lambda x, *rest: MixtureRosenblatt(*rest).inverse(x, 1e-13), (z, *inputs))

    def test_chunks_change_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        logits, mean, scale = mixture(5, (33,))
        centres = torch.stack([mean[0], mean[1]], -1).requires_grad_()
        z = torch.randn(33, 2, dtype=torch.float64)

        def outcome() -> list[torch.Tensor]:
            weights = logits.clone().requires_grad_()
            made = MixtureRosenblatt(weights, centres, scale[0])
            u, logdet = made.forward(z)
            loss = u.square().sum() + logdet.sum() + made.log_prob(z).sum()
            return [u, logdet, *torch.autograd.grad(loss, (weights, centres))]

        whole = outcome()
        monkeypatch.setattr(rosenblatt, "CHUNK", 4 * 10)
        assert all(torch.allclose(a, b, rtol=1e-12) for a, b in zip(whole, outcome(), strict=True))


def kolmogorov(u: torch.Tensor) -> float:
    """√n times the largest distance of the distribution of u (n) from the normal one: 1.95 in one of a thousand."""
    return float(kstest(u.numpy(), "norm").statistic) * math.sqrt(len(u))


def test_what_a_mixture_draws_becomes_normal() -> None:
    logits, mean, scale = mixture(5, (), spread=3.0)
    drawn = torch.distributions.Categorical(logits=logits).sample((4000,))
    z = mean[drawn] + scale[drawn] * torch.randn(4000, dtype=torch.float64)
    assert kolmogorov(MixtureCDF(logits, mean, scale).forward(z).u) < 1.95
    assert kolmogorov(MixtureCDF(logits, mean + 0.2, scale).forward(z).u) > 1.95  # another mixture is told apart
    centres = torch.stack([mean, mean.flip(0), mean.roll(1)], -1)
    points = centres[drawn] + scale[drawn, None] * torch.randn(4000, 3, dtype=torch.float64)
    u = MixtureRosenblatt(logits, centres, scale).forward(points).u
    assert all(kolmogorov(column) < 1.95 for column in u.T)
    for power in (1, 2):  # independent dimensions: neither their values nor their sizes go together
        assert float((torch.corrcoef((u**power).T) - torch.eye(3)).abs().max()) < 4.5 / math.sqrt(4000)


@pytest.mark.parametrize(("count", "most"), [(2, 13), (27, 20), (64, 24)])
def test_the_inverse_takes_few_evaluations(count: int, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bisection takes 34 for a tenth of the precision."""
    from tenfold.text_flows.bijectors import inverse

    rounds, mapped = [], inverse._mapped
    monkeypatch.setattr(inverse, "_mapped", lambda *given: rounds.append(len(given[0])) or mapped(*given))
    made = MixtureCDF(*mixture(count, (3000,), spread=8.0))
    u = torch.randn(3000, dtype=torch.float64)
    z = made.inverse(u, 1e-9)
    assert ((made.forward(z).u - u).abs() < 1e-8).all()
    assert len(rounds) <= most
    assert sum(rounds) < 12 * 3000


def test_what_cannot_be_inverted_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    from tenfold.text_flows.bijectors import inverse

    monkeypatch.setattr(inverse, "_ROUNDS", 2)
    with pytest.raises(TenfoldError, match="did not converge in 2 rounds: the worst residual is"):
        MixtureCDF(*mixture(27, (100,), spread=8.0)).inverse(torch.randn(100, dtype=torch.float64))


LEAVES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


@pytest.mark.parametrize(("dtype", "kind"), itertools.product(LEAVES, [MixtureCDF, MixtureRosenblatt]))
def test_half_precision_is_promoted(dtype: torch.dtype, kind: type) -> None:
    mean = torch.tensor([[-1.0], [1.0]]) if kind is MixtureRosenblatt else torch.tensor([-1.0, 1.0])
    made = kind(torch.zeros(2), mean, torch.ones(2))
    u = made.forward(torch.zeros(3, 1, dtype=dtype)).u
    assert u.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert made.inverse(u).dtype == u.dtype


NAN = float("nan")


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (lambda: MixtureCDF([], [], []), "at least one component"),
        (lambda: MixtureCDF([0.0], [0.0], [0.0]), "the least scale is 0"),
        (lambda: MixtureCDF([NAN], [0.0], [1.0]), "logits holds NaN"),
        (lambda: MixtureCDF([-math.inf], [0.0], [1.0]), "a row of logits is -inf throughout"),
        (lambda: MixtureCDF([0.0, 0.0], [0.0, 0.0, 0.0], [1.0]), "give ones that broadcast"),
        (lambda: MixtureCDF([0.0], [0.0], [1.0], outer="tanh"), "outer is 'tanh'"),
        (lambda: MixtureCDF([0.0], [0.0], [1.0]).forward([NAN]), "row 0 of z holds NaN"),
        (lambda: MixtureCDF([0.0], [0.0], [1.0]).inverse([0.5], tolerance=-1), "tolerance is -1"),
        (lambda: MixtureCDF([[0.0], [0.0]], [[0.0], [0.0]], [1.0]).forward([0.0, 1.0, 2.0]), "does not broadcast"),
        (lambda: MixtureRosenblatt([0.0], [0.0], [1.0]), r"give \(1, d\) and \(1,\)"),
        (lambda: MixtureRosenblatt([0.0], [[0.0, 1.0]], [1.0]).forward([0.0]), "must hold the 2 dimensions"),
    ],
)
def test_bad_input_is_one_sentence(made: object, told: str) -> None:
    with pytest.raises(UsageError, match=told) as error:
        made()  # type: ignore[operator]
    assert "\n" not in str(error.value)
