"""Solvers, guidance and denoising as objects with their options, and the words that stand for them."""

import pytest
import torch

from tenfold.errors import UsageError
from tenfold.flows import Auto, Denoising, Guidance, Plan, Selective, draw_samples, rsample, sample
from tenfold.starflow import StarFlow
from tenfold.tarflow import TarFlow, TarFlowConfig
from tests.flows.helpers import random_flow
from tests.starflow.helpers import random_flow as random_latent_flow
from tests.starflow.helpers import small_config

CONFIG = TarFlowConfig(shape=(1, 4, 4), patch=2, width=32, head_size=16, blocks=3, layers=1, classes=4)
LABELS = torch.tensor([0, 3, 1])


@pytest.fixture(scope="module")
def flow() -> TarFlow:
    return random_flow(CONFIG)


def noise() -> torch.Tensor:
    return torch.randn(3, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("words", "solver"),
    [
        ({"solver": "sequential"}, Plan()),
        ({"solver": "jacobi", "tol": 1e-8, "init": "zeros"}, Plan("jacobi", tol=1e-8, init="zeros")),
        ({"solver": "gs", "segments": 2}, Plan("gs", segments=2)),
        ({"solver": "frontier", "window": 2}, [Plan("frontier", window=2)] * 3),
        ({"solver": "selective"}, Selective()),
        ({"solver": "selective", "tol": 0.1}, [Plan(), *[Plan("jacobi", 0.1, init="zeros", approximate=True)] * 2]),
        ({"solver": "auto", "tol": 1e-3}, Auto(1e-3)),
    ],
    ids=str,
)
def test_a_name_stands_for_a_solver(flow, words, solver) -> None:
    x, info = sample(flow, 3, LABELS, noise=noise(), return_info=True, **words)
    by_object, told = draw_samples(flow, 3, LABELS, noise=noise(), solver=solver)
    assert torch.equal(x, by_object)
    assert torch.equal(x, flow.sample(3, LABELS, noise=noise(), solver=solver))
    assert [(b.solver, b.calls, b.tokens) for b in info.blocks] == [(b.solver, b.calls, b.tokens) for b in told.blocks]
    assert told.solver == ("plans" if isinstance(solver, list) else words["solver"])
    assert info.exact == told.exact == ("selective" not in words.values())


@pytest.mark.parametrize("name", ["selective", "auto"])
def test_a_rule_is_no_plan_of_a_block(name: str) -> None:
    with pytest.raises(UsageError, match=rf"solver is '{name}', which is no block's; give {name.title()}\(\)"):
        Plan(name)


def test_a_number_stands_for_guidance(flow) -> None:
    words = {"guidance": 1.2, "rule": "starflow", "schedule": "linear", "blocks": [0, 2]}
    guided = Guidance(1.2, "starflow", schedule="linear", blocks=[0, 2])
    x = sample(flow, 3, LABELS, noise=noise(), **words)
    assert torch.equal(x, sample(flow, 3, LABELS, noise=noise(), guidance=guided))
    assert not torch.equal(x, sample(flow, 3, LABELS, noise=noise()))


def test_two_numbers_stand_for_denoising(flow) -> None:
    words = {"denoise_sigma": 0.1, "denoise_rate": 0.9}
    x, _ = draw_samples(flow, 3, LABELS, noise=noise(), denoising=Denoising(0.1, 0.9))
    assert torch.equal(sample(flow, 3, LABELS, noise=noise(), **words), x)
    with pytest.raises(UsageError, match=r"denoise_sigma is -0\.5"):
        Denoising(-0.5)


@pytest.mark.parametrize(
    "words",
    [
        {"guidance": Guidance(1.0), "rule": "tarflow"},
        {"solver": Plan("jacobi"), "tol": 1e-3},
        {"solver": "auto", "window": 4},
        {"solver": "selective", "segments": 4},
        {"denoise_rate": 0.5},
        {"temperature": 0.5},
    ],
    ids=str,
)
def test_what_would_be_ignored_is_refused(flow, words) -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument"):
        sample(flow, 3, LABELS, **words)


def test_guidance_takes_the_rule_of_the_flow_unless_it_has_one() -> None:
    latent: StarFlow = random_latent_flow(small_config(classes=3))
    start = torch.randn(3, 12, 2, dtype=torch.float64)
    drawn = {
        rule: latent.sample(3, 1, noise=start, guidance=Guidance(2.0, rule)) for rule in (None, "starflow", "tarflow")
    }
    assert torch.equal(drawn[None], drawn["starflow"])
    assert not torch.allclose(drawn[None], drawn["tarflow"])
    with pytest.raises(UsageError, match="rule 'starflow' sets mean and scale together"):
        latent.sample(3, 1, guidance=Guidance(2.0, what="a"))


def test_what_is_guided_away_from(flow) -> None:
    away = torch.tensor([2, 2, 2])
    x = sample(flow, 3, LABELS, noise=noise(), guidance=Guidance(1.5, unconditional=away))
    assert torch.equal(x, sample(flow, 3, LABELS, noise=noise(), guidance=1.5, unconditional=away))
    assert not torch.allclose(x, sample(flow, 3, LABELS, noise=noise(), guidance=1.5))
    with pytest.warns(UserWarning, match="guidance has no effect"):
        same = sample(flow, 3, LABELS, noise=noise(), guidance=Guidance(1.5, unconditional=LABELS))
    torch.testing.assert_close(same, sample(flow, 3, LABELS, noise=noise()))


def test_differentiable_samples_by_any_solver(flow) -> None:
    start = noise().requires_grad_(True)
    x = rsample(flow, 3, LABELS, noise=start, solver=Plan("jacobi", tol=1e-12))
    torch.testing.assert_close(x, sample(flow, 3, LABELS, noise=noise()))
    (gradient,) = torch.autograd.grad(x.sum(), start)
    other = noise().requires_grad_(True)
    (expected,) = torch.autograd.grad(rsample(flow, 3, LABELS, noise=other).sum(), other)
    torch.testing.assert_close(gradient, expected)
