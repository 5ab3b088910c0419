"""The ten systems, their separately trained parts, and all recipes, by name."""

from dataclasses import dataclass
from typing import Any

from tenfold.discrete_diffusion import recipes as discrete_diffusion
from tenfold.discrete_diffusion.system import SYSTEMS as DISCRETE
from tenfold.errors import UsageError, suggest
from tenfold.masked_lm import recipes as masked_lm
from tenfold.starflow import recipes as starflow
from tenfold.starflow.autoencoder import recipes as autoencoder
from tenfold.tarflow import recipes as tarflow


@dataclass(frozen=True)
class System:
    """One of the ten systems, or a part of one: what ``tenfold list`` says, and where its parts are imported from
    on use.

    ``task`` is "module:callable", called with a recipe and its name; ``model`` the class of its model folders;
    ``sampling``, ``score`` and ``analysis`` "module:dataclass" of the options of the commands ``sample``, ``score`` and
    ``analyse``; ``published`` the reader of published checkpoints behind ``convert``. They are empty where a part is
    not there.
    """

    title: str
    paper: str
    state: str
    task: str = ""
    model: str = ""
    sampling: str = ""
    score: str = ""
    analysis: str = ""
    published: str = ""


SYSTEMS: dict[str, System] = {
    "tarflow": System(
        "TarFlow: transformer autoregressive flow on pixels",
        "arXiv:2412.06329",
        "ready",
        task="tenfold.tarflow.task:FlowTask",
        model="tenfold.tarflow.model:TarFlow",
        sampling="tenfold.tarflow.config:FlowSampling",
        score="tenfold.tarflow.config:FlowScoring",
        published="tenfold.tarflow.weights:read_published",
    ),
    "starflow": System(
        "STARFlow: deep-shallow latent flow",
        "arXiv:2506.06276",
        "ready",
        task="tenfold.starflow.task:StarFlowTask",
        model="tenfold.starflow.model:StarFlow",
        sampling="tenfold.starflow.config:StarFlowSampling",
        score="tenfold.starflow.config:StarFlowScoring",
        published="tenfold.starflow.weights:read_published",
    ),
    "tarflowlm": System("TarFlowLM: language modelling with continuous flows", "arXiv:2507.00425", "not yet"),
    "diffucoder": System("DiffuCoder: masked diffusion for code", "arXiv:2506.20639", "all but coupled-GRPO"),
    "tcsm": System("TCSM: target concrete score matching", "arXiv:2504.16431", "ready"),
    "dnfs": System("DNFS: discrete neural flow samplers", "arXiv:2505.17741", "not yet"),
    "energy": System("Distilled energy diffusion with Feynman-Kac SMC", "arXiv:2502.12786", "not yet"),
    "ordering": System("Right-to-left factorization and multiple choice", "arXiv:2502.18435", "not yet"),
    "detection": System("AI-TOD-R and DCFL: oriented tiny objects", "arXiv:2412.11582", "not yet"),
    "quasiperiodic": System("Semi-algebraic discrepancy, quasi-periodic dynamics", "arXiv:2507.19783", "ready"),
}

# Parts of systems that are trained, converted and measured by themselves.
COMPONENTS: dict[str, System] = {
    "autoencoder": System(
        "Autoencoder of images, in the layout of Stable Diffusion's",
        "arXiv:2112.10752",
        "a part of starflow, whose flow draws the latents",
        task="tenfold.starflow.autoencoder.task:AutoencoderTask",
        model="tenfold.nn.autoencoder:Autoencoder",
        published="tenfold.starflow.autoencoder.weights:read_autoencoder",
    ),
    "decoder": System(
        "Decoder that removes the noise of latents",
        "arXiv:2506.06276",
        "a part of starflow, whose flow draws the latents",
        task="tenfold.starflow.autoencoder.task:AutoencoderTask",
        model="tenfold.nn.autoencoder:Autoencoder",
    ),
    "masked-lm": System(
        "Masked diffusion language model of any Qwen2 or Llama network",
        "arXiv:2506.20639",
        "a part of diffucoder",
        task="tenfold.masked_lm.task:MaskedLMTask",
        model="tenfold.masked_lm.model:MaskedLM",
        sampling="tenfold.masked_lm.options:MaskedSampling",
        score="tenfold.data.text.texts:TextScoring",
        analysis="tenfold.masked_lm.options:MaskedAnalysis",
        published="tenfold.masked_lm.convert:read_published",
    ),
    "discrete-diffusion": System(
        "Discrete diffusion of characters and tokens, masked and uniform noise",
        "arXiv:2504.16431",
        "a part of tcsm",
        task="tenfold.discrete_diffusion.task:DiffusionTask",
        model="tenfold.discrete_diffusion.networks.model:DiscreteDiffusion",
        sampling="tenfold.discrete_diffusion.options:DiffusionSampling",
        score="tenfold.data.text.texts:TextScoring",
        analysis="tenfold.discrete_diffusion.options:DiffusionAnalysis",
        published="tenfold.discrete_diffusion.weights:read_published",
    ),
    "discrete-autoregressive": System(
        "The same network from left to right",
        "arXiv:2504.16431",
        "a part of tcsm",
        task="tenfold.discrete_diffusion.task:AutoregressiveTask",
        model="tenfold.discrete_diffusion.networks.autoregressive:Autoregressive",
        score="tenfold.data.text.texts:TextScoring",
    ),
    "discrete-tokens": System(
        "Discrete diffusion of a tokenizer's tokens, as MDLM and SEDD were published",
        "arXiv:2406.07524",
        "a part of tcsm",
        task="tenfold.discrete_diffusion.task:DiffusionTask",
        model="tenfold.discrete_diffusion.networks.model:DiscreteDiffusion",
        sampling="tenfold.discrete_diffusion.options:DiffusionSampling",
        score="tenfold.data.text.texts:TextScoring",
    ),
    "discrete-distil": System(
        "Discrete diffusion that learns from an autoregressive teacher",
        "arXiv:2504.16431",
        "a part of tcsm",
        task="tenfold.discrete_diffusion.steering.distil.task:DistilTask",
        model="tenfold.discrete_diffusion.networks.model:DiscreteDiffusion",
        sampling="tenfold.discrete_diffusion.options:DiffusionSampling",
        score="tenfold.data.text.texts:TextScoring",
        analysis="tenfold.discrete_diffusion.options:DiffusionAnalysis",
    ),
    "discrete-token-distil": System(
        "Discrete diffusion of tokens that learns from a large language model",
        "arXiv:2504.16431",
        "a part of tcsm",
        task="tenfold.discrete_diffusion.steering.token_distil.task:TokenDistilTask",
        model="tenfold.discrete_diffusion.networks.model:DiscreteDiffusion",
    ),
    "discrete-reward": System(
        "Discrete diffusion tuned towards a reward",
        "arXiv:2504.16431",
        "a part of tcsm",
        task="tenfold.discrete_diffusion.steering.reward.task:RewardTask",
        model="tenfold.discrete_diffusion.networks.model:DiscreteDiffusion",
        sampling="tenfold.discrete_diffusion.options:DiffusionSampling",
        score="tenfold.data.text.texts:TextScoring",
        analysis="tenfold.discrete_diffusion.options:DiffusionAnalysis",
    ),
    "discrete-groups": System(
        "Discrete diffusion tuned towards a reward by groups of completions",
        "arXiv:2504.16431",
        "a part of tcsm",
        task="tenfold.discrete_diffusion.steering.groups.task:GroupTask",
        model="tenfold.discrete_diffusion.networks.model:DiscreteDiffusion",
        sampling="tenfold.discrete_diffusion.options:DiffusionSampling",
        score="tenfold.data.text.texts:TextScoring",
        analysis="tenfold.discrete_diffusion.options:DiffusionAnalysis",
    ),
    "discrete-preference": System(
        "Discrete diffusion tuned on preferences",
        "arXiv:2504.16431",
        "a part of tcsm",
        task="tenfold.discrete_diffusion.steering.preference.task:PreferenceTask",
        model="tenfold.discrete_diffusion.networks.model:DiscreteDiffusion",
        sampling="tenfold.discrete_diffusion.options:DiffusionSampling",
        score="tenfold.data.text.texts:TextScoring",
        analysis="tenfold.discrete_diffusion.options:DiffusionAnalysis",
    ),
    "discrete-ratio": System(
        "A density ratio that corrects discrete diffusion",
        "arXiv:2504.16431",
        "a part of tcsm",
        task="tenfold.discrete_diffusion.steering.ratio.task:RatioTask",
        model="tenfold.discrete_diffusion.networks.ratio:LogRatio",
        sampling="tenfold.discrete_diffusion.steering.ratio.recipe:RatioSampling",
    ),
}

RECIPES: dict[str, tuple[str, Any]] = {
    **tarflow.RECIPES,
    **starflow.RECIPES,
    **autoencoder.AUTOENCODER_RECIPES,
    **autoencoder.DECODER_RECIPES,
    **masked_lm.RECIPES,
    **{name: (one.summary, one.recipe) for system in DISCRETE for name, one in system.recipes.items()},
}

_PLAIN: dict[str, Any] = {
    "tarflow": tarflow.TarFlowRecipe(),
    "starflow": starflow.StarFlowRecipe(),
    "autoencoder": autoencoder.AutoencoderRecipe(),
    "decoder": autoencoder.DecoderRecipe(),
    "masked-lm": masked_lm.MaskedLMRecipe(),
    "discrete-diffusion": discrete_diffusion.DiffusionRecipe(),
    "discrete-autoregressive": discrete_diffusion.AutoregressiveRecipe(),
}


def recipe(name: str) -> Any:
    """The recipe called ``name``, a frozen dataclass (change it with ``tenfold.settings.changes.change``).

    Raises UsageError, with a suggestion, for an unknown name.

    >>> recipe("tarflow-digits").model.blocks
    4
    """
    if name not in RECIPES:
        raise UsageError(f"there is no recipe {name!r}{suggest(name, RECIPES)}")
    return RECIPES[name][1]


def name_of(recipe: Any) -> str:
    """The name under which a recipe is listed; for a changed one, the first of its kind that is listed.

    Raises UsageError for an object that is no recipe.
    """
    alike = [name for name, (_, known) in RECIPES.items() if type(known) is type(recipe)]
    if not alike:
        raise UsageError(f"{type(recipe).__name__} is no recipe; give a recipe or one of {', '.join(RECIPES)}")
    return next((name for name in alike if RECIPES[name][1] == recipe), alike[0])


def plain(system: str) -> Any:
    """A system's recipe with every setting at its default: what a bare model folder is completed with.

    Raises UsageError for a system that has none."""
    if system not in _PLAIN:
        raise UsageError(f"there is no system {system!r} to use this model with{suggest(system, _PLAIN)}")
    return _PLAIN[system]
