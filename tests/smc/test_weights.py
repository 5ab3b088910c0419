"""Log weights, evidence and tempering against closed forms."""

import math

import pytest
import torch

from tenfold.errors import UsageError
from tenfold.smc import (
    WeightedParticles,
    check_log_weights,
    conditional_ess,
    effective_sample_size,
    evidence_of,
    genealogies,
    log_mean_weight,
    next_exponent,
    normalised_weights,
    relative_variance,
    unique_ancestors,
)

INF = math.inf


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_the_evidence_has_its_log_n(n: int) -> None:
    """log (1/n) Σ w, not log Σ w: equal weights w give log w, whatever n is."""
    torch.testing.assert_close(log_mean_weight(torch.full((n,), 1.5)), torch.tensor(1.5, dtype=torch.float64))
    one = torch.full((n,), -INF)
    one[-1] = 0.0
    torch.testing.assert_close(log_mean_weight(one), torch.tensor(-math.log(n), dtype=torch.float64))


@pytest.mark.parametrize("shift", [0.0, 1e4, -1e4, 1e300])
def test_shifts_change_the_mean_alone(shift: float) -> None:
    logs = torch.randn(3, 50, dtype=torch.float64)
    moved = logs + shift if abs(shift) < 1e300 else torch.full_like(logs, shift)
    if abs(shift) < 1e300:
        torch.testing.assert_close(effective_sample_size(moved), effective_sample_size(logs), rtol=1e-9, atol=0)
        torch.testing.assert_close(log_mean_weight(moved), log_mean_weight(logs) + shift)
    else:
        torch.testing.assert_close(effective_sample_size(moved), torch.full((3,), 50.0, dtype=torch.float64))


def test_dead_populations_say_so() -> None:
    logs = torch.tensor([[0.0, -INF, 0.0], [-INF, -INF, -INF]])
    assert effective_sample_size(logs).tolist() == pytest.approx([2.0, 0.0])
    assert normalised_weights(logs)[1].tolist() == [0.0, 0.0, 0.0]
    assert log_mean_weight(logs)[1].item() == -INF
    with pytest.raises(UsageError, match=r"1 population\(s\) died: every particle has weight 0 at step 7"):
        check_log_weights(logs, "at step 7")
    with pytest.raises(UsageError, match="2 of 3 log weights are NaN or"):
        check_log_weights(torch.tensor([0.0, math.nan, INF]))


def test_dead_particles_are_marked_and_do_not_count() -> None:
    particles = torch.tensor([[[1.0], [math.nan], [3.0]]])
    found = WeightedParticles(particles, torch.tensor([[0.0, -INF, 0.0]]))
    assert found.alive.tolist() == [[True, False, True]]
    assert found.mean().tolist() == [[2.0]]
    drawn = found.resample(100)
    assert drawn.resampled
    assert not found.resampled
    assert bool(drawn.alive.all())
    assert not bool(drawn.particles.isnan().any())
    with pytest.raises(UsageError, match="died"):
        WeightedParticles(particles, torch.full((1, 3), -INF))


def test_pooled_populations_weigh_by_their_evidence() -> None:
    found = WeightedParticles(torch.tensor([[0.0, 0.0], [1.0, 1.0]]), torch.tensor([[5.0, 5.0], [0.0, 0.0]]))
    mean = found.pooled(torch.tensor([0.0, math.log(3.0)])).mean()
    torch.testing.assert_close(mean, torch.tensor([0.75], dtype=torch.float64))


def test_conditional_size_counts_the_weights_that_particles_have() -> None:
    weights = torch.tensor([0.0, 0.0, -INF, -INF], dtype=torch.float64)
    increments = torch.tensor([0.0, -INF, 0.0, 0.0], dtype=torch.float64)
    # Half of the weight is lost: 4 (1/2)² / (1/2) = 2.
    torch.testing.assert_close(conditional_ess(weights, increments), torch.tensor(2.0, dtype=torch.float64))
    torch.testing.assert_close(conditional_ess(torch.zeros(4), increments), torch.tensor(3.0, dtype=torch.float64))


@pytest.mark.parametrize("skew", [1.0, -1.0])
def test_tempering_of_an_asymmetric_target(skew: float) -> None:
    """log L of an exponential distribution, once as it is and once mirrored: a bisection with the wrong sign would go
    unseen where both tails are alike."""
    values = torch.distributions.Exponential(1.0).sample((2000,)).double()
    log_l = skew * 3.0 * values
    start = torch.zeros((), dtype=torch.float64)
    first = next_exponent(torch.zeros(2000), log_l, start, keep=0.8)
    assert 0 < first < 1
    torch.testing.assert_close(
        conditional_ess(torch.zeros(2000), first * log_l), torch.tensor(1600.0, dtype=torch.float64), rtol=1e-6, atol=0
    )
    # A step further keeps less, a step less far more.
    assert (
        conditional_ess(torch.zeros(2000), 1.1 * first * log_l)
        < 1600
        < conditional_ess(torch.zeros(2000), 0.9 * first * log_l)
    )
    # With the weights of the first step the second one is judged by them.
    second = next_exponent(first * log_l, log_l, first, keep=0.8)
    torch.testing.assert_close(
        conditional_ess(first * log_l, (second - first) * log_l), torch.tensor(1600.0, dtype=torch.float64)
    )
    assert next_exponent(torch.zeros(9), 1e-9 * torch.randn(9), start) == 1.0
    with pytest.raises(UsageError, match="keep is 1"):
        next_exponent(torch.zeros(9), torch.randn(9), start, keep=1.0)


def test_tempering_to_the_end_estimates_the_evidence() -> None:
    """N(0, 1) to N(0, 1) L with log L = −2 (x − 1)²: log Z = −½ log 5 − 2/5."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(8, 1000, generator=generator, dtype=torch.float64)
    log_l, logs, exponent = -2 * (x - 1).square(), torch.zeros(8, 1000, dtype=torch.float64), torch.zeros(8).double()
    for _ in range(40):
        further = next_exponent(logs, log_l, exponent, keep=0.95)
        logs, exponent = logs + (further - exponent)[:, None] * log_l, further
    assert bool((exponent == 1).all())
    found = evidence_of(log_mean_weight(logs))
    assert found.standard_error is not None
    assert abs(found.log_z + 0.5 * math.log(5) + 0.4) < 4 * found.standard_error < 0.1


def test_evidence_over_populations() -> None:
    logs = torch.tensor([0.0, math.log(3.0)])
    found = evidence_of(logs)
    assert found.log_z == pytest.approx(math.log(2.0))
    assert found.standard_error == pytest.approx(math.sqrt(2.0) / math.sqrt(2.0) / 2.0)
    assert evidence_of(logs[:1]).standard_error is None
    with pytest.raises(UsageError, match="evidence is NaN"):
        evidence_of(torch.tensor([math.nan, 0.0]))


def test_lines_of_ancestors() -> None:
    generator = torch.Generator().manual_seed(0)
    ancestors = torch.randint(6, (5, 2, 6), generator=generator)
    lines = genealogies(ancestors)
    roots = torch.arange(6).expand(2, 6)
    for generation in ancestors:
        roots = roots.gather(-1, generation)
    assert torch.equal(lines[0], roots)
    assert unique_ancestors(roots).tolist() == [len(set(row.tolist())) for row in roots]


def test_variance_from_the_lines_of_one_run() -> None:
    """Multinomial resampling of a Gaussian potential, twice: the estimates of the variance are right on average."""
    generator = torch.Generator().manual_seed(3)
    m, n = 4000, 40
    logs, log_z = torch.zeros(m, n, dtype=torch.float64), torch.zeros(m, dtype=torch.float64)
    roots = torch.arange(n).expand(m, n)
    for _ in range(2):
        logs = 0.5 * torch.randn(m, n, generator=generator, dtype=torch.float64)
        log_z = log_z + log_mean_weight(logs)
        chosen = torch.multinomial(normalised_weights(logs), n, replacement=True, generator=generator)
        roots = roots.gather(-1, chosen)
    z = log_z.exp() / log_z.exp().mean()
    found = relative_variance(torch.zeros(m, n), roots, torch.full((m,), 2))
    assert found.mean().item() == pytest.approx(z.var().item(), rel=0.3)
