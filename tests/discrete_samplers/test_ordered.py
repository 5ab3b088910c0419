"""Masked and autoregressive samplers: exact probabilities, unbiased weights, losses that lead to the target."""

from itertools import permutations
from typing import Any

import pytest
import torch

from tenfold.discrete_samplers.classical.kernels import ChainDraws
from tenfold.discrete_samplers.exact.enumeration import all_states, enumerate_states
from tenfold.discrete_samplers.ordered.config import OrderedConfig
from tenfold.discrete_samplers.ordered.losses import free_energy_loss, masked_cross_entropy
from tenfold.discrete_samplers.ordered.model import OrderedSampler
from tenfold.discrete_samplers.ordered.network import CausalConditionals, MaskedConditionals
from tenfold.discrete_samplers.ordered.sampling import (
    causal_log_prob,
    masked_smc,
    orders,
    path_log_prob,
    sample_causal,
    sample_masked,
)
from tenfold.discrete_samplers.targets.binary import Ising
from tenfold.discrete_samplers.targets.potts import potts_lattice
from tenfold.errors import UsageError


def wild(network: Any) -> Any:
    """Conditionals far from uniform."""
    torch.manual_seed(7)
    for p in network.parameters():
        if p.ndim > 1:
            torch.nn.init.normal_(p, std=0.25)
    return network


def test_a_causal_network_is_causal_and_normalised() -> None:
    network = wild(CausalConditionals(5, 3, 16, 8, 2))
    x = all_states(5, 3)
    with torch.no_grad():
        assert float(causal_log_prob(network, x).logsumexp(0)) == pytest.approx(0, abs=1e-5)
        y = x.clone()
        y[:, 3] = (y[:, 3] + 1) % 3
        assert torch.equal(network(x)[:, :4], network(y)[:, :4])
        assert not torch.equal(network(x)[:, 4], network(y)[:, 4])


def test_a_masked_network_is_normalised_in_every_order() -> None:
    network = wild(MaskedConditionals(3, 2, 16, 2, 1))
    x = all_states(3, 2)
    with torch.no_grad():
        for order in permutations(range(3)):
            logs = path_log_prob(network, x, torch.tensor(order).expand(8, -1), 2)
            assert float(logs.logsumexp(0)) == pytest.approx(0, abs=1e-5)


def test_weights_are_unbiased() -> None:
    target = potts_lattice(2, 2, 3, 0.6)
    exact = enumerate_states(target).log_z
    masked, causal = wild(MaskedConditionals(4, 3, 16, 2, 1)), wild(CausalConditionals(4, 3, 16, 8, 1))
    for found in (
        sample_masked(masked, target, 6000),
        sample_masked(masked, target, 6000, at_once=2),
        sample_causal(causal, target, 6000),
        masked_smc(masked, target, 300, 20),
    ):
        assert found.log_z is not None
        assert abs(found.log_z - exact) < 4 * (found.log_z_standard_error or 0)
    assert masked_smc(masked, target, 100, 4).diagnostics["resamplings"] > 0


def test_the_weights_of_samples_are_those_of_their_paths() -> None:
    target, network = Ising(2, 3, 0.3), wild(MaskedConditionals(6, 2, 16, 2, 1))
    found = sample_masked(network, target, 20, seed=3)
    order = orders(ChainDraws(3, torch.arange(20)), 6)
    with torch.no_grad():
        log_q = path_log_prob(network, found.samples, order, 2)
    torch.testing.assert_close(found.log_weights, target.log_prob(found.samples).double() - log_q, rtol=1e-4, atol=1e-4)
    parts = [sample_masked(network, target, 8, seed=3), sample_masked(network, target, 12, seed=3, first=8)]
    assert torch.equal(found.samples, torch.cat([part.samples for part in parts]))


def test_the_cross_entropy_estimates_that_of_orders() -> None:
    """Its mean over counts and places is E over uniform orders of −log q(x | order)."""
    network = wild(MaskedConditionals(3, 2, 16, 2, 1))
    x = torch.tensor([[0, 1, 1]])
    with torch.no_grad():
        every = torch.tensor(list(permutations(range(3))))
        wanted = -path_log_prob(network, x.expand(6, -1), every, 2).mean()
        n = 6000
        loss = masked_cross_entropy(network, x.expand(n, -1), 2, torch.rand(n), torch.rand(n, 3))
    assert abs(float(loss.mean() - wanted)) < 4 * float(loss.std() / n**0.5)


def test_the_free_energy_has_its_gradient() -> None:
    """Summed over all states with their probabilities, the loss has the gradient of the divergence."""
    target, network = Ising(1, 3, 0.4, 0.3), wild(CausalConditionals(3, 2, 8, 4, 1))
    x = all_states(3, 2)
    log_q = causal_log_prob(network, x)
    divergence = (log_q.exp() * (log_q - target.log_prob(x))).sum()
    parameter = network.readout.weight
    (wanted,) = torch.autograd.grad(divergence, parameter, retain_graph=True)
    value = (log_q - target.log_prob(x)).detach()
    rows = (value - (log_q.exp() * value).sum().detach()) * log_q
    (found,) = torch.autograd.grad((log_q.exp().detach() * rows).sum(), parameter, retain_graph=True)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6)
    batch = free_energy_loss(target.log_prob(x), log_q)
    assert abs(float((log_q - target.log_prob(x)).mean().detach())) > 0
    assert batch.shape == (8,)


def test_ordered_samplers_refuse() -> None:
    with pytest.raises(UsageError, match="the network has 4 sites"):
        sample_masked(MaskedConditionals(4, 2), Ising(3, 3, 0.2))
    with pytest.raises(UsageError, match="at_once is 0"):
        sample_masked(MaskedConditionals(9, 2), Ising(3, 3, 0.2), at_once=0)
    with pytest.raises(UsageError, match="1 samples"):
        sample_causal(CausalConditionals(9, 2), Ising(3, 3, 0.2), 1)
    with pytest.raises(UsageError, match="heads divide"):
        MaskedConditionals(9, 2, 10, 4)


@pytest.mark.parametrize(
    "config",
    [OrderedConfig(beta=0.3, field=0.2), OrderedConfig(target="potts", states=3, height=2, width=3, beta=0.4)],
)
def test_what_is_revealed_says_what_it_can_before_training(config: OrderedConfig) -> None:
    """The last site is drawn from its exact conditional, and the first from the field alone."""
    sampler = OrderedSampler(config)
    target, sites = sampler.target(), config.height * config.width
    x = torch.randint(config.states, (7, sites), generator=torch.Generator().manual_seed(0))
    for site in range(sites):
        hidden = x.index_fill(1, torch.tensor([site]), config.states)
        wanted = target.neighbour_log_ratio(x)[:, site].log_softmax(-1)
        torch.testing.assert_close(sampler(hidden)[:, site], wanted, rtol=1e-4, atol=1e-5)
    if config.field:
        first = sampler(torch.full_like(x, config.states))
        torch.testing.assert_close(first[..., 1] - first[..., 0], torch.full((7, sites), 2 * config.field))
    assert set(sampler.state_dict()) >= {"network.field.scale.values"}
    assert not [name for name in sampler.state_dict() if name.endswith("field.matrix")]
