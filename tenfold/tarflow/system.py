"""What TarFlow is to the verbs. Imports nothing heavy."""

from tenfold import tarflow
from tenfold.runs.system import System
from tenfold.tarflow.config import FlowSampling, FlowScoring
from tenfold.tarflow.recipes import RECIPES, TarFlowRecipe
from tenfold.tarflow.results import JOBS

SYSTEMS = (
    System(
        name="tarflow",
        title="TarFlow: transformer autoregressive flow on pixels",
        paper="arXiv:2412.06329",
        task=lambda: tarflow.FlowTask,
        model=lambda: tarflow.TarFlow,
        published=lambda: tarflow.read_published,
        options={"sample": FlowSampling, "score": FlowScoring},
        recipes=RECIPES,
        plain=TarFlowRecipe(),
        jobs=JOBS,
        benchmarks=("flows",),
    ),
)
