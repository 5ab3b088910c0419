"""TCSM and its parts, of which each is trained, converted and measured by itself. Imports no PyTorch."""

from dataclasses import replace

from tenfold import discrete_diffusion
from tenfold.data.text.texts import TextScoring
from tenfold.discrete_diffusion import recipes
from tenfold.discrete_diffusion.options import DiffusionAnalysis, DiffusionSampling
from tenfold.discrete_diffusion.results import JOBS
from tenfold.discrete_diffusion.steering import recipes as steering
from tenfold.discrete_diffusion.steering import token_recipes
from tenfold.runs.system import Example, System

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
# What has no checkpoints of its own published, and needs more settings than a model folder holds.
_PART = replace(_DIFFUSION, published=None, plain=None)

SYSTEMS: tuple[System, ...] = (
    _TCSM,
    _DIFFUSION,
    replace(
        _PART,
        name="discrete-autoregressive",
        title="The same network from left to right",
        task=lambda: discrete_diffusion.AutoregressiveTask,
        model=lambda: discrete_diffusion.Autoregressive,
        options={"score": TextScoring},
        recipes=recipes.AUTOREGRESSIVE_RECIPES,
        plain=recipes.AutoregressiveRecipe(),
    ),
    replace(
        _PART,
        name="discrete-tokens",
        title="Discrete diffusion of a tokenizer's tokens, as MDLM and SEDD were published",
        paper="arXiv:2406.07524",
        options={"sample": DiffusionSampling, "score": TextScoring},
        recipes=recipes.TOKEN_RECIPES,
    ),
    replace(
        _PART,
        name="discrete-distil",
        title="Discrete diffusion that learns from an autoregressive teacher",
        task=lambda: discrete_diffusion.DistilTask,
        recipes=steering.DISTIL,
    ),
    replace(
        _PART,
        name="discrete-token-distil",
        title="Discrete diffusion of tokens that learns from a large language model",
        task=lambda: discrete_diffusion.TokenDistilTask,
        options={},
        recipes=token_recipes.RECIPES,
    ),
    replace(
        _PART,
        name="discrete-reward",
        title="Discrete diffusion tuned towards a reward",
        task=lambda: discrete_diffusion.RewardTask,
        recipes=steering.REWARD,
    ),
    replace(
        _PART,
        name="discrete-groups",
        title="Discrete diffusion tuned towards a reward by groups of completions",
        task=lambda: discrete_diffusion.GroupTask,
        recipes=steering.GROUPS,
    ),
    replace(
        _PART,
        name="discrete-preference",
        title="Discrete diffusion tuned on preferences",
        task=lambda: discrete_diffusion.PreferenceTask,
        recipes=steering.PREFERENCE,
    ),
    replace(
        _PART,
        name="discrete-ratio",
        title="A density ratio that corrects discrete diffusion",
        task=lambda: discrete_diffusion.RatioTask,
        model=lambda: discrete_diffusion.LogRatio,
        options={"sample": steering.RatioSampling},
        recipes=steering.RATIO,
    ),
)
