"""Texts that a user wants scored."""

import tracemalloc

import pytest

from tenfold.data.text.texts import TextScoring, read_texts
from tenfold.errors import UsageError


def test_files_of_a_folder_and_their_lines(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "one.txt").write_text("first line\n\n  second  line\n", encoding="utf-8")
    (tmp_path / "two.txt").write_text("né", encoding="utf-8")
    (tmp_path / "empty.txt").touch()
    (tmp_path / ".hidden").write_text("x")
    assert [tuple(text) for text in read_texts(tmp_path)] == [
        ("a/one.txt", "first line\n\n  second  line\n"),
        ("two.txt", "né"),
    ]
    assert [tuple(text) for text in read_texts(tmp_path, lines=True)] == [
        ("a/one.txt:1: first line", "first line"),
        ("a/one.txt:3: second line", "  second  line"),
        ("two.txt:1: né", "né"),
    ]


def test_strings_are_named_by_number_and_beginning():
    found = read_texts(["a b\nc", "x" * 50])
    assert [text.name for text in found] == ["1: a b c", f"2: {'x' * 40}…"]
    assert [text.name for text in read_texts(["a: b\nc"], lines=True)] == ["1:1: a: b", "1:2: c"]


def test_what_is_no_text(tmp_path):
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    (tmp_path / "blank.txt").write_text(" \n")
    for source, words in (
        (tmp_path / "none.txt", "none.txt does not exist"),
        (tmp_path / "latin.txt", "latin.txt is not UTF-8 at byte 3"),
        (tmp_path / "blank.txt", "blank.txt holds no text"),
        ([b"bytes"], "one of them is a bytes"),
        ([], "the input holds no text"),
    ):
        with pytest.raises(UsageError, match=words):
            read_texts(source)
    with pytest.raises(UsageError, match="draws is 0"):
        TextScoring(draws=0)


def test_lines_are_scored_as_they_are_read(tmp_path):
    peaks = []
    for count in (5_000, 10_000):
        file = tmp_path / f"{count}.txt"
        file.write_text("in the beginning was the word\n" * count)
        tracemalloc.start()
        texts = read_texts(file, lines=True)
        assert len(texts) == sum(1 for _ in texts) == count
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0] < 2**20
