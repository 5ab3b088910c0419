"""What the room is to the verbs. Imports nothing heavy."""

from tenfold import discrete_samplers
from tenfold.discrete_samplers import commands
from tenfold.discrete_samplers.config import LatticeSampling, SamplerStudy
from tenfold.discrete_samplers.graphs.config import GraphSampling
from tenfold.discrete_samplers.graphs.recipes import RECIPES as GRAPH_RECIPES
from tenfold.discrete_samplers.graphs.recipes import GraphFlowRecipe
from tenfold.discrete_samplers.learning.config import EnergySampleOptions
from tenfold.discrete_samplers.learning.recipes import RECIPES as ENERGY_RECIPES
from tenfold.discrete_samplers.learning.recipes import DiscreteEnergyRecipe
from tenfold.discrete_samplers.ordered.config import OrderedSampling
from tenfold.discrete_samplers.ordered.recipes import RECIPES as ORDERED_RECIPES
from tenfold.discrete_samplers.ordered.recipes import OrderedRecipe
from tenfold.discrete_samplers.recipes import RECIPES, LatticeFlowRecipe
from tenfold.discrete_samplers.results import JOBS
from tenfold.runs.system import Command, Example, System

SYSTEMS = (
    System(
        name="dnfs",
        title="DNFS: discrete neural flow samplers",
        paper="arXiv:2505.17741",
        state="works; some results are not measured yet",
        task=lambda: discrete_samplers.LatticeFlowTask,
        model=lambda: discrete_samplers.LatticeFlow,
        options={"sample": LatticeSampling, "analyse": SamplerStudy},
        examples={
            "sampler-comparison": Example(
                "analyse",
                "every sampler that fits, at equal seconds, on laws whose exact values are known",
                lambda: discrete_samplers.sampler_comparison,
            ),
            "graph-sets": Example(
                "analyse",
                "independent sets and cuts of random graphs: optima, annealing, and published ratios",
                lambda: discrete_samplers.graph_sets,
            ),
        },
        recipes=RECIPES,
        plain=LatticeFlowRecipe(),
        jobs=JOBS,
        benchmarks=("discrete_samplers",),
        commands={
            "compare": Command("samplers of a lattice at equal seconds", lambda argv: commands.run_compare(argv)),
            "solve": Command(
                "independent sets, cliques and cuts of a graph, with a proof", lambda argv: commands.run_solve(argv)
            ),
        },
    ),
    System(
        name="ordered-sampler",
        title="Masked and autoregressive samplers of discrete laws",
        paper="arXiv:2508.10684",
        state="a part of dnfs",
        part_of="dnfs",
        task=lambda: discrete_samplers.OrderedTask,
        model=lambda: discrete_samplers.OrderedSampler,
        options={"sample": OrderedSampling, "analyse": SamplerStudy},
        recipes=ORDERED_RECIPES,
        plain=OrderedRecipe(),
    ),
    System(
        name="discrete-energy",
        title="Energies of bits, learned by particles that follow them",
        paper="arXiv:2505.17741",
        state="a part of dnfs",
        part_of="dnfs",
        task=lambda: discrete_samplers.DiscreteEnergyTask,
        model=lambda: discrete_samplers.DiscreteEnergy,
        options={"sample": EnergySampleOptions},
        recipes=ENERGY_RECIPES,
        plain=DiscreteEnergyRecipe(),
    ),
    System(
        name="graph-flow",
        title="Flow samplers of graph problems, conditioned on the graph",
        paper="arXiv:2505.17741",
        state="a part of dnfs",
        part_of="dnfs",
        task=lambda: discrete_samplers.GraphFlowTask,
        model=lambda: discrete_samplers.GraphFlow,
        options={"sample": GraphSampling},
        recipes=GRAPH_RECIPES,
        plain=GraphFlowRecipe(),
    ),
)
