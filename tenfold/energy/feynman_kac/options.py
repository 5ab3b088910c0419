"""What can be set about sampling a composition. Imports no PyTorch."""

import math
from typing import Literal, get_args

from tenfold.errors import UsageError, suggest
from tenfold.settings.checks import at_least, settings

ProposalKind = Literal["gaussian", "em", "ancestral", "base"]
WeightKind = Literal["exact", "continuous", "telescoping", "twisted", "escorted", "steering", "none"]
Potential = Literal["difference", "max", "sum", "immediate"]
ResamplingScheme = Literal["systematic", "stratified", "residual-systematic", "residual-multinomial", "multinomial"]
ControlKind = Literal["auto", "none", "ecg", "vcg"]


def _one_of(value: object, name: str, kinds: object) -> None:
    if value not in get_args(kinds):
        raise UsageError(f"{name} is {value!r}{suggest(str(value), get_args(kinds))}")


@settings
class GridOptions:
    """Noise levels (Karras et al. 2022): steps + 1 of them from ``sigma_max`` down to ``sigma_min``.

    Attributes:
        steps: T.
        sigma_min: the last level, above 0.
        sigma_max: the first.
        rho: ρ; larger ones make the last steps shorter.
    """

    steps: int = 64
    sigma_min: float = 0.002
    sigma_max: float = 80.0
    rho: float = 7.0

    def __post_init__(self) -> None:
        at_least(self, "grid", steps=1)
        if not 0 < self.sigma_min < self.sigma_max < math.inf:
            raise UsageError(
                f"sigma_min is {self.sigma_min} and sigma_max is {self.sigma_max}; 0 < sigma_min < sigma_max is needed"
            )
        if not 0 < self.rho < math.inf:
            raise UsageError(f"rho is {self.rho}; it must be positive")


@settings
class ProposalOptions:
    """Where particles are proposed, N(x + pull · score, V I).

    Attributes:
        kind: "gaussian" is exact for Gaussian data of scale ``delta``; "em" the Euler-Maruyama step (δ → ∞);
            "ancestral" the posterior step of DDPM (δ → 0); "base" that of the first model alone.
        delta: δ of "gaussian"; none for σ_d of the target.
        twist: how much of a reward's ascent ∇r joins the score; 0 for none.
    """

    kind: ProposalKind = "gaussian"
    delta: float | None = None
    twist: float = 1.0

    def __post_init__(self) -> None:
        _one_of(self.kind, "kind", ProposalKind)
        if self.delta is not None and not 0 < self.delta < math.inf:
            raise UsageError(f"delta is {self.delta}; the scale of the data must be positive, or leave it out")
        if not 0 <= self.twist < math.inf:
            raise UsageError(f"twist is {self.twist}; it must be at least 0")


@settings
class WeightOptions:
    """How particles are weighed.

    Attributes:
        kind: "exact" for the ratio of target and proposal (unbiased for any number of steps); "continuous" for Euler
            steps of the Feynman-Kac rate (biased); "telescoping" for ratios of energies under the first model's own
            step; "twisted" for rewards under score-only models; "escorted" for the rate with ∂ log γ/∂σ and a
            divergence (biased); "steering" for potentials of rewards; "none" for plain guidance.
        noise: ζ = ε/g of the continuous kinds: 1 is the usual SDE, 1/√β FKC's tempered noise, 0 a flow.
        divergence: of "escorted": all directions, or one random probe.
        potential: of "steering".
    """

    kind: WeightKind = "exact"
    noise: float = 1.0
    divergence: Literal["full", "probe"] = "full"
    potential: Potential = "difference"

    def __post_init__(self) -> None:
        _one_of(self.kind, "kind", WeightKind)
        _one_of(self.potential, "potential", Potential)
        if not 0 <= self.noise < math.inf:
            raise UsageError(f"noise is {self.noise}; it must be at least 0")


@settings
class ResamplingOptions:
    """When particles are resampled.

    Attributes:
        scheme: how ancestors are drawn.
        threshold: resample populations whose effective size is below this share of their particles; 0 for never.
        first: step from which on.
        last: step after which no more; none for the last step but one.
        every_end: whether the last step resamples too, by the threshold (its weights are returned otherwise).
        jump: let single particles die and be replaced by their rates, in place of whole populations (continuous
            weights).
    """

    scheme: ResamplingScheme = "systematic"
    threshold: float = 0.5
    first: int = 0
    last: int | None = None
    every_end: bool = False
    jump: bool = False

    def __post_init__(self) -> None:
        _one_of(self.scheme, "scheme", ResamplingScheme)
        if not 0 <= self.threshold <= 1:
            raise UsageError(f"threshold is {self.threshold}; the share of the effective size lies in [0, 1]")
        at_least(self, "resampling", first=0)


@settings
class MoveOptions:
    """MALA moves at every level, which keep γ and part clones.

    Attributes:
        moves: a level; 0 for none.
        step: c to begin with: the step size is h = c σ²/B.
        acceptance: towards which c adapts, in each population, by the rates of earlier moves.
        waste_free: P > 1 keeps P states of each of N/P ancestors as the next population (arXiv 2011.02328), in place
            of ``moves``, and resamples at every step; 0 for none.
        from_score: accept by the line integral of the score (approximate; for models without energies).
    """

    moves: int = 0
    step: float = 1.0
    acceptance: float = 0.57
    waste_free: int = 0
    from_score: bool = False

    def __post_init__(self) -> None:
        at_least(self, "moves", moves=0, waste_free=0)
        if not 0 < self.acceptance < 1:
            raise UsageError(f"acceptance is {self.acceptance}; a rate in (0, 1) is needed")
        if not 0 < self.step < math.inf:
            raise UsageError(f"step is {self.step}; it must be positive")
        if self.waste_free and self.moves:
            raise UsageError(f"waste_free is {self.waste_free} and moves is {self.moves}; choose one of them")
        if self.waste_free == 1:
            raise UsageError("waste_free is 1; keep at least 2 states of each ancestor, or 0 for none")


@settings
class ControlOptions:
    """Drift that flattens the rate of the weights (DriftLite), with exact weights unbiased whatever it is, if frozen.

    Attributes:
        kind: "ecg" from energies, without second derivatives; "vcg" from scores and one probe of their divergence;
            "auto" is "ecg" where all models are energies, the weights exact, and a run no smaller than the pilot.
        frozen: whether coefficients come from a pilot with draws of its own; otherwise each population fits its own
            as it goes, which biases its evidence.
        pilot: particles of the pilot.
        seed: of the pilot, apart from those of the runs that it serves.
        ridge: added to the scaled Gram matrix; with less, scores that are nearly collinear at high noise get large
            coefficients of opposite signs, which cancel among the particles of the pilot and nowhere else.
    """

    kind: ControlKind = "auto"
    frozen: bool = True
    pilot: int = 512
    seed: int = 0
    ridge: float = 1e-2

    def __post_init__(self) -> None:
        _one_of(self.kind, "kind", ControlKind)
        at_least(self, "control", pilot=16)
        if not 0 < self.ridge < math.inf:
            raise UsageError(f"ridge is {self.ridge}; it must be positive")
