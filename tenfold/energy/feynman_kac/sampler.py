"""The sampler: populations of particles from noise to a composed target, along falling levels.

    target = 0.8 * (eights & threes)
    run = ParticleSampler(target, GridOptions(steps=64)).sample(populations=8, particles=256, seed=0)
    run.particles, run.log_weights, run.evidence, run.warnings

Each step proposes, weighs, resamples the populations whose effective size fell, and moves. Everything is a tensor over
all populations at once, decisions are masks, and random numbers are used whether needed or not.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from tenfold import progress
from tenfold.energy.composition.algebra import Composition, composed
from tenfold.energy.feynman_kac.asking import Asker, check_models
from tenfold.energy.feynman_kac.march import Course, March
from tenfold.energy.feynman_kac.options import (
    ControlOptions,
    GridOptions,
    MoveOptions,
    ProposalOptions,
    ResamplingOptions,
    WeightOptions,
)
from tenfold.energy.feynman_kac.randomness import Numbers
from tenfold.energy.feynman_kac.result import ParticleRun, degeneracy
from tenfold.energy.noise import check_grid, karras_grid
from tenfold.errors import UsageError
from tenfold.nn.memory import require
from tenfold.settings.arguments import read_all_arguments
from tenfold.smc.particles import WeightedParticles
from tenfold.training.streams import key_of

_COPIES = 12  # of a particle that a step holds at once, and as many of it for every model


@dataclass(frozen=True)
class Start:
    """Particles to begin with: (m, n, ...), and their log weights (m, n), 0 by default."""

    particles: Tensor
    log_weights: Tensor | None = None


@read_all_arguments
class ParticleSampler:
    """Samples a target with weights.

    Args:
        target: an energy, a score or a composition of them.
        grid: noise levels; options, or a falling tensor of levels.
        proposal, weights, resampling, moves, control: options; see there.
        proposer: a composition of scores that moves particles in the target's place, which is then asked for energies
            alone: 2 forward passes a step for a teacher and its energy, in place of 3, and weights as exact.
        strict: whether a grid beyond the levels that a model was trained on is refused, and not only told.

    Raises:
        UsageError: options, models and target that do not go together, before any work.
    """

    def __init__(
        self,
        target: Any,
        grid: GridOptions | Tensor | None = None,
        *,
        proposal: ProposalOptions | None = None,
        weights: WeightOptions | None = None,
        resampling: ResamplingOptions | None = None,
        moves: MoveOptions | None = None,
        control: ControlOptions | None = None,
        proposer: Any = None,
        strict: bool = False,
    ) -> None:
        self.target: Composition = composed(target)
        self.proposer: Composition | None = None if proposer is None else composed(proposer)
        self.proposal, self.weights = proposal or ProposalOptions(), weights or WeightOptions()
        self.resampling, self.moves = resampling or ResamplingOptions(), moves or MoveOptions()
        self.control = control or ControlOptions()
        if isinstance(grid, Tensor):
            self.sigma = check_grid(grid)
        else:
            grid = grid or GridOptions()
            self.sigma = karras_grid(grid.steps, grid.sigma_min, grid.sigma_max, grid.rho)
        self._notes = check_models(self.target, self.sigma, strict)
        self._pilots: dict[object, Float[Tensor, "t 1 k"]] = {}
        self._check()

    def sample(
        self,
        populations: int = 1,
        particles: int = 1024,
        seed: int = 0,
        *,
        dtype: torch.dtype = torch.float32,
        device: str | torch.device = "cpu",
        chunk: int | None = None,
        start: Start | None = None,
        first: int = 0,
    ) -> ParticleRun:
        """Independent populations from N(0, (σ_max² + σ_d²)/B I) to the last level.

        Args:
            populations: m; standard errors are over these.
            particles: n in each.
            seed: of all random numbers.
            dtype: of particles; log weights are float64 always.
            device: where.
            chunk: most particles that are evaluated at once: a matter of memory alone.
            start: particles to begin with in place of noise; log Z is then relative to their density.
            first: number of the first population; population p has the same numbers in every run.

        Raises:
            UsageError: sizes below 1, particles beyond the memory at hand, a population that died, NaN.
        """
        device = torch.device(device)
        if populations < 1 or particles < 1 or (particles < 2 and self.resampling.threshold > 0):
            raise UsageError(
                f"{populations} population(s) of {particles} particle(s); at least one of two is needed, or "
                "threshold=0 for particles that are not resampled"
            )
        if self.moves.waste_free and particles % self.moves.waste_free:
            raise UsageError(
                f"waste_free is {self.moves.waste_free}, which does not divide {particles} particles; choose a divisor"
            )
        if dtype not in (torch.float32, torch.float64):
            raise UsageError(f"particles of {dtype} lose the digits that weights need; use float32 or float64")
        self._require_memory(populations * particles, dtype, device, chunk)
        asker = Asker(self.target, self.proposer, chunk)
        kind = self.control_kind(populations * particles)
        theta = self._coefficients(kind, dtype, device, asker)
        numbers = Numbers(seed, populations, particles, device, dtype, first)
        march = March(self._course(kind), asker, numbers, theta)
        with progress.task("particles", len(self.sigma) - 1, "steps") as step:
            self._begin(march, numbers, start)
            for k in range(len(self.sigma) - 1):
                march.step(k)
                step()
        return self._result(march, asker)

    @property
    def delta(self) -> float:
        """δ of the "gaussian" proposal."""
        return self.proposal.delta or self.target.data_scale

    def _course(self, control: str) -> Course:
        return Course(
            target=self.target,
            sigma=self.sigma,
            proposal=self.proposal,
            weights=self.weights,
            resampling=self.resampling,
            moves=self.moves,
            control=control,
            ridge=self.control.ridge,
            delta=self.delta,
        )

    def _begin(self, march: March, numbers: Numbers, start: Start | None) -> None:
        """From given particles, or from N(0, (σ_max² + σ_d²)/B I), whose log density is in the weights."""
        m, shape, device = len(numbers.populations), self.target.shape, numbers.populations.device
        if start is not None:
            wanted = (m, len(numbers.particles) // m, *shape)
            if tuple(start.particles.shape) != wanted:
                raise UsageError(f"particles to start with are {tuple(start.particles.shape)}; {wanted} were asked for")
            logs = None if start.log_weights is None else start.log_weights.to(device)
            march.begin(start.particles.to(device, numbers.dtype).flatten(0, 1), logs, None)
            return
        sigma = self.sigma[0].to(device)
        variance = (sigma.square() + self.target.data_scale**2) / self.target.order(sigma)
        z = numbers.normal("start", 0, shape)
        log_q = -(z.flatten(1).double().square().sum(1) + self.target.dimensions * (2 * torch.pi * variance).log()) / 2
        march.begin(variance.sqrt().to(z.dtype) * z, None, log_q)

    def _result(self, march: March, asker: Asker) -> ParticleRun:
        trace, state = march.trace, march.state
        path, resampled = torch.stack(trace.log_path), torch.stack(trace.resampled)
        # Said of all populations: one that kept its weights makes them count.
        weighted = WeightedParticles(march.particles, state.log_weights, bool(resampled[-1].all()))
        said = [
            *self._notes,
            *degeneracy(path[-1], state.log_weights, state.roots, resampled, self.weights.kind != "none"),
        ]
        dividing = [type(t.model).__name__ for t in self.target.terms if bool(t.at(self.sigma[-1]) < 0)]
        if dividing and any("log Z is uncertain" in one for one in said):
            said.append(
                f"the target divides by {', '.join(dividing)}: where that is narrower than the rest it cannot be "
                "normalised; bring its negative power nearer to 0"
            )
        failures = int(torch.stack(trace.failures).sum()) if trace.failures else 0
        if failures:
            said.append(f"the control had no solution {failures} time(s); those steps ran without it")
        for sentence in said:
            progress.note(sentence)
        rates = torch.stack(trace.acceptance) if trace.acceptance else path.new_zeros(0, path.shape[1])
        theta = torch.stack(trace.theta) if trace.theta else path.new_zeros(0, 0, 0)
        return ParticleRun(
            weighted=weighted,
            sigma=self.sigma,
            log_path=path,
            ess=torch.stack(trace.ess),
            resampled=resampled,
            ancestors=torch.stack(trace.ancestors),
            roots=state.roots,
            acceptance=rates,
            step_scale=state.step_scale,
            theta=theta,
            control_failures=failures,
            units=asker.units,
            weights=self.weights.kind,
            warnings=tuple(said),
        )

    # --- control ------------------------------------------------------------------------------------------------

    def control_kind(self, particles: int) -> str:
        """What a run of so many particles in all is controlled by."""
        kind = self.control.kind
        if kind != "auto":
            return kind
        able = self.target.all_energies and self.proposer is None and self.weights.kind == "exact"
        return "ecg" if able and particles >= self.control.pilot else "none"

    def _coefficients(
        self, kind: str, dtype: torch.dtype, device: torch.device, asker: Asker
    ) -> Float[Tensor, "t 1 k"] | None:
        """θ of every step from a pilot, which is run once for the target and grid; None where there is none, or
        every population fits its own."""
        if kind == "none" or not self.control.frozen:
            return None
        key = (kind, dtype, str(device))
        if key not in self._pilots:
            size = self.control.pilot
            pilot = Asker(self.target, None, asker.chunk)
            numbers = Numbers(key_of(self.control.seed, "pilot") >> 1, 1, size, device, dtype)
            march = March(self._course(kind), pilot, numbers, None)
            with progress.task("pilot of the control", len(self.sigma) - 1, "steps") as step:
                self._begin(march, numbers, None)
                for k in range(len(self.sigma) - 1):
                    march.step(k)
                    step()
            self._pilots[key] = torch.stack(march.trace.theta)
            asker.units += pilot.units
        return self._pilots[key]

    # --- checks -------------------------------------------------------------------------------------------------

    def _check(self) -> None:
        kind, target, control = self.weights.kind, self.target, self.control.kind
        weighs_energies = kind in ("exact", "telescoping", "escorted") or bool(self.moves.moves + self.moves.waste_free)
        if weighs_energies and not (kind not in ("exact", "telescoping", "escorted") and self.moves.from_score):
            for term in target.terms:
                composed_energy(term.model, kind)
        if kind == "telescoping" and self.proposal.kind != "base":
            raise UsageError(
                "telescoping weights belong to the first model's own step; choose proposal 'base' with them"
            )
        if kind in ("twisted", "steering") and not target.rewards:
            raise UsageError(
                f"{kind} weights come from rewards, and the target has none; add one, or choose exact weights"
            )
        if kind in ("continuous", "escorted") and target.looks_ahead:
            raise UsageError(
                f"{kind} weights need the change of a reward with sigma, which one that looks ahead does not give; "
                "choose reward(..., path='annealed'), or exact weights"
            )
        if control in ("ecg", "vcg"):
            if self.proposer is not None:
                raise UsageError(
                    "control moves particles by the target's own scores; leave the proposer out, or the control"
                )
            if kind not in ("exact", "none"):
                raise UsageError(f"control goes with exact weights; {kind} weights do not know its drift")
            scores = [type(t.model).__name__ for t in target.terms if not hasattr(t.model, "log_density")]
            if control == "ecg" and scores:
                raise UsageError(f"control 'ecg' needs energies, and {scores[0]} is a score alone; choose 'vcg'")
        if self.resampling.jump and kind != "continuous":
            raise UsageError(f"jump resampling needs the rates of continuous weights, not {kind} ones")
        if self.proposer is not None and self.proposer.shape != target.shape:
            raise UsageError(
                f"the proposer moves samples {self.proposer.shape}, the target weighs samples {target.shape}; both "
                "must be of one data space"
            )
        if self.proposer is not None and kind not in ("exact", "none"):
            raise UsageError(f"a proposer of its own goes with exact weights, not {kind} ones")

    def _require_memory(self, particles: int, dtype: torch.dtype, device: torch.device, chunk: int | None) -> None:
        size = float(self.target.dimensions) * dtype.itemsize * particles * (_COPIES + len(self.target.terms))
        what = f"{particles} particles of {self.target.dimensions} numbers"
        require(size, device, what, "use fewer" if chunk else "use fewer, or evaluate them in pieces (chunk=)")


def composed_energy(model: Any, kind: str) -> None:
    """Raise UsageError for a score without an energy."""
    if not hasattr(model, "log_density"):
        raise UsageError(
            f"{type(model).__name__} is a score without an energy, which {kind} weights and moves need; distil it into "
            "one first, choose weights 'twisted', 'continuous' or 'none', or moves with from_score=True"
        )
