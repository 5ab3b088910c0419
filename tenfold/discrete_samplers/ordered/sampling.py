"""Samples and exact weights of ordered samplers: q(x, order) = p(order) Π p(x_i | revealed) is known, and so
log w = log ρ(x) − Σ log p(x_i | revealed before it), unbiased whatever was learned."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tenfold import progress
from tenfold.discrete_samplers.classical.kernels import ChainDraws, drawn
from tenfold.discrete_samplers.ordered.network import CausalConditionals, MaskedConditionals
from tenfold.discrete_samplers.result import CountedTarget, SamplerResult, weighted_result
from tenfold.discrete_samplers.targets.protocol import DiscreteTarget
from tenfold.errors import UsageError
from tenfold.settings.arguments import read_arguments
from tenfold.smc.adaptive import gather_particles, resample_where
from tenfold.smc.weights import log_mean_weight
from tenfold.training.streams import Draws


def orders(draws: ChainDraws, sites: int) -> Int[Tensor, "b d"]:
    """A uniformly random order of the sites for every sample."""
    return draws.uniform("order", sites, dtype=torch.float64).argsort(1)


def orders_of(seed: int, first: int, x: Int[Tensor, "b d"]) -> Int[Tensor, "b d"]:
    """The orders in which ``sample_masked`` revealed its samples ``first``, ..."""
    return orders(ChainDraws(seed, torch.arange(first, first + len(x), device=x.device)), x.shape[1])


@read_arguments
@torch.no_grad()
def sample_masked(
    network: MaskedConditionals,
    target: DiscreteTarget,
    num: int = 1024,
    at_once: int = 1,
    seed: int = 0,
    first: int = 0,
    device: str | torch.device = "cpu",
) -> SamplerResult:
    """Sites revealed in a random order, ``at_once`` of them a pass, drawn independently given what stands.

    The weights count the product of the conditionals that were drawn from, and so are exact for any ``at_once``.

    Raises UsageError for a network of other sites, fewer than 2 samples, ``at_once`` below 1."""
    _check(network, target, num)
    if at_once < 1:
        raise UsageError(f"at_once is {at_once}; reveal at least 1 site a pass")
    draws = ChainDraws(seed, torch.arange(first, first + num, device=device))
    counted, order = CountedTarget(target), orders(draws, target.sites)
    x = torch.full((num, target.sites), target.states, device=device)
    log_q = torch.zeros(num, dtype=torch.float64, device=device)
    uniforms = draws.uniform("reveal", target.sites)
    with progress.task("revealing", target.sites, "sites") as step:
        for places in order.split(at_once, 1):
            logs = network(x).gather(1, places[..., None].expand(-1, -1, target.states))
            counted.counts.network += num
            tokens = drawn(logs.exp(), uniforms.gather(1, places))
            log_q += logs.gather(-1, tokens[..., None])[..., 0].double().sum(1)
            x = x.scatter(1, places, tokens)
            step(places.shape[1])
    weights = counted.log_prob(x).double() - log_q
    return weighted_result(x[None], weights[None], counted.counts)


@read_arguments
@torch.no_grad()
def sample_causal(
    network: CausalConditionals,
    target: DiscreteTarget,
    num: int = 1024,
    seed: int = 0,
    first: int = 0,
    device: str | torch.device = "cpu",
) -> SamplerResult:
    """Site after site; a pass of the network over those before it each.

    Raises UsageError for a network of other sites and fewer than 2 samples."""
    _check(network, target, num)
    draws = ChainDraws(seed, torch.arange(first, first + num, device=device))
    counted, x = CountedTarget(target), torch.zeros(num, target.sites, dtype=torch.int64, device=device)
    uniforms = draws.uniform("reveal", target.sites)
    with progress.task("revealing", target.sites, "sites") as step:
        for i in range(target.sites):
            counted.counts.network += num
            x[:, i] = drawn(network(x[:, : i + 1])[:, i].exp(), uniforms[:, i])
            step()
    weights = counted.log_prob(x).double() - causal_log_prob(network, x)
    return weighted_result(x[None], weights[None], counted.counts)


def causal_log_prob(network: nn.Module, x: Int[Tensor, "b d"]) -> Float[Tensor, " b"]:
    """log q(x), normalised, float64; with gradients where they are on."""
    return network(x).gather(-1, x[..., None])[..., 0].double().sum(1)


def path_log_prob(
    network: nn.Module, x: Int[Tensor, "b d"], order: Int[Tensor, "b d"], states: int
) -> Float[Tensor, " b"]:
    """Σ_i log p(x_i | revealed before it in the order), all d passes as one batch; float64, with gradients."""
    b, d = x.shape
    rank = torch.empty_like(order).scatter_(1, order, torch.arange(d, device=x.device).expand(b, d))
    turn = torch.arange(d, device=x.device)[None, :, None]
    seen = torch.where(rank[:, None] < turn, x[:, None], states)
    logs = network(seen.flatten(0, 1)).view(b, d, d, states)
    here = order[:, :, None, None].expand(-1, -1, 1, states)
    chosen = logs.gather(2, here)[:, :, 0]
    return chosen.gather(-1, x.gather(1, order)[..., None])[..., 0].double().sum(1)


@read_arguments
@torch.no_grad()
def masked_smc(
    network: MaskedConditionals,
    target: DiscreteTarget,
    particles: int = 256,
    populations: int = 8,
    threshold: float = 0.5,
    seed: int = 0,
    device: str | torch.device = "cpu",
) -> SamplerResult:
    """The masked sampler as sequential Monte Carlo: half-revealed states are weighed by the target with the masks
    filled by the network's likeliest tokens, twisted potentials that leave log Ẑ unbiased since the last is the target
    itself. All particles of a population share an order, so that what stands can be compared.

    Raises UsageError as ``sample_masked`` does."""
    _check(network, target, particles)
    if populations < 1:
        raise UsageError(f"populations is {populations}; give at least 1")
    m, n, d = populations, particles, target.sites
    numbers = torch.arange(m, device=device)
    draws = ChainDraws(seed, torch.arange(m * n, device=device))
    order = orders(ChainDraws(seed, numbers), d).repeat_interleave(n, 0)
    counted = CountedTarget(target)
    x = torch.full((m * n, d), target.states, device=device)
    weights = torch.zeros(m, n, dtype=torch.float64, device=device)
    log_z, before = torch.zeros(m, dtype=torch.float64, device=device), torch.zeros(m * n, dtype=torch.float64)
    uniforms, resamplings = draws.uniform("reveal", d), 0.0
    logs = network(x)
    with progress.task("revealing", d, "sites") as step:
        for k in range(d):
            place = order[:, k : k + 1]
            own = logs.gather(1, place[..., None].expand(-1, -1, target.states))[:, 0]
            token = drawn(own.exp(), uniforms[:, k])
            x = x.scatter(1, place, token[:, None])
            logs = network(x)
            counted.counts.network += m * n
            if k < d - 1:
                guess = torch.where(x == target.states, logs.argmax(-1), x)
                share = (k + 1) / d
                now = share * counted.log_prob(guess).double().clamp(min=-1e6)
            else:
                now = counted.log_prob(x).double()
            gain = now - before.to(now) - own.gather(1, token[:, None])[:, 0].double()
            weights, before = weights + gain.view(m, n), now
            if k < d - 1:
                made = resample_where(weights, Draws(seed, k + 1).uniform("resample", numbers, (1,)), threshold)
                weights, log_z = made.log_weights, log_z + made.log_mean
                resamplings += float(made.mask.float().mean())
                x, logs, before = (
                    gather_particles(v.unflatten(0, (m, n)), made.ancestors).flatten(0, 1) for v in (x, logs, before)
                )
            step()
    total = log_z + log_mean_weight(weights)
    return weighted_result(x.view(m, n, -1), weights, counted.counts, total, None, {"resamplings": resamplings})


def _check(network: MaskedConditionals | CausalConditionals, target: DiscreteTarget, num: int) -> None:
    if (network.sites, network.states) != (target.sites, target.states):
        raise UsageError(
            f"the network has {network.sites} sites of {network.states} states, the target {target.sites} of "
            f"{target.states}"
        )
    if num < 2:
        raise UsageError(f"{num} samples are asked for; give at least 2")
