"""The flow of text: recorded values, exact Jacobians, causality, the discrete limit, the bounds, the inverse."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tenfold.discrete_diffusion import Autoregressive, AutoregressiveConfig
from tenfold.errors import TenfoldError, UsageError
from tenfold.hub import save_pretrained
from tenfold.text_flows import (
    TextFlow,
    TextFlowConfig,
    bounds,
    collapsed,
    elbo,
    from_autoregressive,
    invert_flow,
    log_weights,
    mixed,
    to_autoregressive,
    unmixed,
)
from tenfold.text_flows.networks.channels import MaskedChannels
from tenfold.text_flows.networks.codebook import TokenAutoencoder
from tenfold.text_flows.networks.couplings import MixMany, MixOne, log_normal

SMALL: dict[str, Any] = {"vocabulary": 5, "width": 16, "heads": 2, "hidden": 16, "length": 8}
STACKS: dict[str, dict[str, Any]] = {
    "affine": {"couplings": ("affine",), "layers": (1,), "components": (1,), "dim": 3},
    "mix-1": {"couplings": ("mix-1",), "layers": (2,), "components": (3,), "dim": 2, "local_mixing": 3},
    "mix-d": {"couplings": ("mix-d",), "layers": (1,), "components": (5,), "dim": 2, "local_mixing": 3},
    "stack": {
        "couplings": ("mix-d", "mix-1", "mix-d"),
        "layers": (1, 1, 1),
        "components": (5, 3, 4),
        "dim": 2,
        "patch": 2,
        "mix_channels": True,
        "local_mixing": 3,
    },
}


def flow(name: str, **changes: Any) -> TextFlow:
    """A flow in float64 that is no identity: every parameter is drawn."""
    generator = torch.Generator().manual_seed(len(name))
    model = TextFlow(TextFlowConfig(**{**SMALL, **STACKS[name], **changes})).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.15 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return model


def latents(model: TextFlow, rows: int = 2, count: int = 4) -> Tensor:
    return torch.randn(rows, count, model.config.dim, generator=torch.Generator().manual_seed(7), dtype=torch.float64)


def texts(rows: int = 3, count: int = 6) -> Tensor:
    return torch.randint(5, (rows, count), generator=torch.Generator().manual_seed(3))


@pytest.fixture(scope="module")
def recorded() -> dict[str, Tensor]:
    path = Path(__file__).parents[1] / "fixtures" / "text_flows" / "closed_form.npz"
    return {name: torch.from_numpy(value) for name, value in np.load(path).items() if value.dtype.kind == "f"}


class Sums(nn.Module):
    """The fixture's body: sums of the values before."""

    def forward(self, values: Tensor) -> Tensor:
        return values.cumsum(1) - values


class Numbers(nn.Module):
    """Its conditioner: parameters that are linear in those sums."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.weight, self.bias = weight, bias

    def forward(self, features: Tensor, values: Tensor) -> Tensor:
        numbers = (features @ self.weight.T + self.bias).unflatten(-1, (3, 3, 3))
        return (numbers * torch.tensor([1.0, 2.0, 1.0]).double()[:, None]).flatten(-2)


class TestRecorded:
    def test_tokens_of_a_line(self, recorded: dict[str, Tensor]) -> None:
        tokens = TokenAutoencoder(4, 1, 0.0, True).double()
        with torch.no_grad():
            tokens.mean.copy_(recorded["vae.mean"])
            tokens.log_scale.copy_(recorded["vae.scale"].log())
        torch.testing.assert_close(tokens.log_probs(recorded["vae.z"]), recorded["vae.log_decoder"], rtol=0, atol=1e-9)

    def test_the_bounds_of_one_token(self, recorded: dict[str, Tensor]) -> None:
        # One position, a tied mix-d coupling whose weights are given: the exact ELBO, and log p(x), by quadrature.
        model = TextFlow(TextFlowConfig(vocabulary=4, dim=1, components=(4,), width=8, heads=1, layers=(1,))).double()
        with torch.no_grad():
            model.tokens.mean.copy_(recorded["vae.mean"])
            model.tokens.log_scale.copy_(recorded["vae.scale"].log())
            first = model.chain[0]
            assert isinstance(first, MixMany)
            first.head.bias.copy_(recorded["vae.prior_weights"].log())
        tokens = torch.arange(4).repeat_interleave(500)[:, None]
        values = log_weights(model, tokens, 60, batch=2000).reshape(-1, 4, 500)
        mean = values.mean((0, 2))
        error = values.std((0, 2)) / math.sqrt(30_000)
        assert bool(((mean - recorded["vae.elbo_exact"]).abs() < 4 * error + 1e-6).all())
        weighted = (values.logsumexp(0) - math.log(60)).mean(1)
        assert bool((weighted < recorded["vae.logpx_exact"] + 0.02).all())
        assert bool((weighted > mean - 1e-6).all())
        assert float((weighted - recorded["vae.logpx_exact"]).abs().max()) < 0.02

    def test_a_stack_of_three(self, recorded: dict[str, Tensor]) -> None:
        config = TextFlowConfig(
            vocabulary=4, dim=3, couplings=("mix-1",) * 3, layers=(1,) * 3, components=(3,) * 3, width=8, heads=1
        )
        model = TextFlow(config).double()
        for number, coupling in enumerate(model.couplings):
            coupling.body = Sums()
            coupling.head = Numbers(recorded[f"stack.A{number}"], recorded[f"stack.b{number}"])
        z = recorded["stack.z"]
        for h, expected in zip(model.states(z), recorded["stack.hidden"].unbind(1), strict=True):
            torch.testing.assert_close(h, expected, rtol=1e-8, atol=1e-8)
        # The recorded determinant of the first row is lost to rounding: its Jacobian, of doubles, has
        # a condition beyond 1e16. This is that of finite differences of the whole map with 250 digits.
        exact = torch.stack([torch.tensor(-148.324142973174, dtype=torch.float64), recorded["stack.logdet"][1]])
        expected = exact + log_normal(recorded["stack.u"]).sum(1)
        torch.testing.assert_close(model.log_density(z).sum(1), expected, rtol=1e-8, atol=1e-8)
        torch.testing.assert_close(expected[1], recorded["stack.logp"][1], rtol=1e-10, atol=1e-10)

    def test_channels_are_mixed(self, recorded: dict[str, Tensor]) -> None:
        assert torch.equal(mixed(recorded["mix.x"]), recorded["mix.y"])
        assert torch.equal(unmixed(recorded["mix.y"]), recorded["mix.x"])


@pytest.mark.parametrize("name", STACKS)
class TestFlow:
    def test_the_density_is_that_of_the_jacobian(self, name: str) -> None:
        model = flow(name)
        z = latents(model, 1, 4)
        jacobian: Any = torch.autograd.functional.jacobian(lambda x: model.states(x)[-1].flatten(), z)
        logdet = torch.linalg.slogdet(jacobian.reshape(z.numel(), z.numel())).logabsdet
        base = log_normal(model.states(z)[-1]).sum()
        torch.testing.assert_close(model.log_density(z).sum(), logdet + base, rtol=1e-8, atol=1e-8)

    @pytest.mark.parametrize("block", [1, 2, 0])
    def test_the_inverse_gives_the_latents_back(self, name: str, block: int) -> None:
        model = flow(name)
        z = latents(model, 2, 8)
        states = model.states(z)
        found = invert_flow(model, states[-1], block, tolerance=1e-8, root=1e-11)
        assert found.residual < 1e-7
        for h, expected in zip(found.states, reversed(states), strict=True):
            torch.testing.assert_close(h, expected, rtol=1e-6, atol=1e-6)
        positions = 8 // model.config.patch
        if block == 1:
            assert found.calls == positions * len(model.couplings)

    def test_positions_see_what_was_read_before_alone(self, name: str) -> None:
        model = flow(name)
        for place, coupling in enumerate(model.chain):
            seen = model.ordered(model.positions(latents(model, 1, 8)), place)
            for t in range(seen.shape[1]):
                moved = seen.clone()
                moved[:, t] += 1
                here, there = coupling.body(seen), coupling.body(moved)
                assert torch.equal(here[:, : t + 1], there[:, : t + 1])
                assert t + 1 == seen.shape[1] or not torch.equal(here[:, t + 1], there[:, t + 1])

    @torch.no_grad()
    def test_caches_give_what_one_pass_gives(self, name: str) -> None:
        model = flow(name)
        body = model.chain[0].body
        h = model.positions(latents(model, 2, 8))
        whole, states, parts = body(h), body.begin(2, h.shape[1]), []
        for first in range(0, h.shape[1], 2):
            parts.append(body.window(h[:, max(first - 1, 0) : first + 1], first == 0, states))
            for state in states:
                state.advance(2)
        torch.testing.assert_close(torch.cat(parts, 1), whole, rtol=1e-10, atol=1e-10)

    def test_a_folder_holds_it(self, name: str, tmp_path: Path) -> None:
        model = flow(name)
        model.save_pretrained(tmp_path)
        again = TextFlow.from_pretrained(tmp_path)
        assert again.config == model.config
        assert torch.equal(again.log_density(latents(model)), model.log_density(latents(model)))


@pytest.mark.parametrize("kind", ["affine", "mix-1", "mix-d"])
def test_couplings_begin_nearly_as_the_identity(kind: str) -> None:
    # What stages add costs nothing at first: on normal points their map keeps the density.
    count = 1 if kind == "affine" else 9
    shape: dict[str, Any] = {"couplings": ("mix-1", kind), "layers": (1, 1), "components": (3, count), "dim": 4}
    torch.manual_seed(0)
    model = TextFlow(TextFlowConfig(**{**SMALL, **shape}))
    u = torch.randn(64, 8, 4, generator=torch.Generator().manual_seed(0))
    coupling = model.chain[1]
    lost = log_normal(u) - coupling.log_density(u, coupling.body(u), model.tokens)
    assert abs(float(lost.detach().mean())) / 4 < (0.1 if kind == "mix-d" else 0.01)


class TestChannels:
    @pytest.mark.parametrize("count", [1, 2, 5])
    def test_a_channel_sees_those_before_it(self, count: int) -> None:
        network = MaskedChannels(count, 4, 12, 2).double()
        torch.nn.init.normal_(network.out.weight)
        features, values = torch.randn(3, 4).double(), torch.randn(3, count).double()
        seen = network(features, values)
        assert seen.shape == (3, count, 6)
        for i in range(count):
            moved = values.clone()
            moved[:, i] += 1
            changed = (network(features, moved) != seen).any(-1).any(0)
            assert changed.tolist() == [j > i for j in range(count)]

    def test_one_component_is_affine(self) -> None:
        model = flow("affine")
        h = model.positions(latents(model))
        coupling = model.chain[0]
        assert isinstance(coupling, MixOne)
        features = coupling.body(h)
        _, mean, scale = coupling.mixtures(h, features)
        u, logdet = coupling.passed(h, features, model.tokens)
        torch.testing.assert_close(u, ((h[..., None] - mean) / scale)[..., 0], rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(logdet, -scale.log().sum((-1, -2)), rtol=1e-9, atol=1e-9)


class TestBounds:
    def test_the_collapsed_estimator_is_the_integrand(self) -> None:
        model, tokens = flow("mix-d"), texts()
        noise = torch.randn(3, 6, 2, dtype=torch.float64)
        torch.testing.assert_close(collapsed(model, tokens, noise), model(tokens, noise).bound(), rtol=1e-9, atol=1e-9)

    def test_the_weighted_bound_gets_no_looser(self) -> None:
        values = log_weights(flow("stack"), texts(), 16)
        curve = bounds.gain(values, (1, 2, 4, 16))
        assert curve == sorted(curve, reverse=True)
        assert curve[0] > curve[-1]

    @pytest.mark.parametrize("name", ["mix-d", "stack"])
    def test_padding_leaves_a_bound(self, name: str) -> None:
        # Texts of two letters, or of a single one and padding: what the bound says they weigh is at most 1 in all.
        model, letters = flow(name, patch=2), torch.arange(5)
        for rows in (letters[:, None], torch.cartesian_prod(letters, letters)):
            values = log_weights(model, rows.repeat(800, 1), 1, batch=100_000)[0].reshape(800, -1)
            total = float(values.exp().mean(0).sum())
            assert total < 1.05
            if name == "mix-d":  # a stack's latents lie far from its tokens: few draws see most of its probability
                assert total > 0.8

    def test_draws_belong_to_texts(self) -> None:
        model, tokens = flow("stack"), texts()
        whole = elbo(model, tokens, 3)
        torch.testing.assert_close(elbo(model, tokens, 3, batch=1).nats, whole.nats)
        part = elbo(model, tokens[1:2], 3, index=torch.tensor([1]))
        torch.testing.assert_close(part.nats, whole.nats[1:2])
        assert not torch.equal(elbo(model, tokens, 3, seed=1).nats, whole.nats)
        assert bool(whole.standard_error.isfinite().all())
        assert bool(elbo(model, tokens, 1).standard_error.isnan().all())

    def test_gradients_by_differences(self) -> None:
        model, tokens = flow("stack"), texts(2, 4)
        noise = torch.randn(2, 4, 2, dtype=torch.float64)
        model(tokens, noise).bound().sum().backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None, name
            direction = torch.randn_like(parameter)
            values = []
            with torch.no_grad():
                for step in (1e-5, -2e-5):
                    parameter.add_(step * direction)
                    values.append(model(tokens, noise).bound().sum())
                parameter.add_(1e-5 * direction)
            slope = (values[0] - values[1]) / 2e-5
            torch.testing.assert_close((parameter.grad * direction).sum(), slope, rtol=1e-4, atol=1e-6)


class TestLimit:
    @pytest.fixture(scope="class")
    def discrete(self) -> Autoregressive:
        torch.manual_seed(0)
        config = AutoregressiveConfig(vocabulary=5, width=16, heads=2, layers=2, length=8, local_mixing=3)
        return Autoregressive(config).eval()

    @pytest.fixture(scope="class")
    def folder(self, discrete: Autoregressive, tmp_path_factory: pytest.TempPathFactory) -> Path:
        folder = tmp_path_factory.mktemp("discrete")
        discrete.save_pretrained(folder)
        return folder

    def test_narrow_tokens_are_the_discrete_model(self, discrete: Autoregressive, folder: Path) -> None:
        model, tokens = from_autoregressive(folder), texts()
        assert model.config.dim == 4  # five tokens span four directions
        found = elbo(model, tokens, 2)
        torch.testing.assert_close(found.nats, -discrete.log_prob(tokens).double(), rtol=0, atol=6e-4)

    def test_and_back(self, discrete: Autoregressive, folder: Path, tmp_path: Path) -> None:
        config, tensors = to_autoregressive(from_autoregressive(folder))
        again = Autoregressive(AutoregressiveConfig(**config)).eval()
        again.load_state_dict(tensors)
        torch.testing.assert_close(again(texts()), discrete(texts()), rtol=1e-4, atol=1e-4)

    def test_what_has_no_limit(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="one tied mix-d coupling"):
            to_autoregressive(flow("stack"))
        save_pretrained(flow("mix-d"), tmp_path)
        with pytest.raises(UsageError, match="holds a 'tarflowlm' model"):
            from_autoregressive(tmp_path)


BAD = [
    ({"components": (4,)}, "a tied mix-d coupling has a component for each of the 5 tokens"),
    ({"couplings": ("affine",), "components": (2,)}, "an affine coupling has 1 component"),
    ({"components": (0,)}, "each is at least 1"),
    ({"layers": (1, 1)}, "give one of each for every coupling"),
    ({"dim": 3, "mix_channels": True}, "channels are mixed by halves"),
    ({"patch": 3}, "no multiple of model.patch"),
    ({"dim": 0}, "model.dim is 0"),
    ({"heads": 3}, "no even whole number"),
    ({"local_mixing": 4}, "odd reach"),
    ({"log_scale": -20.0}, "lies in"),
    ({"alphabet": "ab"}, "model.alphabet has 2 characters"),
]


@pytest.mark.parametrize(("changes", "told"), BAD, ids=[told for _, told in BAD])
def test_bad_settings(changes: dict[str, Any], told: str) -> None:
    base: dict[str, Any] = {**SMALL, "components": (5,)}
    with pytest.raises(UsageError, match=told):
        TextFlowConfig(**{**base, **changes})


def test_bad_input() -> None:
    model = flow("stack")
    noise = torch.zeros(1, 2, 2).double()
    for tokens, told in [
        ([[5, 0]], "token 5 is none"),
        ([[-1, 0]], "token -1"),
        ([[0] * 9], "9 tokens"),
        ([[]], "0 t"),
    ]:
        with pytest.raises(UsageError, match=told):
            model(torch.tensor(tokens).long(), noise)
    with pytest.raises(UsageError, match="draws is 0"):
        log_weights(model, texts(), 0)
    with pytest.raises(UsageError, match="noise has shape"):
        invert_flow(model, torch.zeros(1, 3, 2).double())
    with pytest.raises(UsageError, match="block is -1"):
        invert_flow(model, torch.zeros(1, 4, 2).double(), -1)
    with pytest.raises(UsageError, match="even number"):
        mixed(torch.zeros(3))
    with pytest.raises(UsageError, match="couplings cannot be frozen"):
        model.freeze(3)


def test_what_is_not_certified_is_an_error() -> None:
    model = flow("mix-1")
    first = model.chain[0]
    assert isinstance(first, MixOne)
    with torch.no_grad():
        first.head.out.bias.add_(1e9)
    with pytest.raises(TenfoldError):
        invert_flow(model, torch.full((1, 4, 2), 3.0, dtype=torch.float64), 0, tolerance=1e-12, root=1e-12)


def test_texts_of_any_whole_numbers() -> None:
    model = TextFlow(TextFlowConfig(width=16, heads=2, length=8, dim=3)).eval()
    wanted = elbo(model, torch.ones(2, 8, dtype=torch.int64)).nats
    for given in (torch.ones(2, 8, dtype=torch.int32), np.ones((2, 8), np.uint8), [[1] * 8] * 2):
        assert torch.equal(elbo(model, given).nats, wanted)
    assert elbo(model, torch.zeros(0, 8, dtype=torch.int64)).nats.shape == (0,)
    for bad in (torch.ones(2, 8), torch.ones(2, 8, dtype=torch.bool), torch.ones(8, dtype=torch.int64), "text"):
        with pytest.raises(UsageError):
            elbo(model, bad)  # type: ignore[arg-type]
