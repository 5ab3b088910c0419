"""What a sampler of graph problems is made of, and which graphs it learns from. Imports no PyTorch."""

from typing import Literal

from tenfold.errors import UsageError
from tenfold.settings.checks import at_least, settings


@settings
class GraphFlowConfig:
    """A problem, and the jump process that is conditioned on the graph.

    Attributes:
        problem: "mis", "clique" or "cut".
        inverse_temperature: 1/T of exp(−E/T), where the path ends; it begins at 0.
        nodes: of the largest graph.
        hidden: width of the transformer.
        head: width of its heads.
        blocks: of each of its streams.
        farthest: distances beyond count as this one.
        conditional: a(t) of the rates of the conditionals at the beginning of training.
    """

    problem: Literal["mis", "clique", "cut"] = "mis"
    inverse_temperature: float = 5.0
    nodes: int = 20
    hidden: int = 48
    head: int = 16
    blocks: int = 2
    farthest: int = 6
    conditional: float = 0.5

    def __post_init__(self) -> None:
        at_least(self, "model", nodes=2, hidden=1, head=1, blocks=1, farthest=1)
        if not self.inverse_temperature > 0:
            raise UsageError(f"model.inverse_temperature is {self.inverse_temperature}; give one above 0")
        if self.hidden % self.head:
            raise UsageError(f"model.head is {self.head}; it must divide model.hidden, {self.hidden}")


@settings
class GraphSetSettings:
    """Random graphs.

    Attributes:
        kind: "er", G(n, p); "ba", preferential attachment (Barabási and Albert); "rb", cliques with random edges
            between them (Xu's model RB), hard independent sets whose size is at most the number of cliques.
        least: nodes at least.
        most: nodes at most.
        probability: p of "er", the tightness of "rb".
        degree: edges of every new node of "ba".
        train: graphs to learn from.
        test: further ones to measure on.
        seed: of the graphs.
    """

    kind: Literal["er", "ba", "rb"] = "er"
    least: int = 16
    most: int = 20
    probability: float = 0.15
    degree: int = 4
    train: int = 1000
    test: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        at_least(self, "data", least=2, degree=1, train=1, test=1)
        if self.most < self.least:
            raise UsageError(f"data.most is {self.most} and data.least {self.least}; give most of at least least")
        if not 0 < self.probability <= 1:
            raise UsageError(f"data.probability is {self.probability}; give one in (0, 1]")
        if self.kind == "ba" and self.degree >= self.least:
            raise UsageError(f"data.degree is {self.degree}; give less than data.least, {self.least}")


@settings
class GraphObjective:
    """How the process is trained (arXiv 2505.17741, algorithm 1), with c_t of every graph by itself.

    Attributes:
        graphs: in a refresh, drawn afresh.
        copies: trajectories of each, whose mean ξ is c_t.
        steps: of the time grid.
        inner: updates between two refreshes.
        buffer: trajectories that are kept, the oldest go.
    """

    graphs: int = 16
    copies: int = 16
    steps: int = 32
    inner: int = 20
    buffer: int = 1024

    def __post_init__(self) -> None:
        at_least(self, "objective", graphs=1, copies=2, steps=1, inner=1)
        if self.buffer < self.graphs * self.copies:
            raise UsageError(
                f"objective.buffer is {self.buffer}; it holds at least one refresh, {self.graphs * self.copies}"
            )


@settings
class GraphEvaluation:
    """What a trained sampler is measured by, on graphs that it has not seen.

    Attributes:
        copies: samples of each graph.
        steps: of the time grid, and sweeps of annealing beside it.
        moves: DMALA moves after every step, for the process with refinement and for DMALA alone.
        alpha: step of DMALA.
        seconds: at most for the proof of one optimum.
    """

    copies: int = 20
    steps: int = 32
    moves: tuple[int, ...] = (1, 5)
    alpha: float = 0.5
    seconds: float = 10.0

    def __post_init__(self) -> None:
        at_least(self, "evaluation", copies=2, steps=1)
        if not self.alpha > 0 or not self.seconds > 0 or any(number < 1 for number in self.moves):
            raise UsageError(
                f"evaluation.alpha, seconds and moves are {self.alpha}, {self.seconds} and {self.moves}; give positive "
                "numbers"
            )


@settings
class GraphSampling:
    """Options of ``sample``.

    Attributes:
        graph: a file, which must be named: an edge list, GraphML or DIMACS.
        num: samples.
        steps: of the time grid.
        refine: DMALA moves after every step.
        alpha: their step.
        seed: of all draws.
    """

    graph: str = ""
    num: int = 64
    steps: int = 32
    refine: int = 0
    alpha: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        at_least(self, "", num=2, steps=1, refine=0)
        if not self.alpha > 0:
            raise UsageError(f"alpha is {self.alpha}; give a positive step")
