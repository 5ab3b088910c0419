"""The ten systems and all recipes, by name."""

from dataclasses import dataclass
from typing import Any

from tenfold.errors import UsageError, suggest
from tenfold.recipes import tarflow


@dataclass(frozen=True)
class System:
    """One of the ten systems: what ``tenfold list`` says, and where its parts are imported from on use.

    ``task`` is "module:callable", called with a recipe; ``sampling`` is "module:dataclass" of the options
    of ``tenfold sample``. Both are empty where the system is not there yet.
    """

    title: str
    paper: str
    state: str
    task: str = ""
    sampling: str = ""


SYSTEMS: dict[str, System] = {
    "tarflow": System(
        "TarFlow: transformer autoregressive flow on pixels",
        "arXiv:2412.06329",
        "ready",
        "tenfold.flows.task:FlowTask",
        "tenfold.flows.config:FlowSampling",
    ),
    "starflow": System("STARFlow: deep-shallow latent flow", "arXiv:2506.06276", "not yet"),
    "tarflowlm": System("TarFlowLM: language modelling with continuous flows", "arXiv:2507.00425", "not yet"),
    "diffucoder": System("DiffuCoder: masked diffusion for code", "arXiv:2506.20639", "not yet"),
    "tcsm": System("TCSM: target concrete score matching", "arXiv:2504.16431", "not yet"),
    "dnfs": System("DNFS: discrete neural flow samplers", "arXiv:2505.17741", "not yet"),
    "energy": System("Distilled energy diffusion with Feynman-Kac SMC", "arXiv:2502.12786", "not yet"),
    "ordering": System("Right-to-left factorization and multiple choice", "arXiv:2502.18435", "not yet"),
    "detection": System("AI-TOD-R and DCFL: oriented tiny objects", "arXiv:2412.11582", "not yet"),
    "quasiperiodic": System("Semi-algebraic discrepancy, quasi-periodic dynamics", "arXiv:2507.19783", "not yet"),
}

RECIPES: dict[str, tuple[str, Any]] = {**tarflow.RECIPES}


def recipe(name: str) -> Any:
    """The recipe called ``name``, a frozen dataclass (change it with ``dataclasses.replace``).

    Raises UsageError, with a suggestion, for an unknown name.

    >>> recipe("tarflow-digits").model.blocks
    4
    """
    if name not in RECIPES:
        raise UsageError(f"there is no recipe {name!r}{suggest(name, RECIPES)}")
    return RECIPES[name][1]
