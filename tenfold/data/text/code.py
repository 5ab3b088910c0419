"""Texts of code: functions of Python's standard library, or JSON lines, split by file without leaks."""

import ast
import hashlib
import json
import sysconfig
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from tenfold import progress
from tenfold.data.text.brackets import bracket_texts
from tenfold.data.text.config import CodeDataConfig
from tenfold.data.text.reading import json_objects
from tenfold.errors import UsageError
from tenfold.files import sha256

_BRACKETS = 8000  # strings
_SKIPPED = {"site-packages", "dist-packages", "__pycache__", "test", "tests", "idle_test"}


@dataclass(frozen=True)
class Document:
    """A text; ``prompt`` is what stands before it and is given (empty for unconditional texts)."""

    text: str
    prompt: str = ""


@dataclass(frozen=True)
class CodeSplits:
    """Texts for training, validation and test; no validation or test text is a training text too."""

    train: tuple[Document, ...]
    validation: tuple[Document, ...]
    test: tuple[Document, ...]
    fingerprint: str


def load_code(config: CodeDataConfig) -> CodeSplits:
    """The texts that a configuration names.

    A file of the standard library (a line of JSON lines; the key "file" joins lines) is wholly in one split, by a
    hash of its name. A text that occurs several times is kept once, in the first of training, validation, test.

    Raises UsageError for files that are missing or are not as described, and for an empty split."""
    if config.source == "stdlib":
        groups = list(_stdlib(Path(sysconfig.get_paths()["stdlib"]), config.functions))
    elif config.source == "brackets":
        texts = bracket_texts(_BRACKETS, seed=config.split_seed)
        groups = [(f"{number}", Document(text)) for number, text in enumerate(texts)]
    else:
        groups = list(json_lines(config.path))
    parts: dict[str, list[Document]] = {"train": [], "validation": [], "test": []}
    seen: set[Document] = set()
    split_of = {name: place_of(name, config) for name, _ in groups}
    for split in parts:
        for name, document in groups:
            size = len(document.prompt) + len(document.text)
            if split_of[name] != split or (config.most_characters and size > config.most_characters):
                continue
            if document not in seen:
                seen.add(document)
                parts[split].append(document)
    for split, documents in parts.items():
        if not documents:
            raise UsageError(
                f"the {split} split of {config.path or config.source} is empty: {len(groups)} texts in {len(split_of)} "
                f"files or lines, at most {config.most_characters or 'any number of'} characters each; give more texts "
                f"or a larger share"
            )
    told = [f"{split} {json.dumps([d.prompt, d.text])}" for split, documents in parts.items() for d in documents]
    train, validation, test = (tuple(parts[split]) for split in ("train", "validation", "test"))
    return CodeSplits(train, validation, test, sha256(*told))


def place_of(group: str, config: CodeDataConfig) -> str:
    """The split of a file or line: "train", "validation" or "test", by a hash of its name."""
    digest = hashlib.blake2b(f"{config.split_seed} {group}".encode(), digest_size=8).digest()
    place = int.from_bytes(digest, "little") / 2**64
    if place < config.test:
        return "test"
    return "validation" if place < config.test + config.validation else "train"


@lru_cache(maxsize=2)
def _stdlib(root: Path, which: str) -> tuple[tuple[str, Document], ...]:
    """(file, function) of the standard library, in the order of the files; read once a process."""
    files = [path for path in sorted(root.rglob("*.py")) if not _SKIPPED & set(path.relative_to(root).parts)]
    if not files:
        raise UsageError(f"the standard library in {root} has no source files; give texts with --data.source jsonl")
    found: list[tuple[str, Document]] = []
    for path in progress.track(files, "reading the standard library", "files"):
        try:
            source = path.read_text(encoding="utf-8")
            tree = ast.parse(source)
        except (SyntaxError, UnicodeDecodeError, ValueError):
            continue  # templates, and files kept broken on purpose
        name = path.relative_to(root).as_posix()
        found += [(name, Document(text)) for text in functions_of(source, tree, which == "documented")]
    return tuple(found)


def functions_of(source: str, tree: ast.AST | None = None, documented: bool = False) -> list[str]:
    """The outermost functions of a module (methods are some), decorators included, without their indentation.

    >>> functions_of("class A:\\n    def f(self):\\n        return 1\\n")
    ['def f(self):\\n    return 1\\n']
    """
    lines = source.splitlines(keepends=True)
    found = []
    waiting = [tree or ast.parse(source)]
    while waiting:
        node = waiting.pop()
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            waiting.extend(child for child in ast.iter_child_nodes(node) if not isinstance(child, ast.expr))
        elif not documented or ast.get_docstring(node, clean=False):
            first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
            text = textwrap.dedent("".join(lines[first - 1 : node.end_lineno]))
            found.append((first, text if text.endswith("\n") else text + "\n"))
    return [text for _, text in sorted(found)]


def json_lines(path: str) -> Iterator[tuple[str, Document]]:
    """(file or line, text) of a .jsonl file, or of a folder of them, one at a time.

    Raises UsageError for files that are missing or are not as described."""
    if not path:
        raise UsageError("data.path is empty; name a .jsonl file, or a folder of them, for data.source jsonl")
    place = Path(path)
    named = (*place.glob("*.jsonl"), *place.glob("*.jsonl.gz"))
    files = sorted(named) if place.is_dir() else [place]
    if not files or not all(file.is_file() for file in files):
        raise UsageError(f"{path} does not exist or holds no .jsonl file; give --data.path a file, or a folder of them")
    for file in progress.track(files, "reading texts", "files"):
        for number, record in json_objects(file, "an object with 'text'"):
            text, prompt = record.get("text", record.get("completion")), record.get("prompt", "")
            if not isinstance(text, str) or not isinstance(prompt, str) or not text:
                raise UsageError(
                    f"line {number} of {file} has no 'text' (or 'prompt' and 'completion') that is a text; it has "
                    f"{sorted(record)}"
                )
            yield str(record.get("file", f"{file.name}:{number}")), Document(text, prompt)
