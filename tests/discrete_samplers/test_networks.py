"""Networks: the references' numbers and names, hollowness and local equivariance to the last bit."""

import math
from pathlib import Path
from typing import Any

import networkx
import pytest
import torch
from safetensors.torch import load_file

from tenfold.discrete_samplers.flow.residual import stein_term
from tenfold.discrete_samplers.networks.cavity import EquivariantCavity, distance_classes, moved_sites
from tenfold.discrete_samplers.networks.conditional import TimeScale, conditional_rates, conditional_slope
from tenfold.discrete_samplers.networks.convolution import EquivariantConvolution
from tenfold.discrete_samplers.networks.parts import time_features
from tenfold.discrete_samplers.networks.published import read_convolution, read_transformer
from tenfold.discrete_samplers.networks.scan import EquivariantScan, decayed_sums
from tenfold.discrete_samplers.networks.single import EquivariantAttention, EquivariantPerceptron
from tenfold.discrete_samplers.networks.transformer import EquivariantTransformer
from tenfold.discrete_samplers.targets.annealed import uniform
from tenfold.discrete_samplers.targets.potts import potts_lattice
from tenfold.errors import UsageError

TOLERANCE = {"rtol": 1e-4, "atol": 1e-4}


def weights(data: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name.removeprefix("weights."): value for name, value in data.items() if name.startswith("weights.")}


@pytest.mark.parametrize("name", ["a", "b"])
def test_the_reference_transformer(fixtures: Path, name: str) -> None:
    data = load_file(fixtures / "discrete_samplers" / f"letf_{name}.safetensors")
    network = read_transformer(weights(data))
    x, t = data["x"], data["t"]
    with torch.no_grad():
        torch.testing.assert_close(time_features(t), data["time_freq"], **TOLERANCE)
        c = network.time_embedder(t)
        torch.testing.assert_close(c, data["time_emb"], **TOLERANCE)
        left, right = network.streams(x, c)
        torch.testing.assert_close(left, data["fwd_stream"], **TOLERANCE)
        torch.testing.assert_close(right, data["bwd_stream"], **TOLERANCE)
        torch.testing.assert_close(network.hollow(x, c), data["hollow"], **TOLERANCE)
        torch.testing.assert_close(network(x, t), data["G"], **TOLERANCE)
    assert set(network.state_dict()) == set(weights(data))


@pytest.mark.parametrize("name", ["ising", "potts"])
def test_the_reference_convolution(fixtures: Path, name: str) -> None:
    data = load_file(fixtures / "discrete_samplers" / f"leaps_conv_{name}.safetensors")
    network = read_convolution({f"net.{key}": value for key, value in weights(data).items()}, 5, 5)
    tokens = ((data["x"] + 1) / 2).long() if name == "ising" else data["x"]
    x = tokens.flatten(1)
    with torch.no_grad():
        found = network(x, data["t"])
    wanted = data["G"].flatten(-2)
    found = found.gather(-1, 1 - x[..., None])[..., 0] if name == "ising" else found.transpose(1, 2)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-3)
    assert set(network.state_dict()) == set(weights(data))


def test_states_that_do_not_fit(fixtures: Path) -> None:
    state = weights(load_file(fixtures / "discrete_samplers" / "letf_a.safetensors"))
    with pytest.raises(UsageError, match=r"missing \['readout.attn_q.bias'\]"):
        read_transformer({name: value for name, value in state.items() if name != "readout.attn_q.bias"})
    with pytest.raises(UsageError, match=r"over \['more'\]"):
        read_transformer(state | {"more": torch.zeros(1)})
    with pytest.raises(UsageError, match="NaN"):
        read_transformer(state | {"readout.attn_q.bias": torch.full((16,), math.nan)})
    with pytest.raises(UsageError, match="no vocab_embedder"):
        read_transformer({})
    with pytest.raises(UsageError, match=r"no network\.linear"):
        read_convolution(state, 5, 5)


def graph_distances(n: int) -> torch.Tensor:
    graph = networkx.cycle_graph(n - 1)
    graph.add_node(n - 1)
    found = torch.full((n, n), -1)
    for a, lengths in networkx.all_pairs_shortest_path_length(graph):
        for b, length in lengths.items():
            found[a, b] = length
    return found


def networks() -> dict[str, Any]:
    torch.manual_seed(2)
    graph = EquivariantTransformer(9, 3, 16, 8, 2, distances=graph_distances(9))
    torch.nn.init.normal_(graph.distance_bias)
    made = {
        "transformer": EquivariantTransformer(9, 3, 16, 8, 2, layers=2),
        "graph": graph,
        "ising": EquivariantConvolution(3, 3, 2, 4, (3, 3, 3)),
        "cavity": EquivariantCavity(3, 3, 4, 8),
        "cavity in a field": EquivariantCavity(3, 3, 4, 8, field=True),
        "potts": EquivariantConvolution(3, 3, 3, 4, (3, 3, 3)),
        "perceptron": EquivariantPerceptron(9, 3, 8),
        "attention": EquivariantAttention(9, 3, 8),
        "scan": EquivariantScan(9, 3, 16),
    }
    return made


NETWORKS = networks()


@pytest.mark.parametrize("name", NETWORKS)
def test_local_equivariance_is_exact(name: str) -> None:
    network = NETWORKS[name]
    x, t = torch.randint(network.states, (4, 9)), torch.rand(4)
    with torch.no_grad():
        here = network(x, t)
        assert bool((here.gather(-1, x[..., None]) == 0).all())
        for i in range(9):
            for shift in range(1, network.states):
                y = x.clone()
                y[:, i] = (x[:, i] + shift) % network.states
                there = network(y, t)
                mine = here[:, i].gather(-1, y[:, i : i + 1])
                back = there[:, i].gather(-1, x[:, i : i + 1])
                assert torch.equal(mine, -back)


@pytest.mark.parametrize("name", NETWORKS)
def test_features_are_hollow_and_see_all_others(name: str) -> None:
    network = NETWORKS[name]
    x, t = torch.randint(network.states, (4, 9)), torch.rand(4)
    with torch.no_grad():
        embed = getattr(network, "time_embedder", getattr(network, "time", None))
        c = t if embed is None else embed(t)
        here = network.hollow(x, c)
        for i in range(9):
            y = x.clone()
            y[:, i] = (x[:, i] + 1) % network.states
            moved = (network.hollow(y, c) != here).any(-1).any(0)
            assert not moved[i]
            if name != "graph":
                assert int(moved.sum()) == 8
            else:
                assert int(moved.sum()) >= 7


def test_distances_matter() -> None:
    plain = EquivariantTransformer(9, 3, 16, 8, 2, distances=graph_distances(9))
    state = {k: v for k, v in plain.state_dict().items() if not k.startswith("distance")}
    bare = EquivariantTransformer(9, 3, 16, 8, 2)
    bare.load_state_dict(state)
    x, t = torch.randint(3, (4, 9)), torch.rand(4)
    torch.testing.assert_close(plain(x, t), bare(x, t), rtol=1e-4, atol=1e-5)
    torch.nn.init.normal_(plain.distance_bias)
    assert (plain(x, t) - bare(x, t)).abs().max() > 1e-3


def test_decayed_sums() -> None:
    u, decay = torch.randn(2, 11, 3, dtype=torch.float64), torch.tensor([0.9, 0.1, 0.5], dtype=torch.float64)
    total, wanted = torch.zeros(2, 3, dtype=torch.float64), []
    for k in range(11):
        total = total * decay + u[:, k]
        wanted.append(total)
    torch.testing.assert_close(decayed_sums(u, decay), torch.stack(wanted, 1))


def test_conditional_rates_carry_the_conditionals() -> None:
    """Σ_σ (rate into τ) u_σ − (rate out) u_τ is du_τ/dt, by differences; rates are those of the other direction."""
    target, prior = potts_lattice(3, 3, 3, 0.8, torch.float64), uniform(9, 3, torch.float64)
    x, beta, step = torch.randint(3, (5, 9)), torch.rand(5, dtype=torch.float64), 1e-6

    def marginal(at: torch.Tensor) -> torch.Tensor:
        return (at[:, None, None] * target.neighbour_log_ratio(x)).softmax(-1)

    change = torch.zeros(5, 9, 3, dtype=torch.float64)
    u = marginal(beta)
    tables = []
    for token in range(3):
        per_site = []
        for i in range(9):
            y = x.clone()
            y[:, i] = token
            theirs = prior.neighbour_log_ratio(y)
            slope = conditional_slope(target.neighbour_log_ratio(y), theirs)
            g = conditional_rates(slope, slope, theirs, y, beta)
            per_site.append(g[:, i])
        tables.append(torch.stack(per_site, 1))
    for token, g in enumerate(tables):
        change += g.clamp(min=0) * u[..., token : token + 1]
        change[..., token] -= (g.clamp(min=0) * u[..., token : token + 1]).sum(-1)
        for other in range(3):
            torch.testing.assert_close(g[..., other], -tables[other][..., token])
    slope = (marginal(beta + step) - marginal(beta - step)) / (2 * step)
    torch.testing.assert_close(change, slope, rtol=1e-6, atol=1e-8)


def test_rates_of_potentials_are_linear_in_the_residual() -> None:
    """Σ [G]₊ − [−G]₊ p(y)/p(x) is Σ_τ u_τ (n_τ − n_x), of any potentials."""
    target, prior = potts_lattice(3, 3, 3, 0.8, torch.float64), uniform(9, 3, torch.float64)
    x, beta = torch.randint(3, (5, 9)), torch.rand(5, dtype=torch.float64)
    mine, theirs = target.neighbour_log_ratio(x), prior.neighbour_log_ratio(x)
    slope, n = conditional_slope(mine, theirs), torch.randn(5, 9, 3, dtype=torch.float64)
    difference = n - n.gather(-1, x[..., None])
    ratio = beta[:, None, None] * mine
    found = stein_term(conditional_rates(difference, slope, theirs, x, beta), ratio)
    torch.testing.assert_close(found, (ratio.softmax(-1) * difference).sum((1, 2)))


@pytest.mark.parametrize("shape", [(3, 3), (4, 4), (5, 5), (3, 5)])
def test_cavities_have_the_symmetries_of_the_lattice(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    network = EquivariantCavity(*shape, 3, 8).double()
    x, t = torch.randint(2, (6, math.prod(shape))), torch.rand(6, dtype=torch.float64)
    with torch.no_grad():
        here = network.hollow(x, t)[..., 0].unflatten(1, shape)
        torch.testing.assert_close(network.hollow(1 - x, t)[..., 0].unflatten(1, shape), -here)
        moves = [lambda v: v.roll((1, 2), (1, 2)), lambda v: v.flip(1), lambda v: v.flip(2)]
        if shape[0] == shape[1]:
            moves.append(lambda v: v.transpose(1, 2))
        for move in moves:
            moved = network.hollow(move(x.unflatten(1, shape)).flatten(1), t)[..., 0]
            torch.testing.assert_close(moved.unflatten(1, shape), move(here))
    assert bool(distance_classes(*shape)[0, moved_sites(*shape, 0, 1)[0]] > 0)


def test_time_scales() -> None:
    scale = TimeScale(0.5, 3)
    with torch.no_grad():
        scale.values.copy_(torch.tensor([0.0, 1.0, 4.0]))
    assert scale(torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0])).tolist() == [0.0, 0.5, 1.0, 2.5, 4.0]


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: EquivariantTransformer(9, 2, 16, 5), "head is 5 and hidden 16"),
        (lambda: EquivariantTransformer(9, 2, 16, 8, distances=torch.zeros(8, 8)), "distances have shape"),
        (lambda: EquivariantCavity(2, 4), "the lattice is 2 x 4"),
        (lambda: EquivariantConvolution(4, 4, kernels=(3, 4)), "kernel 4 on a lattice of side 4"),
        (lambda: EquivariantConvolution(4, 4, kernels=(3, 5)), "kernel 5 on a lattice of side 4"),
    ],
)
def test_networks_that_are_none(make: Any, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        make()
