"""Whatever a run's files hold, every verb ends in exit code 0, 1 or 2 and one sentence, never in a surprise."""

import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tenfold.cli.main import main
from tests.fixtures.formats.make import KINDS

FORMATS = Path(__file__).parents[1] / "fixtures" / "formats"
VALUES: list[Any] = [None, True, [], {}, "x", -1, 1e308, 10**30, [[1]], {"a": {"b": 1}}, "9" * 5000, 1.5, "../../x"]
TURNS = 9  # mutations of each file


def paths(tree: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Places of a tree of dictionaries and lists, its root left out."""
    if place:
        yield place
    items = tree.items() if isinstance(tree, dict) else enumerate(tree[:3]) if isinstance(tree, list) else ()
    for key, value in items:
        yield from paths(value, (*place, key))


def mutated(file: Path, draw: random.Random) -> None:
    """Change a file as carelessness, a full disk or malice would."""
    raw, text = file.read_bytes(), file.suffix in (".json", ".yaml")
    if text and draw.random() < 0.6:
        tree = json.loads(raw) if file.suffix == ".json" else yaml.safe_load(raw)
        *above, last = draw.choice(list(paths(tree)))
        inner = tree
        for key in above:
            inner = inner[key]
        if draw.random() < 0.25:
            del inner[last]
        elif draw.random() < 0.25 and isinstance(inner, dict):
            inner["unknown"] = draw.choice(VALUES)
        else:
            inner[last] = draw.choice(VALUES)
        file.write_text(json.dumps(tree) if file.suffix == ".json" else yaml.safe_dump(tree))
        return
    damaged = bytearray(raw)
    for _ in range(min(len(raw), 6)):
        damaged[draw.randrange(len(raw))] = draw.randrange(256)
    wholes = [raw[: draw.randrange(len(raw) + 1)], bytes(damaged), b"", b"[" * 100_000, b'{"a":' * 9000, b"\xff" + raw]
    file.write_bytes(draw.choice(wholes))


def lines(kind: str) -> list[list[str]]:
    """What is tried with a broken run."""
    where = ["--device", "cpu"]
    options = (KINDS[kind].get("sample") or [[]])[0]
    return [
        ["sample", f"runs/{kind}", "--out", "s", *where, *options],
        ["sample", f"runs/{kind}/model", "--out", "s", *where, *options],
        ["score", f"runs/{kind}", *(KINDS[kind].get("score") or [["x"]])[0], *where],
        ["evaluate", f"runs/{kind}", *where],
        ["report", f"runs/{kind}", *where],
        ["train", "--resume", f"runs/{kind}", "--train.steps", "4", "--skip-evaluation", *where],
    ]


@pytest.mark.parametrize("kind", ["kjv-ar", "kjv-groups", "tarflow-digits", "code-bytes"])
@pytest.mark.parametrize(
    "name", ["config.yaml", "model/config.json", "metrics.jsonl", "provenance.json", "*.safetensors"]
)
def test_no_broken_file_is_a_surprise(
    kind: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("TENFOLD_TRACEBACK", raising=False)
    draw = random.Random(f"{kind} {name}")
    for turn in range(TURNS if name.endswith((".yaml", "config.json")) else TURNS // 3):
        root = tmp_path / str(turn)
        shutil.copytree(FORMATS / "data", root / "data")
        for other in {kind, "kjv-masked"}:
            shutil.copytree(FORMATS / "runs" / other, root / "runs" / other)
        monkeypatch.chdir(root)
        files = sorted((root / "runs" / kind).rglob(name))
        mutated(draw.choice(files), draw)
        line = draw.choice(lines(kind))
        code = main([str(word) for word in line])
        said = capsys.readouterr().err
        assert code in (0, 1, 2), (line, said)
        assert "unexpected" not in said, (line, said)
        assert "Traceback" not in said, (line, said)
        shutil.rmtree(root)
