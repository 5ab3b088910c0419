"""What tuning of one masked model has: the model that it starts from, once to be trained and once as the reference that
stays, a reward, and samples of the reference. Functions of a task, which names those that it uses as its own."""

from typing import Any, Protocol, runtime_checkable

from tenfold.data.text.config import CharacterDataConfig
from tenfold.discrete_diffusion.corpus import CharacterCorpus
from tenfold.discrete_diffusion.networks.model import DiscreteDiffusion
from tenfold.discrete_diffusion.sampling import draw, plain_chain
from tenfold.discrete_diffusion.targets.rewards import reward_of
from tenfold.discrete_diffusion.task import TaskDefaults
from tenfold.errors import UsageError
from tenfold.hub.fetch import model_folder
from tenfold.rl.pool import Pool
from tenfold.rl.reference import check_frozen
from tenfold.rl.rewards import Reward


@runtime_checkable
class Tuned(Protocol):
    """A task of tuning with a reward."""

    recipe: Any
    name: str
    corpus: CharacterCorpus

    @property
    def model(self) -> DiscreteDiffusion: ...

    @property
    def reference(self) -> DiscreteDiffusion: ...

    @property
    def reward(self) -> Reward: ...


def tuned_model(task: TaskDefaults) -> DiscreteDiffusion:
    """The network: what training starts from, or what ``load`` read."""
    return _start(task).train()


def frozen_model(task: TaskDefaults) -> DiscreteDiffusion:
    """The model as it was, with weights of its own that are not trained."""
    return _start(task).requires_grad_(False)


def named_reward(task: TaskDefaults) -> Reward:
    """R of sequences."""
    data: CharacterDataConfig = task.recipe.data
    return task.placed(reward_of(task.recipe.objective.reward, data))


def reference_samples(task: Tuned) -> Pool:
    """Samples of the reference, and their rewards; the same in every process and after a resume."""
    recipe, settings = task.recipe, task.recipe.objective
    check_frozen(task.reference, task.model)
    chain = plain_chain(task.reference, settings.pool_steps)
    tokens = draw(task.reference, settings.pool, recipe.data.length, chain, recipe.train.seed).tokens
    return Pool(tokens, task.reward(tokens))


def no_validation(task: TaskDefaults) -> None:
    """None: the bound on data is not what is tuned, so the last checkpoint is kept."""


def _start(task: TaskDefaults) -> DiscreteDiffusion:
    """The model of ``objective.start``, a run or a model folder; UsageError where its configuration is another one."""
    config, start = task.recipe.model, task.recipe.objective.start
    model = DiscreteDiffusion.from_pretrained(model_folder(start))
    if model.config != config:
        raise UsageError(f"objective.start {start} holds {model.config}, but the recipe's model is {config}")
    return task.placed(model)
