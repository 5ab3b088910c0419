"""The documents say what is true: tables equal their sources, commands and names exist, links work."""

import ast
import doctest
import importlib
import importlib.util
import io
import json
import re
import shlex
from contextlib import redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest

import tenfold
from tenfold.api import catalogue
from tenfold.cli.main import main, verbs

COMMANDS, RECIPES, SYSTEMS = verbs(), catalogue.recipes(), catalogue.ten()

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
RECIPES = catalogue.recipes()


class Holds(NamedTuple):
    """What a document holds at least; what is checked is found first."""

    commands: int
    python: int
    links: int
    parts: int


# A new document is entered here, and a guide's Python in tests/end_to_end/test_documents.py.
HOLDS = {
    "README.md": Holds(20, 1, 13, 1),
    "architecture.md": Holds(0, 0, 1, 0),
    "coupled-grpo-tables.md": Holds(0, 0, 1, 4),
    "coupled-grpo.md": Holds(6, 2, 2, 4),
    "detection.md": Holds(16, 1, 0, 0),
    "discrete-diffusion-steering.md": Holds(8, 1, 7, 9),
    "discrete-diffusion-tables.md": Holds(0, 0, 2, 20),
    "discrete-diffusion.md": Holds(10, 1, 3, 6),
    "discrete-samplers-tables.md": Holds(0, 0, 1, 10),
    "discrete-samplers.md": Holds(12, 1, 3, 8),
    "energy-tables.md": Holds(0, 0, 1, 8),
    "energy.md": Holds(4, 1, 4, 0),
    "factorization-order-tables.md": Holds(0, 0, 1, 4),
    "factorization-order.md": Holds(8, 1, 2, 2),
    "masked-lm-generation.md": Holds(5, 1, 4, 3),
    "masked-lm-tables.md": Holds(0, 0, 2, 11),
    "masked-lm.md": Holds(6, 1, 3, 4),
    "mixture-flows.md": Holds(1, 1, 1, 1),
    "python-api.md": Holds(0, 2, 0, 0),
    "quasiperiodic-tables.md": Holds(0, 0, 3, 12),
    "quasiperiodic.md": Holds(5, 1, 3, 5),
    "quickstart.md": Holds(5, 0, 0, 0),
    "semialgebraic.md": Holds(4, 1, 1, 2),
    "shifts.md": Holds(4, 1, 0, 0),
    "starflow-tables.md": Holds(0, 0, 1, 10),
    "starflow.md": Holds(10, 1, 1, 6),
    "tarflow-tables.md": Holds(0, 0, 1, 6),
    "tarflow.md": Holds(7, 1, 5, 1),
    "text-flows.md": Holds(10, 1, 3, 3),
}


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


def test_every_document_is_entered() -> None:
    assert names(DOCUMENTS) == list(HOLDS)


@pytest.mark.parametrize("document", DOCUMENTS, ids=names(DOCUMENTS))
def test_tables_equal_their_sources(document: Path) -> None:
    text = document.read_text()
    parts = tables.PART.findall(text)
    assert len(parts) >= HOLDS[document.name].parts
    assert len(parts) == len(re.findall(r"<!-- (?!end)", text)) == text.count("<!-- end -->"), "a marker is misspelt"
    assert tables.written(text) == text, "run 'make docs'"


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


def test_what_a_spread_is_over_stands_below_each_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "ROOT", tmp_path)
    rows = [{"name": "a", "value": 2.0, "standard_error": 0.1, "seeds": 3, "split": "test"}]
    rows += [{"name": "b", "value": 1.0, "standard_error": 0.2, "seeds": 1}, {"name": "c", "value": 1.0, "seeds": 1}]
    (tmp_path / "graph-sets.json").write_text(json.dumps({"metrics": rows}))
    (tmp_path / "x.json").write_text(json.dumps({"metrics": rows}))
    over = "over what one run averages (test samples, draws or repeats)"
    assert f"± is the standard error between 3 seeds; with one seed, {over}.\n" in tables.table("x.json")
    alone = tables.table("x.json name=b")
    assert f"± is the standard error {over}. One seed: what another training would give is not measured." in alone
    assert "±" not in tables.table("x.json name=c")
    assert "One seed:" in tables.table("x.json name=c")
    assert "One seed" not in tables.table("x.json split=test")
    assert "± is the standard error over graphs." in tables.table("graph-sets.json name=b")


def test_benchmarks_show_both_errors_and_what_was_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "ROOT", tmp_path)
    rows = [{"name": "a", "ours": 1.0, "other": 2.0, "details": {"ours_error": 1e-9, "other_error": 1e-3}}]
    rows += [{"name": "b", "ours": 1.0, "other": 9.0, "details": {"other": "extrapolated from N = 10"}}]
    (tmp_path / "x.json").write_text(json.dumps({"command": "run", "quick": True, "records": rows}))
    made = tables.table("x.json")
    assert "| a | 1 | 2 | 1.00e-09 | 0.001 |" in made
    assert "Not run but extrapolated: `b` (other: extrapolated from N = 10). Short run" in made
    assert "extrapolated" not in tables.table("x.json name=a")


def test_texts_are_shown_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "ROOT", tmp_path)
    (tmp_path / "x.json").write_text(json.dumps({"command": "make it", "texts": ["a\n", "def f():\n    b\n"]}))
    made = tables.written("<!-- texts: x.json texts 1 -->\n<!-- end -->\n")
    assert "```text\ndef f():\n    b\n```\n\nWritten by `make it`.\n<!-- end -->" in made


def test_the_readme_lists_the_systems_and_their_state() -> None:
    text = (ROOT / "README.md").read_text()
    ten = {name: system for name, system in catalogue.systems().items() if not system.part_of}
    assert len(ten) == 10
    for name, system in ten.items():
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


def spoken_of(document: Path) -> list[list[str]]:
    """The ``tenfold`` lines inside the sentences and below the tables of a document, but for placeholders."""
    spans = re.findall(r"`(tenfold [^`]+)`", re.sub(r"```.*?```", "", document.read_text(), flags=re.DOTALL))
    lines = [shlex.split(line)[1:] for span in spans for line in span.split(" and ")]
    lines = [[word.replace("SEED", "0") for word in words] for words in lines]
    return [words for words in lines if not any(re.fullmatch("[A-Z_]+", word) for word in words)]


def help_of(words: list[str]) -> str:
    """The page of a line's ``--help``."""
    shown = io.StringIO()
    with redirect_stdout(shown):
        assert main([*words[: 2 if words[1] in catalogue.systems() else 1], "--help"]) == 0
    return shown.getvalue()


@pytest.mark.parametrize("document", DOCUMENTS, ids=names(DOCUMENTS))
def test_documented_commands_exist(document: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = commands(document)
    assert len(found) >= HOLDS[document.name].commands
    for words in [*found, *spoken_of(document)]:
        assert words[0] in verbs() or words[0].startswith("--"), words
        options = [word.partition("=")[0] for word in words[1:] if word.startswith("--")]
        page = help_of(words) if options and words[0] != "train" else ""
        assert not page or [option for option in options if option not in page] == [], words
        if words[0] == "train" and words[1] in RECIPES and "--config" not in words:
            assert main([w for w in words if w not in (">", "my.yaml")] + ["--print-config"]) == 0, words


def test_the_readme_shows_every_command() -> None:
    shown = {words[0] for words in commands(ROOT / "README.md")}
    assert shown == set(verbs())


@pytest.mark.parametrize("document", DOCUMENTS, ids=names(DOCUMENTS))
def test_links_lead_somewhere(document: Path) -> None:
    targets = re.findall(r"\]\((?!https?://|#)([^)#]+)", document.read_text())
    assert len(targets) >= HOLDS[document.name].links
    assert [t for t in targets if not (document.parent / t).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=names(DOCUMENTS))
def test_python_in_the_documents_uses_names_that_exist(document: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", document.read_text(), re.DOTALL)
    assert len(blocks) >= HOLDS[document.name].python
    for block in blocks:
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "tenfold":
                assert node.attr in tenfold.__all__, node.attr


def examples_of(file: Path) -> int:
    """How many examples the docstrings of a module hold, found without importing it."""
    kinds = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    texts = [ast.get_docstring(node) for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, kinds)]
    return sum(len(doctest.DocTestParser().get_examples(text)) for text in texts if text)


PACKAGE = ROOT / "tenfold"
EXAMPLES = {
    ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): count
    for file in sorted(PACKAGE.rglob("*.py"))
    if (count := examples_of(file))
}


def test_there_are_examples() -> None:
    assert sum(EXAMPLES.values()) >= 140
    assert len(EXAMPLES) >= 70
    assert Path(tenfold.__file__).parent == PACKAGE


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_in_docstrings(name: str) -> None:
    done = doctest.testmod(importlib.import_module(name))
    assert (done.attempted, done.failed) == (EXAMPLES[name], 0)


@pytest.mark.parametrize("module", [tables, results], ids=["tables", "results"])
def test_examples_in_scripts(module: ModuleType) -> None:
    found = doctest.testmod(module)
    assert found.attempted > 0
    assert found.failed == 0
