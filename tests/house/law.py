"""The law of the house as functions over a package's source: each returns what breaks it, as ``file:line what``.

Nothing is imported: files are parsed. Imports are found wherever they stand: at the top, in functions, under
TYPE_CHECKING, and in the ``.pyi`` of a lazy face. ``from package import submodule`` is an import of the submodule; a
module's own parent packages, which Python imports with it, are not counted.
"""

import ast
import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

# What imports PyTorch itself, and what imports it or NumPy.
TORCH = frozenset(["accelerate", "peft", "torch", "torchmetrics", "transformers", "zuko"])
HEAVY = frozenset(
    ["accelerate", "datasets", "matplotlib", "numba", "numpy", "peft", "scipy", "sklearn", "torch", "torchmetrics",
     "transformers", "zuko"]
)  # fmt: skip
HEAVY_PARTS = ("safetensors.torch", "safetensors.numpy")


class Import(NamedTuple):
    """A module that is imported: ``where`` is "top", "function" or "types"."""

    file: Path
    line: int
    source: str
    target: str
    where: str


@dataclass(frozen=True)
class Source:
    """A file of the package: a module, or the ``.pyi`` of one."""

    name: str
    file: Path
    tree: ast.Module
    lines: int

    @property
    def is_package(self) -> bool:
        """Whether it is an ``__init__``."""
        return self.file.stem == "__init__"


@dataclass(frozen=True)
class House:
    """The package in the folder ``root``, whose name is the folder's."""

    root: Path
    name: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self.root.name)

    @cached_property
    def sources(self) -> list[Source]:
        """All files."""
        found = []
        for file in sorted(f for f in self.root.rglob("*.py*") if f.suffix in (".py", ".pyi")):
            parts = [self.name, *file.relative_to(self.root).with_suffix("").parts]
            text = file.read_text(encoding="utf-8")
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            found.append(Source(name, file, ast.parse(text), text.count("\n")))
        return found

    @cached_property
    def modules(self) -> dict[str, Source]:
        """The ``.py`` files by the name of the module."""
        return {source.name: source for source in self.sources if source.file.suffix == ".py"}

    @cached_property
    def packages(self) -> set[str]:
        """Names of the packages."""
        return {name for name, source in self.modules.items() if source.is_package}

    @cached_property
    def imports(self) -> list[Import]:
        """Every import of every file."""
        return [found for source in self.sources for found in _imports(source, self.modules, self.name)]

    @cached_property
    def own(self) -> list[Import]:
        """The imports of the package's own modules by others of them."""
        return [i for i in self.imports if i.target in self.modules and i.target != i.source]

    def unit(self, module: str) -> str:
        """What lies in the package's folder and holds a module; the package's name for its ``__init__``."""
        return module.split(".")[1] if "." in module else self.name

    def place(self, file: Path, line: int) -> str:
        """``file:line`` from the package's parent folder on."""
        return f"{file.relative_to(self.root.parent)}:{line}"


def _imports(source: Source, modules: Collection[str], root: str) -> Iterator[Import]:
    for node, where in _with_places(source.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(source.file, node.lineno, source.name, _longest(alias.name, modules, root), where)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(source, node)
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                target = inner if inner in modules else _longest(base, modules, root)
                yield Import(source.file, node.lineno, source.name, target, where)


def _with_places(tree: ast.Module) -> Iterator[tuple[ast.AST, str]]:
    """All nodes, and whether they run with the module ("top"), in a "function", or for "types" alone."""
    stack: list[tuple[ast.AST, str]] = [(tree, "top")]
    while stack:
        node, where = stack.pop()
        yield node, where
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            where = "function"
        for name, value in ast.iter_fields(node):
            typed = isinstance(node, ast.If) and name == "body" and "TYPE_CHECKING" in ast.unparse(node.test)
            children = [
                child for child in (value if isinstance(value, list) else [value]) if isinstance(child, ast.AST)
            ]
            stack += [(child, "types" if typed else where) for child in children]


def _absolute(source: Source, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    parts = source.name.split(".")
    up = node.level - source.is_package
    return ".".join([*parts[: len(parts) - up], *([node.module] if node.module else [])])


def _longest(name: str, modules: Collection[str], root: str) -> str:
    """The module of a dotted name: of the package's own the longest that there is, of others as it stands."""
    parts = name.split(".")
    while parts[0] == root and len(parts) > 1 and ".".join(parts) not in modules:
        parts.pop()
    return ".".join(parts)


# --- imports ------------------------------------------------------------------------------------------------


def upward(house: House, layers: Sequence[Sequence[str]], rooms: Collection[str]) -> list[str]:
    """Imports that do not go down: ``layers`` are the names in the package's folder, the lowest first. Of the
    ``rooms``, which are one of the layers, none may import another."""
    height = {name: number for number, layer in enumerate(layers) for name in layer}
    strange = sorted({house.unit(name) for name in house.modules} - set(height))
    found = [
        f"{house.name}/{unit}: has no layer; give it one in LAYERS and in docs/architecture.md" for unit in strange
    ]
    for i in house.own:
        here, there = house.unit(i.source), house.unit(i.target)
        if here == there or here not in height or there not in height:
            continue
        if here in rooms and there in rooms:
            found.append(f"{_told(house, i)}: rooms know nothing of each other; move what they share to a floor below")
        elif height[there] > height[here]:
            found.append(f"{_told(house, i)}: {there} is above {here}; move the code up, or what it needs down")
    return found


def beyond(house: House, rooms: Collection[str], floor: str, open_to_rooms: Collection[str]) -> list[str]:
    """Imports of modules of a ``floor`` that are not open to rooms."""
    return [
        f"{_told(house, i)}: of {floor}, rooms use {', '.join(sorted(open_to_rooms))} only; the rest is the loop's own"
        for i in house.own
        if house.unit(i.source) in rooms
        and house.unit(i.target) == floor
        and i.target.split(".")[2:3] not in [[name] for name in open_to_rooms]
    ]


def circles_of_files(house: House) -> list[str]:
    """Modules that import each other, in whatever way."""
    lines: dict[tuple[str, str], Import] = {}
    for i in house.own:
        lines.setdefault((i.source, i.target), i)
    return _circles(house, lines)


def circles_of_packages(house: House) -> list[str]:
    """Neighbouring packages that import each other; in the package's own folder, its modules too."""
    found: dict[str, None] = {}
    for package in sorted(house.packages):
        lines: dict[tuple[str, str], Import] = {}
        for i in house.own:
            one, other = (_child(package, name) for name in (i.source, i.target))
            whole = package == house.name
            if one and other and one != other and (whole or {one, other} <= house.packages):
                lines.setdefault((one, other), i)
        found |= dict.fromkeys(_circles(house, lines))
    return list(found)


def _child(package: str, module: str) -> str:
    """What holds a module among the children of a package; "" where nothing does."""
    inside = module.removeprefix(f"{package}.")
    return "" if inside == module else f"{package}.{inside.partition('.')[0]}"


def _circles(house: House, lines: Mapping[tuple[str, str], Import]) -> list[str]:
    graph: dict[str, set[str]] = defaultdict(set)
    for source, target in lines:
        graph[source].add(target)
    found = []
    while True:
        try:
            TopologicalSorter(graph).prepare()
        except CycleError as error:
            circle = error.args[1][::-1]
            steps = [lines[pair] for pair in pairwise(circle)]
            where = ", ".join(house.place(i.file, i.line) for i in steps)
            found.append(f"{where}: {' → '.join(circle)}; one of these imports goes the wrong way, move what it needs")
            graph[circle[0]].remove(circle[1])
        else:
            return found


def late_imports(house: House, extras: Collection[str]) -> list[str]:
    """Imports in functions of modules that import PyTorch or NumPy anyway, but for optional ``extras``, and for PyTorch
    where the module is free of it."""
    heavy, torch = heavy_modules(house), heavy_modules(house, TORCH)
    return [
        f"{_told(house, i)} in a function; move it to the top of the file (where that makes a circle, the code is in "
        "the wrong place)"
        for i in house.imports
        if i.where == "function" and i.source in heavy and i.target.partition(".")[0] not in extras
        if i.target.partition(".")[0] != "torch" or i.source in torch
    ]


def heavy_modules(house: House, packages: Collection[str] = HEAVY) -> set[str]:
    """Modules whose import imports one of ``packages``: by their own lines, through others, or by a parent package."""
    needs: dict[str, set[str]] = {}
    heavy = set()
    for name in house.modules:
        parts = name.split(".")
        needs[name] = {".".join(parts[:n]) for n in range(1, len(parts))}
    for i in house.imports:
        if i.where != "top" or i.file.suffix == ".pyi":
            continue
        if i.target.partition(".")[0] in packages or i.target.startswith(HEAVY_PARTS):
            heavy.add(i.source)
        elif i.target in house.modules:
            parts = i.target.split(".")
            needs[i.source] |= {".".join(parts[:n]) for n in range(1, len(parts) + 1)} - {i.source}
    while more := {name for name, others in needs.items() if name not in heavy and others & heavy}:
        heavy |= more
    return heavy


def _told(house: House, i: Import) -> str:
    return f"{house.place(i.file, i.line)}: {i.source} imports {i.target}"


# --- names --------------------------------------------------------------------------------------------------


def named_modules(house: House, allowed: Collection[str]) -> list[str]:
    """Strings that name a module of the package, and imports by computed names, outside the units ``allowed``; but
    for docstrings and what stands behind "-m"."""
    found = []
    for source in house.sources:
        if house.unit(source.name) in allowed:
            continue
        passed = _passed_over(source.tree)
        for node in ast.walk(source.tree):
            text = _naming(node, house) if id(node) not in passed else ""
            if text:
                found.append(
                    f"{house.place(source.file, getattr(node, 'lineno', 0))}: {text} names a module in a string; "
                    "import it, or let a zero-argument function do so"
                )
    return found


def _passed_over(tree: ast.Module) -> set[int]:
    passed = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):  # docstrings, and of attributes
            passed.add(id(node.value))
        words = list(ast.iter_child_nodes(node))
        for before, after in pairwise(words):
            if isinstance(before, ast.Constant) and before.value == "-m":
                passed |= {id(part) for part in ast.walk(after)}
    return passed


def _naming(node: ast.AST, house: House) -> str:
    """The string or call that names a module; "" for anything else."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        name = re.fullmatch(rf"({house.name}(?:\.\w+)+)(?::\w+)?", node.value)
        first = name and ".".join(name[1].split(".")[:2])
        return repr(node.value) if first in house.modules else ""
    if isinstance(node, ast.JoinedStr) and isinstance(node.values[0] if node.values else None, ast.Constant):
        start = str(node.values[0].value)  # type: ignore[attr-defined]
        return ast.unparse(node) if start.startswith(f"{house.name}.") else ""
    if isinstance(node, ast.Call):
        called = ast.unparse(node.func).rpartition(".")
        if called[2] in ("import_module", "__import__"):
            other = isinstance(node.args[0], ast.Constant) and not str(node.args[0].value).startswith((".", house.name))
            return "" if other else ast.unparse(node)
        if called[0] == "lazy_loader" and called[2] == "attach":
            return "lazy_loader.attach(...), where attach_stub reads a .pyi,"
    return ""


def twice_named(house: House) -> list[str]:
    """Class names that stand for two things."""
    places: dict[str, list[str]] = defaultdict(list)
    for source in house.modules.values():
        for node in source.tree.body:
            if isinstance(node, ast.ClassDef):
                places[node.name].append(house.place(source.file, node.lineno))
    return [
        f"{', '.join(where)}: class {name} stands for {len(where)} things; rename all but one, or use one for all"
        for name, where in sorted(places.items())
        if len(where) > 1
    ]


# --- sizes --------------------------------------------------------------------------------------------------


def long_files(house: House, most: int) -> list[str]:
    """Files of more than ``most`` lines."""
    return [
        f"{house.place(source.file, source.lines)}: has more than {most} lines; split it by concept"
        for source in house.sources
        if source.lines > most
    ]


def crowded_folders(house: House, most: int) -> list[str]:
    """Folders with more than ``most`` modules on one level."""
    counts: dict[Path, int] = defaultdict(int)
    for source in house.modules.values():
        counts[source.file.parent] += 1
    return [
        f"{house.place(folder, 0)}: {count} files on one level, more than {most}; make folders by concept"
        for folder, count in sorted(counts.items())
        if count > most
    ]


def bare_packages(house: House) -> list[str]:
    """Folders with modules and no ``__init__.py``, and ``__init__.py`` without a docstring."""
    folders = {source.file.parent for source in house.modules.values()}
    found = [
        f"{house.place(folder / '__init__.py', 1)}: is not there; say in its docstring what the folder is"
        for folder in sorted(folders)
        if not (folder / "__init__.py").is_file()
    ]
    return found + [
        f"{house.place(source.file, 1)}: has no docstring; say what the folder is"
        for source in house.modules.values()
        if source.is_package and not (ast.get_docstring(source.tree) or "").strip()
    ]


# --- faces --------------------------------------------------------------------------------------------------


def faceless(house: House, rooms: Collection[str]) -> list[str]:
    """Rooms without ``system.py`` or without a lazy face."""
    found = [
        f"{house.name}/{room}/{name}:1: is not there; every room has a system and a lazy face"
        for room in rooms
        for name in ("system.py", "__init__.py", "__init__.pyi")
        if not (house.root / room / name).is_file()
    ]
    inits = [house.modules[name] for room in rooms if (name := f"{house.name}.{room}") in house.modules]
    found += [
        f"{house.place(init.file, 1)}: is no lazy face; use lazy_loader.attach_stub"
        for init in inits
        if "attach_stub" not in ast.unparse(init.tree)
    ]
    return found + [
        f"{house.place(source.file, node.lineno)}: a face has relative imports alone"
        for source in house.sources
        if source.file.suffix == ".pyi"
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Import) or (isinstance(node, ast.ImportFrom) and not node.level)
    ]
