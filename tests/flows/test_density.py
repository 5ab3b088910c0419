"""The flow as a density: closed forms, normalisation, scores, bounds, classifiers."""

import itertools
import math

import pytest
import torch

from tenfold.errors import UsageError
from tenfold.flows.classification import bayes_log_posterior, one_gradient_scores
from tenfold.flows.density import (
    denoise,
    discrete_log_probs,
    importance_bound,
    log_prob,
    log_prob_mixture,
    score,
    token_nll,
)
from tenfold.flows.evaluation import bits_per_dim_rows, uniform_noise
from tenfold.flows.loss import dequantise, discrete_log_prob, to_levels, to_unit_range
from tenfold.tarflow.config import TarFlowConfig
from tests.flows.helpers import linear_flow, random_flow

SMALL = dict(width=32, head_size=16, layers=1)


def test_linear_block_is_a_bivariate_gaussian():
    """u_1 = z_1, u_2 = c u_1 + e^a z_2, so the covariance is [[1, c], [c, c² + e^{2a}]]."""
    c, a = 0.7, -0.4
    flow = linear_flow(c, a)
    gaussian = torch.distributions.MultivariateNormal(
        torch.zeros(2, dtype=torch.float64),
        torch.tensor([[1.0, c], [c, c * c + math.exp(2 * a)]], dtype=torch.float64),
    )
    x = torch.randn(50, 2, 1, dtype=torch.float64)
    torch.testing.assert_close(flow.log_prob(x), gaussian.log_prob(x[..., 0]), atol=1e-10, rtol=0)
    z = flow.encode(x)
    torch.testing.assert_close(z[:, 1, 0], (x[:, 1, 0] - c * x[:, 0, 0]) * math.exp(-a), atol=1e-12, rtol=0)
    noise = torch.randn(50, 2, 1, dtype=torch.float64)
    back = flow.decode(noise)
    torch.testing.assert_close(back[:, 1, 0], c * noise[:, 0, 0] + math.exp(a) * noise[:, 1, 0], atol=1e-12, rtol=0)


def test_score_and_denoising_of_a_gaussian():
    """Data N(0, S) noised to S + σ²: Tweedie's step is the posterior mean S (S + σ²)⁻¹ x."""
    sigma, c, a = 0.5, 0.7, -0.4
    flow = linear_flow(c, a)
    noisy_covariance = torch.tensor([[1.0, c], [c, c * c + math.exp(2 * a)]], dtype=torch.float64)
    clean_covariance = noisy_covariance - sigma**2 * torch.eye(2, dtype=torch.float64)
    assert torch.linalg.eigvalsh(clean_covariance).min() > 0
    x = torch.randn(20, 2, 1, dtype=torch.float64)
    posterior = x[..., 0] @ torch.linalg.solve(noisy_covariance, clean_covariance)
    torch.testing.assert_close(denoise(flow, x, sigma)[..., 0], posterior, atol=1e-9, rtol=0)
    torch.testing.assert_close(denoise(flow, x, sigma, rate=0.0), x, atol=0, rtol=0)
    whole, chunked = score(flow, x), score(flow, x, chunk=7)
    torch.testing.assert_close(whole, chunked, atol=1e-12, rtol=0)
    with pytest.raises(UsageError, match=r"sigma is -0\.5"):
        denoise(flow, x, -0.5)


@pytest.mark.parametrize("volume_preserving", [False, True])
def test_density_integrates_to_one_on_a_grid(volume_preserving):
    flow = random_flow(TarFlowConfig(shape=(2, 1), blocks=2, volume_preserving=volume_preserving, **SMALL))
    if volume_preserving:
        flow.var.copy_(torch.tensor([[0.5], [2.0]]))
    axis = torch.linspace(-9, 9, 301, dtype=torch.float64)
    grid = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), dim=-1).reshape(-1, 2, 1)
    with torch.no_grad():
        mass = log_prob(flow, grid).exp().sum() * (axis[1] - axis[0]) ** 2
    torch.testing.assert_close(mass, torch.ones_like(mass), atol=1e-3, rtol=0)


def test_token_map_sums_to_the_likelihood():
    flow = random_flow(TarFlowConfig(shape=(1, 6, 4), patch=2, blocks=3, classes=2, **SMALL))
    x, y = torch.randn(3, 1, 6, 4, dtype=torch.float64), torch.tensor([0, 1, -1])
    torch.testing.assert_close(token_nll(flow, x, y).sum(dim=1), -flow.log_prob(x, y), atol=1e-10, rtol=0)


def test_uniform_model_has_log2_levels_bits():
    """A density that is constant on [−1, 1]^d gives every integer image log2 n bits per dimension."""
    dims, levels = 12, 17
    log_density = torch.full((4,), -dims * math.log(2.0), dtype=torch.float64)
    bits = -discrete_log_prob(log_density, dims, levels) / dims / math.log(2.0)
    torch.testing.assert_close(bits, torch.full((4,), math.log2(levels), dtype=torch.float64))


def test_dequantisation_covers_each_bin_and_inverts():
    pixels = torch.arange(17, dtype=torch.uint8).reshape(17, 1)
    low = dequantise(pixels, 17, torch.zeros(17, 1))
    high = dequantise(pixels, 17, torch.full((17, 1), 1 - 1e-6))
    assert low.min() == -1.0
    assert high.max() < 1.0
    assert torch.equal(((low + 1) / 2 * 17).round().to(torch.uint8), pixels)
    assert torch.equal(((high + 1) / 2 * 17).floor().to(torch.uint8), pixels)
    assert torch.equal(to_levels(to_unit_range(pixels, 17), 17), pixels)
    with pytest.raises(UsageError, match=r"pixel value 16 is outside \[0, 16\).*levels to 17"):
        dequantise(pixels, 16, torch.zeros(17, 1))


def test_importance_bound_tightens_and_is_exact_for_equal_draws():
    values = torch.randn(64, 5, dtype=torch.float64)
    means = [importance_bound(values, k).mean() for k in (1, 4, 16, 64)]
    assert all(a < b for a, b in itertools.pairwise(means))
    same = torch.full((8, 3), -1.5, dtype=torch.float64)
    torch.testing.assert_close(importance_bound(same, 8), same[:1])
    with pytest.raises(UsageError, match="K = 65 needs at least 65 draws, but there are 64"):
        importance_bound(values, 65)


def test_class_mixture():
    flow = random_flow(TarFlowConfig(shape=(4, 2), blocks=2, classes=3, **SMALL))
    x = torch.randn(5, 4, 2, dtype=torch.float64)
    by_hand = torch.stack([flow.log_prob(x, torch.full((5,), y)) for y in range(3)], dim=1)
    mixed, by_class = log_prob_mixture(flow, x, chunk=4)
    torch.testing.assert_close(by_class, by_hand, atol=1e-10, rtol=0)
    torch.testing.assert_close(mixed.exp(), by_hand.exp().mean(dim=1), atol=1e-12, rtol=1e-10)
    posterior = bayes_log_posterior(flow, x, torch.tensor([0.5, 0.25, 0.25], dtype=torch.float64))
    expected = by_hand.exp() * torch.tensor([2.0, 1.0, 1.0])
    torch.testing.assert_close(posterior.exp(), expected / expected.sum(dim=1, keepdim=True), atol=1e-10, rtol=0)


def test_one_gradient_scores_are_derivatives():
    flow = random_flow(TarFlowConfig(shape=(4, 2), blocks=2, classes=3, **SMALL))
    x = torch.randn(6, 4, 2, dtype=torch.float64)
    scores = one_gradient_scores(flow, x)
    torch.testing.assert_close(scores.sum(dim=1), torch.zeros(6, dtype=torch.float64), atol=1e-10, rtol=0)
    step = 1e-5
    for k in range(3):
        logits = torch.zeros(6, 3, dtype=torch.float64)
        logits[:, k] = step
        difference = (log_prob(flow, x, logits.softmax(1)) - log_prob(flow, x, (-logits).softmax(1))) / (2 * step)
        torch.testing.assert_close(scores[:, k], difference, atol=1e-6, rtol=1e-5)


def test_one_gradient_ranks_as_bayes_where_log_p_is_linear_in_the_class():
    """One block whose log p is linear in the class vector: with outputs ± depending on the class alone and an
    exponent small enough, both classifiers rank alike."""
    flow = random_flow(TarFlowConfig(shape=(3, 1), blocks=1, classes=4, **SMALL), spread=1e-4)
    with torch.no_grad():
        flow.blocks[0].class_embed.mul_(1e-2)
    x = torch.randn(40, 3, 1, dtype=torch.float64)
    bayes = bayes_log_posterior(flow, x)
    gradient = one_gradient_scores(flow, x)
    assert torch.equal(bayes.argsort(dim=1), gradient.argsort(dim=1))


def test_gaussian_noise_models_have_no_bits_per_dim():
    flow = random_flow(TarFlowConfig(shape=(1, 4, 4), patch=2, **SMALL)).float()
    with pytest.raises(UsageError, match="Gaussian noise"):
        bits_per_dim_rows(flow, torch.zeros(2, 1, 4, 4, dtype=torch.uint8), None, 17, "gaussian", "m", "test")


def test_bits_per_dim_rows_name_their_bounds():
    flow = random_flow(TarFlowConfig(shape=(1, 4, 4), patch=2, classes=2, **SMALL)).float()
    pixels = torch.randint(0, 17, (6, 1, 4, 4), dtype=torch.uint8)
    rows = bits_per_dim_rows(flow, pixels, torch.arange(6) % 2, 17, "uniform", "m", "test", 16, 4)
    table = {row.name: row for row in rows}
    assert list(table) == ["bits_per_dim", "bits_per_dim_given_class", "bits_per_dim_importance"]
    assert table["bits_per_dim"].draws == 16
    assert table["bits_per_dim"].standard_error > 0
    assert table["bits_per_dim_importance"].value <= table["bits_per_dim"].value
    uniform = uniform_noise(pixels, 0)
    by_hand = -discrete_log_probs(flow, pixels, 17, uniform, 16, mixture=True).detach().mean() / 16 / math.log(2)
    assert abs(float(by_hand) - table["bits_per_dim"].value) < 1e-4
