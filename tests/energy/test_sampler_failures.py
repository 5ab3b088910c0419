"""What goes wrong is one sentence, before work where it can be known then, and degeneracy is told."""

import math

import pytest
import torch
from torch import Tensor, nn

from tenfold.energy.closed_forms import GaussianMixture
from tenfold.energy.composition import InBox, composed, reward
from tenfold.energy.feynman_kac import (
    ControlOptions,
    GridOptions,
    MoveOptions,
    ParticleSampler,
    ProposalOptions,
    ResamplingOptions,
    Start,
    WeightOptions,
    adaptive_grid,
    calibrate,
    event_probability,
)
from tenfold.errors import UsageError
from tests.energy.forms import pair
from tests.energy.test_composition import ScoreOnly

GRID = GridOptions(6, 0.02, 20.0)
A, B = pair()


def broken(value: float):
    """An energy that is no number at low noise."""

    class Broken(GaussianMixture):
        def log_density_and_score(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
            log, score = super().log_density_and_score(x, sigma)
            return torch.where((sigma < 1) & (torch.arange(len(x)) < 3), value, log), score

        def log_density(self, x: Tensor, sigma: Tensor) -> Tensor:
            return self.log_density_and_score(x, sigma)[0]

    return Broken(A.weights, A.means, A.covariances)


class Dropping(nn.Module):
    """A network with dropout."""

    normalised, shape, data_scale = True, (2,), 1.0
    sigma_range = (0.1, 10.0)

    def __init__(self) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.5)

    def score(self, x: Tensor, sigma: Tensor) -> Tensor:
        return A.score(x, sigma)

    def log_density(self, x: Tensor, sigma: Tensor) -> Tensor:
        return A.log_density(x, sigma)

    def log_density_and_score(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        return A.log_density_and_score(x, sigma)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: ParticleSampler(A, torch.tensor([2.0, 1.0, 0.0])), "holds 0"),
        (lambda: ParticleSampler(A, torch.tensor([1.0, 2.0])), "does not fall"),
        (lambda: ParticleSampler(0.3 * A - 1.3 * B), "powers of the target sum to -1"),
        (lambda: ParticleSampler(ScoreOnly(A)), "ScoreOnly is a score without an energy, which exact weights"),
        (lambda: ParticleSampler(A + reward(torch.sum), weights=WeightOptions("continuous")), "path='annealed'"),
        (lambda: ParticleSampler(A, weights=WeightOptions("twisted")), "twisted weights come from rewards"),
        (lambda: ParticleSampler(A, weights=WeightOptions("telescoping")), "choose proposal 'base'"),
        (lambda: ParticleSampler(A, resampling=ResamplingOptions(jump=True)), "needs the rates of continuous weights"),
        (
            lambda: ParticleSampler(
                ScoreOnly(A), weights=WeightOptions("none"), control=ControlOptions("ecg")
            ),
            "ScoreOnly is a score alone; choose 'vcg'",
        ),
        (
            lambda: ParticleSampler(A, weights=WeightOptions("continuous"), control=ControlOptions("vcg")),
            "control goes with exact weights",
        ),
        (lambda: ParticleSampler(A, proposer=ScoreOnly(A), control=ControlOptions("ecg")), "leave the proposer out"),
        (lambda: ParticleSampler(Dropping()), "training mode with dropout"),
        (lambda: ParticleSampler(Dropping().eval(), strict=True), "was trained for sigma from 0.1 to 10"),
        (lambda: ParticleSampler(A, GRID).sample(0, 8), "at least one of two is needed"),
        (lambda: ParticleSampler(A, GRID).sample(1, 1), "at least one of two is needed"),
        (lambda: ParticleSampler(A, GRID).sample(1, 8, chunk=0), "chunk is 0"),
        (lambda: ParticleSampler(A, GRID).sample(1, 8, dtype=torch.float16), "use float32 or float64"),
        (lambda: ParticleSampler(A, GRID).sample(10**6, 10**8), "particles of 2 numbers"),
        (lambda: ParticleSampler(A, GRID, moves=MoveOptions(waste_free=3)).sample(1, 8), "does not divide 8"),
        (lambda: ParticleSampler(A, GRID).sample(1, 8, start=Start(torch.zeros(1, 7, 2))), "were asked for"),
        (lambda: ParticleSampler(A, GridOptions(6, 0.02, math.nan)), "sigma_max is nan"),
        (lambda: ResamplingOptions(threshold=1.5), "lies in"),
        (lambda: ResamplingOptions("systemic"), "did you mean 'systematic'"),
        (lambda: ProposalOptions("gausian"), "did you mean 'gaussian'"),
        (lambda: WeightOptions("exactly"), "did you mean 'exact'"),
        (lambda: ControlOptions("egc"), "did you mean 'ecg'"),
        (lambda: MoveOptions(2, waste_free=4), "choose one of them"),
        (lambda: event_probability(A, lambda x: x[:, 0] > 9, InBox(9, 99), populations=1), "needs at least 2"),
        (lambda: event_probability(A & B, lambda x: x[:, 0] > 9, InBox(9, 99)), "calibrate it first"),
        (lambda: event_probability(A, lambda x: x, InBox(0, 1), grid=GRID), "it must return"),
        (lambda: calibrate(A, populations=4), "needs at least 8"),
        (lambda: calibrate(A.within(0, 1)), "without them"),
        (lambda: adaptive_grid(A, keep=1.0), "keep 1.0"),
        (lambda: adaptive_grid(A & B, most=3), "3 steps do not reach"),
    ],
)  # fmt: skip
def test_one_sentence(make, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        make()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_energies_that_are_no_numbers(value: float) -> None:
    with pytest.raises(UsageError, match=r"3 of 64 log weights are NaN or \+infinity at step 5, sigma = 0.6141"):
        ParticleSampler(broken(value), GridOptions(8, 0.02, 20.0)).sample(2, 32)


def test_a_reward_that_is_no_number() -> None:
    with pytest.raises(UsageError, match="a reward is NaN for 16 of 16 particles"):
        ParticleSampler(A + reward(lambda x: x.sum(1) * math.nan), GRID).sample(1, 16)


def test_a_population_that_dies_says_under_what() -> None:
    with pytest.raises(UsageError, match=r"died at step 6, sigma = 0.02, under InBox: every particle has weight 0"):
        ParticleSampler(A.within(30.0, 31.0), GRID, proposal=ProposalOptions(twist=0.0)).sample(1, 16)


def test_levels_beyond_the_training_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    run = ParticleSampler(Dropping().eval(), GRID).sample(2, 16)
    assert "was trained for sigma from 0.1 to 10" in run.warnings[0]
    assert run.warnings[0] in capsys.readouterr().err


def test_degeneracy_is_told() -> None:
    run = ParticleSampler(8 * A, GridOptions(5, 0.02, 40.0), proposal=ProposalOptions("em")).sample(4, 128)
    said = " ".join(run.warnings)
    assert "fewer than 5 %" in said
    assert "log Z is uncertain" in said
    alone = ParticleSampler(8 * A, GridOptions(5, 0.02, 40.0), proposal=ProposalOptions("em")).sample(1, 128)
    assert "fewer than 5 %" in " ".join(alone.warnings)
    narrow = GaussianMixture(torch.ones(1), torch.zeros(1, 2), 0.01 * torch.eye(2)[None])
    divided = ParticleSampler(1.3 * A - 0.9 * narrow, GridOptions(12, 0.02, 40.0)).sample(4, 128)
    assert "the target divides by GaussianMixture" in " ".join(divided.warnings)
    good = ParticleSampler(A, GridOptions(48, 0.02, 40.0)).sample(4, 128)
    assert good.warnings == ()


def test_a_run_says_what_it_holds() -> None:
    run = ParticleSampler(A & B, GRID).sample(2, 16)
    assert not run.weighted.resampled
    assert "unbiased" in run.law
    end = ParticleSampler(
        A & B, GRID, resampling=ResamplingOptions(threshold=1.0, every_end=True), weights=WeightOptions("telescoping"),
        proposal=ProposalOptions("base"),
    ).sample(2, 16)  # fmt: skip
    assert end.weighted.resampled
    assert bool((end.log_weights == 0).all())
    assert "approximate" in end.law
    plain = ParticleSampler(ScoreOnly(A), GRID, weights=WeightOptions("none")).sample(2, 16)
    assert bool((plain.log_weights == 0).all())
    assert plain.units == 2 * 16 * 7
    assert run.lines.shape == (7, 2, 16)


def test_score_only_models_move_too() -> None:
    moved = ParticleSampler(
        composed(ScoreOnly(A)), GRID, weights=WeightOptions("none"), moves=MoveOptions(2, from_score=True)
    ).sample(2, 64)
    assert 0.2 < float(moved.acceptance.mean()) < 1
