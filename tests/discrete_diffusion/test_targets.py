"""Targets against enumeration: densities, teachers, surrogates, rewards, and scores without data."""

import json
from pathlib import Path as File

import numpy as np
import pytest
import torch
from torch import Tensor

from tenfold.discrete import MaskSource, UniformSource, noisy_ratios, posterior_from_leave_one_out
from tenfold.discrete_diffusion import (
    ARTeacher,
    Autoregressive,
    AutoregressiveConfig,
    CausalLanguageModel,
    Data,
    Energy,
    FirstOrder,
    NetworkTeacher,
    Reference,
    RewardTilt,
    Surrogate,
    TabularAutoregressive,
    TabularModel,
    all_candidates,
    choose_sites,
    leave_one_out,
    number_of,
    one_mask_each,
    sequences,
    shared_sites,
    site_target,
    top_candidates,
    value_of,
)
from tenfold.discrete_diffusion.networks.tabular import joint_likelihood
from tenfold.discrete_diffusion.targets import densities as data_free
from tenfold.discrete_diffusion.targets.protocol import edited, repeated
from tenfold.errors import UsageError
from tests.discrete_diffusion.world import World, close

N, V = 4, 5


@pytest.fixture(scope="module")
def teacher() -> dict[str, Tensor]:
    folder = File(__file__).parents[1] / "fixtures" / "discrete_diffusion"
    with np.load(folder / "teacher.npz") as file:
        return {name: torch.from_numpy(file[name]) for name in file.files}


@pytest.fixture(params=["mask", "uniform"])
def world(request: pytest.FixtureRequest, fixtures: File) -> World:
    return World(fixtures, request.param)


def everywhere(count: int, n: int = N) -> Tensor:
    return torch.arange(n).expand(count, n)


def soft_potts(teacher: dict[str, Tensor], strength: str):  # type: ignore[no-untyped-def]
    bias, pair, u = (teacher[f"potts{strength}_{name}"] for name in ("bias", "pair", "u"))

    def soft(x: Tensor) -> Tensor:
        upper = torch.triu(torch.ones(N, N, dtype=x.dtype), 1)
        value = (x * bias).sum((1, 2)) + torch.einsum("bia,ijac,bjc,ij->b", x, pair, x, upper)
        return value + float(strength) * torch.tanh((x * u).sum((1, 2)))

    return soft


@pytest.mark.parametrize("strength", ["0", "0.8"])
def test_pairwise_densities(teacher: dict[str, Tensor], strength: str, fixtures: File) -> None:
    clean, soft = sequences(V, N), soft_potts(teacher, strength)
    one_hot = torch.eye(V, dtype=torch.float64)
    close(soft(one_hot[clean]), teacher[f"potts{strength}_logp_unnorm"])
    sites, everything = everywhere(len(clean)), all_candidates(everywhere(len(clean)), V)
    energy = Energy(lambda x: soft(one_hot[x]), batch=100)
    exact = energy.site_log_ratio(clean, clean, sites, everything)
    close(exact, teacher[f"potts{strength}_log_score_exact"])
    assert energy.calls == V**N  # every edit of every sequence, each once
    first = FirstOrder(soft, V, torch.float64)
    taylor = first.site_log_ratio(clean, clean, sites, everything)
    close(taylor, teacher[f"potts{strength}_log_score_taylor"])
    recorded = json.loads((fixtures / "discrete_diffusion" / "teacher.json").read_text())
    assert float((taylor - exact).abs().max()) == pytest.approx(
        recorded[f"potts{strength}_taylor_max_abs_err"], abs=1e-9
    )
    assert first.calls == V**N


def autoregressive(teacher: dict[str, Tensor]) -> TabularAutoregressive:
    return TabularAutoregressive([teacher[f"ar_logits_{i}"] for i in range(N)])


def test_autoregressive_teacher(teacher: dict[str, Tensor]) -> None:
    model, clean = autoregressive(teacher), sequences(V, N)
    close(model.log_prob(clean), teacher["ar_logp"])
    sites, count = everywhere(len(clean)), len(clean)
    source, half = UniformSource(V), torch.full((count,), 0.0, dtype=torch.float64)
    whole = ARTeacher(model, batch=10_000)
    found = site_target(whole, clean, clean, half, sites, all_candidates(sites, V), source)
    close(found.exp(), teacher["ar_site_conditional_exact"])
    # n K (n − 1)/2 tokens with K = V − 1 alternatives, and n for the prefixes; one pass a place but the last.
    assert whole.work.tokens == count * (N * (N - 1) // 2 * (V - 1) + N)
    assert whole.work.calls == 1 + 1 + 1 + 1
    for k in (1, 2, 3, V):
        top = ARTeacher(model)
        candidates = top.candidates(clean, sites, k)
        found = site_target(top, clean, clean, half, sites, candidates, source).exp()
        spread = torch.zeros(count, N, V, dtype=torch.float64).scatter_add_(-1, candidates, found)
        close(spread, teacher["ar_site_conditional_exact" if k == V else f"ar_site_conditional_top{k}"])
        assert top.work.tokens <= count * (N * k * N // 2 + N)


def test_the_prefix_is_read_once(teacher: dict[str, Tensor]) -> None:
    model, clean = autoregressive(teacher), sequences(V, N)[:8]
    top = ARTeacher(model)
    sites = torch.full((8, 1), N - 1)
    candidates = top.candidates(clean, sites, 2)
    top.site_log_ratio(clean, clean, sites, candidates)
    assert (top.work.calls, top.work.tokens) == (1, 8 * N)  # the last site has no suffix


def test_first_order_teacher(teacher: dict[str, Tensor]) -> None:
    """The gradient by finite differences of the soft log-likelihood, plus the exact next-token term."""
    model, clean = autoregressive(teacher), sequences(V, N)[100:140:7]
    sites = everywhere(len(clean))
    ours = ARTeacher(model, "first_order").site_log_ratio(clean, clean, sites, all_candidates(sites, V))
    x = torch.nn.functional.one_hot(clean, V).double()

    def later(x: Tensor) -> Tensor:
        return model.soft(x).gather(-1, clean[..., None]).sum((1, 2))

    for i in range(N):
        for y in range(V):
            step = torch.zeros_like(x)
            step[:, i] = (torch.nn.functional.one_hot(torch.tensor(y), V) - x[:, i]) * 1e-6
            slope = (later(x + step) - later(x - step)) / 2e-6
            own = model.read(clean)[0][:, i]
            exact = own[:, y] - own.gather(-1, clean[:, i, None])[:, 0]
            torch.testing.assert_close(ours[:, i, y], slope + exact, atol=1e-7, rtol=0)


def test_a_transformer_as_teacher() -> None:
    """Prefix reuse gives the ratios of whole sequences; with and without a token before the text."""
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(
        vocab_size=8, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2
    )
    network = transformers.LlamaForCausalLM(config).double()
    clean = torch.randint(0, 6, (3, 7))
    sites = torch.tensor([[0, 3, 6], [1, 3, 5], [2, 3, 4]])
    for begin in (None, 7):
        model = CausalLanguageModel(network, torch.tensor([5, 0, 1, 2, 4, 6]), begin=begin)
        teacher = ARTeacher(model)
        candidates = teacher.candidates(clean, sites, 3)
        ours = teacher.site_log_ratio(clean, clean, sites, candidates)
        with torch.no_grad():

            def log_prob(x: Tensor, model: CausalLanguageModel = model) -> Tensor:
                return model.read(x)[0].gather(-1, x[..., None])[..., 0].sum(1)

            exact = Energy(log_prob).site_log_ratio(clean, clean, sites, candidates)
        torch.testing.assert_close(ours, exact, atol=1e-5, rtol=0, check_dtype=False)
        first = ARTeacher(model, "first_order").site_log_ratio(clean, clean, sites, candidates)
        # At the last site there is no later token: the first order is exact.
        torch.testing.assert_close(first[0, 2], exact[0, 2], atol=1e-5, rtol=0, check_dtype=False)


@pytest.mark.parametrize(("mixing", "positions"), [(0, "rotary"), (5, "learned"), (3, "rotary")])
def test_the_rooms_network_as_teacher(mixing: int, positions: str) -> None:
    config = AutoregressiveConfig(
        vocabulary=6,
        width=32,
        layers=2,
        heads=2,
        length=9,
        local_mixing=mixing,
        positions=positions,  # type: ignore[arg-type]
    )
    network = Autoregressive(config).double()
    torch.nn.init.normal_(network.head.weight)
    model, clean = NetworkTeacher(network), torch.randint(0, 6, (3, 9))
    with torch.no_grad():
        close(model.read(clean)[0], network(clean))
        close(model.soft(torch.nn.functional.one_hot(clean, 6).double()), network(clean))
    teacher, sites = ARTeacher(model), torch.tensor([[0, 3, 8], [1, 3, 7], [2, 3, 4]])
    candidates = teacher.candidates(clean, sites, 3)
    exact = Energy(torch.no_grad()(network.log_prob)).site_log_ratio(clean, clean, sites, candidates)
    close(teacher.site_log_ratio(clean, clean, sites, candidates), exact)
    first = ARTeacher(model, "first_order").site_log_ratio(clean, clean, sites, candidates)
    close(first[0, 2], exact[0, 2])


def test_surrogates() -> None:
    clean, masked = sequences(3, 3), TabularModel(MaskSource(3), 3)
    torch.nn.init.normal_(masked.table)
    sites = everywhere(27, 3)
    conditionals = one_mask_each(masked)(clean, sites)
    for i in range(3):
        one = clean.clone()
        one[:, i] = 3
        torch.testing.assert_close(conditionals[:, i], masked(one)[:, i])
    ratios = Surrogate(one_mask_each(masked)).site_log_ratio(clean, clean, sites, all_candidates(sites, 3))
    torch.testing.assert_close(ratios, conditionals - conditionals.gather(-1, clean[..., None]))
    whole = TabularModel(UniformSource(3), 3, "leave_one_out")
    torch.nn.init.normal_(whole.table)
    torch.testing.assert_close(leave_one_out(whole)(clean, sites), whole(clean))
    with pytest.raises(UsageError, match="view 'leave_one_out'"):
        leave_one_out(masked)
    with pytest.raises(UsageError, match="uniform source"):
        one_mask_each(whole)


@pytest.mark.parametrize("alpha", [0.1, 0.4, 0.8])
def test_site_targets_are_posteriors(world: World, alpha: float) -> None:
    """With the data's own density the target is p(x_0^i | x_0 elsewhere, x_t), at active sites of possible pairs."""
    log_p = world["p1"].log()
    density = Energy(lambda x: log_p[number_of(x, 4)])
    likelihood = world.joint_likelihood(alpha)
    pairs = (likelihood > 0).nonzero()
    noisy, clean = world.noisy[pairs[:, 0]], world.clean[pairs[:, 1]]
    sites, a = everywhere(len(pairs), 3), world.alpha(alpha, len(pairs))
    found = site_target(density, clean, noisy, a, sites, all_candidates(sites, 4), world.source)
    active = world.source.active(noisy)
    if alpha == 0.4:
        expected = world["post_site_conditional_k0.4"][pairs[:, 0], pairs[:, 1]]
        close(found.exp()[active], expected[active])
    tilted = RewardTilt(density, lambda x: world["reward"][number_of(x, 4)], world.values["reward_beta"])
    found = site_target(tilted, clean, noisy, a, sites, all_candidates(sites, 4), world.source)
    law = world["p1_reward_tilted"].log()
    exact = site_target(
        Energy(lambda x: law[number_of(x, 4)]), clean, noisy, a, sites, all_candidates(sites, 4), world.source
    )
    close(found.exp(), exact.exp())


def test_the_reference_as_base(world: World) -> None:
    """p_ref(x_0^i | x_t) e^{R/β}, one-token sequences in effect: the marginal's own tilt at each site."""
    a = world.alpha(0.4)
    reference = world.model("logits_reference", 0.4)
    base = Reference(lambda x: world["logits_reference"][number_of(x, world.source.states)].log_softmax(-1))
    clean = torch.zeros_like(world.noisy)
    sites = everywhere(len(clean), 3)
    found = site_target(base, clean, world.noisy, a, sites, all_candidates(sites, 4), world.source)
    active = world.source.active(world.noisy)
    close(found[active], reference[active])


def test_data_as_a_target_is_the_cross_entropy() -> None:
    clean = torch.tensor([[2, 0]])
    sites = torch.tensor([[0, 1]])
    found = site_target(Data(), clean, clean, torch.zeros(1), sites, all_candidates(sites, 3), UniformSource(3))
    assert found.exp().tolist() == [[[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]]


def test_noisy_tilt_has_one_constant(world: World) -> None:
    """p_t^R(x) = p_t(x) e^{A_t(x)}/Z with the same Z at all times; scores are tilted by differences of A_t."""
    beta, constants = world.values["reward_beta"], []
    for alpha in (0.1, 0.4, 0.8):
        joint = world.joint_likelihood(alpha) * world["p1"]
        posterior = (joint / joint.sum(1, keepdim=True)).log()
        value = (posterior + world["reward"] / beta).logsumexp(1)
        tilted = (world.joint_likelihood(alpha) * world["p1_reward_tilted"]).sum(1)
        constants.append((joint.sum(1).log() + value - tilted.log()).exp())
        a, source = world.alpha(alpha), world.source
        ratios = noisy_ratios(world.marginals(alpha), world.noisy, a, source)
        sites, tokens = everywhere(len(a), 3), all_candidates(everywhere(len(a), 3), source.states)
        neighbours = value[number_of(edited(world.noisy, sites, tokens).flatten(0, 2), source.states)]
        ours = ratios * (neighbours.view(ratios.shape) - value[:, None, None]).exp()
        theirs = noisy_ratios(world[f"post_reward_marginal_k{alpha}"].log(), world.noisy, a, source)
        active = source.active(world.noisy)
        close(ours[active], theirs[active], 1e-12 * float(theirs[active].max()))
    close(torch.cat(constants), constants[0][:1].expand(3 * len(world.noisy)), 1e-12)


def test_intermediate_values(fixtures: File) -> None:
    world, beta = World(fixtures, "mask"), 0.7
    joint = world.joint_likelihood(0.4) * world["p1"]
    posterior = joint / joint.sum(1, keepdim=True)
    exact = (posterior.log() + world["reward"] / beta).logsumexp(1)

    def draw(noisy: Tensor) -> Tensor:
        rows = posterior[number_of(noisy, 5)]
        return world.clean[torch.multinomial(rows, 1)[:, 0]]

    def reward(x: Tensor) -> Tensor:
        return world["reward"][number_of(x, 4)]

    def estimate(count: int) -> Tensor:
        return value_of(draw(world.noisy.repeat_interleave(count, 0)).unflatten(0, (-1, count)), reward, beta)

    rough = torch.stack([estimate(2) for _ in range(20)]).mean(0)
    fine = estimate(2000)
    assert (rough - exact).mean() < -0.02  # biased low
    assert (fine - exact).abs().max() < 0.2
    with pytest.raises(UsageError, match="beta is 0"):
        value_of(world.clean[None], reward, 0.0)


def test_scores_without_data_by_enumeration(world: World) -> None:
    """Weights are the kernel: E_{x_0 ~ K(·|y)} p̄ / E_{x_0 ~ K(·|x)} p̄, and the mean over completions."""
    alpha, source = 0.4, world.source
    scaled = world["p1"].log() + 3.0  # any constant
    sites, tokens = everywhere(len(world.noisy), 3), all_candidates(everywhere(len(world.noisy), 3), 4)
    if world.kind == "uniform":
        kernel = joint_likelihood(world.clean, world.noisy, world.alpha(alpha), source).log()
        mean = (scaled + kernel).logsumexp(-1)
        there = mean[number_of(edited(world.noisy, sites, tokens).flatten(0, 2), 4)].view(64, 3, 4)
        close((there - mean[:, None, None]).exp(), world["concrete_score_pt_k0.4"], 1e-12)
        return
    # Every completion once: a third of a unit square would not do, so the numbers enumerate them.
    which = (world.clean.double() / 4 + 0.1)[None].expand(len(world.noisy), -1, -1)
    found, size = data_free.mask_log_posterior(lambda x: scaled[number_of(x, 4)], world.noisy, sites, source, which)
    active = source.active(world.noisy)
    close(found.exp()[active], world["post_marginal_k0.4"][active], 1e-12)
    assert (size >= 1 - 1e-9).all()
    assert (size <= 64 + 1e-9).all()


def test_scores_without_data_by_draws(fixtures: File) -> None:
    world = World(fixtures, "uniform")
    log_p, count = world["p1"].log(), 3000
    noisy = world.noisy[:6]
    sites, tokens = everywhere(6, 3), all_candidates(everywhere(6, 3), 4)
    found, size = data_free.uniform_log_ratio(
        lambda x: log_p[number_of(x, 4)], noisy, sites, tokens, world.alpha(0.4, 6), world.source,
        torch.rand(6, count, 3, dtype=torch.float64), torch.rand(6, count, 3, dtype=torch.float64),
    )  # fmt: skip
    expected = world["concrete_score_pt_k0.4"][:6]
    assert ((found.exp() - expected).abs() / expected).max() < 0.2
    assert (size > 100).all()
    with pytest.raises(UsageError, match="use completions"):
        data_free.uniform_log_ratio(
            lambda x: log_p[number_of(x, 4)], noisy, sites, tokens, world.alpha(0.4, 6), MaskSource(4),
            torch.rand(6, 2, 3), torch.rand(6, 2, 3),
        )  # fmt: skip
    with pytest.raises(UsageError, match="of which a uniform source has none"):
        data_free.mask_log_posterior(lambda x: log_p[:1], noisy, sites, world.source, torch.rand(6, 2, 3))


def test_chosen_sites_are_unbiased() -> None:
    active = torch.tensor([[True, False, True, True, True], [False, False, True, False, False]])
    count, value = 20_000, torch.tensor([1.0, 50.0, 2.0, -4.0, 0.5])
    sites, real, share = choose_sites(active.repeat(count, 1), 2, torch.rand(2 * count, 5))
    sums = (share * (value[sites] * real).sum(1)).view(count, 2)
    exact = (value * active).sum(1)
    assert ((sums.mean(0) - exact).abs() <= 4 * sums.std(0) / count**0.5).all()
    assert real.view(count, 2, 2)[:, 1].sum(1).eq(1).all()


def test_shared_sites_are_unbiased() -> None:
    active = torch.tensor([[True, False, True, True, True], [False, False, True, False, False]])
    value, count = torch.tensor([1.0, 50.0, 2.0, -4.0, 0.5]), 2000
    numbers, sums = torch.rand(count, 5), torch.zeros(count, 2)
    for k in range(count):
        sites, real, share = shared_sites(active, 2, numbers[k])
        assert torch.equal(sites[0], sites[1])
        sums[k] = share * (value[sites] * real).sum(1)
    exact = (value * active).sum(1)
    assert ((sums.mean(0) - exact).abs() <= 4 * sums.std(0) / count**0.5).all()


def test_candidates() -> None:
    log_p = torch.tensor([[[0.1, 0.4, 0.4, 0.1]]]).log()
    found = top_candidates(log_p, torch.tensor([[2]]), torch.tensor([[0]]), 2)
    assert found.tolist() == [[[2, 1, 2]]]
    assert repeated(found).tolist() == [[[False, False, True]]]
    with pytest.raises(UsageError, match="5 candidates of a vocabulary of 4"):
        top_candidates(log_p, torch.tensor([[2]]), torch.tensor([[0]]), 5)


def test_bad_input(teacher: dict[str, Tensor]) -> None:
    clean, sites = torch.zeros(1, N, dtype=torch.long), torch.zeros(1, 1, dtype=torch.long)
    with pytest.raises(UsageError, match="NaN or infinite"):
        Energy(lambda x: torch.full((len(x),), torch.nan)).site_log_ratio(clean, clean, sites, sites[..., None])
    with pytest.raises(UsageError, match="beta is -1"):
        RewardTilt(Data(), lambda x: x.sum(1), -1.0)
    with pytest.raises(UsageError, match="share one vocabulary"):
        ARTeacher(autoregressive(teacher)).site_log_ratio(clean, clean, sites, torch.full((1, 1, 1), V))

    class Broken:
        def site_log_ratio(self, clean: Tensor, noisy: Tensor, sites: Tensor, candidates: Tensor) -> Tensor:
            return torch.full(candidates.shape, torch.inf)

    with pytest.raises(UsageError, match="log-ratio is NaN or infinite"):
        site_target(Broken(), clean, clean, torch.zeros(1), sites, sites[..., None], UniformSource(V))
    leave = torch.zeros(1, N, V).log_softmax(-1)
    assert posterior_from_leave_one_out(leave, clean, torch.zeros(1), UniformSource(V)).isfinite().all()
