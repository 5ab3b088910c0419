"""Tokenizers of transformers, read from their files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tenfold import hub
from tenfold.errors import UsageError

_FILES = ("tokenizer.json", "vocab.json", "tokenizer.model")


class FileTokenizer:
    """A tokenizer of transformers, read from the files beside a checkpoint."""

    def __init__(self, tokenizer: Any) -> None:
        self.inner = tokenizer
        self._special = set(tokenizer.all_special_ids)
        self._sizes: dict[int, int] = {}
        self._bytewise = "ByteLevel" in str(getattr(getattr(tokenizer, "backend_tokenizer", None), "decoder", ""))

    def encode(self, text: str) -> list[int]:
        """Tokens of the text alone; words that look like special tokens are text."""
        return list(self.inner(text, add_special_tokens=False, split_special_tokens=True, verbose=False)["input_ids"])

    def decode(self, tokens: Sequence[int]) -> str:
        """The text, spaces as they were."""
        return str(self.inner.decode(list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def sizes(self, tokens: Sequence[int]) -> list[int]:
        """UTF-8 bytes of each token; byte-level vocabularies write every byte as one character."""
        for token in set(tokens) - set(self._sizes):
            if token in self._special or token >= len(self.inner):
                self._sizes[token] = 0
            elif self._bytewise:
                self._sizes[token] = len(self.inner.convert_ids_to_tokens(token))
            else:
                self._sizes[token] = len(self.inner.decode([token]).encode())
        return [self._sizes[token] for token in tokens]

    def save(self, folder: Path) -> None:
        """Write the tokenizer's files."""
        self.inner.save_pretrained(folder)


def read_tokenizer(folder: Path, model_type: str = "") -> FileTokenizer | None:
    """The tokenizer in a checkpoint's folder, None where there is none. No code that comes with it is run: Dream's
    own tokenizer class reads the files that Qwen2's does."""
    import transformers

    if not any((folder / name).is_file() for name in _FILES):
        return None
    kind = transformers.Qwen2Tokenizer if model_type == "Dream" else transformers.AutoTokenizer
    return FileTokenizer(kind.from_pretrained(folder))


def find_tokenizer(source: str, vocabulary: int) -> FileTokenizer:
    """The tokenizer of a local folder or a hub repository, of which the weights are not fetched.

    Raises UsageError where transformers is missing, for a folder without a tokenizer that it can load, and for one of
    more tokens than the ``vocabulary``; TenfoldError where the hub cannot be reached."""
    try:
        import transformers  # noqa: F401
    except ImportError:
        raise UsageError("a tokenizer needs the package transformers; run: pip install 'tenfold[lm]'") from None
    folder = hub.resolve(source, wanted=("*.json", "*.txt", "*.model"))
    try:
        found = read_tokenizer(folder)
    except Exception as error:  # the library raises dozens of types
        reason = " ".join(str(error).split()).partition(". ")[0] or type(error).__name__
        raise UsageError(f"the tokenizer of {source} cannot be loaded by transformers ({reason[:200]})") from error
    if found is None:
        raise UsageError(f"{source} has no tokenizer: none of {', '.join(_FILES)} is there")
    if len(found.inner) > vocabulary:
        raise UsageError(
            f"the tokenizer of {source} has {len(found.inner)} tokens, more than the model's {vocabulary}; give the "
            "one that the model was trained with"
        )
    return found
