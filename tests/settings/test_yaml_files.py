"""Settings in YAML, read strictly."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tenfold.errors import UsageError
from tenfold.settings.yaml_files import read_yaml

BOMB = "a: &a [x, x, x, x]\nb: &b [*a, *a, *a, *a]\nc: [*b, *b, *b, *b]\n"


def written(folder: Path, text: str) -> Path:
    (folder / "a.yaml").write_text(text, encoding="utf-8")
    return folder / "a.yaml"


def test_values(tmp_path: Path) -> None:
    text = (
        "format: 1\n"
        "train: {steps: 10, rate: 3e-4, clip: ~, eps: 1.0e-8, on: true, off: no}\n"
        "data:\n  ratios: 1:30\n  date: 2024-01-01\n  octal: 012\n  seed: &seed 5\n  again: *seed\n"
    )
    assert read_yaml(written(tmp_path, text)) == {
        "train": {"steps": 10, "rate": "3e-4", "clip": None, "eps": 1e-8, "on": True, "off": "no"},
        "data": {"ratios": "1:30", "date": "2024-01-01", "octal": "012", "seed": 5, "again": 5},
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("train: {steps: 1, steps: 2}\n", ["not valid YAML", "'steps' is there twice"]),
        ("train: 1\ntrain: 2\n", ["'train' is there twice"]),
        ("train:\n\tsteps: 3\n", ["not valid YAML", "line 2"]),
        ("", ["holds nothing", "settings by name"]),
        ("# a comment\n", ["holds nothing"]),
        ("just text\n", ["holds just text", "settings by name"]),
        ("- 1\n- 2\n", ["holds list", "settings by name"]),
        (BOMB, ["*a repeats a whole group"]),
        ("a: &a [*a]\n", ["*a repeats a whole group"]),
        ("a: *none\n", ["not valid YAML", "undefined alias"]),
        ("a: 1\n---\nb: 2\n", ["not valid YAML"]),
        ("a: !!python/object/apply:os.getcwd []\n", ["not valid YAML"]),
        ("a: !!int x\n", ["not valid YAML"]),
        ("a: !!bool x\n", ["not valid YAML"]),
        ("a: !!timestamp x\n", ["not valid YAML"]),
        (f"a: {'9' * 5000}\n", ["not valid YAML"]),
        (f"a: {'[' * 5000}\n", ["not valid YAML"]),
        ("? [a]\n: 1\n", ["not valid YAML"]),
        ("a: \x07\n", ["not valid YAML"]),
        ("format: 99\n", ["is of format 99", "newer"]),
        ("format: one\n", ["is of format one"]),
        ("format: true\n", ["is of format True"]),
    ],
)
def test_refused(tmp_path: Path, text: str, words: list[str]) -> None:
    with pytest.raises(UsageError) as error:
        read_yaml(written(tmp_path, text))
    sentence = str(error.value)
    assert [w for w in ["a.yaml", *words] if w not in sentence] == [], sentence
    assert "\n" not in sentence


def test_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="not valid YAML"):
        read_yaml(tmp_path / "a.yaml")


@given(
    st.dictionaries(
        st.text().filter(lambda key: key != "format"),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(), st.lists, max_leaves=4
        ),
    )
)
def test_what_was_written_is_read(tmp_path_factory: pytest.TempPathFactory, values: dict) -> None:
    file = tmp_path_factory.getbasetemp() / "round.yaml"
    file.write_text(yaml.safe_dump(values, allow_unicode=False), encoding="utf-8")
    assert read_yaml(file) == values
