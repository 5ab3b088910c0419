"""What the system is. Imports nothing heavy."""

from tenfold import text_flows
from tenfold.data.text.texts import TextScoring
from tenfold.runs.system import Example, System
from tenfold.text_flows.options import TextFlowAnalysis, TextFlowSampling
from tenfold.text_flows.recipes import RECIPES, TOKEN_RECIPES, TextFlowRecipe
from tenfold.text_flows.results import JOBS

SYSTEMS = (
    System(
        name="tarflowlm",
        title="TarFlowLM: language modelling with continuous flows",
        paper="arXiv:2507.00425",
        state="works; results of letters alone are recorded",
        task=lambda: text_flows.TextFlowTask,
        model=lambda: text_flows.TextFlow,
        options={"sample": TextFlowSampling, "score": TextScoring, "analyse": TextFlowAnalysis},
        examples={
            "tabular-flows": Example(
                "analyse",
                "densities of tables by stacks of mixture maps, beside spline and Gaussianization flows",
                lambda: text_flows.tabular_flows,
            )
        },
        recipes=RECIPES,
        plain=TextFlowRecipe(),
        jobs=JOBS,
        benchmarks=("text_flows",),
    ),
    System(
        name="tarflowlm-tokens",
        title="TarFlowLM of bytes and of a tokenizer's tokens",
        paper="arXiv:2507.00425",
        state="works; no results are recorded",
        part_of="tarflowlm",
        task=lambda: text_flows.TextFlowTask,
        model=lambda: text_flows.TextFlow,
        options={"sample": TextFlowSampling, "score": TextScoring, "analyse": TextFlowAnalysis},
        recipes=TOKEN_RECIPES,
    ),
)
