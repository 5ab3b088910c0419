"""Closed forms against recorded arrays, automatic differentiation and each other."""

import math

import pytest
import torch
from sklearn.datasets import load_digits

from tenfold.energy.closed_forms import (
    GaussianMixture,
    KernelDensity,
    LinearLikelihood,
    kernel_densities,
    product_at,
    quadrature_moments,
)
from tenfold.energy.density import Density
from tenfold.energy.noise import log_density_in
from tenfold.errors import UsageError
from tests.energy.forms import close, number, pair, recorded


def mixture_of(ref, end: str = "") -> GaussianMixture:
    return GaussianMixture(ref[f"weights{end}"], ref[f"means{end}"], ref[f"covs{end}"])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_recorded_forward_values(dtype: torch.dtype) -> None:
    ref = recorded("gmm_forward")
    mixture, tolerance = mixture_of(ref), 1e-9 if dtype == torch.float64 else 2e-4
    assert isinstance(mixture, Density)
    for i, sigma in enumerate(ref["sigma"].to(dtype)):
        x = ref["x"][i].to(dtype)
        log, score = mixture.log_density_and_score(x, sigma)
        close(log, ref["logp"][i], tolerance)
        close(score, ref["score"][i], tolerance)
        close(mixture.log_density(x, sigma.expand(64)), ref["logp"][i], tolerance)
        close(mixture.score(x, sigma.expand(64)), ref["score"][i], tolerance)
        close(mixture.denoiser(x, sigma), ref["denoiser"][i], tolerance)
        close(mixture.laplacian(x, sigma), ref["laplacian_logp"][i], tolerance)
        close(mixture.sigma_derivative(x, sigma), ref["dlogp_dsigma"][i], tolerance)


def test_recorded_variance_preserving_values() -> None:
    ref = recorded("gmm_forward")
    mixture = mixture_of(ref)
    for i, (alpha, noise) in enumerate(zip(ref["vp_alpha"], ref["vp_sigma"], strict=True)):
        x, sigma = ref["vp_x"][i] / alpha, noise / alpha
        log, score = mixture.log_density_and_score(x, sigma)
        close(log_density_in(alpha, log, 2), ref["vp_logp"][i])
        close(score / alpha, ref["vp_score"][i])
        close(mixture.denoiser(x, sigma), ref["vp_denoiser"][i])


def test_derivatives_and_the_fokker_planck_identity() -> None:
    a, _ = pair()
    x = (2 * torch.randn(20, 2, dtype=torch.float64)).requires_grad_()
    sigma = torch.linspace(0.05, 4, 20, dtype=torch.float64, requires_grad=True)
    log = a.log_density(x, sigma)
    by_x, by_sigma = torch.autograd.grad(log.sum(), (x, sigma), create_graph=True)
    close(a.score(x, sigma), by_x)
    close(a.sigma_derivative(x, sigma), by_sigma)
    second = sum(torch.autograd.grad(by_x[:, j].sum(), x, retain_graph=True)[0][:, j] for j in range(2))
    close(a.laplacian(x, sigma), second)
    close(sigma * (a.laplacian(x, sigma) + by_x.square().sum(1)), by_sigma)


def test_recorded_products_mixtures_and_guidance() -> None:
    ref = recorded("composition")
    a, b = pair("composition")
    w = float(ref["cfg_w"])
    guided, product, no = w * a - (w - 1) * b, a & b, 1.3 * a - 0.3 * b
    for i, sigma in enumerate(ref["sigma"]):
        x = ref["x"][i]
        log_z, made = product_at(a, b, float(sigma))
        close(log_z, ref["product_logZ"][i])
        close(made.weights, ref["product_weights"][i])
        close(made.means, ref["product_means"][i])
        close(made.covariances, ref["product_covs"][i])
        close(product.log_density(x, sigma), ref["product_log_unnorm"][i])
        close(made.log_density(x, number(0.0)) + log_z, ref["product_log_unnorm"][i])
        close(guided.score(x, sigma), ref["cfg_score"][i])
        close(no.score(x, sigma), ref["negation_score"][i])
    _, made = product_at(a, b, float(ref["sigma"][0]))
    close(made.mean, ref["product_mean_at_sigma0"])
    close(made.covariance, ref["product_cov_at_sigma0"])


def test_recorded_tempering_by_quadrature() -> None:
    ref = recorded("tempered_quadrature")
    one = mixture_of(ref, "1")
    for i, beta in enumerate(ref["betas"]):
        for j, sigma in enumerate(ref["sigma"]):
            edge = 12 * float(sigma) / math.sqrt(min(1.0, float(beta))) + 4
            found = quadrature_moments(
                lambda x, beta=beta, sigma=sigma: beta * one.log_density(x, sigma),
                number(-edge)[None],
                number(edge)[None],
                20001,
            )
            close(found.log_z, ref["logZ"][i, j], 1e-6)
            close(found.mean[0], ref["mean"][i, j], 1e-6)
            close(found.covariance[0, 0], ref["var"][i, j], 1e-6)
    two = mixture_of(ref, "2")
    for i, beta in enumerate(ref["betas"]):
        corner = torch.full((2,), 9.0, dtype=torch.float64)
        found = quadrature_moments(lambda x, beta=beta: beta * two.log_density(x, ref["sigma2"]), -corner, corner, 701)
        close(found.log_z, ref["logZ2"][i], 1e-6)
        close(found.mean, ref["mean2"][i], 1e-6)
        close(found.covariance, ref["cov2"][i], 1e-6)


def test_recorded_negation_by_quadrature() -> None:
    ref = recorded("tempered_quadrature")
    one = mixture_of(ref, "1")
    other = GaussianMixture(torch.ones(1), ref["neg_other_mean"].view(1, 1), ref["neg_other_var"].view(1, 1, 1))
    target = 1.3 * one - 0.3 * other
    for j, sigma in enumerate(ref["sigma"]):
        edge = number(12 * float(sigma) + 8)[None]
        found = quadrature_moments(lambda x, sigma=sigma: target.log_density(x, sigma), -edge, edge, 20001)
        close(found.log_z, ref["neg_logZ"][j], 1e-6)
        close(found.mean[0], ref["neg_mean"][j], 1e-6)
        close(found.covariance[0, 0], ref["neg_var"][j], 1e-6)


def test_recorded_likelihood() -> None:
    ref = recorded("reward_tilt")
    seen = LinearLikelihood(mixture_of(ref), ref["H"], ref["y"], float(ref["noise_std"]))
    for i, sigma in enumerate(ref["sigma"]):
        close(seen.log_twist(ref["x"][i], sigma), ref["exact_log_twist"][i])
    close(seen.log_evidence, ref["log_evidence"])
    close(seen.posterior.weights, ref["post_weights"])
    close(seen.posterior.means, ref["post_means"])
    close(seen.posterior.covariances, ref["post_covs"])
    # prior_σ times twist is evidence times the diffused posterior.
    x, sigma = ref["x"][3], ref["sigma"][3]
    left = seen.prior.log_density(x, sigma) + seen.log_twist(x, sigma)
    close(left, seen.posterior.log_density(x, sigma) + seen.log_evidence)
    value, gradient = seen.at_level(x, sigma, None, 1.0, False)
    close(value, ref["exact_log_twist"][3])
    close(gradient, seen.posterior.score(x, sigma) - seen.prior.score(x, sigma))


def test_samples_have_the_moments_and_are_keyed() -> None:
    a, _ = pair()
    x = a.sample(40_000, 0.5, seed=3)
    assert (x.mean(0) - a.mean).abs().max() < 4 * a.data_scale / 100
    assert (torch.cov(x.T) - a.covariance - 0.25 * torch.eye(2)).abs().max() < 0.1
    assert torch.equal(a.sample(10, 0.5, seed=3, start=100), x[100:110])
    close(a.noised(0.5).log_density(x[:9], number(0.0)), a.log_density(x[:9], number(0.5)))


def test_kernel_densities_of_digits() -> None:
    digits = load_digits()
    data = torch.tensor(digits.data, dtype=torch.float64).view(-1, 8, 8) / 8 - 1
    one = kernel_densities(data, torch.tensor(digits.target))[8]
    assert isinstance(one, Density)
    assert one.shape == (8, 8)
    as_mixture = GaussianMixture(torch.ones(len(one.data)), one.data, torch.zeros(len(one.data), 64, 64))
    x = one.sample(6, 0.4, seed=1)
    for sigma in (0.1, 0.4, 3.0):
        log, score = one.log_density_and_score(x, number(sigma))
        close(log, as_mixture.log_density(x.flatten(1), number(sigma)))
        close(score.flatten(1), as_mixture.score(x.flatten(1), number(sigma)))
        close(one.score(x, number(sigma).expand(6)), score)
    assert one.data_scale == pytest.approx(as_mixture.data_scale)
    # Close to a sample and with little noise the denoiser returns it.
    near = data[digits.target == 8][5:6] + 0.01
    close(one.denoiser(near, number(0.05)), data[digits.target == 8][5:6], 1e-3)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: GaussianMixture(torch.tensor([1.0, 0.0]), torch.zeros(2, 1), torch.ones(2, 1, 1)), "positive"),
        (lambda: GaussianMixture(torch.ones(1), torch.zeros(1, 2), -torch.eye(2)[None]), "positive semi-definite"),
        (lambda: GaussianMixture(torch.ones(1), torch.full((1, 1), torch.nan), torch.ones(1, 1, 1)), "finite"),
        (lambda: KernelDensity(torch.zeros(0, 3)), "at least one sample"),
        (lambda: KernelDensity(torch.zeros(2, 3), -1.0), "bandwidth is -1"),
        (lambda: kernel_densities(torch.zeros(2, 3), torch.zeros(3).long()), "2 samples have 3 labels"),
        (lambda: quadrature_moments(lambda x: x[:, 0], torch.zeros(3), torch.ones(3), 10), "3 dimension"),
    ],
)
def test_what_is_refused(make, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        make()
