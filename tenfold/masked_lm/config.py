"""What a user can set about a masked language model, and its special tokens. Imports no PyTorch."""

from collections.abc import Mapping
from typing import Any, Literal

from tenfold.errors import UsageError
from tenfold.settings.checks import at_least, settings

BYTE_PAD, BYTE_MASK = 256, 257


@settings
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

    @property
    def ends(self) -> tuple[int, ...]:
        """The tokens that end a text: end and padding."""
        return tuple(dict.fromkeys(i for i in (self.eos, self.pad) if i is not None))


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


@settings
class MaskedLMConfig:
    """Geometry of the network; the defaults are a small model of bytes (256 values, padding, mask).

    Attributes:
        family: "qwen2" (biases in the attention, as DiffuCoder's) or "llama" (none).
        vocab_size: K, special tokens included.
        width: of the token vectors.
        layers: number of transformer layers.
        heads: attention heads; must divide ``width``.
        kv_heads: heads of keys and values; must divide ``heads``; 0 for as many as ``heads``.
        intermediate: width of the feed-forward layers.
        positions: the longest sequence.
        rope_theta: base of the rotary positions.
        norm_epsilon: in the root mean square norms.
        tied: whether the head shares the embedding's weights.
        logit_shift: whether the output at position i−1 predicts token i, as in autoregressive models.
        mask: number of the mask token.
        pad: number of the padding token; it also stands between packed texts.
        bos: number of the begin token; none in a model of bytes.
        eos: number of the end token.
        tokenizer: "bytes" (UTF-8), or "files" for the tokenizer saved with the weights.
    """

    family: Literal["qwen2", "llama"] = "qwen2"
    vocab_size: int = 258
    width: int = 128
    layers: int = 4
    heads: int = 4
    kv_heads: int = 0
    intermediate: int = 384
    positions: int = 1024
    rope_theta: float = 1e4
    norm_epsilon: float = 1e-6
    tied: bool = False
    logit_shift: bool = True
    mask: int = BYTE_MASK
    pad: int | None = BYTE_PAD
    bos: int | None = None
    eos: int | None = BYTE_PAD
    tokenizer: Literal["bytes", "files"] = "bytes"

    def __post_init__(self) -> None:
        at_least(self, "model", vocab_size=1, width=1, layers=1, heads=1, intermediate=1, positions=1)
        if self.width % self.heads or (self.width // self.heads) % 2:
            raise UsageError(
                f"model.width {self.width} over {self.heads} heads is no even whole number (rotary positions turn "
                "pairs of coordinates); change width or heads"
            )
        for name in ("rope_theta", "norm_epsilon"):
            if not getattr(self, name) > 0:
                raise UsageError(f"model.{name} is {getattr(self, name)}; it must be positive")
        if self.kv_heads < 0 or (self.kv_heads and self.heads % self.kv_heads):
            raise UsageError(f"model.kv_heads is {self.kv_heads}; it must divide the {self.heads} heads, or be 0")
        if self.tokenizer == "bytes" and self.vocab_size < 258:
            raise UsageError(
                f"model.vocab_size is {self.vocab_size}; a model of bytes needs 256, padding and mask: 258"
            )
        self.special.check(self.vocab_size)

    @property
    def special(self) -> SpecialIds:
        """The numbers of the special tokens."""
        return SpecialIds(self.mask, self.pad, self.bos, self.eos)
