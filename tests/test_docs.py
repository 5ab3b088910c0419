"""The documents say what is true: tables equal their sources, commands and names exist, links work."""

import ast
import doctest
import importlib
import importlib.util
import json
import pkgutil
import re
import shlex
from pathlib import Path
from types import ModuleType

import pytest

import tenfold
from tenfold.cli.main import COMMANDS, main
from tenfold.api import catalogue

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def script(path: str) -> ModuleType:
    """A script of the repository as a module."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    importlib.import_module("sys").modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


tables = script("docs/tables.py")
results = script("results/run.py")


def names(paths: list[Path]) -> list[str]:
    return [path.name for path in paths]


@pytest.mark.parametrize("document", DOCUMENTS, ids=names(DOCUMENTS))
def test_tables_equal_their_sources(document: Path) -> None:
    assert tables.written(document.read_text()) == document.read_text(), "run 'make docs'"


def test_a_wrong_table_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "ROOT", tmp_path)
    rows = [{"name": "a", "split": "test", "value": 2.0, "standard_error": 0.01}, {"name": "b", "value": 1.0}]
    (tmp_path / "x.json").write_text(json.dumps({"command": "make it", "metrics": rows}))
    (tmp_path / "README.md").write_text("text\n<!-- table: x.json split=test -->\n<!-- end -->\nmore\n")
    assert tables.main(["--check"]) == 1
    assert tables.main([]) == 0
    text = (tmp_path / "README.md").read_text()
    assert "| a | test | 2 ± 0.01 |" in text
    assert "| b |" not in text
    assert "`make it`" in text
    assert tables.main(["--check"]) == 0
    (tmp_path / "README.md").write_text(text.replace("2 ± 0.01", "1 ± 0.01"))
    assert tables.main(["--check"]) == 1


def test_texts_are_shown_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "ROOT", tmp_path)
    (tmp_path / "x.json").write_text(json.dumps({"command": "make it", "texts": ["a\n", "def f():\n    b\n"]}))
    made = tables.written("<!-- texts: x.json texts 1 -->\n<!-- end -->\n")
    assert "```text\ndef f():\n    b\n```\n\nWritten by `make it`.\n<!-- end -->" in made


def test_the_readme_lists_the_systems_and_their_state() -> None:
    text = (ROOT / "README.md").read_text()
    for name, system in SYSTEMS.items():
        assert re.search(rf"^\| `{name}` \|.*\| {system.state} \|$", text, re.MULTILINE), name


def test_the_first_screen_of_the_readme() -> None:
    screen = "\n".join((ROOT / "README.md").read_text().splitlines()[:35])
    assert all(part in screen for part in ("make demo", "make test", "docs/images/", "| `tarflow` |"))


def commands(document: Path) -> list[list[str]]:
    """The ``tenfold`` lines in the code blocks of a document."""
    found = []
    for block in re.findall(r"```\w*\n(.*?)```", document.read_text(), re.DOTALL):
        lines = block.replace("\\\n", " ").splitlines()
        found += [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("tenfold ")]
    return found


@pytest.mark.parametrize("document", DOCUMENTS, ids=names(DOCUMENTS))
def test_documented_commands_exist(document: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in commands(document):
        assert words[0] in COMMANDS or words[0].startswith("--"), words
        if words[0] == "train" and words[1] in RECIPES and "--config" not in words:
            assert main([w for w in words if w not in (">", "my.yaml")] + ["--print-config"]) == 0, words


def test_the_readme_shows_every_command() -> None:
    shown = {words[0] for words in commands(ROOT / "README.md")}
    assert shown == set(COMMANDS)


@pytest.mark.parametrize("document", DOCUMENTS, ids=names(DOCUMENTS))
def test_links_lead_somewhere(document: Path) -> None:
    targets = re.findall(r"\]\((?!https?://|#)([^)#]+)", document.read_text())
    assert [t for t in targets if not (document.parent / t).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=names(DOCUMENTS))
def test_python_in_the_documents_uses_names_that_exist(document: Path) -> None:
    for block in re.findall(r"```python\n(.*?)```", document.read_text(), re.DOTALL):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "tenfold":
                assert node.attr in tenfold.__all__, node.attr


MODULES = sorted(m.name for m in pkgutil.walk_packages(tenfold.__path__, "tenfold."))


@pytest.mark.parametrize("name", ["tenfold", *MODULES])
def test_examples_in_docstrings(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0


@pytest.mark.parametrize("module", [tables, results], ids=["tables", "results"])
def test_examples_in_scripts(module: ModuleType) -> None:
    found = doctest.testmod(module)
    assert found.attempted > 0
    assert found.failed == 0


def test_results_name_recipes_and_refuse_others(capsys: pytest.CaptureFixture[str]) -> None:
    trained = [job.recipe for job in results.JOBS.values() if isinstance(job, results.Training)]
    assert trained
    assert set(trained) <= set(RECIPES)
    assert results.main(["nothing"]) == 2
    assert "'nothing'" in capsys.readouterr().err
