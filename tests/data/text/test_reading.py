"""Text as it is: where lines end, marks of the byte order, carriage returns, and files that are no text."""

import gzip
import json
from pathlib import Path

import pytest

from tenfold import progress
from tenfold.data.text.characters import foreign, read_characters, read_text
from tenfold.data.text.code import json_lines
from tenfold.data.text.config import CharacterDataConfig
from tenfold.data.text.reading import json_objects, lines_of, text_lines
from tenfold.data.text.texts import read_texts
from tenfold.errors import UsageError
from tenfold.masked_lm.completion.batch_files import read_prompts

BREAKS = "a\u2028b\u2029c\x85d\x0be\x0cf\rg\x1c\x1d\x1eh"
MARK = b"\xef\xbb\xbf"


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_lines_end_at_a_line_feed_alone(tmp_path: Path, pack) -> None:
    file = tmp_path / "x.jsonl"
    records = [{"prompt": BREAKS, "text": BREAKS, "completion": "x"}, {"prompt": "2", "text": "2"}]
    raw = "\n".join(json.dumps(record, ensure_ascii=False) for record in records)
    for content in (raw.encode(), MARK + raw.replace("\n", "\r\n").encode() + b"\r\n"):
        file.write_bytes(pack(content))
        assert [line["prompt"] for line in read_prompts(file)] == [BREAKS, "2"]
        assert [document.text for _, document in json_lines(str(file))] == [BREAKS, "2"]
        assert [number for number, _ in json_objects(file)] == [1, 2]
    file.write_bytes(pack(MARK + BREAKS.encode() + b"\r\nsecond"))
    assert list(lines_of(file)) == [BREAKS + "\r\n", "second"]
    assert [text.text for text in read_texts(file, lines=True)] == [BREAKS + "\r", "second"]
    (whole,) = read_texts(file)
    assert whole.text == BREAKS + "\r\nsecond"
    assert text_lines(whole.text) == [BREAKS + "\r", "second"]
    assert read_text(CharacterDataConfig(source="file", path=str(file))) == whole.text


def test_a_folder_is_scored_without_what_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    (tmp_path / "b.png").write_bytes(b"\x89PNG\r\n")
    (tmp_path / "c.bin").write_bytes(b"text\0text")
    (tmp_path / "d.txt").write_bytes("text".encode("utf-16"))
    told: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(progress, "note", told.append)
        assert [text.name for text in read_texts(tmp_path)] == ["a.txt"]
    assert len(told) == 1
    assert "3 of 4 files" in told[0]
    assert told[0].endswith("b.png, c.bin, d.txt")
    with pytest.raises(UsageError, match=r"c.bin is no text: byte 4 is 0"):
        read_texts(tmp_path / "c.bin")


def test_characters_outside_the_alphabet_are_counted_and_told(tmp_path: Path) -> None:
    file = tmp_path / "x.txt"
    file.write_text("Ab, c!" * 40)
    told: list[str] = []
    config = CharacterDataConfig(
        source="file", path=str(file), length=4, block=8, every=3, validation_place=1, test_place=0
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(progress, "note", told.append)
        read_characters(config)
    assert told == ["80 of 240 characters are not in data.alphabet; each run of them is a blank"]
    assert foreign("abc", config) == 0


def test_a_path_is_used_or_refused() -> None:
    with pytest.raises(UsageError, match=r"data.path is my.txt, but data.source kjv reads no path"):
        CharacterDataConfig(path="my.txt")
