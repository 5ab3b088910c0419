"""Special token numbers, always read from a checkpoint's files. Imports no PyTorch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tenfold.errors import UsageError


@dataclass(frozen=True)
class SpecialIds:
    """Numbers of the special tokens; ``mask`` stands for a token that is not revealed yet.

    >>> SpecialIds(mask=257, pad=256, eos=256)
    SpecialIds(mask=257, pad=256, bos=None, eos=256)
    """

    mask: int
    pad: int | None = None
    bos: int | None = None
    eos: int | None = None

    def check(self, vocab_size: int) -> None:
        """Raises UsageError for a number outside the vocabulary, and for a mask that is padding or end as well."""
        for name, number in vars(self).items():
            if number is not None and not 0 <= number < vocab_size:
                raise UsageError(
                    f"{name}_token_id is {number}, outside the vocabulary of {vocab_size} tokens; "
                    "correct it in config.json"
                )
        for name in ("pad", "eos"):
            if self.mask == getattr(self, name):
                raise UsageError(
                    f"mask_token_id and {name}_token_id are both {self.mask}, but a mask must be a token of its own; "
                    "choose another mask ('tenfold convert masked-lm' adds one)"
                )


def read_special(*files: Mapping[str, Any]) -> dict[str, int | None]:
    """mask, pad, bos and eos from the first of ``files`` (contents of config.json, generation_config.json) that
    has each; a list, as some checkpoints give several ends, counts as its first entry.

    >>> read_special({"eos_token_id": [7, 8]}, {"mask_token_id": 9})
    {'mask': 9, 'pad': None, 'bos': None, 'eos': 7}
    """
    found: dict[str, int | None] = {}
    for name in ("mask", "pad", "bos", "eos"):
        values = [file[f"{name}_token_id"] for file in files if file.get(f"{name}_token_id") is not None]
        value = values[0] if values else None
        value = value[0] if isinstance(value, list) and value else value
        if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
            raise UsageError(f"{name}_token_id is {value!r}; expected a whole number")
        found[name] = value
    return found
