"""What the verbs need of a trained model: a protocol that tasks satisfy without importing it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from tenfold.runs.measurement import Measurement
from tenfold.runs.outcome import Outcome
from tenfold.runs.sampled_loss import SampledLoss
from tenfold.runs.scores import Scores

if TYPE_CHECKING:
    import torch


@runtime_checkable
class Usable(Protocol):
    """A model with its recipe, as ``evaluate`` and ``report`` use it. Made by ``factory(recipe, name)``; nothing is
    read, and no weights are made, before they are used.

    What a verb does not ask of all systems is a protocol of its own: ``Samples``, ``Scored``, ``Analysed``,
    ``Solving``."""

    recipe: Any
    name: str

    def load(self, folder: Path | str) -> None:
        """Take the weights of a model folder. Raises UsageError where they do not fit the recipe."""

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> None:
        """Move all that the verbs use to a device, what is read later too; and its weights to a floating type."""

    def evaluate(self) -> list[Measurement]:
        """The field's metrics, baselines included as rows."""

    def figures(self, directory: Path) -> list[Path]:
        """PNG pictures of what the model does, with their captions."""


@runtime_checkable
class TaskFactory(Protocol):
    """What ``System.task`` returns: the class of a task, or a function that chooses one."""

    def __call__(self, recipe: Any, name: str, /) -> Usable: ...

    def describe(self, recipe: Any, /) -> dict[str, Any]:
        """Parameters, memory and FLOPs of a recipe, from a model on the meta device."""


@runtime_checkable
class Samples(Protocol):
    """A model that ``sample`` draws from."""

    def sample(self, options: Any, folder: Path) -> list[Path]:
        """Draw samples and write them; the files. Raises UsageError, before any work, for options that do not fit."""


@runtime_checkable
class Scored(Protocol):
    """A model under which ``score`` finds the likelihood of data."""

    def score(self, options: Any, source: Any, picture: Path | None = None) -> Scores:
        """log p of what is in ``source``, from the least likely on. Raises UsageError before any work."""


@runtime_checkable
class Analysed(Protocol):
    """A model that ``analyse`` looks into."""

    def analyse(self, options: Any, figures: Path) -> Outcome:
        """Measurements, and pictures in the folder ``figures``."""


@runtime_checkable
class Solving(Protocol):
    """A model that ``evaluate --suite`` gives problems to."""

    def solve(self, options: Any, folder: Path) -> Outcome:
        """What became of the problems. What is finished is kept in ``folder``, from which the same call goes on.
        Raises UsageError, before any work, for what does not fit."""


@runtime_checkable
class Own(Protocol):
    """A verb of a room's own (``System.verbs``): a method of the task, called by the verb's name."""

    def __call__(self, options: Any, inputs: str | None, figures: Path) -> Outcome:
        """What the verb found in ``inputs``, with pictures in the folder ``figures``. Raises UsageError before any
        work for what does not fit."""


@runtime_checkable
class Checked(Protocol):
    """A model whose evaluation asks more of the data than its training."""

    def check_evaluation(self) -> None:
        """Raise UsageError, before training, for settings and data that ``evaluate`` would refuse after it."""


@runtime_checkable
class Randomised(Protocol):
    """A model whose loss draws times or noise, for studies of how they are drawn."""

    def sampled_losses(self) -> list[SampledLoss]:
        """The loss of held-out data as a function of the uniform numbers that it draws."""
