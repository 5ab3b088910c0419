"""Texts of code, their split, and the rows that are made of them."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tenfold.data.text import code
from tenfold.data.text.code import Document, functions_of, load_code
from tenfold.data.text.config import CodeDataConfig
from tenfold.data.text.token_rows import DiffusionCollator, TokenRows, cut_to_random_length, keep_random_prefix
from tenfold.data.text.token_rows import RowBatch as Rows
from tenfold.errors import UsageError

SOURCE = '''
class A:
    @property
    def one(self):
        """Documented."""
        def inner():
            pass
        return 1

async def two():
    return 2
'''


def test_outermost_functions_without_indentation() -> None:
    one, two = functions_of(SOURCE)
    assert one.startswith("@property\ndef one(self):\n    ")
    assert "    def inner():\n        pass\n" in one
    assert two == "async def two():\n    return 2\n"
    assert functions_of(SOURCE, documented=True) == [one]


def test_the_standard_library_is_split_by_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for i in range(60):
        folder = tmp_path / ("test" if i % 10 == 9 else "pkg")
        folder.mkdir(exist_ok=True)
        texts = "".join(f'def f{k}():\n    """Of file {i}."""\n' for k in range(3))
        (folder / f"m{i}.py").write_text(texts + 'def same():\n    """In every file."""\n')
    (tmp_path / "broken.py").write_text("def f(:\n")
    monkeypatch.setattr(code.sysconfig, "get_paths", lambda: {"stdlib": str(tmp_path)})
    splits = load_code(CodeDataConfig(validation=0.2, test=0.3))
    parts = (splits.train, splits.validation, splits.test)
    files = [{d.text.split("Of file ")[1].split(".")[0] for d in part if "Of file" in d.text} for part in parts]
    assert not files[0] & files[1]
    assert not files[0] & files[2]
    assert not files[1] & files[2]
    assert sum(map(len, files)) == 54  # without the tests
    assert all(files)
    assert sum("In every file" in d.text for part in parts for d in part) == 1
    assert "In every file" in "".join(d.text for d in splits.train)
    assert load_code(CodeDataConfig(validation=0.2, test=0.3)).fingerprint == splits.fingerprint
    assert load_code(CodeDataConfig(validation=0.2, test=0.3, split_seed=1)).fingerprint != splits.fingerprint


def test_json_lines(tmp_path: Path) -> None:
    lines = [{"text": f"text {i}", "file": f"{i // 2}"} for i in range(80)]
    lines += [{"prompt": f"ask {i}", "completion": f"say {i}"} for i in range(40)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + "\n")
    splits = load_code(CodeDataConfig(source="jsonl", path=str(tmp_path), validation=0.2, test=0.2))
    everything = splits.train + splits.validation + splits.test
    assert len(everything) == 120
    assert Document("say 3", "ask 3") in everything
    home = {d.text: name for name in ("train", "validation", "test") for d in getattr(splits, name)}
    assert all(home[f"text {i}"] == home[f"text {i + 1}"] for i in range(0, 80, 2))


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("{", r"line 1 of .*a.jsonl is not JSON"),
        ("[1]", r"line 1 of .*a.jsonl is list; expected an object with 'text'"),
        ('{"body": "x"}', r"line 1 of .*a.jsonl has no 'text' .*; it has \['body'\]"),
        ('{"text": "x"}', r"the validation split of .* is empty: 1 texts in 1 files or lines"),
    ],
)
def test_bad_json_lines(tmp_path: Path, line: str, sentence: str) -> None:
    (tmp_path / "a.jsonl").write_text(line + "\n")
    with pytest.raises(UsageError, match=sentence):
        load_code(CodeDataConfig(source="jsonl", path=str(tmp_path / "a.jsonl"), validation=1e-9, test=1e-9))


def test_no_such_file(tmp_path: Path) -> None:
    for path, sentence in (("", "data.path is empty"), (str(tmp_path), "holds no .jsonl"), ("no", "does not exist")):
        with pytest.raises(UsageError, match=sentence):
            load_code(CodeDataConfig(source="jsonl", path=path))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"length": 1}, "data.length is 1"),
        ({"stride": 300}, "data.stride is 300"),
        ({"test": 0.0}, "data.test is 0.0"),
        ({"test": 0.6, "validation": 0.5}, "leave nothing to train on"),
        ({"validation_rows": -1}, "data.validation_rows is -1"),
        ({"most_characters": -1}, "data.most_characters is -1"),
        ({"learn_padding": True}, "packed rows have no padding"),
    ],
)
def test_bad_settings(settings: dict[str, float], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        CodeDataConfig(**settings)


def test_packed_rows() -> None:
    texts = [([], [1, 2, 3]), ([7, 8], [4, 5])]
    collate = DiffusionCollator(4, pad=99, end=0)
    rows = collate(texts)
    assert rows["tokens"].tolist() == [[1, 2, 3, 0], [7, 8, 4, 5]]  # the last 0 fills no row
    assert rows["maskable"].tolist() == [[False, True, True, True], [False, False, True, True]]
    assert rows["real"].all()
    unshifted = DiffusionCollator(4, pad=99, end=0, shifted=False, stride=2, begin=50)(texts)
    assert unshifted["tokens"].tolist() == [[50, 1, 2, 3], [2, 3, 0, 50], [0, 50, 7, 8], [7, 8, 4, 5]]
    assert unshifted["maskable"][1].tolist() == [True, True, True, False]
    with pytest.raises(UsageError, match="the texts have 9 tokens, less than one row of 10"):
        DiffusionCollator(10, pad=99, end=0)(texts)


def test_padded_rows() -> None:
    texts = [([7, 8], [4]), ([], [1, 2, 3, 4, 5, 6, 9]), ([11, 12, 13, 14, 15], [1, 2, 3, 4])]
    rows = DiffusionCollator(6, pad=99, end=0, packed=False)(texts)
    assert rows["tokens"].tolist() == [[7, 8, 4, 0, 99, 99], [1, 2, 3, 4, 5, 6], [13, 14, 15, 1, 2, 3]]
    assert rows["maskable"].tolist()[0] == [False, False, True, True, False, False]
    assert rows["maskable"].tolist()[2] == [False, False, False, True, True, True]
    assert rows["real"].tolist()[0] == [True, True, True, True, False, False]
    learnt = DiffusionCollator(6, pad=99, end=0, packed=False, learn_padding=True)(texts)
    assert learnt["maskable"].tolist()[0] == [False, False, True, True, True, True]
    assert learnt["real"].all()


def test_rows_for_the_loop() -> None:
    arrays = DiffusionCollator(4, pad=99, end=0)([([], list(range(1, 12)))])
    source = TokenRows(arrays)
    batch = source.batch(np.array([2, 0]))
    assert batch["tokens"].tolist() == [[9, 10, 11, 0], [1, 2, 3, 4]]
    assert batch["tokens"].dtype == torch.int64
    assert len(source) == 3
    assert source.some(2).arrays["tokens"][:, 0].tolist() == [1, 9]
    assert source.some(0) is source
    assert source.some(3) is source
    arrays["maskable"] = ~arrays["maskable"]
    assert TokenRows(arrays).fingerprint != source.fingerprint


def test_random_prefixes_and_lengths() -> None:
    b, n = 4000, 10
    tokens = torch.arange(1, n + 1).expand(b, -1)
    rows = Rows(tokens, torch.ones(b, n, dtype=torch.bool), torch.ones(b, n, dtype=torch.bool))
    kept = keep_random_prefix(rows, torch.rand(b, 2), 0.25)
    lengths = (~kept.maskable).sum(1)
    assert not (kept.maskable[:, :-1] & ~kept.maskable[:, 1:]).any()  # prefixes, never holes
    assert (lengths > 0).float().mean() == pytest.approx(0.25 * 0.9, abs=0.03)
    assert lengths.max() == n - 1  # something is always left to learn
    cut = cut_to_random_length(rows, torch.rand(b, 2), 0.25, pad=99)
    real = cut.real.sum(1)
    assert (real < n).float().mean() == pytest.approx(0.25 * 8 / 9, abs=0.03)
    assert real.min() == 2
    assert torch.equal(cut.maskable, cut.real)
    assert ((cut.tokens == 99) == ~cut.real).all()
