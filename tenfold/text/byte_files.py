"""The tokenizer of bytes as files that stock ``transformers`` reads."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tenfold.files import write_json

_PLAIN = ("single_word", "lstrip", "rstrip", "normalized")
# Vocabularies of bytes write each as a character that can be seen.
_SEEN = [*range(33, 127), *range(161, 173), *range(174, 256)]
_BYTES = {chr(b): b for b in _SEEN} | {chr(256 + i): b for i, b in enumerate(b for b in range(256) if b not in _SEEN)}


def byte_characters() -> dict[str, int]:
    """The character that vocabularies of bytes write for each of the 256.

    >>> byte_characters()["A"], byte_characters()["Ġ"]
    (65, 32)
    """
    return dict(_BYTES)


def write_byte_tokenizer(folder: Path, special: Mapping[str, int | None]) -> None:
    """Write ``tokenizer.json`` and ``tokenizer_config.json`` of a model of bytes: one token a byte of UTF-8, numbered
    by its value, and the ``special`` tokens (mask, pad, bos, eos) by their numbers. One that is a byte's number is left
    out: it is that byte to every reader."""
    named = {name: number for name, number in special.items() if number is not None and number > 255}
    contents = {number: f"<|{'|'.join(n for n in named if named[n] == number)}|>" for number in named.values()}
    added = [
        {"id": number, "content": text, "special": True, **dict.fromkeys(_PLAIN, False)}
        for number, text in sorted(contents.items())
    ]
    spelled: dict[str, Any] = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    write_json(
        folder / "tokenizer.json",
        {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": added,
            "normalizer": None,
            "pre_tokenizer": spelled,
            "post_processor": None,
            "decoder": spelled,
            "model": {
                "type": "BPE",
                "dropout": None,
                "unk_token": None,
                "continuing_subword_prefix": None,
                "end_of_word_suffix": None,
                "fuse_unk": False,
                "byte_fallback": False,
                "vocab": {**byte_characters(), **{text: number for number, text in contents.items()}},
                "merges": [],
            },
        },
    )
    write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "GPT2Tokenizer",
            "add_prefix_space": False,
            "clean_up_tokenization_spaces": False,
            # Without a word on the others they would get tokens of their own, beyond the vocabulary.
            **dict.fromkeys(("unk_token", "pad_token", "bos_token", "eos_token"), None),
            **{f"{name}_token": contents[number] for name, number in named.items()},
        },
    )
