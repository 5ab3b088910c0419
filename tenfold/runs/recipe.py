"""What every recipe is: one stage or several, each trained into a run of its own."""

from typing import ClassVar


class Recipe:
    """The frame of a recipe: a frozen dataclass of frozen dataclasses (``model``, ``data``, ``objective``, ``train``,
    ``evaluation``, as far as they apply) of the ``system`` that trains it.

    A plain recipe has one stage, itself, which lies in the run's own folder. A pipeline names its ``stages`` in order,
    the ``main`` one, which samples and scores, and those whose size is known before any is trained (``described``).

    >>> Recipe.stages, Recipe().stage("", "runs/a") is None
    (('',), False)
    """

    system: ClassVar[str]
    stages: ClassVar[tuple[str, ...]] = ("",)
    main: ClassVar[str] = ""
    described: ClassVar[tuple[str, ...]] = ("",)

    def stage(self, name: str, folder: str) -> "Recipe":
        """The recipe of one stage, for a run in ``folder``, pointed to the folders of the stages before it."""
        return self

    @property
    def is_pipeline(self) -> bool:
        """Whether there are several stages, each in a folder below the run's."""
        return self.stages != ("",)
