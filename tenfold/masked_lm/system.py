"""DiffuCoder, and the masked language model that it is trained as."""

from tenfold import masked_lm, sandbox
from tenfold.data.text.texts import TextScoring
from tenfold.masked_lm.grpo.options import EstimatorAnalysis
from tenfold.masked_lm.grpo.recipes import RECIPES as GRPO_RECIPES
from tenfold.masked_lm.options import MaskedAnalysis, MaskedSampling, ProblemSolving
from tenfold.masked_lm.recipes import RECIPES, MaskedLMRecipe
from tenfold.masked_lm.results import JOBS
from tenfold.runs.system import Command, System

SYSTEMS = (
    System(
        name="diffucoder",
        title="DiffuCoder: masked diffusion for code",
        paper="arXiv:2506.20639",
        jobs=JOBS,
        benchmarks=("masked_lm", "masked_lm_loading", "coupled_grpo"),
        commands={
            "sandbox": Command(
                "run untrusted programs against tests, or say what isolates them", lambda argv: sandbox.run(argv)
            )
        },
    ),
    System(
        name="masked-lm",
        title="Masked diffusion language model of any Qwen2 or Llama network",
        paper="arXiv:2506.20639",
        state="a part of diffucoder",
        part_of="diffucoder",
        task=lambda: masked_lm.MaskedLMTask,
        model=lambda: masked_lm.MaskedLM,
        published=lambda: masked_lm.read_published,
        options={"sample": MaskedSampling, "score": TextScoring, "analyse": MaskedAnalysis, "evaluate": ProblemSolving},
        recipes=RECIPES,
        plain=MaskedLMRecipe(),
    ),
    System(
        name="masked-grpo",
        title="Masked diffusion language model tuned by coupled-GRPO",
        paper="arXiv:2506.20639",
        state="a part of diffucoder",
        part_of="diffucoder",
        task=lambda: masked_lm.CoupledGrpoTask,
        model=lambda: masked_lm.MaskedLM,
        options={
            "sample": MaskedSampling,
            "score": TextScoring,
            "analyse": EstimatorAnalysis,
            "evaluate": ProblemSolving,
        },
        recipes=GRPO_RECIPES,
    ),
)
