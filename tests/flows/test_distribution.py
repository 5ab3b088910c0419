"""Flows as distributions of PyTorch."""

from typing import Any

import pytest
import torch
from torch.distributions import Distribution, Independent, Normal, kl_divergence, register_kl

import tenfold
from tenfold.errors import UsageError
from tenfold.flows import FlowDistribution

SHAPE = (3, 4, 2)  # channels, height, width


def flow(**changes: Any) -> tenfold.TarFlow:
    config = {"shape": SHAPE, "patch": 2, "width": 16, "blocks": 2, "layers": 1, "head_size": 8, **changes}
    made = tenfold.TarFlow(tenfold.TarFlowConfig(**config)).double().eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return made


CONDITIONS: dict[str, tuple[dict[str, int], Any, tuple[int, ...]]] = {
    "none": ({}, None, ()),
    "label": ({"classes": 3}, torch.tensor(1), ()),
    "labels": ({"classes": 3}, torch.tensor([[0, 1, -1], [2, 0, 1]]), (2, 3)),
    "mixtures": ({"classes": 3}, torch.eye(3).double()[:2], (2,)),
    "list": ({"classes": 3}, [2, 1], (2,)),
    "vector": ({"context": 5}, torch.ones(5).double(), ()),
    "vectors": ({"context": 5}, torch.arange(10.0).double().reshape(2, 1, 5) / 10, (2, 1)),
}


@pytest.mark.parametrize("kind", CONDITIONS)
def test_shapes_and_densities(kind: str) -> None:
    changes, condition, batch = CONDITIONS[kind]
    ours = flow(**changes)
    found = FlowDistribution(ours, condition)
    assert isinstance(found, Distribution)
    assert found.batch_shape == batch
    assert found.event_shape == SHAPE
    for sizes in ((), (5,), (2, 3), (0,)):
        assert found.sample(sizes).shape == (*sizes, *batch, *SHAPE)
    x = found.sample((2, 3))
    values = found.log_prob(x)
    assert values.shape == (2, 3, *batch)
    # Row by row, each under its own condition.
    given = None if condition is None else torch.as_tensor(condition)
    own = () if given is None or not given.is_floating_point() else given.shape[-1:]
    rows = None if given is None else given.expand(2, 3, *batch, *own).reshape(-1, *own)
    torch.testing.assert_close(values.reshape(-1), ours.log_prob(x.reshape(-1, *SHAPE), rows))
    # An unbatched value goes with the whole batch.
    one = torch.zeros(SHAPE).double()
    torch.testing.assert_close(found.log_prob(one), found.log_prob(one.expand(*batch, *SHAPE)))
    wider = found.expand((4, *batch))
    assert wider.batch_shape == (4, *batch)
    torch.testing.assert_close(wider.log_prob(x[0, 0]), values[0, 0].expand(4, *batch))
    assert Independent(found, len(batch)).log_prob(x).shape == (2, 3)
    assert bool(found.support.check(x).all())


def test_draws_are_of_the_flow_and_keyed_by_the_seed() -> None:
    found = FlowDistribution(flow(classes=3), torch.tensor([0, 2]))
    torch.manual_seed(3)
    first, second = found.sample((4,)), found.sample((4,))
    torch.manual_seed(3)
    torch.testing.assert_close(found.rsample((4,)), first)
    assert not torch.allclose(first, second)
    assert not first.requires_grad
    assert torch.equal(found.condition([1]).log_prob(first[0, 0]), found.flow.log_prob(first[:1, 0], [1]))


def test_a_variational_posterior_is_found_by_the_gradients_of_draws() -> None:
    """The evidence bound E_q[log p(x, z) − log q(z)] of a Gaussian model, maximised through ``rsample``: q comes nearer
    to the true posterior, whose evidence the bound never exceeds by more than chance."""
    family = flow(shape=(1, 2, 1), patch=1)
    q = FlowDistribution(family)
    x, prior, noise = torch.tensor([1.0, -0.5]).double().reshape(1, 2, 1), Normal(0.0, 1.0), 0.5
    evidence = Normal(0.0, (1 + noise**2) ** 0.5).log_prob(x).sum()

    def bound(draws: int) -> torch.Tensor:
        z = q.rsample((draws,))
        joint = prior.log_prob(z).sum((1, 2, 3)) + Normal(z, noise).log_prob(x).sum((1, 2, 3))
        return (joint - q.log_prob(z)).mean()

    optimiser = torch.optim.Adam(family.parameters(), 0.05)
    before = evidence - bound(512).detach()
    for _ in range(25):
        optimiser.zero_grad()
        (-bound(32)).backward()
        optimiser.step()
    after = evidence - bound(512).detach()
    assert -0.05 < after < 0.2 * before


def test_pytorch_finds_its_divergence() -> None:
    """What is registered for the type is found, as for PyTorch's own."""

    @register_kl(FlowDistribution, FlowDistribution)
    def estimate(p: Any, q: Any) -> Any:
        x = p.sample((64,))
        return (p.log_prob(x) - q.log_prob(x)).mean(0)

    p = FlowDistribution(flow())
    assert kl_divergence(p, p).item() == 0
    assert kl_divergence(p, FlowDistribution(flow())).item() > 0


@pytest.mark.parametrize(
    ("work", "said"),
    [
        (lambda: FlowDistribution(flow(), torch.tensor([1])), "unconditional"),
        (lambda: FlowDistribution(flow(classes=3), torch.tensor([5])), "5"),
        (lambda: FlowDistribution(flow(context=5), torch.ones(4).double()), "context has shape"),
        (lambda: FlowDistribution(torch.nn.Linear(1, 1)), "the flow is Linear"),
        (lambda: FlowDistribution(flow()).log_prob(torch.zeros(3, 4)), "its last axes must be"),
        (lambda: FlowDistribution(flow()).log_prob(torch.full(SHAPE, torch.nan)), "NaN"),
        (lambda: FlowDistribution(flow(classes=3), [0, 1]).log_prob(torch.zeros(3, *SHAPE)), "do not go with"),
        (lambda: FlowDistribution(flow()).sample((-1,)), "sample_shape is"),
        (lambda: FlowDistribution(flow()).sample(("a",)), "sample_shape is 'a'"),  # type: ignore[arg-type]
    ],
)
def test_what_does_not_fit_is_one_sentence(work: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        work()
