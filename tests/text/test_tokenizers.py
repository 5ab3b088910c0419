"""Tokens and bytes: for every kind of tokenizer that transformers reads, sizes add up to the bytes of the text."""

from pathlib import Path

import pytest
from transformers import LlamaTokenizer

from tenfold.errors import UsageError
from tenfold.text.tokenizer import ByteTokenizer, FileTokenizer, Tokenizer, find_tokenizer, read_tokenizer
from tests.text.tokenizers_of_kinds import KINDS, TEXT, save, sentence_piece

TEXTS = (TEXT, "a", " a", "  two", "é", "e\u0301", "naïve x\r\ny", "<s> a", "\u2028 🙂", "")
LOSSLESS = ("byte_level", "byte_fallback", "with_begin")


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tokenizer]:
    folder = tmp_path_factory.mktemp("tokenizers")
    found: dict[str, Tokenizer] = {"bytes": ByteTokenizer()}
    for kind in (*KINDS, "byt5"):
        read = read_tokenizer(save(kind, folder / kind))
        assert read is not None
        found[kind] = read
    model = sentence_piece(folder / "sentencepiece")
    found["sentencepiece"] = FileTokenizer(LlamaTokenizer.from_pretrained(model.parent))
    return found


@pytest.mark.parametrize("kind", ["bytes", *KINDS, "byt5", "sentencepiece"])
def test_sizes_are_the_bytes_of_the_text(tokenizers: dict[str, Tokenizer], kind: str) -> None:
    tokenizer = tokenizers[kind]
    for text in TEXTS:
        tokens = tokenizer.encode(text)
        sizes = tokenizer.sizes(tokens, text)
        assert len(sizes) == len(tokens)
        assert min(sizes, default=0) >= 0
        assert sum(sizes) == (len(text.encode()) if tokens else 0), (kind, text)


@pytest.mark.parametrize("kind", LOSSLESS)
def test_pieces_are_the_text(tokenizers: dict[str, Tokenizer], kind: str) -> None:
    tokenizer = tokenizers[kind]
    for text in ("def é(x):", "🙂 re", "a\r\nb", " two  blanks"):
        tokens = tokenizer.encode(text)
        assert b"".join(tokenizer.pieces(tokens)).decode() in (text, " " + text)
        assert sum(tokenizer.sizes(tokens)) == len(text.encode())


def test_special_tokens_and_numbers_outside_stand_for_nothing(tokenizers: dict[str, Tokenizer]) -> None:
    assert tokenizers["with_begin"].sizes([0, 10**6, -1]) == [0, 0, 0]
    assert tokenizers["bytes"].sizes([0, 256, 257, -1]) == [1, 0, 0, 0]
    assert tokenizers["bytes"].pieces([65, 256]) == [b"A", b""]


def test_what_is_no_tokenizer_is_one_sentence(tmp_path: Path) -> None:
    assert read_tokenizer(tmp_path) is None
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(UsageError, match=r"the tokenizer of .* cannot be loaded by transformers"):
        read_tokenizer(tmp_path)
    save("word_piece", tmp_path / "w")
    with pytest.raises(UsageError, match=r"has \d+ tokens, more than the model's 5"):
        find_tokenizer(str(tmp_path / "w"), 5)
