"""What the room is to the verbs. Imports nothing heavy."""

from tenfold import discrete_samplers
from tenfold.discrete_samplers.config import LatticeSampling
from tenfold.discrete_samplers.recipes import RECIPES, LatticeFlowRecipe
from tenfold.runs.system import System

SYSTEMS = (
    System(
        name="dnfs",
        title="DNFS: discrete neural flow samplers",
        paper="arXiv:2505.17741",
        state="lattices are trained; graphs and energy models are sampled by the classical side",
        task=lambda: discrete_samplers.LatticeFlowTask,
        model=lambda: discrete_samplers.LatticeFlow,
        options={"sample": LatticeSampling},
        recipes=RECIPES,
        plain=LatticeFlowRecipe(),
    ),
)
