"""TCSM and its parts, of which each is trained, converted and measured by itself. Imports no PyTorch."""

from dataclasses import replace
from typing import Any

from tenfold import discrete_diffusion
from tenfold.data.text.texts import TextScoring
from tenfold.discrete_diffusion import recipes
from tenfold.discrete_diffusion.options import DiffusionAnalysis, DiffusionSampling
from tenfold.discrete_diffusion.results import JOBS
from tenfold.discrete_diffusion.steering import recipes as steering
from tenfold.runs.system import Example, Named, System

_TCSM = System(
    name="tcsm",
    title="TCSM: target concrete score matching",
    paper="arXiv:2504.16431",
    examples={
        "tcsm-worlds": Example(
            "analyse",
            "post-training of discrete diffusion on 64 sequences, where every optimum is known",
            lambda: discrete_diffusion.tcsm_worlds,
        )
    },
    jobs=JOBS,
    benchmarks=("discrete_diffusion",),
)
_DIFFUSION = System(
    name="discrete-diffusion",
    title="Discrete diffusion of characters and tokens, masked and uniform noise",
    paper=_TCSM.paper,
    state="a part of tcsm",
    part_of="tcsm",
    task=lambda: discrete_diffusion.DiffusionTask,
    model=lambda: discrete_diffusion.DiscreteDiffusion,
    published=lambda: discrete_diffusion.read_published,
    options={"sample": DiffusionSampling, "score": TextScoring, "analyse": DiffusionAnalysis},
    recipes=recipes.RECIPES,
    plain=recipes.DiffusionRecipe(),
)


def _part(name: str, title: str, recipes: dict[str, Named], **changes: Any) -> System:
    """What has no checkpoints of its own published, and needs more settings than a model folder holds."""
    plain = changes.pop("plain", None)
    return replace(_DIFFUSION, published=None, plain=plain, name=name, title=title, recipes=recipes, **changes)


SYSTEMS: tuple[System, ...] = (
    _TCSM,
    _DIFFUSION,
    _part(
        "discrete-autoregressive",
        "The same network from left to right",
        recipes.AUTOREGRESSIVE_RECIPES,
        task=lambda: discrete_diffusion.AutoregressiveTask,
        model=lambda: discrete_diffusion.Autoregressive,
        options={"score": TextScoring},
        plain=recipes.AutoregressiveRecipe(),
    ),
    _part(
        "discrete-tokens",
        "Discrete diffusion of a tokenizer's tokens, as MDLM and SEDD were published",
        recipes.TOKEN_RECIPES,
        paper="arXiv:2406.07524",
        options={"sample": DiffusionSampling, "score": TextScoring},
    ),
    _part(
        "discrete-distil",
        "Discrete diffusion that learns from an autoregressive teacher",
        steering.DISTIL,
        task=lambda: discrete_diffusion.DistilTask,
    ),
    _part(
        "discrete-token-distil",
        "Discrete diffusion of tokens that learns from a large language model",
        recipes.LANGUAGE_RECIPES,
        task=lambda: discrete_diffusion.TokenDistilTask,
        options={},
    ),
    _part(
        "discrete-reward",
        "Discrete diffusion tuned towards a reward",
        steering.REWARD,
        task=lambda: discrete_diffusion.RewardTask,
    ),
    _part(
        "discrete-groups",
        "Discrete diffusion tuned towards a reward by groups of completions",
        steering.GROUPS,
        task=lambda: discrete_diffusion.GroupTask,
    ),
    _part(
        "discrete-preference",
        "Discrete diffusion tuned on preferences",
        steering.PREFERENCE,
        task=lambda: discrete_diffusion.PreferenceTask,
    ),
    _part(
        "discrete-ratio",
        "A density ratio that corrects discrete diffusion",
        steering.RATIO,
        task=lambda: discrete_diffusion.RatioTask,
        model=lambda: discrete_diffusion.LogRatio,
        options={"sample": steering.RatioSampling},
    ),
)
