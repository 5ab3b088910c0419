"""Functions of the standard library as problems: the signature and docstring are given, and the examples of the
docstring are the tests. No PyTorch."""

import ast
import doctest
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tenfold import progress
from tenfold.errors import UsageError

_SKIPPED = {"site-packages", "dist-packages", "__pycache__", "test", "tests", "idle_test"}


def library_stubs(root: Path | None = None) -> list[dict[str, Any]]:
    """ "prompt" (signature and docstring), "tests" (an assert for each example with a literal result, after the
    examples before it that have none), "functions" (its name) and "module" of each function outside classes, in the
    order of the files below ``root``, by default the running Python's library.

    Raises UsageError where there is none."""
    root = root or Path(sysconfig.get_paths()["stdlib"])
    found: list[dict[str, Any]] = []
    for path in progress.track(sorted(root.rglob("*.py")), "reading the standard library", "files"):
        place = path.relative_to(root)
        if _SKIPPED & set(place.parts):
            continue
        try:
            source = path.read_text(encoding="utf-8")
            tree = ast.parse(source if ">>> " in source else "")  # most files have no example
        except (SyntaxError, UnicodeDecodeError, ValueError):
            continue  # templates, and files kept broken on purpose
        module = ".".join(place.with_suffix("").parts).removesuffix(".__init__")
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and (tests := list(_asserts(node))):
                prompt = "".join(source.splitlines(keepends=True)[node.lineno - 1 : node.body[0].end_lineno])
                found.append({"prompt": prompt, "tests": tests, "functions": (node.name,), "module": module})
    if not found:
        raise UsageError(f"no function below {root} has examples in its docstring; give problems as JSON lines")
    return found


def _asserts(node: ast.FunctionDef) -> Iterator[str]:
    """The examples of a docstring as tests.

    >>> text = "def f(x):\\n    '''>>> y = 2\\n    >>> f(y)\\n    3'''"
    >>> list(_asserts(ast.parse(text).body[0]))
    ['y = 2\\nassert f(y) == 3']
    """
    try:
        examples = doctest.DocTestParser().get_examples(ast.get_docstring(node) or "")
    except ValueError:
        return
    before: list[str] = []
    for example in examples:
        given, wanted = example.source.strip(), example.want.strip()
        if not wanted:
            before.append(given)
            continue
        try:
            call = ast.parse(given, mode="eval")
            ast.literal_eval(wanted)
        except (SyntaxError, ValueError):
            continue  # a statement that prints, an exception, or an object: nothing that a test could compare
        if node.name in {part.id for part in ast.walk(call) if isinstance(part, ast.Name)}:
            # Written anew, for a comment behind the call would hide the comparison.
            yield "\n".join([*before, f"assert {ast.unparse(call)} == {wanted}"])
