"""What a trained sampler of a lattice is made of. Imports no PyTorch."""

import math
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

from tenfold.errors import UsageError
from tenfold.settings.checks import at_least, settings

Network = Literal["cavity", "convolution", "transformer", "perceptron", "attention", "scan", "none"]


@runtime_checkable
class Lattice(Protocol):
    """What a configuration tells of its target."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def target(self) -> Literal["ising", "potts"]:
        """Which law."""

    @property
    def height(self) -> int:
        """Rows."""

    @property
    def width(self) -> int:
        """Columns."""

    @property
    def beta(self) -> float:
        """Coupling of a bond."""

    @property
    def field(self) -> float:
        """h of spins."""

    @property
    def states(self) -> int:
        """Colours."""


@runtime_checkable
class Curriculum(Protocol):
    """What an objective tells of its coupling."""

    @property
    def curriculum(self) -> float:
        """Share of the training over which it grows."""

    @property
    def start(self) -> float:
        """Its share at the beginning."""


def check_curriculum(objective: Curriculum) -> None:
    """Raise UsageError for shares outside [0, 1], and for a path that starts from no coupling at all."""
    if not 0 <= objective.curriculum <= 1 or not 0 < objective.start <= 1:
        raise UsageError(
            f"objective.curriculum and start are {objective.curriculum} and {objective.start}; give shares "
            "from 0 to 1, and a start above 0"
        )


def check_lattice(config: Lattice) -> None:
    """Raise UsageError for spins of more than two states and for Potts models in a field."""
    if config.target == "ising" and config.states != 2:
        raise UsageError(f"model.states is {config.states}; spins have 2, set --model.target potts for more")
    if config.target == "potts" and config.field:
        raise UsageError(f"model.field is {config.field}; Potts lattices have none, leave it at 0")


@settings
class LatticeFlowConfig:
    """A target on a periodic lattice, and the jump process to it.

    Attributes:
        target: "ising", exp(β Σ s s' + h Σ s) of spins, or "potts", exp(β · bonds whose ends agree).
        height: rows of the lattice.
        width: columns.
        beta: coupling of a bond; a published σ of J = σ · adjacency is β/2.
        field: h of spins.
        states: colours of Potts models; 2 for spins.
        network: what is added to the potentials of the conditionals; "cavity", for spins, knows the symmetries of the
            lattice and is trained in a fraction of the others' time.
        channels: features of the cavity network's sums and of the convolution.
        kernels: widths of the convolution's stages, odd and no wider than the lattice.
        hidden: width of the other networks.
        head: width of a transformer's head.
        blocks: of the transformer, or layers of the scan.
        conditional: a(t) of the rates of the conditionals at the beginning of training; none leaves them out.
    """

    target: Literal["ising", "potts"] = "ising"
    height: int = 4
    width: int = 4
    beta: float = 0.2
    field: float = 0.0
    states: int = 2
    network: Network = "cavity"
    channels: int = 8
    kernels: tuple[int, ...] = (3, 3, 3)
    hidden: int = 48
    head: int = 16
    blocks: int = 3
    conditional: float | None = 0.5

    def __post_init__(self) -> None:
        at_least(self, "model", height=1, width=1, states=2, channels=1, hidden=1, head=1, blocks=1)
        check_lattice(self)
        if self.network == "none" and self.conditional is None:
            raise UsageError("model.network and model.conditional are both none; nothing would move")
        if self.network == "transformer" and self.hidden % self.head:
            raise UsageError(f"model.head is {self.head}; it must divide model.hidden, {self.hidden}")
        side = min(self.height, self.width)
        if self.network == "cavity" and (self.target != "ising" or side < 3):
            raise UsageError(
                f"model.network is cavity on a {self.target} lattice of side {side}; it is for spins and sides of at "
                "least 3, choose convolution or transformer otherwise"
            )
        if self.network == "convolution" and not all(k % 2 and 1 < k <= side for k in self.kernels):
            raise UsageError(f"model.kernels are {self.kernels}; give odd widths from 3 to the lattice's side, {side}")


@settings
class ResidualObjective:
    """How a jump process is trained (arXiv 2505.17741, algorithm 1).

    Attributes:
        trajectories: simulated afresh in every refresh.
        steps: of the time grid.
        inner: updates between two refreshes.
        buffer: trajectories that are kept, the oldest go.
        clamp: of log-ratios in the loss (the reference: 5, which biases steep targets); none leaves them.
        rate: c_t, the estimate of d/dt log Z: "batch", the mean of ξ over fresh trajectories, "ema", its moving mean,
            "weighted", the mean under their weights, "network", learned with the loss (LEAPS).
        decay: of the moving mean.
        curriculum: share of the training over which the coupling grows from ``start`` of its value to the whole.
        start: share of the coupling at the beginning.
    """

    trajectories: int = 128
    steps: int = 32
    inner: int = 25
    buffer: int = 512
    clamp: float | None = None
    rate: Literal["batch", "ema", "weighted", "network"] = "batch"
    decay: float = 0.9
    curriculum: float = 0.0
    start: float = 0.5

    def __post_init__(self) -> None:
        at_least(self, "objective", trajectories=2, steps=1, inner=1, buffer=2)
        if self.buffer < self.trajectories:
            raise UsageError(f"objective.buffer is {self.buffer}; it holds at least one refresh, {self.trajectories}")
        if self.clamp is not None and not self.clamp > 0:
            raise UsageError(f"objective.clamp is {self.clamp}; give a positive log-ratio, or none")
        if not 0 <= self.decay < 1:
            raise UsageError(f"objective.decay is {self.decay}; give a decay in [0, 1)")
        check_curriculum(self)


@settings
class LatticeEvaluation:
    """What a trained sampler is measured by.

    Attributes:
        samples: with exact weights.
        steps: of the time grid.
        grid: "even", or "adapted", steps short where weights vary, by a pilot run of 256 trajectories.
        apart: sites that leap together are more than so many bonds apart. A network that sees far wants 2, where only
            neighbours matter 1 does; a step takes one call of the network for each set of sites, and one more.
        floor: ε of the reversible rates.
        baselines: whether annealed importance sampling is measured beside it, at as many steps.
        distances: samples whose empirical law is compared with that of a lattice of up to 2^16 states; 0 for none.
    """

    samples: int = 4096
    steps: int = 64
    grid: Literal["even", "adapted"] = "even"
    apart: int = 1
    floor: float = 0.2
    baselines: bool = True
    distances: int = 0

    def __post_init__(self) -> None:
        at_least(self, "evaluation", samples=2, steps=1, apart=1, distances=0)
        if not self.floor > 0:
            raise UsageError(f"evaluation.floor is {self.floor}; exact weights need one above 0")


@settings
class SamplerStudy:
    """Options of ``analyse`` for samplers of lattices: all that fit, at equal seconds.

    Attributes:
        seconds: of every sampler.
        chains: of every sampler.
        samplers: their names; all that fit by default.
        beside: folders of other trained samplers of the same lattice.
        apart: sites that leap together in a jump process are more than so many bonds apart.
        seed: of all draws.
    """

    seconds: float = 5.0
    chains: int = 256
    samplers: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    apart: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        at_least(self, "", chains=16, apart=1)
        if not 0 < self.seconds < math.inf:
            raise UsageError(f"seconds is {self.seconds}; give a positive number")


@settings
class LatticeSampling:
    """Options of ``sample``.

    Attributes:
        num: samples.
        steps: of the time grid.
        method: "flow" gives every sample its weight, "smc" resamples on the way, and keeps log Z.
        populations: of "smc", whose spread is the error of log Z; they share the samples.
        refine: sweeps of Gibbs sampling after every step.
        grid: "even", or "adapted" by a pilot run of 256 trajectories.
        apart: sites that leap together are more than so many bonds apart.
        floor: ε of the reversible rates.
        seed: of all draws.
    """

    num: int = 2048
    steps: int = 64
    method: Literal["flow", "smc"] = "flow"
    populations: int = 8
    refine: int = 0
    grid: Literal["even", "adapted"] = "even"
    apart: int = 1
    floor: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        at_least(self, "", num=2, steps=1, populations=1, refine=0, apart=1)
        if not 0 < self.floor < math.inf:
            raise UsageError(f"floor is {self.floor}; exact weights need one above 0, and finite")
        if self.method == "smc" and (self.num % self.populations or self.num < 2 * self.populations):
            raise UsageError(
                f"num is {self.num}; give a multiple of the populations, {self.populations}, twice at least"
            )
