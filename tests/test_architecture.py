"""The house keeps its law (docs/architecture.md). What fails says where, and what to do about it."""

import importlib
import importlib.metadata
import importlib.util
import itertools
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tenfold.systems import ROOMS
from tests.house import documents, law

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

# The lowest first; docs/architecture.md draws them from the highest down.
LAYERS = (
    ("errors", "version", "progress", "files"),
    ("settings",),
    ("runs",),
    ("figures",),
    ("hub",),
    ("nn",),
    ("reports",),
    ("training",),
    ("data",),
    ("metrics",),
    ("text",),
    ("sandbox",),
    ("discrete",),
    ("smc", "rl"),
    ("shifts", "flows"),
    ROOMS,
    ("systems",),
    ("api",),
    ("tenfold",),
    ("cli",),
    ("__main__",),
)
OPEN_TO_ROOMS = ("task", "config", "optimizers", "rehearsal", "streams")  # of training
MOST_FILES, MOST_LINES = 16, 500


@pytest.fixture(scope="module")
def house() -> law.House:
    return law.House(ROOT / "tenfold")


def holds(offenders: list[str]) -> None:
    assert not offenders, f"{len(offenders)} offend:\n" + "\n".join(offenders)


def test_there_is_a_house(house: law.House) -> None:
    assert len(house.modules) > 200
    assert len(house.own) > 1000
    assert {i.where for i in house.imports} == {"top", "function", "types"}
    heavy = law.heavy_modules(house)
    assert {"tenfold.training.loop", "tenfold.shifts.kronecker"} <= heavy
    assert not heavy & {"tenfold", "tenfold.errors", "tenfold.cli.main", "tenfold.systems", "tenfold.training.config"}


def test_imports_go_down_and_no_room_imports_another(house: law.House) -> None:
    holds(law.upward(house, LAYERS, ROOMS))


def test_rooms_use_what_is_theirs_of_training(house: law.House) -> None:
    holds(law.beyond(house, ROOMS, "training", OPEN_TO_ROOMS))


def test_no_circle_between_files(house: law.House) -> None:
    holds(law.circles_of_files(house))


def test_no_circle_between_packages(house: law.House) -> None:
    holds(law.circles_of_packages(house))


def test_no_module_is_named_in_a_string(house: law.House) -> None:
    holds(law.named_modules(house, ("systems", "api")))


def test_imports_stand_at_the_top(house: law.House) -> None:
    holds(law.late_imports(house, extras()))


def test_no_class_name_stands_for_two_things(house: law.House) -> None:
    holds(law.twice_named(house))


def test_no_file_is_long(house: law.House) -> None:
    holds(law.long_files(house, MOST_LINES))


def test_no_folder_is_crowded(house: law.House) -> None:
    holds(law.crowded_folders(house, MOST_FILES))


def test_every_folder_says_what_it_is(house: law.House) -> None:
    holds(law.bare_packages(house))


def test_annotations_are_checked_everywhere(house: law.House) -> None:
    """By jaxtyping's hook: tests/conftest.py names the whole package."""
    loaders = {name: type(importlib.util.find_spec(name).loader).__module__ for name in sorted(house.modules)}
    missed = [name for name, loader in loaders.items() if not loader.startswith("jaxtyping")]
    holds([f"{name}: its annotations are not checked; name its package in tests/conftest.py" for name in missed])


def test_documents_import_from_faces(house: law.House) -> None:
    imported = documents.documented(DOCUMENTS, "tenfold")
    assert len(imported) >= 10
    holds(documents.behind_faces(house, imported))


def test_what_documents_import_is_there() -> None:
    missing = [d for d in documents.documented(DOCUMENTS, "tenfold") if not is_there(d.module, d.name)]
    assert missing == []


def is_there(module: str, name: str) -> bool:
    try:
        return not name or hasattr(importlib.import_module(module), name)
    except ImportError:
        return False


def extras() -> set[str]:
    """Import names of the optional packages of pyproject.toml, of those that come without their dependencies (see the
    Makefile), of matplotlib, and of the harness of evaluations that runs our models and not we it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    packages = [name for extra in project["optional-dependencies"].values() for name in extra]
    networks = re.findall(r"NETWORKS.*\((.*?)\)==", (ROOT / "Makefile").read_text())[0].split("|")
    wanted = {plain(re.split(r"[\[<>=! ]", name)[0]) for name in [*packages, *networks, "matplotlib", "lm_eval"]} - {
        "tenfold"
    }
    installed = importlib.metadata.packages_distributions()
    return wanted | {name for name, found in installed.items() if wanted & set(map(plain, found))}


def plain(name: str) -> str:
    """A package's name as an import would spell it."""
    return name.strip().lower().replace("-", "_")


def test_the_optional_packages_are_known() -> None:
    assert {"transformers", "peft", "datasets", "torchmetrics", "zuko", "sympy", "mpmath", "numba", "matplotlib"} <= (
        extras()
    )
    assert not {"torch", "numpy", "scipy", "tenfold"} & extras()


# --- rooms --------------------------------------------------------------------------------------------------


def test_every_room_has_a_system_and_a_face(house: law.House) -> None:
    assert len(ROOMS) >= 10
    assert set(ROOMS) == {file.parent.name for file in (ROOT / "tenfold").glob("*/system.py")} - {"runs"}
    holds(law.faceless(house, ROOMS))


def test_every_name_of_a_face_is_there() -> None:
    sizes = {}
    for room in ROOMS:
        face = importlib.import_module(f"tenfold.{room}")
        sizes[room] = len(face.__all__)
        assert [name for name in face.__all__ if not hasattr(face, name)] == [], room
    assert min(sizes.values()) >= 1
    assert sum(size >= 5 for size in sizes.values()) >= 5  # those that stand


BLOCKED = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "numpy"):
            raise ImportError(f"{name} was imported")

sys.meta_path.insert(0, Blocked())
import importlib
for name in sys.argv[1:]:
    module = importlib.import_module(name)
    if name.endswith(".system"):
        assert module.SYSTEMS and all(system.name and system.title for system in module.SYSTEMS), name
"""


def without_torch(*modules: str) -> subprocess.CompletedProcess[str]:
    """Import modules where PyTorch and NumPy are not to be had."""
    return subprocess.run([sys.executable, "-c", BLOCKED, *modules], capture_output=True, text=True, timeout=60)


def test_rooms_open_without_torch() -> None:
    names = [name for room in ROOMS for name in (f"tenfold.{room}", f"tenfold.{room}.system")]
    done = without_torch("tenfold", "tenfold.systems", *names)
    assert done.returncode == 0, done.stderr
    assert "torch was imported" in without_torch("tenfold.training.loop").stderr


# --- what is written down -------------------------------------------------------------------------------------


def test_the_documentation_draws_this_house(house: law.House) -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    tree = text.split("```\ntenfold/\n")[1].split("\ntests/")[0]
    drawn = re.findall(r"(?:^|\s{2})(\w+)(?:/|\.py)", tree, re.MULTILINE)
    units = {house.unit(name) for name in house.modules} - {"tenfold"}
    assert sorted(drawn) == sorted(units), "docs/architecture.md draws each folder and loose file once"
    height = {name: number for number, layer in enumerate(LAYERS) for name in layer}
    wrong = [pair for pair in itertools.pairwise(drawn) if height[pair[0]] < height[pair[1]]]
    assert wrong == [], "docs/architecture.md draws a lower layer above a higher one"


def test_git_ignores_no_source(house: law.House) -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("no checkout")
    files = [str(source.file) for source in house.sources]
    done = subprocess.run(["git", "check-ignore", *files], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout == "", "a pattern of .gitignore takes these for something else; anchor it with a slash"


def test_a_face_gives_nothing_the_name_of_a_module_beside_it() -> None:
    """Once the module is imported, Python puts it in the place of what the face gives by that name."""
    clashes = []
    for stub in sorted((ROOT / "tenfold").rglob("__init__.pyi")):
        beside = {path.stem for path in stub.parent.iterdir() if path.suffix == ".py" or path.is_dir()}
        for module, name in re.findall(r"^from (\S+) import \w+ as (\w+)$", stub.read_text(), re.MULTILINE):
            if name in beside and module != ".":
                clashes.append(f"{stub.relative_to(ROOT)}: {name} of {module}; rename the module")
    assert clashes == []
