"""The readers of the law catch each offence, and nothing else."""

from pathlib import Path

import pytest

from tests.house import documents, law
from tests.house.law import House

LAYERS = (("errors",), ("floor",), ("shed",), ("one", "two"), ("systems",), ("api",), ("house",))
ROOMS = ("one", "two")
FACE = "import lazy_loader\n\n__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)\n"
SOUND = {
    "__init__.py": '"""A house."""\n',
    "errors.py": "class HouseError(Exception):\n    pass\n",
    "floor/__init__.py": '"""A floor."""\n',
    "floor/light.py": "from house.errors import HouseError\n\n\ndef f():\n    from house.floor import heavy\n",
    "floor/heavy.py": "import torch\n\n\ndef f():\n    import zuko\n",
    "shed/__init__.py": '"""A shed."""\n',
    "one/__init__.py": f'"""A room."""\n\n{FACE}',
    "one/__init__.pyi": "from .model import Model as Model\n",
    "one/model.py": "from house.floor import heavy\n\n\nclass Model:\n    '''house.one.model'''\n",
    "one/system.py": "from house import one\n\nSYSTEMS = lambda: one.Model\n",
    "two/__init__.py": f'"""A room."""\n\n{FACE}',
    "two/__init__.pyi": "",
    "two/system.py": 'LINE = ["python", "-m", "house.one.model"]\nTOLD = "see house.one.model, house.nothing"\n',
    "systems.py": 'ROOMS = ("one", "two")\nWHERE = "house.one.system"\n',
    "api.py": "from importlib import import_module\n\nimport_module('house.one')\n",
}


def built(folder: Path, **changes: str) -> House:
    """The sound house with some files changed ("one__model" is one/model.py, "_pyi" at the end a .pyi)."""
    for name, text in {**SOUND, **{_file(key): text for key, text in changes.items()}}.items():
        file = folder / "house" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return House(folder / "house")


def _file(key: str) -> str:
    kind = "pyi" if key.endswith("_pyi") else "py"
    parts = key.removesuffix("_pyi").split("__")
    return "/".join(part or "__init__" for part in parts) + f".{kind}"


def offences(house: House) -> dict[str, list[str]]:
    """What each reader finds, where it finds something."""
    found = {
        "upward": law.upward(house, LAYERS, ROOMS),
        "beyond": law.beyond(house, ROOMS, "shed", ("tools",)),
        "circles_of_files": law.circles_of_files(house),
        "circles_of_packages": law.circles_of_packages(house),
        "late_imports": law.late_imports(house, {"zuko"}),
        "named_modules": law.named_modules(house, ("systems", "api")),
        "twice_named": law.twice_named(house),
        "long_files": law.long_files(house, 40),
        "crowded_folders": law.crowded_folders(house, 5),
        "bare_packages": law.bare_packages(house),
        "faceless": law.faceless(house, ROOMS),
    }
    return {name: lines for name, lines in found.items() if lines}


def test_a_sound_house_offends_nothing(tmp_path: Path) -> None:
    house = built(tmp_path)
    assert offences(house) == {}
    assert law.heavy_modules(house) == {"house.floor.heavy", "house.one.model"}
    assert {i.where for i in house.imports} == {"top", "function"}


UPWARD = [
    {"floor__low": "from house.one.model import Model\n"},
    {"floor__low": "from house.one import Model\n"},
    {"floor__low": "def f():\n    from house.one import model\n"},
    {"floor__low": "from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    import house.one.model\n"},
    {"floor__low": "from ..one import model\n"},
    {"floor___pyi": "from ..one.model import Model as Model\n"},
    {"errors": "import house.floor.light as light\n\n\nclass HouseError(Exception):\n    pass\n"},
]


@pytest.mark.parametrize("changes", UPWARD, ids=range(len(UPWARD)))
def test_imports_that_go_up(tmp_path: Path, changes: dict[str, str]) -> None:
    found = law.upward(built(tmp_path, **changes), LAYERS, ROOMS)
    assert len(found) == 1
    assert "is above" in found[0]
    assert found[0].startswith(f"house/{_file(next(iter(changes)))}:")


def test_other_wrong_ways(tmp_path: Path) -> None:
    (other,) = law.upward(built(tmp_path / "a", two__model="x = 1\nfrom house.one import model\n"), LAYERS, ROOMS)
    assert other.startswith("house/two/model.py:2: house.two.model imports house.one.model: rooms know nothing")
    (strange,) = law.upward(built(tmp_path / "b", attic__x=""), LAYERS, ROOMS)
    assert strange.startswith("house/attic: has no layer")
    (beyond,) = law.beyond(
        built(tmp_path / "c", shed__tools="", shed__rest="", one__a="from house.shed import rest, tools\n"),
        ROOMS, "shed", ("tools",),
    )  # fmt: skip
    assert "house.one.a imports house.shed.rest" in beyond


CIRCLES = {
    "at the top": ("from house.one.b import y\n", "from house.one import a\n"),
    "late": ("from house.one.b import y\n", "def f():\n    from house.one.a import x\n"),
    "of types": ("import house.one.b\n", "import typing as t\n\nif t.TYPE_CHECKING:\n    from .a import x\n"),
    "by the face": ("from house.one import Model\n", ""),
}


@pytest.mark.parametrize("kind", CIRCLES)
def test_circles_of_files(tmp_path: Path, kind: str) -> None:
    first, second = CIRCLES[kind]
    changes = {"one__a": first, "one__b": second}
    if kind == "by the face":
        changes["one___pyi"] = "from .model import Model as Model\nfrom .a import x as x\n"
    (found,) = law.circles_of_files(built(tmp_path, **changes))
    assert "one/a.py:1" in found
    assert ("one/__init__.pyi:2" if kind == "by the face" else "one/b.py:") in found
    assert found.count("→") == 2


def test_circles_of_packages(tmp_path: Path) -> None:
    rest = {"floor__a__": '"""A."""', "floor__b__": '"""B."""', "floor__a__y": "", "floor__b__y": ""}
    house = built(tmp_path, floor__a__x="from house.floor.b import y\n", floor__b__x="from ..a import y\n", **rest)
    assert law.circles_of_files(house) == []
    (found,) = law.circles_of_packages(house)
    assert "house.floor.a → house.floor.b → house.floor.a" in found or "b → house.floor.a → house.floor.b" in found
    loose = built(tmp_path / "loose", errors="def f():\n    import house.floor.heavy\n")
    assert [line.count("→") for line in law.circles_of_packages(loose)] == [2]


LATE = {
    "of the house": "import torch\n\n\ndef f():\n    from house.floor import light\n",
    "of others": "import torch\n\n\nclass A:\n    def f(self):\n        import scipy.stats\n",
    "through another": "from house.floor.heavy import f\n\n\nasync def g():\n    import json\n",
    "through a parent": "x = 1\n\n\ndef g():\n    import json\n",
}


@pytest.mark.parametrize("kind", LATE)
def test_late_imports(tmp_path: Path, kind: str) -> None:
    changes = {"floor__z": LATE[kind]}
    if kind == "through a parent":
        changes["floor__"] = '"""A floor."""\n\nfrom house.floor import heavy\n'
    found = law.late_imports(built(tmp_path, **changes), {"zuko"})
    assert any(line.startswith("house/floor/z.py:") and "in a function" in line for line in found)


def test_late_imports_that_are_right(tmp_path: Path) -> None:
    text = "import numpy\n\n\ndef f():\n    import torch\n\n    import zuko.flows\n"
    assert law.late_imports(built(tmp_path, floor__z=text), {"zuko"}) == []


NAMING = {
    "a module": 'x = "house.one.model"\n',
    "a name in it": 'x = {"a": ("house.one.model:Model", 1)}\n',
    "a module that moved": 'x = "house.one.gone"\n',
    "a part of one": 'def f(name):\n    return f"house.{name}.system"\n',
    "a computed import": "import importlib\n\nx = importlib.import_module(__name__ + '.a')\n",
    "a relative import": "from importlib import import_module\n\nx = import_module('.a', __package__)\n",
    "a lazy attachment": "import lazy_loader\n\nx = lazy_loader.attach(__name__, ['a'])\n",
}


@pytest.mark.parametrize("kind", NAMING)
def test_modules_in_strings(tmp_path: Path, kind: str) -> None:
    found = law.named_modules(built(tmp_path, floor__x=NAMING[kind]), ("systems", "api"))
    assert found
    assert all(line.startswith("house/floor/x.py:") for line in found)


def test_strings_that_name_no_module(tmp_path: Path) -> None:
    text = '"""house.one.model"""\nimport importlib\n\nx = ["house", "house.json", "a house.one"]\n'
    more = 'w = ["-m", "house.one.model"]\ny = importlib.import_module("zuko")\nz = f"{x} house.one"\n'
    assert law.named_modules(built(tmp_path, floor__x=text + more), ()) != []  # systems and api
    assert law.named_modules(built(tmp_path, floor__x=text + more), ("systems", "api")) == []


@pytest.mark.parametrize(
    ("reader", "changes", "said"),
    [
        ("twice_named", {"floor__x": "class Model:\n    pass\n"}, "floor/x.py:1, house/one/model.py:4: class Model"),
        ("long_files", {"floor__x": "x = 1\n" * 41}, "house/floor/x.py:41: has more than 40 lines"),
        ("crowded_folders", {f"floor__x{n}": "" for n in range(3)}, "house/floor:0: 6 files on one level"),
        ("bare_packages", {"floor__": "x = 1\n"}, "house/floor/__init__.py:1: has no docstring"),
        ("bare_packages", {"floor__deep__x": ""}, "house/floor/deep/__init__.py:1: is not there"),
        ("faceless", {"two__": '"""A room."""\n'}, "house/two/__init__.py:1: is no lazy face"),
        ("faceless", {"one___pyi": "from house.one.model import Model\n"}, "house/one/__init__.pyi:1: a face has"),
    ],
)
def test_other_offences(tmp_path: Path, reader: str, changes: dict[str, str], said: str) -> None:
    found = offences(built(tmp_path, **changes))
    assert list(found) == [reader]
    assert len(found[reader]) == 1
    assert said in found[reader][0]


def test_a_room_without_its_files(tmp_path: Path) -> None:
    house = built(tmp_path)
    (house.root / "two" / "system.py").unlink()
    (house.root / "two" / "__init__.pyi").unlink()
    assert [line.partition(":")[0] for line in law.faceless(House(house.root), ROOMS)] == [
        "house/two/system.py", "house/two/__init__.pyi",
    ]  # fmt: skip


def test_documents_behind_faces(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    lines = [
        "from house.one import Model", "import house", "from house import one", "import house.floor",  # right
        "from house.one.model import Model", "from house.one import model", "import house.errors", "import numpy",
    ]  # fmt: skip
    page.write_text("# A page\n\n```python\n" + "\n".join(lines) + "\n```\n\n```bash\nimport house.errors\n```\n")
    imported = documents.documented([page], "house")
    assert len(imported) == 7
    found = documents.behind_faces(built(tmp_path), imported)
    assert [line.split(" ")[0] for line in found] == ["page.md:8:", "page.md:9:", "page.md:10:"]
    opened = built(tmp_path / "opened", _pyi="from . import errors as errors\n")
    assert len(documents.behind_faces(opened, imported)) == 2
