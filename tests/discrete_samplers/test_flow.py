"""The jump process: residuals by brute force, the reference's step, weights that are exact for every grid."""

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from tenfold.discrete_samplers.classical.gibbs import Gibbs
from tenfold.discrete_samplers.classical.kernels import ChainDraws
from tenfold.discrete_samplers.exact.enumeration import all_states, enumerate_states, log_probabilities, state_numbers
from tenfold.discrete_samplers.exact.lattice import ising_lattice
from tenfold.discrete_samplers.flow.paths import data_bound, gillespie
from tenfold.discrete_samplers.flow.process import FlowProcess, see
from tenfold.discrete_samplers.flow.residual import (
    best_coefficient,
    clamped_share,
    dense_rates,
    mean_rate,
    one_way,
    residual_loss,
    stein_term,
    xi,
)
from tenfold.discrete_samplers.flow.simulation import (
    adapted_grid,
    adapted_times,
    colours_of,
    leap_kernels,
    sample_flow,
    times,
    trajectories,
)
from tenfold.discrete_samplers.flow.steps import (
    backward_log_rates,
    chosen_log_probability,
    euler_probabilities,
    forward_log_rates,
    leap_log_probabilities,
)
from tenfold.discrete_samplers.networks.published import read_transformer
from tenfold.discrete_samplers.networks.transformer import EquivariantTransformer
from tenfold.discrete_samplers.targets.annealed import ProductPrior, uniform
from tenfold.discrete_samplers.targets.binary import Ising, PairwiseBinary
from tenfold.discrete_samplers.targets.couplings import Couplings, spread_sites
from tenfold.discrete_samplers.targets.functions import CallableTarget
from tenfold.discrete_samplers.targets.potts import potts_lattice
from tenfold.errors import UsageError

TOLERANCE = {"rtol": 1e-4, "atol": 1e-4}


@pytest.fixture
def brute(fixtures: Path) -> dict[str, torch.Tensor]:
    data = np.load(fixtures / "discrete_samplers" / "kolmogorov_bruteforce.npz")
    return {name: torch.tensor(data[name]) for name in data}


def neighbour_numbers(states: torch.Tensor, s: int) -> torch.Tensor:
    """(n, d, s) row numbers of Swap(x, i, τ)."""
    table = {tuple(row): k for k, row in enumerate(states.tolist())}
    d = states.shape[1]
    return torch.tensor(
        [[[table[(*row[:i], token, *row[i + 1 :])] for token in range(s)] for i in range(d)] for row in states.tolist()]
    )


@pytest.mark.parametrize("k", ["k0", "k1"])
def test_residuals_by_brute_force(brute: dict[str, torch.Tensor], k: str) -> None:
    data = {name.removeprefix(f"{k}_"): value for name, value in brute.items() if name.startswith(k)}
    states, g, p = data["states"], data["G"], data["p_t"]
    number = neighbour_numbers(states, g.shape[-1])
    log_ratio = p.log()[number] - p.log()[:, None, None]
    change = data["log_rho"] - data["log_eta"]
    tight = {"rtol": 1e-12, "atol": 1e-12}
    found = xi(change, g, log_ratio)
    torch.testing.assert_close(found, data["xi"], **tight)
    torch.testing.assert_close(found - data["dt_logZ"], data["residual"], **tight)
    torch.testing.assert_close((p * found).sum(), data["dt_logZ"], **tight)
    stein = stein_term(g, log_ratio)
    assert abs(float((p * stein).sum())) < 1e-12
    for values, name in ((change, "var_naive"), (found, "var_xi")):
        torch.testing.assert_close((p * (values - data["dt_logZ"]) ** 2).sum(), data[name], **tight)
    torch.testing.assert_close(best_coefficient(change, stein, p), data["beta_opt"], **tight)
    rates = dense_rates(g, states, number)
    torch.testing.assert_close(rates, data["R"], **tight)
    torch.testing.assert_close(rates.sum(0), torch.zeros(len(p), dtype=torch.float64), rtol=0, atol=1e-12)
    # The exact flux has residual 0: p_t R = dp/dt.
    exact = data["G_exact"].clamp(min=0)
    exact = exact - torch.diag(exact.sum(0))
    torch.testing.assert_close(exact @ p, p * (change - data["dt_logZ"]), **tight)
    free = data["R_any_offdiag"]
    made = one_way(free, p)
    off = made - torch.diag(made.diagonal())
    torch.testing.assert_close(off, data["R_oneway_offdiag"], **tight)
    torch.testing.assert_close(made @ p, data["dp_any"], **tight)
    assert bool((off * off.T == 0).all())


def test_the_reference_step(fixtures: Path) -> None:
    data = load_file(fixtures / "discrete_samplers" / "dnfs_ising_step.safetensors")
    network = read_transformer({k.removeprefix("weights."): v for k, v in data.items() if k.startswith("weights.")})
    process, target, prior = FlowProcess(network, None), Ising(3, 3, 1.2, 0.2), uniform(9, 2)
    x, t = data["x"], data["t"]
    seen = see(process, target, prior, x, t)
    torch.testing.assert_close(seen.log_ratio, data["log_ratio"], **TOLERANCE)
    torch.testing.assert_close(stein_term(seen.g, seen.log_ratio, 5.0), data["stein"], **TOLERANCE)
    torch.testing.assert_close(stein_term(seen.g, seen.log_ratio), data["stein_noclip"], rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(seen.xi(5.0), data["xi"], **TOLERANCE)
    torch.testing.assert_close(seen.xi(), data["xi_noclip"], rtol=1e-4, atol=1e-3)
    loss = residual_loss(seen.xi(5.0), data["dt_log_Zt"]).mean()
    torch.testing.assert_close(loss, data["loss"][0], **TOLERANCE)
    loss.backward()
    for name, parameter in network.named_parameters():
        wanted = data[f"grad.{name}"]
        assert parameter.grad is not None
        assert float((parameter.grad - wanted).abs().max()) <= 1e-3 * float(wanted.abs().max()) + 2e-5, name
    quarter = torch.full((len(x),), 0.25)
    g = see(process, target, prior, x, quarter).g
    for name, span in (("1over63", 1 / 63), ("0.4", 0.4)):
        found = euler_probabilities(g, x, torch.full((len(x),), span))
        torch.testing.assert_close(found, data[f"step_probs_t0.25_dt{name}"], rtol=1e-4, atol=1e-5)
    at = see(process, target, prior, x, quarter)
    torch.testing.assert_close(data["w_before"] + at.xi() / 63, data["w_after"], **TOLERANCE)
    samples = data["grid_samples"].transpose(0, 1)
    grid = torch.linspace(0, 1, len(samples))
    rows = [
        see(process, target, prior, s, torch.full((len(s),), float(u))).xi(5.0)
        for s, u in zip(samples, grid, strict=True)
    ]
    torch.testing.assert_close(mean_rate(torch.stack(rows)), data["grid_dt_log_Zt"], **TOLERANCE)


def test_gradients_by_differences() -> None:
    torch.manual_seed(4)
    network = EquivariantTransformer(4, 2, 8, 4, 1).double()
    process, target, prior = (
        FlowProcess(network, 0.3).double(),
        Ising(2, 2, 0.3, 0.1, torch.float64),
        uniform(4, 2, torch.float64),
    )
    x, t, c = torch.randint(2, (6, 4)), torch.rand(6, dtype=torch.float64), torch.randn(6, dtype=torch.float64)
    c.requires_grad_(True)

    def loss() -> torch.Tensor:
        return residual_loss(see(process, target, prior, x, t).xi(5.0), c).mean()

    loss().backward()
    assert c.grad is None
    for parameter in (
        network.output_layer.ommega_embedder.embedding,
        network.readout.attn_q.weight,
        process.scale.values,
    ):
        direction = torch.randn_like(parameter)
        with torch.no_grad():
            parameter += 1e-6 * direction
            up = loss()
            parameter -= 2e-6 * direction
            down = loss()
            parameter += 1e-6 * direction
        found = (parameter.grad * direction).sum()
        torch.testing.assert_close(found, (up - down) / 2e-6, rtol=1e-5, atol=1e-8)


def test_the_clamp_has_no_slope() -> None:
    g = torch.tensor([[[0.0, -1.0]]], requires_grad=True)
    ratio = torch.tensor([[[0.0, 7.0]]], requires_grad=True)
    stein_term(g, ratio, 5.0).sum().backward()
    assert ratio.grad is not None
    assert float(ratio.grad.abs().max()) == 0
    assert g.grad is not None
    assert math.isclose(float(g.grad[0, 0, 1]), math.exp(5.0), rel_tol=1e-5)
    assert float(clamped_share(g.detach(), ratio.detach(), 5.0)) == 1


# --- exact weights --------------------------------------------------------------------------------------------


class Wild(nn.Module):
    """A locally equivariant G of no merit at all."""

    def __init__(self, sites: int, states: int, size: float = 2.0) -> None:
        super().__init__()
        self.net = EquivariantTransformer(sites, states, 8, 4, 1).double()
        self.size = size

    def forward(self, x: torch.Tensor, t: torch.Tensor, *ratios: torch.Tensor) -> torch.Tensor:
        return self.size * self.net(x, t)


def all_steps(process: nn.Module, target: Any, prior: Any, grid: torch.Tensor, floor: float) -> float:
    """E e^w by going over every pair of states in every step."""
    states = all_states(target.sites, target.states)
    n = len(states)
    mass = prior.log_prob(states).double()
    x, y = states.repeat_interleave(n, 0), states.repeat(n, 1)
    for now, then in pairwise(grid.tolist()):
        middle = torch.full((n * n,), (now + then) / 2, dtype=torch.float64)
        span = torch.full((n * n,), then - now, dtype=torch.float64)
        before, after = (see(process, target, prior, state, middle) for state in (x, y))
        mass = mass - before.log_prob(now).view(n, n)[:, 0]
        for sites in colours_of(target):
            rates = forward_log_rates(before.g[:, sites], before.log_ratio[:, sites], x[:, sites], floor)
            ahead = chosen_log_probability(leap_log_probabilities(rates, x[:, sites], span), y[:, sites])
            others = torch.ones(target.sites, dtype=torch.bool).index_fill(0, sites, False)
            reached = (x[:, others] == y[:, others]).all(1)
            step = leap_kernels(before, after, x, y, span, floor, sites) + torch.where(reached, ahead, -torch.inf)
            mass = (mass[:, None] + step.view(n, n)).logsumexp(0)
        mass = mass + after.log_prob(then)[:n]
    return float(mass.logsumexp(0))


@pytest.mark.parametrize("steps", [1, 2, 5])
@pytest.mark.parametrize("kind", ["binary", "potts", "forbidden", "colours"])
def test_weights_are_unbiased_for_every_number_of_steps(steps: int, kind: str) -> None:
    torch.manual_seed(steps)
    table = torch.randn(8, dtype=torch.float64)
    table[2] = -torch.inf
    target: Any = {
        "binary": CallableTarget(lambda x: 2 * torch.sin(1.0 + state_numbers(x, 2).double() ** 2), 3),
        "potts": potts_lattice(1, 2, 3, 0.9, torch.float64),
        "forbidden": CallableTarget(lambda x: table[state_numbers(x, 2)], 3),
        "colours": Ising(2, 2, 0.7, 0.3, torch.float64),
    }[kind]
    assert len(colours_of(target)) > 1
    prior = ProductPrior(torch.rand(target.sites, target.states, dtype=torch.float64).add(0.2).softmax(-1))
    process = Wild(target.sites, target.states)
    with torch.no_grad():
        found = all_steps(process, target, prior, times(steps), 0.3)
    assert abs(found - enumerate_states(target).log_z) < 1e-9


def test_kernels_are_distributions() -> None:
    target, prior = potts_lattice(2, 2, 3, 0.5, torch.float64), uniform(4, 3, torch.float64)
    x = torch.randint(3, (5, 4))
    seen = see(Wild(4, 3), target, prior, x, torch.rand(5, dtype=torch.float64))
    for rates in (
        forward_log_rates(seen.g, seen.log_ratio, x, 0.1),
        backward_log_rates(seen.g, seen.log_ratio, x, 0.0),
    ):
        for span in (1e-6, 0.3, 50.0):
            total = leap_log_probabilities(rates, x, torch.full((5,), span, dtype=torch.float64)).exp().sum(-1)
            torch.testing.assert_close(total, torch.ones(5, 4, dtype=torch.float64), rtol=1e-8, atol=1e-8)


def test_the_estimate_is_unbiased_by_sampling() -> None:
    target = Ising(2, 3, 0.4, dtype=torch.float64)
    exact = ising_lattice(2, 3, 0.4).log_z
    found = sample_flow(Wild(6, 2, 0.5), target, 1500, times(4), uniform(6, 2, torch.float64), floor=0.5)
    assert found.log_z is not None
    assert abs(found.log_z - exact) < 4 * (found.log_z_standard_error or 0)
    resampled = sample_flow(
        Wild(6, 2, 0.5), target, 150, times(6), uniform(6, 2, torch.float64), floor=0.5, threshold=0.9, populations=8
    )
    assert resampled.diagnostics["resamplings"] > 0
    assert resampled.log_z is not None
    assert abs(resampled.log_z - exact) < 4 * (resampled.log_z_standard_error or 0)
    refined = sample_flow(
        Wild(6, 2, 0.5), target, 800, times(4), uniform(6, 2, torch.float64), floor=0.5, refine=Gibbs()
    )
    assert refined.log_z is not None
    assert abs(refined.log_z - exact) < 4 * (refined.log_z_standard_error or 0)
    assert refined.ess > found.ess


def independent(fields: torch.Tensor) -> PairwiseBinary:
    none = Couplings(len(fields), torch.zeros(0, 2, dtype=torch.int64), torch.zeros(0, dtype=fields.dtype))
    return PairwiseBinary(-1, fields, none)


def test_independent_sites_have_a_closed_form() -> None:
    fields = torch.tensor([0.5, -1.0, 0.2, 1.5], dtype=torch.float64)
    target, process = independent(fields), FlowProcess(None, 1.0).double()
    prior = uniform(4, 2, torch.float64)
    log_z = float(torch.log(2 * torch.cosh(fields)).sum())
    x = all_states(4, 2)
    for t in (0.0, 0.3, 1.0):
        at = torch.full((16,), t, dtype=torch.float64)
        residual = see(process, target, prior, x, at).xi()
        torch.testing.assert_close(residual, residual[0].expand(16), rtol=1e-10, atol=1e-10)
    found = sample_flow(process, target, 600, times(64), prior, floor=1e-3)
    assert found.log_z is not None
    assert abs(found.log_z - log_z) < 1e-3
    assert found.ess > 0.999
    rough = [
        abs((sample_flow(process, target, 200, times(k), prior, step="euler", floor=0.0).log_z or 0) - log_z)
        for k in (8, 16, 32)
    ]
    assert 1.7 < rough[0] / rough[1] < 2.4
    assert 1.7 < rough[1] / rough[2] < 2.4


def test_conditional_rates_alone_move_to_the_lattice() -> None:
    """Without any training: the published head's effective sizes, left-endpoint weights."""
    target = Ising(4, 4, 0.2)
    with_head = sample_flow(FlowProcess(None, 0.6), target, 250, times(64), step="euler", floor=0.0)
    without = sample_flow(FlowProcess(None, 0.0), target, 250, times(64), step="euler", floor=0.0)
    assert with_head.ess > 0.8
    assert without.ess < 0.3
    exact = sample_flow(FlowProcess(None, 0.6), target, 250, times(32))
    assert exact.log_z is not None
    assert abs(exact.log_z - ising_lattice(4, 4, 0.2).log_z) < 4 * (exact.log_z_standard_error or 0)


def test_jumps_one_by_one() -> None:
    fields = torch.tensor([0.8, -0.5], dtype=torch.float64)
    target, prior = independent(fields), uniform(2, 2, torch.float64)
    process = FlowProcess(None, 1.0).double()
    draws = ChainDraws(0, torch.arange(3000))
    x = gillespie(process, target, prior.draw(draws.uniform("start", 2)), times(40).tolist(), prior, draws)
    p = log_probabilities(target).exp()
    counts = torch.bincount(state_numbers(x, 2), minlength=4).double() / 3000
    assert float(((counts - p).abs() / (p * (1 - p) / 3000).sqrt()).max()) < 4.5


def test_the_bound_of_data() -> None:
    """Its mean exponential is the probability with which the process ends there."""
    target, prior = independent(torch.tensor([0.8, -0.5], dtype=torch.float64)), uniform(2, 2, torch.float64)
    process = FlowProcess(None, 1.0).double()
    grid = times(8)
    x = all_states(2, 2).repeat_interleave(4000, 0)
    bound = data_bound(process, target, x, grid, prior, floor=0.1).view(4, 4000)
    ended = sample_flow(process, target, 20000, grid, prior, floor=0.1).samples
    q = torch.bincount(state_numbers(ended, 2), minlength=4).double() / 20000
    found = bound.exp().mean(1)
    error = (bound.exp().var(1) / 4000 + q * (1 - q) / 20000).sqrt()
    assert float(((found - q).abs() / error).max()) < 4.5
    assert bool((bound.mean(1) <= q.log() + 4 * ((1 - q) / (20000 * q)).sqrt()).all())


def test_times_follow_the_work() -> None:
    grid = times(4)
    same = adapted_times(grid, torch.ones(5), 8)
    torch.testing.assert_close(same, times(8))
    late = adapted_times(grid, torch.tensor([0.0, 0.0, 0.0, 1.0, 1.0]), 4)
    assert float(late[1]) > 0.5
    assert bool((late.diff() > 0).all())


def test_a_pilot_finds_where_steps_should_be_short() -> None:
    target, process = Ising(4, 4, 0.6), FlowProcess(None, 0.5)
    grid = adapted_grid(process, target, 16)
    assert len(grid) == 17
    assert float(grid[0]) == 0
    assert float(grid[-1]) == 1
    assert float(grid.diff()[-1]) < float(grid.diff()[0])  # neighbours decide together at the end
    assert torch.equal(grid, adapted_grid(process, target, 16))


def test_sites_that_leap_together_are_apart() -> None:
    for apart in (1, 2, 3):
        for height, width in ((4, 6), (5, 5), (5, 7)):
            groups = spread_sites(height, width, apart)
            assert torch.equal(torch.cat(groups).sort().values, torch.arange(height * width))
            for sites in groups:
                row, column = sites // width, sites % width
                down = (row[:, None] - row).abs()
                right = (column[:, None] - column).abs()
                far = torch.minimum(down, height - down) + torch.minimum(right, width - right)
                assert bool((far[~torch.eye(len(sites), dtype=torch.bool)] > apart).all())
    target = Ising(4, 4, 0.3, dtype=torch.float64)
    found = sample_flow(FlowProcess(None, 0.5), target, 1000, times(8), groups=spread_sites(4, 4, 2))
    assert found.log_z is not None
    assert abs(found.log_z - ising_lattice(4, 4, 0.3).log_z) < 4 * (found.log_z_standard_error or 0)
    with pytest.raises(UsageError, match="make a partition"):
        sample_flow(FlowProcess(None, 0.5), target, 10, groups=[torch.arange(15)])


def test_parts_are_parts_of_the_whole_and_resampling_is_keyed() -> None:
    target, process = Ising(3, 3, 0.3), FlowProcess(EquivariantTransformer(9, 2, 8, 4, 1), 0.5)
    whole = sample_flow(process, target, 10, times(5), populations=3, threshold=0.9, seed=2)
    one = sample_flow(process, target, 10, times(5), populations=2, threshold=0.9, seed=2)
    two = sample_flow(process, target, 10, times(5), populations=1, threshold=0.9, seed=2, first=2)
    assert torch.equal(whole.samples, torch.cat([one.samples, two.samples]))


def test_what_is_recorded() -> None:
    target, process, prior = Ising(3, 3, 0.3), FlowProcess(None, 0.5), uniform(9, 2)
    draws = ChainDraws(3, torch.arange(6))
    made = trajectories(process, target, 6, times(4), prior, draws)
    assert made.states.shape == (5, 6, 9)
    again = see(process, target, prior, made.states[2], torch.full((6,), 0.5)).xi()
    torch.testing.assert_close(made.xi[2], again)
    torch.testing.assert_close(made.log_weights[-1], made.xi[:-1].double().sum(0) / 4)


class Broken(nn.Module):
    def forward(self, x: torch.Tensor, t: torch.Tensor, ratios: torch.Tensor, *more: torch.Tensor) -> torch.Tensor:
        return torch.full_like(ratios, math.nan)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: sample_flow(Broken(), Ising(3, 3, 0.2), 4, times(2)), "NaN"),
        (lambda: sample_flow(FlowProcess(None), Ising(3, 3, 0.2), 1), "num and populations are 1"),
        (lambda: sample_flow(FlowProcess(None), Ising(3, 3, 0.2), floor=0.0), "floor is 0.0"),
        (lambda: sample_flow(FlowProcess(None), Ising(3, 3, 0.2), step="leap"), "step is 'leap'"),
        (lambda: sample_flow(FlowProcess(None), Ising(3, 3, 0.2), grid=torch.tensor([0.0, 0.5])), "rise from 0 to 1"),
        (lambda: times(0), "steps is 0"),
    ],
)
def test_simulations_refuse(make: Any, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        make()


def test_suspicions_are_told() -> None:
    many = sample_flow(FlowProcess(None, 3.0), Ising(4, 4, 0.8), 64, times(4), step="euler", floor=0.0)
    assert any("jump more than once" in note for note in many.notes)
    few = sample_flow(FlowProcess(None, 0.0), Ising(6, 6, 0.8), 2000, times(4))
    assert any("effective sample size" in note for note in few.notes)
