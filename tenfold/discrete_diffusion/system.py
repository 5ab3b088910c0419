"""TCSM and its parts, of which each is trained, converted and measured by itself. Imports no PyTorch."""

from dataclasses import replace

from tenfold import discrete_diffusion
from tenfold.data.text.texts import TextScoring
from tenfold.discrete_diffusion import recipes
from tenfold.discrete_diffusion.options import DiffusionAnalysis, DiffusionSampling
from tenfold.discrete_diffusion.results import JOBS
from tenfold.discrete_diffusion.steering.distil import recipe as distil
from tenfold.discrete_diffusion.steering.groups import recipe as groups
from tenfold.discrete_diffusion.steering.preference import recipe as preference
from tenfold.discrete_diffusion.steering.ratio import recipe as ratio
from tenfold.discrete_diffusion.steering.reward import recipe as reward
from tenfold.discrete_diffusion.steering.token_distil import recipe as token_distil
from tenfold.runs.system import Example, System

# A model of characters that undoes noise: what all parts but the last few share.
_CHARACTERS = System(
    name="discrete-diffusion",
    title="Discrete diffusion of characters and tokens, masked and uniform noise",
    paper="arXiv:2504.16431",
    state="a part of tcsm",
    part_of="tcsm",
    task=lambda: discrete_diffusion.DiffusionTask,
    model=lambda: discrete_diffusion.DiscreteDiffusion,
    options={"sample": DiffusionSampling, "score": TextScoring, "analyse": DiffusionAnalysis},
)

SYSTEMS: tuple[System, ...] = (
    System(
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
    ),
    replace(
        _CHARACTERS,
        published=lambda: discrete_diffusion.read_published,
        recipes=recipes.RECIPES,
        plain=recipes.DiffusionRecipe(),
    ),
    replace(
        _CHARACTERS,
        name="discrete-autoregressive",
        title="The same network from left to right",
        task=lambda: discrete_diffusion.AutoregressiveTask,
        model=lambda: discrete_diffusion.Autoregressive,
        options={"score": TextScoring},
        recipes=recipes.AUTOREGRESSIVE_RECIPES,
        plain=recipes.AutoregressiveRecipe(),
    ),
    replace(
        _CHARACTERS,
        name="discrete-tokens",
        title="Discrete diffusion of a tokenizer's tokens, as MDLM and SEDD were published",
        paper="arXiv:2406.07524",
        options={"sample": DiffusionSampling, "score": TextScoring},
        recipes=recipes.TOKEN_RECIPES,
    ),
    replace(
        _CHARACTERS,
        name="discrete-distil",
        title="Discrete diffusion that learns from an autoregressive teacher",
        task=lambda: discrete_diffusion.DistilTask,
        recipes=distil.RECIPES,
    ),
    replace(
        _CHARACTERS,
        name="discrete-token-distil",
        title="Discrete diffusion of tokens that learns from a large language model",
        task=lambda: discrete_diffusion.TokenDistilTask,
        options={},
        recipes=token_distil.RECIPES,
    ),
    replace(
        _CHARACTERS,
        name="discrete-reward",
        title="Discrete diffusion tuned towards a reward",
        task=lambda: discrete_diffusion.RewardTask,
        recipes=reward.RECIPES,
    ),
    replace(
        _CHARACTERS,
        name="discrete-groups",
        title="Discrete diffusion tuned towards a reward by groups of completions",
        task=lambda: discrete_diffusion.GroupTask,
        recipes=groups.RECIPES,
    ),
    replace(
        _CHARACTERS,
        name="discrete-preference",
        title="Discrete diffusion tuned on preferences",
        task=lambda: discrete_diffusion.PreferenceTask,
        recipes=preference.RECIPES,
    ),
    replace(
        _CHARACTERS,
        name="discrete-ratio",
        title="A density ratio that corrects discrete diffusion",
        task=lambda: discrete_diffusion.RatioTask,
        model=lambda: discrete_diffusion.LogRatio,
        options={"sample": ratio.RatioSampling},
        recipes=ratio.RECIPES,
    ),
)
