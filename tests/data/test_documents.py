"""Texts of any kind of file as documents."""

import gzip
import json
from pathlib import Path

import pytest

from tenfold.data.text.documents import read_documents
from tenfold.errors import UsageError

TEXTS = ["one", "two\nlines", "três"]


def texts(path: Path, column: str = "text") -> list[str]:
    return [document.text for _, document in read_documents(str(path), column)]


def test_json_lines_and_data_sets_say_the_same(tmp_path: Path) -> None:
    import datasets

    lines = "".join(json.dumps({"text": text}) + "\n" for text in TEXTS)
    (tmp_path / "lines").mkdir()
    (tmp_path / "lines" / "a.jsonl").write_text(lines)
    with gzip.open(tmp_path / "packed.jsonl.gz", "wt") as file:
        file.write(lines)
    rows = datasets.Dataset.from_dict({"text": TEXTS, "number": [1, 2, 3]})
    rows.save_to_disk(str(tmp_path / "saved"))
    datasets.DatasetDict({"test": rows.select([0]), "train": rows}).save_to_disk(str(tmp_path / "splits"))
    rows.to_parquet(tmp_path / "rows.parquet")
    for name in ("lines", "packed.jsonl.gz", "saved", "splits", "rows.parquet"):
        assert texts(tmp_path / name) == TEXTS, name
        assert len({place for place, _ in read_documents(str(tmp_path / name))}) == 3
    with pytest.raises(UsageError, match="has no column 'content'; it has 'text', 'number'"):
        texts(tmp_path / "saved", "content")
    with pytest.raises(UsageError, match=r"row 0 of .* has no text in 'number'; it is int"):
        texts(tmp_path / "saved", "number")


def test_plain_texts_are_cut_at_lines(tmp_path: Path) -> None:
    lines = [f"line {i} {'x' * 50}\n" for i in range(300)]
    (tmp_path / "a.txt").write_text("".join(lines))
    (tmp_path / "b.txt").write_text("short")
    (tmp_path / ".hidden.txt").write_text("hidden")
    found = list(read_documents(str(tmp_path)))
    assert "".join(document.text for _, document in found) == "".join(lines) + "short"
    assert [place for place, _ in found] == [*(f"a.txt:{i}" for i in range(len(found) - 1)), "b.txt:0"]
    assert all(document.text.endswith("\n") and len(document.text) < 4200 for _, document in found[:-1])
    assert texts(tmp_path / "b.txt") == ["short"]


def test_what_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mixed").mkdir()
    for name in ("a.txt", "b.jsonl"):
        (tmp_path / "mixed" / name).write_text("{}")
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "picture.png").write_bytes(b"\x89PNG")
    (tmp_path / "binary.txt").write_bytes(b"a\0b")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    for path, words in (
        ("", "data.path is empty"),
        (tmp_path / "nowhere.txt", "does not exist"),
        (tmp_path / "mixed", r"several kinds \(.jsonl, .txt\)"),
        (tmp_path / "none", "no texts"),
        (tmp_path / "binary.txt", "is no text: byte 1 is 0"),
        (tmp_path / "broken.parquet", "no data set that can be read"),
    ):
        with pytest.raises(UsageError, match=words):
            list(read_documents(str(path)))
