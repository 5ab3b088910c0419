"""The room as the verbs see it: its systems, its face, and what its parts share by reference."""

import subprocess
import sys

import pytest

from tenfold import discrete_diffusion
from tenfold.discrete_diffusion.system import SYSTEMS
from tenfold.runs.system import System


@pytest.mark.parametrize("system", SYSTEMS, ids=lambda system: system.name)
def test_parts_are_of_the_system_that_names_them(system: System) -> None:
    assert system.part_of == ("" if system.name == "tcsm" else "tcsm")
    assert all(named.recipe.system == system.name and named.summary for named in system.recipes.values())
    for part in (system.task, system.model, system.published):
        assert part is None or getattr(discrete_diffusion, part().__name__) is part()
    if system.name != "tcsm":
        assert system.model is not None
        assert system.recipes
    if system.plain is not None:
        assert system.plain.system == system.name


def test_names_are_told_apart() -> None:
    assert len({system.name for system in SYSTEMS}) == len(SYSTEMS) == 10
    recipes = [name for system in SYSTEMS for name in system.recipes]
    assert len(set(recipes)) == len(recipes)
    assert [system.name for system in SYSTEMS if system.published] == ["discrete-diffusion"]


def test_nothing_heavy_is_imported_to_know_them() -> None:
    code = "import sys; import tenfold.discrete_diffusion.system; assert not {'torch', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
