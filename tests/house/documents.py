"""What the Python of documents imports, and what of it reaches behind a face."""

import ast
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tests.house.law import House


class Documented(NamedTuple):
    """A name that a document imports; without ``name``, the module itself."""

    place: str
    module: str
    name: str


def documented(files: Sequence[Path], root: str) -> list[Documented]:
    """What the Python blocks of documents import from the package called ``root``."""
    found = []
    for file in files:
        text = file.read_text(encoding="utf-8")
        for block in re.finditer(r"^```(?:python|py|pycon)\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
            start = text.count("\n", 0, block.start(1))
            for node in ast.walk(ast.parse(block[1])):
                place = f"{file.name}:{start + getattr(node, 'lineno', 0)}"
                if isinstance(node, ast.ImportFrom):
                    found += [Documented(place, node.module or "", alias.name) for alias in node.names]
                elif isinstance(node, ast.Import):
                    found += [Documented(place, alias.name, "") for alias in node.names]
    return [d for d in found if d.module.partition(".")[0] == root]


def behind_faces(house: House, imported: Sequence[Documented]) -> list[str]:
    """Imports of documents that reach behind a face: from a module's file, or from a folder inside a room. What the
    package's own face exports stands open."""
    exported = {i.target for i in house.imports if i.source == house.name and i.file.suffix == ".pyi"}
    found = []
    for place, module, name in imported:
        inner = f"{module}.{name}"
        target = inner if inner in house.modules else module
        whole = target.count(".") == 1 and (target in house.packages or target in exported)
        if not (target == house.name or whole):
            words = f"from {module} import {name}" if name else f"import {module}"
            found.append(f"{place}: '{words}' reaches behind a face; import from {house.name}.<room or floor>")
    return found
