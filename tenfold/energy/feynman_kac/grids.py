"""Noise levels chosen by the particles: each step as long as a conditional effective sample size allows."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from tenfold import progress
from tenfold.energy.composition.algebra import composed
from tenfold.energy.composition.terms import Evaluated
from tenfold.energy.feynman_kac.asking import Asker, check_models
from tenfold.energy.feynman_kac.options import ProposalOptions
from tenfold.energy.feynman_kac.randomness import Numbers
from tenfold.energy.feynman_kac.steps import NoiseStep, ProposedStep, exact_increment, proposal
from tenfold.errors import UsageError
from tenfold.settings.arguments import read_arguments
from tenfold.smc.adaptive import gather_particles, resample_where
from tenfold.smc.weights import conditional_ess

_HALVINGS = 12


@read_arguments
def adaptive_grid(
    target: Any,
    *,
    sigma_min: float = 0.002,
    sigma_max: float = 80.0,
    keep: float = 0.9,
    most: int = 512,
    particles: int = 256,
    seed: int = 0,
    proposal_options: ProposalOptions | None = None,
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
    chunk: int | None = None,
) -> Float[Tensor, " t1"]:
    """Levels for which each step of one pilot population keeps a conditional effective size of keep · n under
    the weights it has by then; float64. Run the sampler on them with another seed: the pilot's own evidence is biased.

    Args:
        target: energies, composed.
        sigma_min, sigma_max: ends.
        keep: in (0, 1); larger ones give more steps.
        most: steps at most.
        particles, seed, dtype, device, chunk: of the pilot.
        proposal_options: how it moves.

    Raises:
        UsageError: ends or ``keep`` out of range, models that do not fit, or more than ``most`` steps.
    """
    if not 0 < sigma_min < sigma_max or not 0 < keep < 1:
        raise UsageError(
            f"sigma_min is {sigma_min}, sigma_max {sigma_max} and keep {keep}; 0 < sigma_min < sigma_max and "
            "0 < keep < 1 are needed"
        )
    wanted, options = composed(target), proposal_options or ProposalOptions()
    place = torch.device(device)
    sigma = torch.tensor(sigma_max, dtype=torch.float64, device=place)
    check_models(wanted, sigma[None], False)
    ask, numbers = Asker(wanted, None, chunk), Numbers(seed, 1, particles, place, dtype)
    variance = (sigma.square() + wanted.data_scale**2) / wanted.order(sigma)
    z = numbers.normal("start", 0, wanted.shape)
    x = variance.sqrt().to(dtype) * z
    found = ask(x, sigma)
    logs = (found.log_density + z.flatten(1).double().square().sum(1) / 2)[None]
    levels = [sigma_max]
    delta = options.delta or wanted.data_scale

    def tried(to: float, step: int) -> tuple[Tensor, Evaluated, Tensor]:
        span = NoiseStep(sigma, torch.tensor(to, dtype=torch.float64, device=place))
        affine = proposal(options.kind, span, wanted.order(sigma), delta)
        noise = numbers.normal("step", step, wanted.shape)
        next_x = x + affine.pull.to(dtype) * found.full_score + affine.variance.sqrt().to(dtype) * noise
        after = ask(next_x, span.sigma_next)
        moved = ProposedStep(x, next_x, noise, affine, span)
        return next_x, after, exact_increment(moved, found.log_density, after.log_density)[None]

    with progress.task("levels", None, "steps") as done:
        while levels[-1] > sigma_min:
            if len(levels) > most:
                raise UsageError(
                    f"{most} steps do not reach sigma {sigma_min}; lower keep, or allow more steps (most=)"
                )
            low, high = sigma_min, levels[-1]
            taken = tried(low, len(levels))
            if float(conditional_ess(logs, taken[2])) < keep * particles:
                for _ in range(_HALVINGS):
                    middle = (low * high) ** 0.5
                    enough = float(conditional_ess(logs, tried(middle, len(levels))[2])) >= keep * particles
                    low, high = (low, middle) if enough else (middle, high)
                # The last level that kept enough; where not even the smallest step does, that step.
                low = min(high, levels[-1] * (1 - 1e-3))
                taken = tried(low, len(levels))
            x, found, increment = taken
            levels.append(low)
            sigma = torch.tensor(low, dtype=torch.float64, device=place)
            step = resample_where(logs + increment, numbers.shared("resampling", len(levels), 1))
            logs = step.log_weights
            x = gather_particles(x[None], step.ancestors)[0]
            found = found.map(lambda value, chosen=step.ancestors: gather_particles(value[None], chosen)[0])  # type: ignore[misc]
            done()
    return torch.tensor(levels, dtype=torch.float64)
